"""RegNetX (arXiv:2003.13678): bottlenecks with group convs, no SE.

    python -m fastscale_jax.main --config=configs/regnetx.py:3.2gf --workdir=runs/x-3.2gf \
      --config.data.name=folder --config.data.dir=imagenet --config.dtype=bfloat16

Variants: `<base>` or `[<base>_]<strategy>_<amount>`; bases: 400mf (default) and eleven more from
200mf to 32gf. Without `--config.data`, images are noise.

The recipe is that of arXiv:2103.06877, section 6.1, whose authors trained no RegNetX with it: there
is no error of theirs to reach.
"""

from ml_collections import ConfigDict

from fastscale_jax.arch import model_config
from fastscale_jax.train.recipe import default_config


def get_config(variant: str = "") -> ConfigDict:
    config = default_config()
    config.variant = f"regnetx:{variant}"
    config.model = model_config("regnetx", variant)

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
