"""How tests compile: compiling is nearly all their work."""

import jax

# JAX 0.10 has two kinds of code for fused operations on CPUs, and the older is compiled in less
# time. Since 0.11 there is one.
_OLDER_CODE = {"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 11) else {}
# for `jax.jit`
QUICKLY = {"xla_backend_optimization_level": 0, **_OLDER_CODE}
# for processes of their own
XLA_FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in _OLDER_CODE.items())
