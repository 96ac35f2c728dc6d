"""Fine-tuning of a pretrained network on a few hundred to a few thousand images.

    fastscale train finetune:regnety:400mf --workdir=runs/tuned \
      --config.init_from=weights.safetensors --config.data.dir=photos

Variants: `<family>` or `<family>:<variant>`, as in `finetune:regnetz:dWr_4gf`. EfficientNets have
their authors' dropout and stochastic depth, as in `efficientnet_google`.
"""

from ml_collections import ConfigDict

from fastscale_jax.arch import FAMILIES
from fastscale_jax.arch.zoo import authors_drop_rates
from fastscale_jax.runs.named import named_config


def get_config(variant: str = "") -> ConfigDict:
    family, _, name = variant.partition(":")
    if not family:
        raise ValueError(
            "finetune needs the network of the weights: give finetune:<family> or "
            f"finetune:<family>:<variant>; families: {', '.join(FAMILIES)}"
        )
    config = named_config(family, name)
    if family.lower() == "efficientnet":
        config.model.update(authors_drop_rates(name)._asdict())
    config.model.num_classes = 0  # as many as the images have

    config.data.name = "folder"
    config.data.batch_size = 32
    config.train.needs_weights = True
    config.train.epochs = 20
    config.train.least_steps = 1000
    config.train.eval_every_epochs = 5
    config.optim.name = "adamw"
    config.optim.learning_rate = 0.128  # 0.004 at batch 32
    config.optim.weight_decay = 0.05
    config.optim.curve = "cos"
    config.optim.decay = 0.0
    config.optim.curve_from = "warmup"
    config.optim.warmup_epochs = 2.0
    config.augment.update(policy="", lighting=0.0)
    config.ema.every_steps = 1  # an epoch has few steps
    return config
