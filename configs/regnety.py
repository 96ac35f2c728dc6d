"""RegNetY (arXiv:2003.13678; arXiv:2103.06877, section 6.1): bottlenecks, group convs, SE.

    python -m fastscale_jax.main --config=configs/regnety.py:4gf_dWr_16gf --mode=info

Variants: `<base>` or `[<base>_]<strategy>_<amount>`; bases: 500mf (default) and 4gf of the paper on
scaling, 200mf to 32gf of "Designing Network Design Spaces".

The paper, ImageNet, top-1 error in percent at 100, 200 and 400 epochs, and minutes an epoch on
eight V100s: 500mf 24.8, 23.9, 23.2, 2.3 min; 4gf 18.8, 18.0, 17.7, 7.7 min;
4gf_dWr_16gf 17.3, 16.8, 16.6, 16.4 min (Tables 6 and 8).
"""

from ml_collections import ConfigDict

from fastscale_jax.arch import model_config
from fastscale_jax.train.recipe import default_config


def get_config(variant: str = "") -> ConfigDict:
    config = default_config()
    config.variant = f"regnety:{variant}"
    config.model = model_config("regnety", variant)
    config.optim.weight_decay = 2e-5
    return config
