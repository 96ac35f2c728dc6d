"""The largest network within a budget, of a device that is not what its model says."""

import functools
import random
import re

import pytest

from fastscale_jax.arch import Architecture, Complexity, count
from fastscale_jax.arch.device_model import DeviceModel, Linear
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.arch.zoo import base_architecture
from fastscale_jax.cli.application import main
from fastscale_jax.cli.choose_command import _on_target
from fastscale_jax.measure.choose import UnmetError, choose
from fastscale_jax.targets import figures
from fastscale_jax.targets.target import Target
from tests.commands import run_module

BASE = base_architecture("regnetz", "500mf")


ENDS = Complexity(1, 1, 1), Complexity(10**12, 10**12, 10**12)


def model(acts: float) -> DeviceModel:
    fits = {"": Linear(1.0, 0.0, 0.0, acts, 0.0, 0.0)}
    return DeviceModel("mine", "A device", "jax", "float32", 8, "", "2026-11-21", fits, fits, *ENDS)


def taken(cost: Complexity) -> float:
    """Not linear: small networks start slowly, large ones leave the caches."""
    return 5 + 4e-6 * cost.acts + 2e-13 * cost.acts**2 + 1e-9 * cost.flops


def by_formula(_: float, network: Architecture) -> float:
    return taken(count(network))


@functools.cache
def grid(strategy: str) -> list[float]:
    factors = [2 ** (i / 50) for i in range(-300, 501)]
    return [taken(count(scaled(BASE, strategy, factor=factor)[0])) for factor in factors]


def largest_of_a_grid(strategy: str, budget: float) -> float:
    return max(amount for amount in grid(strategy) if amount <= budget)


@pytest.mark.parametrize("budget", [20.0, 100.0, 700.0])
@pytest.mark.parametrize("strategy", ["w", "dWr", "dwr", "a0.6"])
@pytest.mark.parametrize("given", [None, model(5e-7), model(2e-6), model(1e-7)])
def test_it_is_within_a_tenth_of_the_budget_and_never_above(budget, strategy, given):
    said = []
    found = choose(
        BASE,
        strategy,
        budget,
        kind="step_ms",
        measure=by_formula,
        model=given,
        tell=said.append,
    )
    assert found.amount == taken(count(found.network)) <= budget
    # group widths jump from 8 to 16, and dwr's networks with them
    assert found.amount >= min(0.9 * budget, largest_of_a_grid(strategy, budget))
    assert len(said) <= 5


LINE = re.compile(r"\S+ x(\S+) (\S+) GF: (\S+) ms of (\S+) ms")


def chosen_and_table(base, strategy, budget, measure, given=None):
    """What is chosen, and what was said on the way: flops and whether the network fits."""
    said = []
    choice = choose(
        base, strategy, budget, kind="step_ms", measure=measure, model=given, tell=said.append
    )
    rows = [map(float, LINE.fullmatch(line.replace(",", "")).groups()) for line in said]
    return choice, [(flops, amount <= limit) for _, flops, amount, limit in rows]


@pytest.mark.parametrize("given", [None, model(1e-6)])
@pytest.mark.parametrize("strategy", ["w", "dWr", "dwr"])
@pytest.mark.parametrize("family", ["regnetz", "efficientnet"])
def test_what_is_chosen_is_the_largest_that_the_printed_lines_say_fits(family, strategy, given):
    base = base_architecture(family)
    for seed in range(4):
        noise = random.Random(seed)
        choice, table = chosen_and_table(
            base,
            strategy,
            noise.choice([15.0, 60.0, 300.0]),
            lambda _, network: taken(count(network)) * noise.uniform(0.7, 1.4),  # noqa: B023
            given,
        )
        largest = max(flops for flops, fits in table if fits)
        assert largest == float(f"{count(choice.network).flops / 1e9:.4g}")


def test_a_base_that_fits_is_not_given_up_for_a_smaller_network_that_does():
    """The 502 MF of the base take 19.5 ms of 20, all else more than its share."""

    def measure(_, network):
        flops = count(network).flops
        return 19.5 if network == BASE else 25.0 if flops > 450e6 else 18.5

    choice, table = chosen_and_table(BASE, "dWr", 20.0, measure)
    assert (choice.network, choice.factor, choice.amount) == (BASE, 1.0, 19.5)
    assert (0.5069, True) in table


def test_where_time_jumps_the_search_stays_between_what_is_within_and_what_is_beyond():
    """As on a TPU: programs of twice the size and more copy every array."""

    def measure(_, network):
        acts = count(network).acts / 1e6
        return acts if acts < 11 else 40 + 0.1 * acts

    said = []
    found = choose(BASE, "a0.6", 30.0, kind="step_ms", measure=measure, tell=said.append)
    assert found.factor > 1  # the base, and nothing larger, before
    assert found.amount > 0.8 * 11
    assert len(said) <= 8


def test_a_budget_below_the_smallest_network_is_refused_with_what_that_takes():
    least = taken(count(scaled(BASE, "w", factor=1 / 64)[0]))
    with pytest.raises(UnmetError, match=f"at most 5.1 ms; the least of . took {least:.4g} ms"):
        choose(BASE, "w", 5.1, kind="step_ms", measure=by_formula, model=model(1e-6))


@pytest.mark.parametrize("given", [None, model(1e-6), model(1e-8)])
def test_what_does_not_fit_into_the_memory_takes_too_long(given):
    """The budget is above the largest network that fits."""

    def measure(_, network):
        return taken(count(network)) if count(network).acts < 2e7 else float("inf")

    found = choose(BASE, "dWr", 1e6, kind="step_ms", measure=measure, model=given)
    assert 1e7 < count(found.network).acts < 2e7


def test_a_base_that_does_not_fit_is_refused():
    with pytest.raises(UnmetError, match="even the base, regnetz-500mf, does not fit"):
        choose(BASE, "w", 50.0, kind="step_ms", measure=lambda *_: float("inf"))


def test_an_unknown_strategy_is_refused_before_anything_is_measured():
    with pytest.raises(ValueError, match="unknown strategy 'wd'"):
        choose(BASE, "wd", 50.0, kind="step_ms", measure=lambda *_: pytest.fail("measured"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--base=regnetz:huge", "--step_ms=5"), "unknown base 'huge' of regnetz"),
        (("--base=regnetz", "--step_ms=-5"), "--step_ms must be a number above 0"),
        (("--base=regnetz", "--step_ms=5", "--memory_gb=1"), "give exactly one budget"),
    ],
)
def test_a_mistake_gets_one_line(flags, words):
    done = run_module("measure.choose", *flags)
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_command_finds_a_network_for_the_memory_by_compiling():
    done = run_module("measure.choose", "--base=regnetz", "--memory_gb=0.06", "--batch_size=2")
    assert done.returncode == 0, done.stderr
    assert "fastscale train regnetz:dWr_x" in done.stdout
    assert "--config.data.batch_size=2" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--step_ms=8", "--target=gpu:h100"), "give --floor_ms, the least possible time"),
        (("--floor_ms=8",), "--floor_ms needs a --target; give --step_ms"),
        (
            ("--floor_ms=8", "--target=gpu:h300"),
            "unknown target 'gpu:h300'; did you mean gpu:h100 or",
        ),
        (("--floor_ms=0", "--target=gpu:h100"), "--floor_ms must be a number above 0"),
        (("--floor_ms=8", "--target=gpu:v100", "--dtype=bfloat16"), "has no bfloat16; use float16"),
        (
            ("--floor_ms=8", "--target=gpu:h100:8", "--batch_size=9"),
            "by 8 devices; give a multiple",
        ),
    ],
)
def test_a_budget_belongs_to_a_device(arguments, words):
    result = run_module("measure.choose", "--base=regnetz:500mf", *arguments)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert words in result.stderr


def test_on_a_target_networks_are_compiled_and_those_that_do_not_fit_are_too_large(monkeypatch):
    asked = []

    def compiled(program, store):
        cost = count(program.network)
        asked.append(program)
        return {
            "fits": cost.acts < 40e6,
            "floor_ms": cost.acts / 1e6,
            "peak_bytes": 1000 * cost.acts,
        }

    monkeypatch.setattr(figures, "program_figures", compiled)
    for kind, budget in (("floor_ms", 30.0), ("memory_bytes", 30e9), ("floor_ms", 60.0)):
        asked.clear()
        measure = _on_target(Target.parse("gpu:h100"), kind, 128, "bfloat16")
        found = choose(BASE, "dWr", budget, kind=kind, measure=measure)
        assert 0.9 * min(budget, 40.0 if kind == "floor_ms" else budget) <= found.amount <= budget
        # memory is what training takes, which keeps an average of the weights
        keeps_average = {program.recipe.ema.every_steps > 0 for program in asked}
        assert keeps_average == {kind == "memory_bytes"}
    assert {program.recipe.data.batch_size for program in asked} == {128}
    assert {program.target.name for program in asked} == {"gpu:h100"}


def test_without_a_budget_a_target_has_its_memory(monkeypatch, capsys):
    target = Target.parse("gpu:a100")
    monkeypatch.setattr(
        figures,
        "program_figures",
        lambda program, store: {
            "fits": (cost := count(program.network)).acts < 300e6,
            "peak_bytes": 200 * cost.acts,
            "floor_ms": 1.0,
        },
    )
    assert main(["choose", "regnetz:500mf", "--target=gpu:a100", "--compile_cache="]) == 0
    said = capsys.readouterr()
    assert f"{target.usable_bytes / 1e9:,.4g} GB" in said.err
    assert "too much of" in said.err
    assert "inf" not in said.err
    assert "regnetz:500mf_dWr_x" in said.out
