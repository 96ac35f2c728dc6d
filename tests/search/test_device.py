"""Shares of growth for a device that follows a formula: the front and the best share."""

import csv
import dataclasses
import io
import itertools
import json
import pathlib
import random

import pytest

from fastscale_jax.arch import Complexity, count, resolve
from fastscale_jax.arch.scaling import scaled
from fastscale_jax.arch.strategies import shares
from fastscale_jax.arch.zoo import base_architecture
from fastscale_jax.cli import measuring
from fastscale_jax.cli.application import main
from fastscale_jax.cli.device_output import show
from fastscale_jax.display.table import DASH
from fastscale_jax.measure import points
from fastscale_jax.search import device_results
from fastscale_jax.search.device_results import Budget, Findings, Network, front
from fastscale_jax.search.device_tables import budget_table, figure
from fastscale_jax.search.share_grid import strategies_of
from fastscale_jax.targets import extras
from fastscale_jax.utils.installation import pip_install
from tests.commands import REPOSITORY, run_module
from tests.search.device_points import MACHINE, figures, floor

BASE = base_architecture("regnetz", "500mf")
ALPHAS = ("a0", "a0.25", "a0.5", "a0.75", "a1")
QUICK = ("regnetz:500mf", "--target=gpu:h100", "--step=0.25")


@pytest.fixture
def asked(monkeypatch):
    """A compiler that knows the formula; returns the points that it was asked for."""
    specs = []

    def compiled_point(spec, target, **_):
        specs.append(spec)
        return figures(spec)

    monkeypatch.setattr(measuring, "compiled_point", compiled_point)
    monkeypatch.setattr("fastscale_jax.cli.device_command.check_compiler", lambda platform: None)
    return specs


@pytest.fixture
def device(asked, capsys, tmp_path, monkeypatch):
    """Runs the command; returns its status, what it prints, and what it says."""
    monkeypatch.chdir(tmp_path)

    def run(*flags):
        status = main(["device", *flags])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def largest_by_brute_force(strategy, budget):
    """Of 400 factors, the network of most flops that the formula says is within the budget."""
    factors = [2 ** (i / 50) for i in range(-100, 301)]
    costs = [count(scaled(BASE, strategy, factor=factor)[0]) for factor in factors]
    return max((c for c in costs if floor(c) <= budget), key=lambda c: c.flops)


def test_the_best_share_is_that_of_brute_force(device):
    status, out, _ = device(*QUICK, "--budget=floor_ms:9", "--format=json")
    assert status == 0
    found = json.loads(out)
    assert list(found["strategies"]) == list(ALPHAS)
    rates = {}
    for strategy, chosen in found["strategies"].items():
        largest = largest_by_brute_force(strategy, 9.0)
        assert min(0.9 * 9.0, floor(largest)) <= chosen["floor_ms"] <= 9.0
        rates[strategy] = largest.flops / floor(largest)
    assert found["best"]["strategy"] == max(rates, key=lambda x: rates[x])
    assert found["best"]["strategy"] not in ("a0", "a1")
    assert found["best"]["gf_per_ms"] == max(x["gf_per_ms"] for x in found["strategies"].values())


def test_the_variants_are_the_networks_that_were_compiled(device):
    _, out, _ = device(*QUICK, "--budget=floor_ms:9", "--format=json")
    found = json.loads(out)
    chosen = [*found["strategies"].values(), *found["front"]["flops"], *found["front"]["params"]]
    for network in chosen:
        a, _ = resolve(*network["variant"].split(":", 1))
        assert count(a) == Complexity(*(network[x] for x in Complexity._fields))
        assert a.resolution == network["resolution"]


def dominated(one, others, what):
    """Whether another network has as much in as little time, and is better in one of the two."""
    mine = getattr(one.cost, what)
    return any(
        getattr(x.cost, what) >= mine
        and x.ms <= one.ms
        and (getattr(x.cost, what) > mine or x.ms < one.ms)
        for x in others
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_front_is_that_of_brute_force(seed):
    draw = random.Random(seed)
    networks = [
        Network(
            f"n{i}",
            "w",
            1.0,
            Complexity(draw.randrange(1, 15), draw.randrange(1, 15), 1),
            224,
            float(draw.randrange(1, 15)),
            None,
            draw.random() < 0.9,
        )
        for i in range(draw.randrange(40))
    ]
    fitting = [x for x in networks if x.fits]
    for what in ("flops", "params"):
        best = {(getattr(x.cost, what), x.ms) for x in fitting if not dominated(x, fitting, what)}
        found = front(networks, what)
        assert {(getattr(x.cost, what), x.ms) for x in found} == best
        assert len(found) == len(best)


def test_what_is_known_is_not_compiled_again_and_another_budget_begins_with_it(asked, device):
    _, first, _ = device(*QUICK, "--budget=floor_ms:9")
    number = len(asked)
    assert len(set(asked)) == number  # the base is compiled once for all strategies
    assert number <= 1 + 4 * len(ALPHAS)
    assert device(*QUICK, "--budget=floor_ms:9")[1] == first
    assert device(*QUICK, "--budget=floor_ms:9", "--only_known")[1] == first
    assert len(asked) == number
    assert device(*QUICK, "--budget=floor_ms:12")[0] == 0
    assert number < len(asked) <= number + 4 * len(ALPHAS)
    assert len(points.read(pathlib.Path("runs/device/gpu-h100-regnetz-500mf.jsonl"))) == len(asked)


def test_a_search_that_was_stopped_goes_on(asked, device, monkeypatch):
    def stopped(spec, target, **_):
        if len(asked) == 4:
            raise KeyboardInterrupt
        asked.append(spec)
        return figures(spec)

    go_on = measuring.compiled_point
    monkeypatch.setattr(measuring, "compiled_point", stopped)
    status, out, err = device(*QUICK, "--budget=floor_ms:9")
    assert (status, out) == (1, "")
    assert "interrupted; run the same command again to continue" in err
    monkeypatch.setattr(measuring, "compiled_point", go_on)
    assert device(*QUICK, "--budget=floor_ms:9")[0] == 0
    assert len(set(asked)) == len(asked)


@pytest.mark.parametrize(
    ("budget", "key", "limit"),
    [("memory_gb:11", "memory_bytes", 11e9), ("floor_ms:9", "floor_ms", 9.0)],
)
def test_every_network_is_within_the_budget(device, budget, key, limit):
    _, out, _ = device(*QUICK, f"--budget={budget}", "--format=json")
    found = json.loads(out)
    assert found["budget"] == {key: limit}
    assert all(0.8 * limit < x[key] <= limit for x in found["strategies"].values())


def test_a_budget_of_flops_names_the_variants_of_these_flops(device):
    _, out, _ = device(*QUICK, "--budget=flops:2gf", "--format=json")
    found = json.loads(out)
    assert [x["variant"] for x in found["strategies"].values()] == [
        f"regnetz:500mf_{alpha}_2gf" for alpha in ALPHAS
    ]
    rates = {name: x["flops"] / x["floor_ms"] for name, x in found["strategies"].items()}
    assert found["best"]["strategy"] == max(rates, key=lambda x: rates[x])


def test_networks_are_measured_here(device, monkeypatch):
    def measured(spec, **_):
        made = figures(spec, machine={**MACHINE, "device": "A CPU", "platform": "cpu", "cores": 2})
        made["step_ms"] = 10 * made.pop("floor_ms")
        return {**made, "noise": 0.01}

    monkeypatch.setattr(measuring, "measured", measured)
    flags = ("regnetz", "--budget=step_ms:90", "--shares=a0.25,dWr", "--format=json")
    status, out, err = device(*flags)
    found = json.loads(out)
    assert (status, found["device"], found["base"]) == (0, "A CPU", "regnetz:500mf")
    assert (found["batch_size"], found["dtype"]) == (8, "float32")
    assert all(0.9 * 90 <= x["step_ms"] <= 90 for x in found["strategies"].values())
    assert "a0.25 x1, 0.5069 GF" in err
    assert found["noise"] == 0.01
    table = " ".join(device(*flags[:-1], "--only_known")[1].split())
    assert "medians with errors of ±1%; ignore smaller differences" in table
    flags = (*QUICK, "--budget=floor_ms:9", "--batch_size=8", "--dtype=float32")
    status, _, err = device(*flags, "--results=runs/device/here-regnetz-500mf.jsonl")
    assert (status, err.count("\n")) == (2, 1)
    assert "has results of A CPU, not of gpu:h100; use one file per device" in err


@pytest.mark.slow
def test_tables_csv_and_files_say_the_same(device, tmp_path):
    flags = (*QUICK, "--budget=floor_ms:9", "--output=out")
    _, table, _ = device(*flags)
    _, text, _ = device(*flags, "--format=csv")
    found = json.loads(device(*flags, "--format=json")[1])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["variant"] for row in rows] == [x["variant"] for x in found["strategies"].values()]
    best = found["best"]
    of_best = {row["variant"]: row["flops a time % of best [compiled]"] for row in rows}
    assert [name for name, share in of_best.items() if share == "100"] == [best["variant"]]
    assert all(x["variant"] in table for x in found["strategies"].values())
    assert f"fastscale train {best['variant']} --config.data.batch_size=128" in table
    name = "device-gpu-h100-regnetz-500mf"
    assert (tmp_path / f"out/{name}-floor-ms-9.csv").read_text() == text.replace("\r\n", "\n")
    assert (tmp_path / f"out/{name}.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / f"out/{name}.csv").open() as file:
        drawn = [row for row in csv.DictReader(file) if row["curve"] == "front"]
    assert len(drawn) == sum(map(len, found["front"].values()))


def test_known_networks_of_another_budget_are_compared_only_near_this_one(device):
    flags = (*QUICK, "--format=json")
    first = json.loads(device(*flags, "--budget=floor_ms:9")[1])
    status, out, said = device(*flags, "--budget=floor_ms:40", "--only_known")
    assert (status, out) == (1, "")
    assert said.count("left out, because none of its known networks is near 40 ms") == len(ALPHAS)
    assert "no known network is near 40 ms of floor" in said
    again = device(*flags, "--budget=floor_ms:9", "--only_known")
    assert json.loads(again[1]) == first
    for option, says in (
        ("--batch_size=64", "128 images, not of 64"),
        ("--dtype=float32", "not in"),
    ):
        status, _, said = device(*flags, "--budget=floor_ms:9", "--only_known", option)
        assert status == 2
        assert says in said


@pytest.mark.parametrize("budget", ["floor_ms:9", "flops:2gf"])
def test_two_names_of_a_strategy_have_the_same_points(device, asked, budget):
    flags = ("regnetz:500mf", "--target=gpu:h100", f"--budget={budget}", "--format=json")
    known = json.loads(device(*flags, "--shares=dWr")[1])
    number = len(asked)
    for again in ((), ("--only_known",)):
        status, out, _ = device(*flags, "--shares=a0.8", *again)
        found = json.loads(out)
        assert (status, len(asked)) == (0, number)
        assert found["strategies"]["a0.8"] == known["strategies"]["dWr"]
        assert found["strategies"]["a0.8"]["factor"] > 1
    path = pathlib.Path("runs/device/gpu-h100-regnetz-500mf.jsonl")
    (of_base,) = device_results.read(path)
    assert of_base.strategies == ["dWr"]
    both = dataclasses.replace(of_base, failures={"a0.8": "aborted", "": "refused"})
    assert both.strategies == ["a0.8"]
    assert (both.failure("dWr"), both.failure("w")) == ("aborted", None)
    drawn = figure(both, ["a0.8"]).panels[0].curves[0]
    assert len(drawn.points) == len(of_base.networks)


def test_all_shares_are_every_way_to_share_and_are_networks():
    names = strategies_of("regnetz:500mf", "all", 0.25)
    assert len(names) == len(set(names)) == 15 + 10
    of = [shares(name) for name in names if not name.endswith("g0")]
    quarters = itertools.product((0, 0.25, 0.5, 0.75, 1), repeat=3)
    wanted = {x for x in quarters if sum(x) == 1}
    assert {(round(4 * d) / 4, round(4 * w) / 4, round(4 * r) / 4) for d, w, r in of} == wanted
    assert "d1w2r1g0" in names
    assert len(strategies_of("efficientnet:b0", "all", 0.25)) == 15  # depthwise: g does not grow


def test_all_shares_are_tried(device, asked):
    flags = ("regnetz:500mf", "--target=gpu:h100", "--shares=all", "--step=0.5")
    _, out, _ = device(*flags, "--budget=flops:1gf", "--format=json")
    found = json.loads(out)
    assert len(found["strategies"]) == 6 + 3
    assert found["best"]["variant"] == f"regnetz:500mf_{found['best']['strategy']}_1gf"


def test_points_of_curves_are_results_too(device):
    """The manual's table of α has the same best one."""
    curves = REPOSITORY / "benchmarks/results/program_alphas_h100.jsonl"
    flags = ("regnetz:500mf", "--target=gpu:h100", "--budget=flops:16gf", "--format=json")
    status, out, _ = device(*flags, "--only_known", f"--results={curves}")
    found = json.loads(out)
    assert (status, found["best"]["variant"]) == (0, "regnetz:500mf_a1_x32.0")
    chosen = {name: x for name, x in found["strategies"].items() if x}
    floors = {name: x["floor_ms"] / x["flops"] for name, x in chosen.items()}
    assert min(floors, key=lambda x: floors[x]) == found["best"]["strategy"]
    assert list(chosen) == ["a0.2", "a0.4", "a0.6", "a0.8", "a1"]
    _, out, _ = device(*flags[:-1], "--only_known", f"--results={curves}")
    assert "a0: its networks do not fit into the memory" in " ".join(out.split())


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--shares=d0w0r0",), "shares of strategy 'd0w0r0' sum to 0"),
        (("--shares=a1.5",), "alpha must be from 0 to 1"),
        (("--shares=wd",), "unknown strategy 'wd'"),
        (("--shares=d1,2w1r1",), "strategy 'd1,2w1r1' is for 2 stages; regnetz:500mf has 4"),
        (("--step=0.3",), "--step must divide 1 into at most 50 parts, as 0.2 does; got 0.3"),
        (("--step=0",), "--step must divide 1"),
        (
            ("--budget=floor_ms",),
            "--budget=floor_ms is no budget; write floor_ms:12 for a --target",
        ),
        (("--budget=floor_ms:-1",), "is no budget"),
        (("--budget=floor_ms:nan",), "is no budget"),
        (("--budget=watts:4",), "is no budget"),
        (("--budget=step_ms:9",), "is measured on this machine and cannot be used with --target"),
        (("--target=here",), "needs a --target, as in gpu:h100; give step_ms"),
        (("--target=gpu:h101",), "unknown target 'gpu:h101'; did you mean gpu:h100? choose one"),
        (("--target=gpu:v100", "--dtype=bfloat16"), "has no bfloat16; use float16"),
        (("--batch_size=0",), "--batch_size must be a number above 0"),
        (("--rounds=0",), "--rounds must be at least 1"),
        (("--only_known",), "there are no results of regnetz:500mf for gpu:h100: no file runs/"),
        (("--results=/proc/none",), "/proc/none cannot be written"),
        (("--results=other.jsonl",), "is no file of points of a curve"),
    ],
)
def test_a_mistake_gets_one_line(device, asked, tmp_path, flags, words):
    (tmp_path / "other.jsonl").write_text("something else")
    status, out, err = device(*QUICK, "--budget=floor_ms:9", *flags)
    assert (status, out, err.count("\n")) == (2, "", 1), err
    assert words in err
    assert not asked


def test_an_unknown_base_gets_one_line(device):
    status, _, err = device("regnetz:huge", "--budget=step_ms:9")
    assert (status, err.count("\n")) == (2, 1)
    assert "unknown base 'huge' of regnetz" in err


def test_a_missing_compiler_gets_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(extras, "_missing_gpu", lambda: "XLA's GPU compiler has to be installed")
    flags = (*QUICK, "--budget=floor_ms:9", f"--results={tmp_path / 'x.jsonl'}")
    assert main(["device", *flags]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert pip_install("targets-gpu") in said.err


def test_a_budget_that_nothing_meets_is_a_failure_that_says_what_is_least(device):
    status, out, err = device(*QUICK, "--budget=floor_ms:0.5")
    assert (status, out) == (1, "")
    last = err.splitlines()[-1]
    assert "no network of regnetz:500mf on gpu:h100 by any of 5 strategies" in last
    assert "within 0.5 ms of floor; the least of" in last


def test_flops_that_no_factor_reaches_are_a_failure(device):
    status, _, err = device(*QUICK, "--budget=flops:1mf")
    assert status == 1
    last = err.splitlines()[-1]
    assert "no network of regnetz:500mf by any of 5 strategies was found with 0.001 GF: " in last
    assert "brings regnetz-500mf to 1,000,000 flops by 'a0'" in last
    assert "Traceback" not in err


def test_a_strategy_whose_compiler_fails_costs_itself_alone(device, asked, monkeypatch):
    go_on = measuring.compiled_point

    def failing(spec, target, **options):
        if spec.strategy == "a0.5":
            return {"error": "aborted: XLA's compiler aborted"}
        return go_on(spec, target, **options)

    monkeypatch.setattr(measuring, "compiled_point", failing)
    flags = (*QUICK, "--budget=memory_gb:11", "--format=json")
    status, out, err = device(*flags)
    assert status == 0
    assert "a0.5: regnetz:500mf a0.5 x" in err
    assert "jax: aborted: XLA's compiler aborted" in err
    found = json.loads(out)["strategies"]
    assert [name for name, network in found.items() if network is None] == []  # the base fits
    assert found["a0.5"]["variant"] == "regnetz:500mf"
    monkeypatch.setattr(measuring, "compiled_point", go_on)
    before = len(asked)
    assert device(*flags)[0] == 0
    assert len(asked) == before  # what failed is not tried again
    assert json.loads(device(*flags, "--again")[1])["strategies"]["a0.5"]["flops"] > 1e9


def test_a_network_that_does_not_fit_is_not_chosen_and_not_on_the_front(device):
    _, out, _ = device(*QUICK, "--budget=floor_ms:30", "--format=json")
    found = json.loads(out)
    chosen = [*found["strategies"].values(), *found["front"]["flops"], *found["front"]["params"]]
    assert all(network["acts"] < 60e6 for network in chosen)


def test_results_of_another_target_are_refused_before_anything_is_compiled(device, asked):
    assert device(*QUICK, "--budget=floor_ms:9")[0] == 0
    before = len(asked)
    flags = ("regnetz:500mf", "--budget=floor_ms:9", "--target=tpu:v5e")
    status, _, err = device(*flags, "--results=runs/device/gpu-h100-regnetz-500mf.jsonl")
    assert (status, err.count("\n")) == (2, 1)
    assert "has results of gpu:h100, not of tpu:v5e" in err
    assert len(asked) == before


def test_the_search_is_a_module_and_a_kind_of_search_too(device):
    done = run_module("search.device", *QUICK, "--budget=watts:9")
    assert done.returncode == 2
    assert "--budget=watts:9 is no budget" in done.stderr
    assert main(["search", "device", *QUICK, "--budget=floor_ms:9"]) == 0


def test_a_budget_is_written_as_it_is_read():
    for text in ("floor_ms:12", "step_ms:0.5", "memory_gb:40", "flops:4000000000"):
        assert Budget.parse(text).text == text
    assert Budget.parse("FLOPS:4GF") == Budget("flops", 4e9)
    assert Budget.parse("memory_gb:40").limit == 40e9


def test_a_small_network_that_leaves_the_budget_does_not_make_its_share_the_best():
    def network(strategy, flops, ms):
        return Network(strategy, strategy, 1.0, Complexity(flops, 1, 1), 224, ms, None, True)

    chosen = {"a0": network("a0", 5, 1.0), "a0.5": network("a0.5", 20, 9.0)}
    assert device_results.best(chosen) == "a0.5"
    chosen["a1"] = network("a1", 10, 2.5)
    assert device_results.best(chosen) == "a1"
    assert device_results.best({}) is None


def test_a_network_that_is_too_small_to_be_compared_has_a_dash_and_no_share(capsys):
    def network(strategy, flops, ms):
        cost = Complexity(flops * 10**9, 1, 1)
        return Network(f"n_{strategy}", strategy, 2.0, cost, 224, ms, None, True)

    networks = (network("a0", 5, 1.0), network("a1", 10, 5.0), network("a0.5", 20, 9.0))
    budget = Budget("floor_ms", 10.0)
    found = Findings(
        "n", "gpu:h100", True, 128, "bfloat16", "", networks, failures={}, budgets=(budget,)
    )
    strategies = ["a0", "a0.5", "a1"]
    table = budget_table(found, strategies, budget)
    shares_of_best = [row[-2].text for row in table.rows]
    assert shares_of_best == [DASH, "100", "90"]
    assert "of the step: a0.5, `n_a0.5`." in table.caption
    assert (
        "half of the largest one's flops are compared. Smaller ones have a dash." in table.caption
    )
    show(found, strategies, budget, "table")
    said = capsys.readouterr().out.splitlines()[-2]
    assert said.startswith("most flops per image per millisecond of the step: a0.5, ")
    assert said.endswith("at least half of the largest one's flops are compared.")


def test_an_alpha_is_told_from_other_shares():
    alphas = {name: device_results.alpha_of(name) for name in ("a0.3", "dWr", "w", "dr", "d1w8r1")}
    assert alphas == pytest.approx({"a0.3": 0.3, "dWr": 0.8, "w": 1.0, "dr": 0.0, "d1w8r1": 0.8})
    for name in ("d", "dw", "d1w8r1g0", "dWr-max288", "d1,1,2,2w8r1"):
        assert device_results.alpha_of(name) is None
