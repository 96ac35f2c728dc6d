"""The recipe, the training step, the optimiser and the evaluation.

`fastscale_jax.train` is this subpackage, and also the function `api.train`. Python sets an imported
subpackage as an attribute of its package, so the attribute cannot be a function. So this module is
callable: calling it calls `api.train`.
"""

import sys
import types
from typing import Any


class _CallableModule(types.ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Trains a network: `api.train`."""
        from fastscale_jax.api import train

        return train(*arguments, **options)


sys.modules[__name__].__class__ = _CallableModule
