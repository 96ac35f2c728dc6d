"""Times the host's input pipeline against bare decoding and resizing.

python -m benchmarks.host_pipeline --output=benchmarks/results/host_pipeline_<machine>.json

The folder has crops of two photographs with noise, so that files are about as large as ImageNet's,
70 kB. (Larger files take longer to decode, which would hide our overhead.) The bare pipeline
decodes and resizes the boxes that ours draws, in as many threads, and does nothing else: no
shuffling, no random numbers, no checks for damaged files. Both run in turns, so that a slow moment
of the machine affects both. Images per second of processor time exclude other programs.
"""

import argparse
import json
import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_sample_images

from fastscale_jax.data.pipeline import Plan
from fastscale_jax.data.sources.folder import SPLITS
from fastscale_jax.data.sources.folder_split import FolderSplit
from fastscale_jax.data.sources.source import load_source
from fastscale_jax.data.sources.tensorflow_cpu import tf
from fastscale_jax.data.sources.views import random_box
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.provenance import provenance

HEIGHT, WIDTH, RESOLUTION = 375, 500, 224
CLASSES = 4


def write_photographs(root: pathlib.Path, images: int) -> None:
    """Writes `images` JPEGs for training, and one per class for testing."""
    photographs, random = load_sample_images().images, np.random.default_rng(0)
    for split, count in zip(SPLITS, (images, CLASSES), strict=True):
        for i in range(count):
            pixels = photographs[i % len(photographs)]
            top, left = (random.integers(0, x) for x in (427 - HEIGHT, 640 - WIDTH))
            part = pixels[top : top + HEIGHT, left : left + WIDTH]
            noisy = np.clip(part + random.normal(0, 12, part.shape), 0, 255).astype(np.uint8)
            path = root / split / f"class{i % CLASSES}" / f"{i:04}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noisy).save(path, quality=85)


def bare_batches(split: FolderSplit, plan: Plan, threads: int) -> Iterator[Any]:
    """Yields batches of the boxes that our pipeline draws."""
    picks = plan.train_picks()
    seeds = np.concatenate([next(picks).seeds for _ in range(plan.epoch_steps)])
    size = tf.constant([HEIGHT, WIDTH])
    boxes = tf.map_fn(lambda seed: random_box(size, seed), tf.constant(seeds), tf.int32)

    def read(path: Any, box: Any) -> Any:
        pixels = tf.image.decode_and_crop_jpeg(tf.io.read_file(path), box, channels=3)
        return tf.cast(tf.image.resize(pixels, (RESOLUTION, RESOLUTION)), tf.uint8)

    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    dataset = tf.data.Dataset.from_tensor_slices((split.paths[: len(seeds)], boxes)).repeat()
    dataset = dataset.map(read, num_parallel_calls=threads).batch(plan.batch_size)
    return dataset.prefetch(2).with_options(options).as_numpy_iterator()


def measure(split: FolderSplit, plan: Plan, threads: int, repeats: int) -> dict[str, Any]:
    """Returns images per second of both pipelines, by wall time and by processor time."""
    makers = {
        "ours": lambda: split.train_batches(plan),
        "bare": lambda: bare_batches(split, plan, threads),
    }
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in makers}
    for turn in range(repeats + 1):
        for name, make in makers.items():
            rate = images_per_second(make(), plan)
            if turn:  # one round to warm up
                rates[name].append(rate)
    return {
        clock: {name: statistics.median(rate[i] for rate in x) for name, x in rates.items()}
        | {"ratio": _median_ratio(rates, i)}
        for i, clock in enumerate(("second", "processor_second"))
    }


def images_per_second(batches: Iterator[Any], plan: Plan) -> tuple[float, float]:
    """Returns images per second of wall time and of processor time, after the first batch."""
    next(batches)
    start, start_cpu = time.perf_counter(), time.process_time()
    for _ in range(plan.epoch_steps):
        next(batches)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    images = plan.epoch_steps * plan.batch_size
    return images / seconds, images / cpu_seconds


def _median_ratio(rates: dict[str, list[tuple[float, float]]], clock: int) -> float:
    pairs = zip(rates["ours"], rates["bare"], strict=True)
    return statistics.median(ours[clock] / bare[clock] for ours, bare in pairs)


def _print(result: dict[str, Any]) -> None:
    table = Table(title="images a second", title_justify="left")
    for column in ("per", "ours", "bare", "ours / bare"):
        table.add_column(column, justify="right")
    for clock in ("second", "processor_second"):
        row = result[clock]
        ratio = f"{row['ratio']:.3f}"
        table.add_row(clock.replace("_", " "), f"{row['ours']:.0f}", f"{row['bare']:.0f}", ratio)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, help="a JSON file to write")
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        write_photographs(root, options.images)
        sizes = [path.stat().st_size for path in root.rglob("*.JPEG")]
        source = load_source(
            "folder",
            resolution=RESOLUTION,
            num_classes=CLASSES,
            directory=folder,
            workers=options.threads,
        )
        assert isinstance(source.train, FolderSplit)
        plan = Plan(source.train.examples, options.batch_size)
        result = measure(source.train, plan, options.threads, options.repeats)
    result |= {"mean_file_bytes": round(statistics.mean(sizes)), **vars(options)} | provenance(
        describe()
    )
    del result["output"]
    _print(result)
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
