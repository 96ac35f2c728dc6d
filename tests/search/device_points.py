"""Networks on a device that follows a formula, as `fastscale device` keeps them."""

from fastscale_jax.arch import count
from fastscale_jax.measure import points
from fastscale_jax.measure.points import Spec

MACHINE = {"date": "2026-11-21", "device": "gpu:h100", "platform": "gpu", "versions": {"jax": "1"}}


def floor(cost):
    """Wide networks are slow here: neither α = 0 nor α = 1 is best."""
    return 1 + 2.5e-7 * cost.acts + 1.6e-7 * cost.params


def figures(spec, **changes):
    network = spec.network()
    cost = count(network)
    made = {
        "network": network.name,
        "side": network.resolution,
        "images": spec.batch_size,
        **cost._asdict(),
        "floor_ms": floor(cost),
        "memory_bytes": 10**9 + 500 * cost.acts,
        "fits": cost.acts < 60e6,
        "machine": MACHINE,
    }
    return {**made, **changes}


def write_points(path, base="regnetz:500mf", **changes):
    """Writes a file of a base and six networks scaled from it, within two budgets."""
    scalings = [
        ("", 1.0),
        *((f"a{alpha:g}", factor) for factor in (2.0, 4.0) for alpha in (0, 0.5, 1)),
    ]
    for strategy, factor in scalings:
        spec = Spec("jax", base, strategy, factor, 128, "bfloat16", 0)
        budget = "floor_ms:9" if factor < 4 else "memory_gb:15"
        points.append(path, {**vars(spec), **figures(spec), "budget": budget, **changes})
    return path
