"""RegNetZ (arXiv:2103.06877, section 6.1): inverted bottlenecks, group convs, SE, SiLU.

    python -m fastscale_jax.main --config=configs/regnetz.py:dWr_16gf --workdir=runs/z-16gf \
      --config.data.name=folder --config.data.dir=imagenet --config.dtype=bfloat16

Variants: `<base>` or `[<base>_]<strategy>_<amount>`, as in `4gf`, `dWr_16gf`, `4gf_dWr_x2`;
bases: 500mf (default), 4gf, 500mf-g1 (depthwise). Without `--config.data`, images are noise.

What the paper reached with this recipe (arXiv:2103.06877, Tables 6 and 8) on ImageNet, on eight
V100s of 32 GB: top-1 error in percent at --config.schedule=1, 2 and 4, and hours at schedule 1.

    500mf         22.2  21.3  21.0   5.2 h
    4gf           17.5  17.0  16.9  19.5 h
    dWr_4gf       17.7  17.2  17.0  17.5 h
    dWr_16gf      16.6  16.1  16.1  49.0 h
    4gf_dWr_16gf  16.5  16.0  16.0  55.3 h
"""

from ml_collections import ConfigDict

from fastscale_jax.arch import model_config
from fastscale_jax.train.recipe import default_config


def get_config(variant: str = "") -> ConfigDict:
    config = default_config()
    config.variant = f"regnetz:{variant}"
    config.model = model_config("regnetz", variant)

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
