"""EfficientNet (arXiv:1905.11946): inverted bottlenecks, depthwise convs, SE, SiLU.

    python -m fastscale_jax.main --config=configs/efficientnet.py:dWr_4gf --workdir=runs/b0-4gf \
      --config.data.name=folder --config.data.dir=imagenet --config.dtype=bfloat16

Variants: `<base>` or `[<base>_]<strategy>_<amount>`; bases: b0 (default) to b7. Strategy `orig` is
EfficientNet's own, as in b0_orig_phi3. Without `--config.data`, images are noise.

What the paper reached with this recipe (arXiv:2103.06877, Tables 5 and 8) on ImageNet, on eight
V100s of 32 GB: top-1 error in percent at --config.schedule=1, 2 and 4, and hours at schedule 1.

    b0        23.6  22.7  22.3   4.7 h
    b4        18.0  17.4  17.3  32.0 h
    dWr_4gf   18.4  17.7  17.4  18.5 h
    dWr_16gf  17.4  16.8     -  43.0 h
"""

from ml_collections import ConfigDict

from fastscale_jax.arch import model_config
from fastscale_jax.train.recipe import default_config


def get_config(variant: str = "") -> ConfigDict:
    config = default_config()
    config.variant = f"efficientnet:{variant}"
    config.model = model_config("efficientnet", variant)

    config.data.update(name="synthetic", dir="", batch_size=1024)
    config.train.epochs = 100
    config.optim.update(learning_rate=2.0, curve="exp", decay=0.02)
    config.optim.update(warmup_epochs=5.0, warmup_start=0.1)
    config.optim.update(momentum=0.9, nesterov=True, weight_decay=1e-5)
    config.augment.update(flip=True, policy="autoaugment", lighting=0.1)
    config.augment.update(mixup=0.2, label_smoothing=0.1)
    config.ema.update(every_steps=32, rate=1e-5)
    config.bn.precise_images = 8192
    return config
