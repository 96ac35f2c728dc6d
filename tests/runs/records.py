"""What a run has recorded, for comparisons with another."""

import pathlib

from fastscale_jax.logs.records import read_metrics


def timeless(workdir: pathlib.Path) -> list[dict[str, float]]:
    """Returns the records of a run without its speed."""
    times = ("images_per_second", "data_wait_percent")
    records = read_metrics(workdir / "metrics.jsonl")
    return [{k: v for k, v in record.items() if k not in times} for record in records]
