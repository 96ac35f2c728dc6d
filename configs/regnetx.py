"""RegNetX (arXiv:2003.13678): bottlenecks with group convs, no SE.

    fastscale train regnetx:3.2gf --workdir=runs/x-3.2gf \
      --config.data.name=folder --config.data.dir=imagenet --config.dtype=bfloat16

Variants: `<base>` or `[<base>_]<strategy>_<amount>`; bases: 400mf (default) and eleven more from
200mf to 32gf. Without `--config.data`, images are noise.

The recipe is that of arXiv:2103.06877, section 6.1. The paper has no RegNetX, so there are no
published errors for this recipe.
"""

from ml_collections import ConfigDict

from fastscale_jax.runs.named import named_config


def get_config(variant: str = "") -> ConfigDict:
    return named_config("regnetx", variant)
