"""How fast networks are counted, scaled to a budget, and drawn from a design space, on one core.

    python -m benchmarks.arch_speed --output benchmarks/results/arch_speed.json

It measures processor time, which other work on the machine affects little; a quiet machine is still
better. Everything is measured `--repeats` times; the run with the median rate of counting is
reported.
"""

import argparse
import contextlib
import itertools
import json
import pathlib
import random
import statistics
import sys
import time

from fastscale_jax import arch
from fastscale_jax.arch import complexity as cost
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.measure.provenance import provenance
from fastscale_jax.search import sample

BASES = (
    ("efficientnet", "b0"),
    ("efficientnet", "b7"),
    ("efficientnetv2", "s"),
    ("efficientnetv2", "l"),
    ("regnetx", "400mf"),
    ("regnety", "500mf"),
    ("regnety", "4gf"),
    ("regnety", "32gf"),
    ("regnetz", "500mf"),
    ("regnetz", "4gf"),
    ("regnetz", "500mf-g1"),
    ("resnet", "50"),
    ("resnet", "152"),
    ("resnet", "101-32x4d"),
    ("resnetrs", "50"),
    ("resnetrs", "420"),
)
GROWTHS = (0.3, 2.0, 4.0, 16.0, 50.0)  # budgets, relative to the base's cost


def strategies(base: arch.Architecture) -> tuple[str, ...]:
    """Returns the named strategies, and shares of one's own, vectors and limits for a base."""
    stages = len(base.stages)
    rising = ",".join(str(1 + i) for i in range(stages))
    mixed = ",".join(str(i % 3) for i in range(stages))
    largest = base.resolution * 5 // 4
    return (
        *arch.STRATEGIES,
        "a0.6",
        *("d1w3r2", "d3w5r1g1", "d1w8r1g0"),
        *(f"d{rising}w8r1", f"d1w{rising}r1", f"d{mixed}w{rising}r0.5g{mixed}"),
        *(f"dWr-max{largest}", f"dr-max{largest}", f"d{rising}w{mixed}r2-max{largest}"),
    )


def distinct_networks(number: int, seed: int) -> list[arch.Architecture]:
    """Returns networks of different sizes, from random bases, strategies and factors."""
    draw = random.Random(seed)
    named = [(family, base) for family, members in arch.FAMILIES.items() for base in members.bases]
    bases = [arch.resolve(*name)[0] for name in named]
    bases = [base for base in bases if not base.has_grouped_mbconv]  # those cannot be scaled
    by_sizes: dict[object, arch.Architecture] = {}
    while len(by_sizes) < number:
        base = draw.choice(bases)
        strategy = draw.choice([f"a{draw.random():.3f}", *strategies(base)])
        network, _ = scaled(base, strategy, factor=4 ** draw.uniform(-1, 3))
        by_sizes[network.stages, network.resolution, network.stem_width, network.head_width] = (
            network
        )
    return list(by_sizes.values())


def counted_per_second(networks: list) -> float:
    """Counts every network once, with empty caches; returns networks per second."""
    cost.block_cost.cache_clear()
    start = time.process_time()
    for network in networks:
        arch.count(network)
    return len(networks) / (time.process_time() - start)


def scaling_times() -> list[dict]:
    """Times scaling to every reachable budget, each time with empty caches."""
    measured = []
    for family, base in BASES:
        network, _ = arch.resolve(family, base)
        config, counts = network.to_config(), arch.count(network)._asdict()
        for strategy, kind, growth in itertools.product(strategies(network), counts, GROWTHS):
            cost.block_cost.cache_clear()
            start = time.process_time()
            with contextlib.suppress(ValueError):  # an unreachable budget takes as long
                arch.scale(config, strategy, **{kind: growth * counts[kind]})
            ms = (time.process_time() - start) * 1e3
            case = f"{family}:{base} {strategy} {kind} x{growth:g}"
            measured.append({"case": case, "ms": round(ms, 2)})
    return measured


def drawn_per_second(number: int, seed: int) -> float:
    """Samples candidates of the default design space, and counts those with four stages."""
    cost.block_cost.cache_clear()
    start = time.process_time()
    for _ in sample.candidates(sample.DesignSpace(), seed, number):
        pass
    return number / (time.process_time() - start)


def window_seconds(seed: int) -> float:
    """Fills the window of 200 to 600 MF with 32 networks, as many as in arXiv:2103.06877, 6.1."""
    cost.block_cost.cache_clear()
    start = time.process_time()
    sample.sample(sample.DesignSpace(), sample.Window(200e6, 600e6), 32, seed=seed)
    return time.process_time() - start


def measure(number: int, seed: int) -> dict:
    # before the networks, whose number makes garbage collection slow
    times = sorted(scaling_times(), key=lambda one: one["ms"])
    networks = distinct_networks(number, seed)
    configs = [network.to_config() for network in networks]
    rates = [round(counted_per_second(form)) for form in (networks, configs)]
    milliseconds = [one["ms"] for one in times]
    return {
        "networks": number,
        "count_architectures_per_second": rates[0],
        "count_configs_per_second": rates[1],
        "candidates_per_second": round(drawn_per_second(number, seed)),
        "window_of_32_seconds": round(window_seconds(seed), 3),
        "budgets": len(times),
        "scale_ms_median": statistics.median(milliseconds),
        "scale_ms_99th_percentile": milliseconds[int(0.99 * len(milliseconds))],
        "scale_ms_worst": milliseconds[-1],
        "scale_slowest": times[:-6:-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, help="a JSON file")
    parser.add_argument("--networks", type=int, default=10_000, help="number of networks to count")
    parser.add_argument("--repeats", type=int, default=3, help="number of measurements")
    args = parser.parse_args()
    runs = []
    for repeat in range(args.repeats):
        runs.append(measure(args.networks, seed=repeat))
        print(f"run {repeat + 1}: {runs[-1]}", file=sys.stderr)
    runs.sort(key=lambda run: run["count_architectures_per_second"])
    from fastscale_jax.measure.machine import describe  # imports JAX, which counting does without

    report = {**provenance(describe(("", "cpu"))), "repeats": args.repeats, **runs[len(runs) // 2]}
    text = json.dumps(report, indent=2)
    print(text)
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
