"""The default recipe for a named network."""

from ml_collections import ConfigDict

from fastscale_jax.arch import model_config
from fastscale_jax.arch.zoo import spelled
from fastscale_jax.measure.fitted import find
from fastscale_jax.train.recipe import default_config


def named_config(family: str, variant: str = "") -> ConfigDict:
    """Returns the whole config of a named network, with the paper's recipe for RegNets.

    Args:
        family: a key of `arch.FAMILIES`, without regard to case.
        variant: as in `arch.resolve`; `25ms` and `40gb` are for the device that was fitted on this
            machine, or that `$FASTSCALE_DEVICE` names.

    Raises:
        ValueError: unknown family or variant, with the grammar and the choices.
    """
    family, variant = spelled(family, variant)
    config = default_config()
    config.variant = f"{family}:{variant}"
    config.model = model_config(family, variant, device=find)
    return config
