"""EfficientNet (arXiv:1905.11946): inverted bottlenecks, depthwise convs, SE, SiLU.

    fastscale train efficientnet:dWr_4gf --workdir=runs/b0-4gf \
      --config.data.name=folder --config.data.dir=imagenet --config.dtype=bfloat16

Variants: `<base>` or `[<base>_]<strategy>_<amount>`; bases: b0 (default) to b7, and lite0 to lite4,
without SE and with ReLU6. Strategy `orig` is EfficientNet's own, as in b0_orig_phi3. Without
`--config.data`, images are noise.

The paper's results with this recipe (arXiv:2103.06877, Tables 5 and 8) on ImageNet, on eight V100s
of 32 GB: top-1 error in percent at --config.schedule=1, 2 and 4, and hours at schedule 1.

    b0        23.6  22.7  22.3   4.7 h
    b4        18.0  17.4  17.3  32.0 h
    dWr_4gf   18.4  17.7  17.4  18.5 h
    dWr_16gf  17.4  16.8     -  43.0 h

As in the paper, there is no dropout and no stochastic depth; `efficientnet_google` has those of
EfficientNet's authors.
"""

from ml_collections import ConfigDict

from fastscale_jax.runs.named import named_config


def get_config(variant: str = "") -> ConfigDict:
    config = named_config("efficientnet", variant)
    config.optim.weight_decay = 1e-5  # half of RegNets'
    return config
