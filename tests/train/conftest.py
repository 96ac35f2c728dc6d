import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache


@pytest.fixture(scope="package")
def compiled_quickly(tmp_path_factory):
    """Spends less on compiling, which is nearly all that these tests do, and keeps the results."""
    changed = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in changed}
    configure({**changed, "jax_disable_most_optimizations": True})
    yield
    configure({**before, "jax_disable_most_optimizations": False})


def configure(values):
    for name, value in values.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
