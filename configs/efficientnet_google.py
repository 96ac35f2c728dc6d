"""EfficientNet with its authors' dropout and stochastic depth (arXiv:1905.11946, 5, and release).

    fastscale train efficientnet_google:b4 --workdir=runs/b4 \
      --config.data.name=folder --config.data.dir=imagenet --config.dtype=bfloat16

Variants and recipe are those of `efficientnet`, with dropout of 0.2 to 0.5 by the base, and
stochastic depth of 0.2. A scaled network has the rates of its base. The paper on scaling uses
neither (arXiv:2103.06877, section 6.1).
"""

from ml_collections import ConfigDict

from fastscale_jax.arch.zoo import authors_drop_rates
from fastscale_jax.runs.named import named_config


def get_config(variant: str = "") -> ConfigDict:
    config = named_config("efficientnet", variant)
    config.model.update(authors_drop_rates(variant)._asdict())
    config.optim.weight_decay = 1e-5  # half of RegNets'
    return config
