"""The page on GPUs and TPUs that are not here: what it shows, and what it makes of files."""

import json
import re

import pytest

from docs import (
    accelerator_programs,
    accelerator_records,
    accelerator_tables,
    scale_out,
    shares_tables,
)
from docs.accelerator_records import TARGETS
from docs.accelerator_tables import ALPHAS
from docs.make_tables import FOLDER, TABLES, with_tables
from fastscale_jax import arch
from fastscale_jax.display.table import DASH
from fastscale_jax.measure import curve_figures, points
from fastscale_jax.report.networks import ROWS
from fastscale_jax.search.device_results import Budget, within
from fastscale_jax.search.share_grid import strategies_of
from fastscale_jax.targets.avoidable import avoidable
from fastscale_jax.targets.kernel_kinds import KINDS

PAGE = (FOLDER / "accelerators.md").read_text()
README = (FOLDER.parent / "README.md").read_text()
RESULTS = (FOLDER / "results.md").read_text()
BASE = {
    "framework": "jax",
    "base": "efficientnet:b0",
    "strategy": "",
    "factor": 1.0,
    "batch_size": 128,
    "dtype": "bfloat16",
    "resolution": 0,
}
STEP = {
    "images": 128,
    "flops": 4e9,
    "floor_ms": 8.0,
    "floor_operations_ms": 0.8,
    "bytes": 10_000_000_000,
    "passes": 20.0,
    "memory_bytes": 2_000_000_000,
    "fits": True,
    "kernels": {"se": {"bytes": 1_000_000_000}},
    "avoidable_bytes": dict.fromkeys(accelerator_programs.CAUSES, 500_000_000),
    "machine": {"date": "2026-01-01", "device": "gpu:h100", "versions": {"jax": "0.0.1"}},
}
REFUSED = {"error": "out of memory"}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Files of records, in the place of those of the benchmarks."""
    monkeypatch.setattr(accelerator_records, "RESULTS", tmp_path)

    def add(name, target, *records):
        with (tmp_path / f"program_{name}_{target}.jsonl").open("a") as file:
            file.writelines(json.dumps({**BASE, **record}) + "\n" for record in records)

    return add


def cells(table, start):
    """The cells of the first row that starts so."""
    line = next(line for line in table.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_all_networks_of_the_curves_and_all_rows_are_there():
    for target, least in {"h100": 51, "v100": 27, "v5e": 15}.items():
        assert len(points.compiled(accelerator_records.records("curves", target))) >= least
    wanted = {accelerator_records.of_row(name) for name in ROWS}
    for name in ("rows", "largest"):
        for target, found in accelerator_records.by_target(name).items():
            assert wanted <= set(found), f"{name} of {target}"
    for found in accelerator_records.by_target("alphas").values():
        assert {("regnetz:500mf", f"a{alpha:g}", 32.0) for alpha in ALPHAS} <= set(found)


def test_the_figures_of_the_page_are_those_that_are_drawn():
    drawn = [
        f"program_{quantity.name}_{target}.png"
        for target, quantities in accelerator_tables.FIGURES.items()
        for quantity in quantities
    ]
    shown = re.findall(r"\]\((.*\.png)\)", PAGE)
    drawn += [f"device_{target}.png" for target in shares_tables.BUDGETS]
    assert sorted(shown) == sorted([*drawn, "program_minutes_v100.png"])
    assert all((FOLDER / name).exists() for name in shown)


def test_the_first_command_is_that_of_the_table():
    found = json.loads(accelerator_programs.PROGRAM.read_text())
    command = PAGE.split("```bash\n")[1].split("```")[0].replace("\\\n", "")
    for flag in (
        "--config=configs/regnetz.py:500mf",
        f"--mode=program --target={found['target']}",
        f"--config.data.batch_size={found['batch_size']}",
        f"--config.dtype={found['dtype']}",
    ):
        assert flag in command.replace("  ", " ")
    assert found["network"] == "regnetz-500mf"


def test_the_readme_has_the_correlations_of_the_page():
    found = accelerator_records.records("curves", "h100")
    overall = curve_figures.correlations(found, curve_figures.FLOOR)[-1]
    r = f"acts {overall.acts:.3f}, flops {overall.flops:.3f}, params {overall.params:.3f}"
    assert r in README


def test_the_shares_of_the_page_are_those_that_its_command_asks_for():
    target, base = shares_tables.EXAMPLE
    words = f"fastscale device {base} --target=gpu:{target} --budget="
    assert f"{words}{shares_tables.BUDGETS[target].text}" in PAGE
    assert strategies_of(base, "alpha", 0.2) == shares_tables.STRATEGIES
    assert f"--budget=flops:2gf --shares=all --step={shares_tables.STEP:g}" in PAGE
    assert Budget.parse("flops:2gf") == shares_tables.FLOPS
    for name, budget in shares_tables.BUDGETS.items():
        for found in shares_tables.findings(name):
            assert budget in found.budgets
            chosen = within(found, shares_tables.STRATEGIES, budget)
            assert list(chosen) == shares_tables.STRATEGIES
            for network in chosen.values():
                a, _ = arch.resolve(*network.variant.split(":", 1))
                assert arch.count(a) == network.cost
                assert network.ms <= budget.amount


def test_what_the_pages_say_of_shares_is_in_the_table():
    rows = [line.split(" | ") for line in shares_tables.alphas().splitlines()[2:]]
    costs = {}
    for row in rows:
        costs.setdefault(row[0].split(", ")[1], []).append(float(row[-1].strip("| ")))
    h100, v5e = sorted(costs["H100"]), sorted(costs["TPU v5e"])
    assert "{:.2f} and {:.2f} of its rate".format(*h100) in RESULTS
    assert "0.8 has {:.2f} and {:.2f} of the best".format(*v5e) in RESULTS
    lost = sorted(round(100 * (1 - x)) for x in h100)
    assert "costs {} and {} % of the flops of one image for each".format(*lost) in PAGE
    (found,) = (x for x in shares_tables.findings("v5e") if x.base == "regnetz:500mf")
    floors = {f"{x.cost.flops / 1e9:.2f}": x.ms for x in found.networks}
    assert floors["1.65"] < floors["1.26"]


def test_every_kind_and_every_cause_is_explained():
    assert set(accelerator_programs.MEANINGS) == set(KINDS)
    assert set(accelerator_programs.CAUSES) == set(avoidable([]))


def test_without_any_file_figures_are_dashes(write):
    tables = TABLES["accelerators.md"]
    page = with_tables(PAGE, tables)
    assert f"| EfficientNet-B0 | 224 | 21.3 | {DASH} |" in page


def test_a_step_that_does_not_fit_and_one_that_is_refused_are_told_apart(write):
    write("rows", "h100", STEP)
    write("rows", "v100", {**STEP, "fits": False})
    write("rows", "v5e", REFUSED)
    write("largest", "v5e", {**STEP, "batch_size": 0, "images": 64})
    memory = cells(accelerator_tables.rows_memory(), "EfficientNet-B0 ")
    assert memory[3:7] == ["2.0", DASH, "*2.0*", "refused"]
    assert memory[7:] == [DASH, DASH, DASH, "64"]
    moved = cells(accelerator_tables.rows_bytes(), "EfficientNet-B0 ")
    assert moved[1:5] == ["10.0 (20.0)", DASH, "10.0 (20.0)", "≈ 20.0 (20.0)"]
    assert moved[5:] == ["8.0", DASH, "8.0", "≈ 16.0"]
    assert cells(accelerator_programs.outcomes(), "TPU v5e")[1:] == ["1", "0", "0", "1", "0"]


def test_an_epoch_at_the_floor_is_of_eight_devices(write):
    write("rows", "v100", {**STEP, "floor_ms": 60.0})
    row = cells(accelerator_tables.v100(), "EfficientNet-B0 ")
    minutes = 60.0 / 1000 * 1_281_167 / (8 * 128) / 60
    assert row[1:] == ["60.0", f"{minutes:.2f}", "2.8", f"{2.8 / minutes:.1f}"]


def test_the_best_alpha_has_the_least_floor_for_its_flops(write):
    floors = {"a0": 40.0, "a0.2": 30.0, "a0.4": 20.0, "a0.6": 10.0, "a0.8": 11.0, "a1": 12.0}
    for strategy, floor in floors.items():
        of = {"base": "regnetz:500mf", "strategy": strategy, "factor": 8.0, "floor_ms": floor}
        write("alphas", "h100", {**STEP, **of})
    row = cells(accelerator_tables.alphas(), "RegNetZ-500MF, 4 GF, H100")
    assert row[1:] == ["10.00", "7.50", "5.00", "**2.50**", "2.75", "3.00", "0.6", "1.10"]


def test_shares_are_of_the_bytes_of_the_example(write):
    write("rows", "a100", {**STEP, "base": "regnetz:500mf"})
    assert cells(accelerator_programs.kinds(), "se ")[2:] == [DASH, "10.0", DASH, DASH]
    assert cells(accelerator_programs.causes(), "copies ")[2:] == [DASH, "5.0", DASH, DASH]


@pytest.mark.skipif(not scale_out.PROGRAMS.exists(), reason="no programs for many devices")
def test_the_bytes_of_a_reduction_are_those_of_compiled_programs():
    for row in json.loads(scale_out.PROGRAMS.read_text()):
        network = arch.as_architecture(arch.model_config(*row["network"].split(":")))
        size = sum(kind["bytes"] for kind in row["collectives"].values())
        assert accelerator_tables.reduced_bytes(network) == size


def test_every_target_has_a_column():
    for name in ("rows_memory", "rows_bytes"):
        head = getattr(accelerator_tables, name)().splitlines()[0]
        assert all(head.count(f"{device}: ") == 2 for device in TARGETS.values())
