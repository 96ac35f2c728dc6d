"""ResNet (arXiv:1512.03385) and ResNeXt (arXiv:1611.05431).

    fastscale train resnet:50-32x4d --workdir=runs/resnext-50 \
      --config.data.name=folder --config.data.dir=imagenet --config.dtype=bfloat16

Variants: `<base>` or `[<base>_]<strategy>_<amount>`; bases: 50 (default), 18, 34, 101, 152,
50-32x4d, 101-32x4d, 152-32x4d, 101-64x4d, 101-32x8d, 50-wide2, 101-wide2, 26. Without
`--config.data`, images are noise. Weight decay is that of RegNets: the paper does not print it for
ResNets.

The paper's results with this recipe (arXiv:2103.06877, Table 8) on ImageNet, on eight V100s of
32 GB: top-1 error in percent at --config.schedule=1, 2 and 4, and hours at schedule 1.

    50        22.0  21.0  20.5   5.8 h
    50-32x4d  20.8  19.9  19.5   9.7 h
"""

from ml_collections import ConfigDict

from fastscale_jax.runs.named import named_config


def get_config(variant: str = "") -> ConfigDict:
    return named_config("resnet", variant)
