"""ResNet (arXiv:1512.03385) and ResNeXt (arXiv:1611.05431).

    python -m fastscale_jax.main --config=configs/resnet.py:50-32x4d --mode=info

Variants: `<base>` or `[<base>_]<strategy>_<amount>`; bases: 50 (default), 101, 152, 50-32x4d,
101-32x4d, 152-32x4d.

With the recipe of arXiv:2103.06877, ImageNet, top-1 error in percent at 100, 200 and 400 epochs,
and minutes an epoch on eight V100s: 50 22.0, 21.0, 20.5, 3.5 min;
50-32x4d 20.8, 19.9, 19.5, 5.8 min (Table 8).
"""

from ml_collections import ConfigDict

from fastscale_jax.arch import model_config
from fastscale_jax.train.recipe import default_config


def get_config(variant: str = "") -> ConfigDict:
    config = default_config()
    config.variant = f"resnet:{variant}"
    config.model = model_config("resnet", variant)
    config.optim.weight_decay = 2e-5
    return config
