"""The solver against every step of the factor, and against a grid that knows nothing of steps."""

import functools
import itertools
import math
import random

import pytest

from fastscale_jax import arch
from fastscale_jax.arch import Architecture, Complexity, Stage
from fastscale_jax.arch.budget import largest_factor, nearest_factor
from fastscale_jax.arch.growing import with_sizes
from fastscale_jax.arch.path import Path
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.arch.strategies import strategy_of

LOW, HIGH = 1 / 64, 1024.0


def stages(*rows: tuple) -> tuple[Stage, ...]:
    return tuple(Stage(*row) for row in rows)


def network(block: str, *rows: tuple, **changes) -> Architecture:
    """A network of stages (depth, width, stride, kernel, group width, expansion)."""
    fields = {
        "name": "made up",
        "block": block,
        "resolution": 224,
        "stem": "conv3x3",
        "stem_width": 32,
        "stages": stages(*rows),
        "se_ratio": 0.25,
        "head_width": 0,
        "activation": "relu",
        "num_classes": 10,
    }
    return Architecture(**(fields | changes))


# Small ones, so that looking at every step takes a moment; each is awkward in its own way.
NETWORKS = {
    "regnety-200mf": arch.resolve("regnety", "200mf")[0],
    "mbconv, the first stages fused": network(
        "mbconv",
        *((1, 16, 1, 3, 0, 1.0), (1, 20, 2, 3, 0, 4.0), (2, 24, 2, 5, 1, 6.0)),
        head_width=96,
        fused_stages=2,
    ),
    "basic": network("basic", (1, 72, 2, 3, 0, 1.0), (2, 80, 1, 3, 0, 1.0), se_ratio=0.0),
    "equal widths: projections come and go": network(
        "bottleneck", (1, 72, 2, 3, 1, 0.25), (2, 72, 1, 3, 8, 1.0), (3, 80, 1, 3, 8, 1.0)
    ),
    "SE of the output, pooled skips": network(
        "bottleneck",
        *((1, 72, 2, 3, 1, 0.25), (2, 72, 1, 3, 8, 1.0)),
        se_of="output",
        pooled_skips=True,
    ),
    "depthwise": network("linear_bottleneck", (1, 16, 2, 3, 1, 4.0), (3, 40, 1, 3, 1, 4.0)),
    "wide groups": network("bottleneck", (2, 120, 2, 3, 120, 1.0), (2, 160, 1, 3, 40, 0.5)),
    "expansions that groups do not divide": network(
        "linear_bottleneck", (2, 40, 2, 3, 24, 6.0), (3, 40, 1, 3, 80, 3.0)
    ),
    "not dearest at the largest factor": network(
        "bottleneck", (3, 40, 1, 3, 40, 1.0), (6, 80, 2, 3, 120, 3.0), se_ratio=0.0, resolution=32
    ),
    "32 pixels: small factors cannot be built": network(
        "linear_bottleneck", (2, 16, 2, 3, 4, 2.0), (3, 24, 2, 3, 8, 2.0), resolution=32
    ),
}
# shares with roots that are whole, so that sizes jump together, and shares that are not
STRATEGIES = ("w", "r", "dwr", "dWr", "a0.95")
# by default each network goes with two strategies, and each strategy with three or four networks
CASES = [
    *(
        pytest.param(name, strategy, marks=[] if (i + 2 * j) % 5 < 2 else [pytest.mark.exhaustive])
        for (i, name), (j, strategy) in itertools.product(
            enumerate(NETWORKS), enumerate(STRATEGIES)
        )
    ),
    # shares of one's own, of each stage, and with a limit of the resolution
    ("mbconv, the first stages fused", "d1,2,1w2,1,1r1"),
    ("mbconv, the first stages fused", "dwr-max300"),
    ("regnety-200mf", "d1,1,2,2w8r1-max240"),
    ("equal widths: projections come and go", "d1,1,2w3,1,2r1"),
    ("equal widths: projections come and go", "r-max260"),
    ("wide groups", "d0,3w4,1r2g2"),
    ("expansions that groups do not divide", "d1w1r3g0,2-max232"),
    ("32 pixels: small factors cannot be built", "d2w1r3g0-max40"),
]


def buildable(a: Architecture, strategy: str, factor: float) -> Architecture | None:
    try:
        return scaled(a, strategy, factor=factor)[0]
    except ValueError:
        return None


@functools.cache
def every_step(name: str, strategy: str) -> list[tuple[float, Complexity]]:
    """The cost of each step, and of each jump itself, after the smallest factor that gives it."""
    a = NETWORKS[name]
    path = Path(a, strategy_of(strategy))
    high = path.high
    jumps = sorted({LOW, high, *path.jumps(LOW, high)})
    points = [(jump, jump) for jump in jumps] + [
        (math.sqrt(left * right), left) for left, right in itertools.pairwise(jumps)
    ]
    found, before = [], None
    for factor, left in sorted(points):
        sizes = path.sizes(factor)
        if sizes != before and buildable(a, strategy, factor):
            found.append((left, arch.count(with_sizes(a, sizes))))
        before = sizes
    return found


def budgets(costs: list[int], seed: str) -> list[float]:
    """Some budgets between the cheapest and the dearest: some met exactly, some not."""
    draw = random.Random(seed)
    low, high = math.log(min(costs)), math.log(max(costs))
    between = [min(max(math.exp(draw.uniform(low, high)), min(costs)), max(costs)) for _ in "123"]
    return [*between, *draw.sample(costs, min(2, len(costs))), min(costs), max(costs)]


@pytest.mark.parametrize(("name", "strategy"), CASES)
@pytest.mark.parametrize("kind", Complexity._fields)
def test_no_step_comes_closer_and_the_smallest_factor_wins(name, strategy, kind):
    a = NETWORKS[name]
    steps = [(left, getattr(cost, kind)) for left, cost in every_step(name, strategy)]
    for budget in budgets([cost for _, cost in steps], f"{name} {strategy} {kind}"):
        found, scaling = scaled(a, strategy, **{kind: budget})
        distance = abs(getattr(arch.count(found), kind) - budget)
        assert distance == min(abs(cost - budget) for _, cost in steps)
        first = min(left for left, cost in steps if abs(cost - budget) == distance)
        after = min((left for left, _ in steps if left > first * (1 + 1e-9)), default=math.inf)
        assert first * (1 - 1e-9) <= scaling.factor <= after * (1 + 1e-9)


@functools.cache
def grid(name: str, strategy: str) -> list[Complexity]:
    factors = [LOW * (HIGH / LOW) ** (i / 400) for i in range(401)]
    found = [buildable(NETWORKS[name], strategy, factor) for factor in factors]
    return [arch.count(one) for one in found if one]


@pytest.mark.parametrize(("name", "strategy"), CASES)
def test_no_factor_of_a_dense_grid_comes_closer(name, strategy):
    for kind in Complexity._fields:
        costs = [getattr(cost, kind) for cost in grid(name, strategy)]
        for budget in budgets(costs, f"grid {name} {strategy} {kind}"):
            found, _ = scaled(NETWORKS[name], strategy, **{kind: budget})
            distance = abs(getattr(arch.count(found), kind) - budget)
            assert distance <= min(abs(cost - budget) for cost in costs)


def large_networks():
    """In the slow suite, by turns: each strategy, and both kinds of network."""
    bases = [("regnety", "32gf"), ("efficientnet", "b7"), ("resnet", "50"), ("regnetx", "8.0gf")]
    for i, (family, base) in enumerate(bases):
        for j, strategy in enumerate([*arch.STRATEGIES, "a0.6"]):
            is_slow = i < 2 and i == j % 2
            mark = pytest.mark.slow if is_slow else pytest.mark.exhaustive
            yield pytest.param(family, base, strategy, marks=mark)


@pytest.mark.parametrize(("family", "base", "strategy"), [*large_networks()])
def test_no_factor_of_a_grid_comes_closer_for_a_large_network(family, base, strategy):
    a, _ = arch.resolve(family, base)
    factors = [LOW * (HIGH / LOW) ** (i / 20_000) for i in range(20_001)]
    grown = [arch.count(scaled(a, strategy, factor=factor)[0]) for factor in factors]
    for kind in Complexity._fields:
        costs = [getattr(cost, kind) for cost in grown]
        for budget in budgets(costs, f"{family} {base} {strategy} {kind}"):
            found, _ = scaled(a, strategy, **{kind: budget})
            distance = abs(getattr(arch.count(found), kind) - budget)
            assert distance <= min(abs(cost - budget) for cost in costs)


@pytest.mark.parametrize(("name", "strategy"), CASES)
def test_sizes_are_constant_between_jumps(name, strategy):
    a = NETWORKS[name]
    path = Path(a, strategy_of(strategy))
    jumps = sorted({LOW, path.high, *path.jumps(LOW, path.high)})
    for left, right in itertools.pairwise(jumps):
        if right > left * (1 + 1e-9):
            inside = [left * (right / left) ** part for part in (0.001, 0.4, 0.999)]
            assert len({path.sizes(factor) for factor in inside}) == 1


@pytest.mark.parametrize("kind", Complexity._fields)
@pytest.mark.parametrize("strategy", ["d", "w", "dWr", "orig"])
@pytest.mark.parametrize("family", arch.FAMILIES)
def test_the_factor_found_gives_the_network_found(family, strategy, kind):
    base = arch.model_config(family)
    budget = 3.3 * getattr(arch.count(base), kind)
    found, scaling = scaled(arch.as_architecture(base), strategy, **{kind: budget})
    again, _ = scaled(arch.as_architecture(base), strategy, factor=scaling.factor)
    assert found == again


@pytest.mark.parametrize("flops", [1e9, 4e9, 16e9, 64e9])
def test_the_factor_found_is_the_smallest_with_four_digits(flops):
    base, _ = arch.resolve("regnety")
    found, scaling = scaled(base, "dWr", flops=flops)
    assert scaling.factor == float(f"{scaling.factor:.4g}")
    digit = 10.0 ** (math.floor(math.log10(scaling.factor)) - 3)
    below, _ = scaled(base, "dWr", factor=scaling.factor - digit)
    assert below != found


def test_a_budget_half_way_between_two_depths_takes_the_smaller_factor():
    a = network("bottleneck", (10, 64, 2, 3, 64, 1.0))
    ten, eleven = (arch.count(scaled(a, "d", factor=f)[0]).flops for f in (1, 1.1))
    found, scaling = scaled(a, "d", flops=(ten + eleven) / 2)
    assert found.stages[0].depth == 10
    assert scaling.factor == 0.95  # 9.5 goes to the even 10
    assert scaled(a, "d", flops=(ten + eleven) / 2 + 1)[0].stages[0].depth == 11


def test_of_factors_that_change_nothing_the_smallest_is_taken():
    a, _ = arch.resolve("resnet")
    _, scaling = scaled(a, "r", params=arch.count(a).params)
    assert scaling.factor == 0.01563


def test_resolutions_too_small_for_the_strides_are_not_considered():
    a, _ = arch.resolve("resnet")
    config = a.to_config()
    config.resolution = 32
    cheapest = arch.count({**config.to_dict(), "resolution": 20})
    found = arch.scale(config, "r", acts=cheapest.acts)
    assert found.resolution == 20
    with pytest.raises(ValueError, match=f"nearest that is possible is {cheapest.acts:,} acts"):
        arch.scale(config, "r", acts=cheapest.acts - 1)


@pytest.mark.parametrize("kind", Complexity._fields)
@pytest.mark.parametrize("strategy", ["d", "w", "r", "dWr"])
def test_a_budget_out_of_reach_is_refused_with_the_nearest(strategy, kind):
    name = "regnety-200mf"
    costs = [getattr(cost, kind) for _, cost in every_step(name, strategy)]
    for budget, nearest in ((min(costs) - 1, min(costs)), (max(costs) + 1, max(costs))):
        with pytest.raises(
            ValueError, match=f"brings regnety-200mf to {budget:,} {kind}"
        ) as refused:
            nearest_factor(NETWORKS[name], strategy, kind, budget)
        message = str(refused.value)
        assert f"the nearest that is possible is {nearest:,} {kind} (x" in message
        factor = float(message.rpartition("(x")[2].rstrip(")"))
        again, _ = scaled(NETWORKS[name], strategy, factor=factor)
        assert getattr(arch.count(again), kind) == nearest
        assert "\n" not in message


def test_the_dearest_network_is_in_reach_though_the_largest_factor_is_cheaper():
    # widths made divisible by their groups shrink as well as grow
    a = NETWORKS["not dearest at the largest factor"]
    largest = arch.count(scaled(a, "a0.6", factor=HIGH)[0]).params
    dearest = max(
        cost.params for _, cost in every_step("not dearest at the largest factor", "a0.6")
    )
    assert dearest > largest
    found, _ = scaled(a, "a0.6", params=dearest)
    assert arch.count(found).params == dearest


PRICES = {
    "all three": lambda cost: 3 + 2e-6 * cost.flops + 1e-5 * cost.params + 4e-5 * cost.acts,
    "acts and a constant": lambda cost: 1.5 + 1e-5 * cost.acts,
}


@pytest.mark.parametrize("price", PRICES.values(), ids=PRICES)
@pytest.mark.parametrize(("name", "strategy"), CASES)
def test_of_all_steps_within_a_limit_the_dearest_is_taken(name, strategy, price):
    steps = [price(cost) for _, cost in every_step(name, strategy)]
    for limit in budgets(steps, f"limit {name} {strategy}"):
        factor = largest_factor(NETWORKS[name], strategy, "ms", limit, price)
        found, _ = scaled(NETWORKS[name], strategy, factor=factor)
        assert price(arch.count(found)) == max(cost for cost in steps if cost <= limit)


def test_a_limit_out_of_reach_is_refused_with_the_nearest():
    name, price = "regnety-200mf", PRICES["all three"]
    steps = [price(cost) for _, cost in every_step(name, "dWr")]
    for limit, nearest in ((0.99 * min(steps), min(steps)), (1.01 * max(steps), max(steps))):
        with pytest.raises(ValueError, match="no factor between 1/64 and 1024") as refused:
            largest_factor(NETWORKS[name], "dWr", "ms", limit, price)
        wanted = f"{nearest:,.0f}" if nearest >= 1000 else f"{nearest:.4g}"
        assert f"the nearest that is possible is {wanted} ms" in str(refused.value)


def test_an_unknown_strategy_is_refused_before_any_search():
    with pytest.raises(ValueError, match="unknown strategy 'wd'"):
        nearest_factor(NETWORKS["regnety-200mf"], "wd", "flops", 1e9)
