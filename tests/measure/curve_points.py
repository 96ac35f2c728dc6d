"""Made-up points of curves, whose times follow a formula."""

from fastscale_jax.arch import count
from fastscale_jax.measure.points import Spec, grid

MACHINE = {"device": "A device", "platform": "cpu", "date": "2026-11-21", "versions": {"jax": "1"}}
BASES = ("efficientnet:b0", "regnetz:500mf")
STRATEGIES = ("w", "dwr", "dWr", "dw")


def specs(frameworks=("jax", "torch")) -> list[Spec]:
    """Networks of two bases, four strategies and three factors."""
    return grid(
        BASES, STRATEGIES, (1, 2, 4), frameworks, batch_size=8, dtype="float32", resolution=0
    )


def record(spec: Spec, time, **changes):
    """What a file has of a point; `time`: milliseconds, of the cost of a network."""
    cost = count(spec.network())
    return {
        **vars(spec),
        "network": spec.network().name,
        "side": 224,
        "images": spec.batch_size,
        **cost._asdict(),
        "step_ms": time(cost),
        "noise": 0.01,
        "compile_seconds": 1.0,
        "memory_bytes": 10**8 + 16 * cost.params + 64 * cost.acts,
        "machine": MACHINE,
        **changes,
    }
