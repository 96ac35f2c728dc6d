"""How tests compile: compiling is nearly all their work."""

# for `jax.jit`
QUICKLY = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
