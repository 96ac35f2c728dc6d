"""What a training step computes: the recipe, the step, the optimiser, the evaluation.

The package has this room and a function of the same name, `fastscale_jax.train(recipe, source=…)`,
which is `api.train`. Python keeps a room as an attribute of its package once it is imported, so the
attribute is the room in any case, and the room can be called.
"""

import sys
import types
from typing import Any


class _CallableRoom(types.ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Trains a network: `api.train`."""
        from fastscale_jax.api import train

        return train(*arguments, **options)


sys.modules[__name__].__class__ = _CallableRoom
