"""RegNetX (arXiv:2003.13678): bottlenecks with group convs, no SE.

    python -m fastscale_jax.main --config=configs/regnetx.py:3.2gf --mode=info

Variants: `<base>` or `[<base>_]<strategy>_<amount>`; bases: 400mf (default) and eleven more from
200mf to 32gf. The recipe is that of arXiv:2103.06877, section 6.1, which trains no RegNetX.
"""

from ml_collections import ConfigDict

from fastscale_jax.arch import model_config
from fastscale_jax.train.recipe import default_config


def get_config(variant: str = "") -> ConfigDict:
    config = default_config()
    config.variant = f"regnetx:{variant}"
    config.model = model_config("regnetx", variant)
    config.optim.weight_decay = 2e-5
    return config
