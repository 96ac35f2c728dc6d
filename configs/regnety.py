"""RegNetY (arXiv:2003.13678; arXiv:2103.06877, section 6.1): bottlenecks, group convs, SE.

    fastscale train regnety:4gf_dWr_16gf --workdir=runs/y-16gf \
      --config.data.name=folder --config.data.dir=imagenet --config.dtype=bfloat16

Variants: `<base>` or `[<base>_]<strategy>_<amount>`; bases: 500mf (default) and 4gf of the paper on
scaling, 200mf to 32gf of "Designing Network Design Spaces". Without `--config.data`, images are
noise.

The paper's results with this recipe (arXiv:2103.06877, Tables 6 and 8) on ImageNet, on eight V100s
of 32 GB: top-1 error in percent at --config.schedule=1, 2 and 4, and hours at schedule 1.

    500mf         24.8  23.9  23.2   3.8 h
    4gf           18.8  18.0  17.7  12.8 h
    dWr_4gf       19.1  18.6  18.3  12.0 h
    dWr_16gf      17.8  17.2  16.9  29.7 h
    4gf_dWr_16gf  17.3  16.8  16.6  27.3 h
"""

from ml_collections import ConfigDict

from fastscale_jax.runs.named import named_config


def get_config(variant: str = "") -> ConfigDict:
    return named_config("regnety", variant)
