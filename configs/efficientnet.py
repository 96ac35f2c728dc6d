"""EfficientNet (arXiv:1905.11946): inverted bottlenecks, depthwise convs, SE, SiLU.

    python -m fastscale_jax.main --config=configs/efficientnet.py:dWr_4gf --mode=info

Variants: `<base>` or `[<base>_]<strategy>_<amount>`; bases: b0 (default) to b7. Strategy `orig` is
EfficientNet's own, as in b0_orig_phi3.

With the recipe of arXiv:2103.06877, ImageNet, top-1 error in percent at 100, 200 and 400 epochs,
and minutes an epoch on eight V100s: b0 23.6, 22.7, 22.3, 2.8 min; b4 18.0, 17.4, 17.3, 19.2 min;
dWr_4gf 18.4, 17.7, 17.4, 11.1 min (Tables 5 and 8).
"""

from ml_collections import ConfigDict

from fastscale_jax.arch import model_config
from fastscale_jax.train.recipe import default_config


def get_config(variant: str = "") -> ConfigDict:
    config = default_config()
    config.variant = f"efficientnet:{variant}"
    config.model = model_config("efficientnet", variant)
    config.optim.weight_decay = 1e-5
    return config
