"""RegNetZ (arXiv:2103.06877, section 6.1): inverted bottlenecks, group convs, SE, SiLU.

    python -m fastscale_jax.main --config=configs/regnetz.py:dWr_16gf --mode=info

Variants: `<base>` or `[<base>_]<strategy>_<amount>`, as in `4gf`, `dWr_16gf`, `4gf_dWr_x2`;
bases: 500mf (default), 4gf, 500mf-g1 (depthwise).

The paper, ImageNet, top-1 error in percent at 100, 200 and 400 epochs, and minutes an epoch on
eight V100s: 500mf 22.2, 21.3, 21.0, 3.1 min; 4gf 17.5, 17.0, 16.9, 11.7 min;
dWr_16gf 16.6, 16.1, 16.1, 29.4 min (Tables 6 and 8).
"""

from ml_collections import ConfigDict

from fastscale_jax.arch import model_config
from fastscale_jax.train.recipe import default_config


def get_config(variant: str = "") -> ConfigDict:
    config = default_config()
    config.variant = f"regnetz:{variant}"
    config.model = model_config("regnetz", variant)
    config.optim.weight_decay = 2e-5
    return config
