"""RegNetZ-500MF scaled down by dWr, on scikit-learn's handwritten digits.

Real images, no download, no accelerator: the first network that a new user trains.

    fastscale train digits --workdir=runs/digits
"""

from ml_collections import ConfigDict

from fastscale_jax.arch import model_config
from fastscale_jax.train.recipe import default_config


def get_config(variant: str = "") -> ConfigDict:
    if variant:
        raise ValueError(f"configs/digits.py has no variants; got {variant!r}")
    config = default_config()
    config.variant = "regnetz:dWr_x0.1"
    config.model = model_config("regnetz", "dWr_x0.1")
    config.model.resolution = 32
    config.model.num_classes = 10

    config.data.name = "digits"
    config.data.batch_size = 64
    config.train.epochs = 40
    config.train.log_every_steps = 22  # once an epoch
    config.optim.learning_rate = 3.2  # 0.2 at batch 64
    config.optim.weight_decay = 5e-4
    # no flips and no colours, because mirrored digits are not digits and all images are grey
    config.augment.update(flip=False, policy="", lighting=0.0, mixup=0.2)
    config.augment.update(shift=0.1, zoom=0.1)
    config.ema.every_steps = 1  # an epoch has only 22 steps
    config.bn.precise_images = 512
    return config
