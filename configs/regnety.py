"""RegNetY (arXiv:2003.13678; arXiv:2103.06877, section 6.1): bottlenecks, group convs, SE.

    python -m fastscale_jax.main --config=configs/regnety.py:4gf_dWr_16gf --workdir=runs/y-16gf \
      --config.data.name=folder --config.data.dir=imagenet --config.dtype=bfloat16

Variants: `<base>` or `[<base>_]<strategy>_<amount>`; bases: 500mf (default) and 4gf of the paper on
scaling, 200mf to 32gf of "Designing Network Design Spaces". Without `--config.data`, images are
noise.

What the paper reached with this recipe (arXiv:2103.06877, Tables 6 and 8) on ImageNet, on eight
V100s of 32 GB: top-1 error in percent at --config.schedule=1, 2 and 4, and hours at schedule 1.

    500mf         24.8  23.9  23.2   3.8 h
    4gf           18.8  18.0  17.7  12.8 h
    dWr_4gf       19.1  18.6  18.3  12.0 h
    dWr_16gf      17.8  17.2  16.9  29.7 h
    4gf_dWr_16gf  17.3  16.8  16.6  27.3 h
"""

from ml_collections import ConfigDict

from fastscale_jax.arch import model_config
from fastscale_jax.train.recipe import default_config


def get_config(variant: str = "") -> ConfigDict:
    config = default_config()
    config.variant = f"regnety:{variant}"
    config.model = model_config("regnety", variant)

    config.data.update(name="synthetic", dir="", batch_size=1024)
    config.train.epochs = 100
    config.optim.update(learning_rate=2.0, curve="exp", decay=0.02)
    config.optim.update(warmup_epochs=5.0, warmup_start=0.1)
    config.optim.update(momentum=0.9, nesterov=True, weight_decay=2e-5)
    config.augment.update(flip=True, policy="autoaugment", lighting=0.1)
    config.augment.update(mixup=0.2, label_smoothing=0.1)
    config.ema.update(every_steps=32, rate=1e-5)
    config.bn.precise_images = 8192
    return config
