"""ResNet (arXiv:1512.03385) and ResNeXt (arXiv:1611.05431).

    python -m fastscale_jax.main --config=configs/resnet.py:50-32x4d --workdir=runs/resnext-50 \
      --config.data.name=folder --config.data.dir=imagenet --config.dtype=bfloat16

Variants: `<base>` or `[<base>_]<strategy>_<amount>`; bases: 50 (default), 101, 152, 50-32x4d,
101-32x4d, 152-32x4d. Without `--config.data`, images are noise.

What the paper reached with this recipe (arXiv:2103.06877, Table 8) on ImageNet, on eight V100s of
32 GB: top-1 error in percent at --config.schedule=1, 2 and 4, and hours at schedule 1.

    50        22.0  21.0  20.5   5.8 h
    50-32x4d  20.8  19.9  19.5   9.7 h
"""

from ml_collections import ConfigDict

from fastscale_jax.arch import model_config
from fastscale_jax.train.recipe import default_config


def get_config(variant: str = "") -> ConfigDict:
    config = default_config()
    config.variant = f"resnet:{variant}"
    config.model = model_config("resnet", variant)

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
