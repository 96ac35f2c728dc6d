"""TensorFlow, for reading images: kept off the accelerators, and quiet.

Importing this file imports TensorFlow, which takes seconds; only the sources that need it do.
"""

import importlib
import os
from typing import Any

from fastscale_jax.utils.console import without_stderr

# both are read when TensorFlow is loaded: to show its errors only, and to compute the same on
# every CPU (and not to tell that it does otherwise)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


# TensorFlow tells which drivers the machine lacks, before it heeds its log level
with without_stderr():
    # without types: TensorFlow's own are incomplete, and it is an optional dependency
    tf: Any = importlib.import_module("tensorflow")
    # or it would take all the memory of the GPUs, which is JAX's to use
    if tf.config.get_visible_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")
