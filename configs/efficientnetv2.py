"""EfficientNetV2 (arXiv:2104.00298): inverted bottlenecks, fused in the first three stages.

    fastscale train efficientnetv2:s --workdir=runs/v2-s \
      --config.data.name=folder --config.data.dir=imagenet --config.dtype=bfloat16 \
      --config.model.resolution=300

Variants: `<base>` or `[<base>_]<strategy>_<amount>`; bases: s (default), m, l. Their resolutions
are those for evaluation, 384 and 480 pixels; their authors trained s at up to 300 pixels, and m and
l at up to 380. Without `--config.data`, images are noise.
"""

from ml_collections import ConfigDict

from fastscale_jax.runs.named import named_config


def get_config(variant: str = "") -> ConfigDict:
    config = named_config("efficientnetv2", variant)
    config.optim.weight_decay = 1e-5  # as the authors', and as in configs/efficientnet.py
    return config
