"""ResNet-RS (arXiv:2103.07579): ResNets with SE, a stem of four 3x3 convs, and pooled skips.

    fastscale train resnetrs:50 --workdir=runs/resnet-rs-50 \
      --config.data.name=folder --config.data.dir=imagenet --config.dtype=bfloat16

Variants: `<base>` or `[<base>_]<strategy>_<amount>`; bases: 50 (default), 101, 152, 200, 270, 350,
420. Resolutions are those of the authors' weights in timm: 160 pixels for 50, 320 for 420. Their
scaling rules are the strategies `rs_depth` and `rs_width`. Without `--config.data`, images are
noise. The recipe is that of arXiv:2103.06877; the authors trained for 350 epochs, with dropout.
"""

from ml_collections import ConfigDict

from fastscale_jax.runs.named import named_config


def get_config(variant: str = "") -> ConfigDict:
    return named_config("resnetrs", variant)
