"""The modules that `pytest -m core` reads.

Their tests tell in two minutes whether a release of Python, JAX, Flax, NumPy or another dependency
of the core breaks something. They need the core, pytest and pytest-xdist, no PyTorch and no
TensorFlow: what needs these takes the fixture of that name, and is left out.
"""

import pathlib

_NAMES = (
    "arch/test_cost.py",
    "arch/test_rounding.py",
    "arch/test_scaling.py",
    "arch/test_zoo.py",
    "checkpoints/test_checkpoint.py",
    "cli/test_recipes.py",
    "convs/test_native.py",
    "cost/test_jaxpr.py",
    "interop/test_export.py",
    "models/test_parity.py",
    "test_api.py",
    "train/test_optim.py",
    "train/test_step.py",
)
MODULES = tuple(pathlib.Path(__file__).parent / name for name in _NAMES)
