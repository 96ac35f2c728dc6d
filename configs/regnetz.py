"""RegNetZ (arXiv:2103.06877, section 6.1): inverted bottlenecks, group convs, SE, SiLU.

    fastscale train regnetz:dWr_16gf --workdir=runs/z-16gf \
      --config.data.name=folder --config.data.dir=imagenet --config.dtype=bfloat16

Variants: `<base>` or `[<base>_]<strategy>_<amount>`, as in `4gf`, `dWr_16gf`, `4gf_dWr_x2`;
bases: 500mf (default), 4gf, 500mf-g1 (depthwise), and timm's b16, c16, d8, d32, e8, whose blocks
expand their input; these cannot be scaled. Without `--config.data`, images are noise.

The paper's results with this recipe (arXiv:2103.06877, Tables 6 and 8) on ImageNet, on eight V100s
of 32 GB: top-1 error in percent at --config.schedule=1, 2 and 4, and hours at schedule 1.

    500mf         22.2  21.3  21.0   5.2 h
    4gf           17.5  17.0  16.9  19.5 h
    dWr_4gf       17.7  17.2  17.0  17.5 h
    dWr_16gf      16.6  16.1  16.1  49.0 h
    4gf_dWr_16gf  16.5  16.0  16.0  55.3 h
"""

from ml_collections import ConfigDict

from fastscale_jax.runs.named import named_config


def get_config(variant: str = "") -> ConfigDict:
    return named_config("regnetz", variant)
