"""TensorFlow, for reading images: kept off the accelerators, and quiet.

Importing this file imports TensorFlow, which takes seconds; only the sources that need it do.
"""

import contextlib
import importlib
import os
from collections.abc import Iterator
from typing import Any

# both are read when TensorFlow is loaded: to show its errors only, and to compute the same on
# every CPU (and not to tell that it does otherwise)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Drops what is written to stderr, also from C++.

    While TensorFlow is loaded it tells which drivers the machine lacks, before it heeds its log
    level. A failure is an exception, and is not dropped.
    """
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


with _silenced():
    # without types: TensorFlow's own are incomplete, and it is an optional dependency
    tf: Any = importlib.import_module("tensorflow")
    # or it would take all the memory of the GPUs, which is JAX's to use
    if tf.config.get_visible_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")
