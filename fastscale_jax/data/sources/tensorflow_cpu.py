"""Imports TensorFlow for reading images, without accelerators and without its messages.

The import takes seconds, so only sources that need TensorFlow import this file.
"""

import importlib
import os
from typing import Any

from fastscale_jax.utils.console import without_stderr

# Both are read when TensorFlow is loaded. The first hides all messages but errors; the second makes
# results equal on all CPUs, and turns off a message about that.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


# TensorFlow prints missing drivers before it reads its log level
with without_stderr():
    # untyped: TensorFlow's types are incomplete, and it is an optional dependency
    tf: Any = importlib.import_module("tensorflow")
    # otherwise it would allocate all memory of the GPUs, which JAX needs
    if tf.config.get_visible_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")
