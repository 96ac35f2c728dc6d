"""Tables of the manual's pages on the study and the paper, from what was trained and measured."""

from docs.speed_tables import RESULTS
from fastscale_jax.display.figure import Figure
from fastscale_jax.display.table import DASH, Table
from fastscale_jax.report import measured, observations
from fastscale_jax.report.networks import ROWS, row_key
from fastscale_jax.report.paper import arrowed, paper
from fastscale_jax.search import study_results

STUDY = RESULTS / "study_digits.jsonl"
STEPS = RESULTS / "rows_cpu.jsonl"
_EPOCHS = 100  # of the 1x schedule
_PRINTED = ("eight V100s: minutes an epoch", "hours at 1x")
_MEASURED = ("two CPU cores: ms a step", "minutes an epoch", "days at 1x")


def study() -> str:
    """Returns every network of the study on digits, with its mean error."""
    return _as_markdown(study_results.study_table(study_results.read(STUDY)))


def study_figure() -> Figure:
    """Returns the figure of the study on digits."""
    return study_results.figure(study_results.read(STUDY))


def hours() -> str:
    """Returns how long the paper's rows train on ImageNet: on its machine, and on ours."""
    results = measured.read([STEPS])
    titles = ("network", *_PRINTED, *_MEASURED)
    rows = [f"| {' | '.join(titles)} |", f"|---|{'--:|' * (len(titles) - 1)}"]
    for name, row in ROWS.items():
        printed = paper().rows[name].minutes
        found = results.of(row_key(name), row.strategy, row.factor)
        cells = [f"{printed:.1f}", f"{printed * _EPOCHS / 60:.0f}"]
        if found is None:
            cells += [DASH] * len(_MEASURED)
        else:
            days = found.minutes * _EPOCHS / 60 / 24
            cells += [f"{found.step_ms:,.0f}", f"{found.minutes:,.0f}", f"{days:,.0f}"]
        rows.append(f"| {arrowed(name)} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", f"Measured: {results.source}; batches of {_images(results)}."])


def runtime_claims() -> str:
    """Returns the paper's claims about counts and runtime, and our numbers for them."""
    return _as_markdown(observations.runtime_table())


def error_claims() -> str:
    """Returns the paper's claims about errors and large networks, and our numbers for them."""
    return _as_markdown(observations.error_table())


def _images(results: measured.Results) -> str:
    sizes = sorted({point.images for point in results.points})
    return " to ".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))


def _as_markdown(table: Table) -> str:
    titles = [column.title.replace("[", "(").replace("]", ")") for column in table.columns]
    rules = ["--:" if column.is_number else "---" for column in table.columns]
    lines = [titles, rules, *([cell.text for cell in row] for row in table.rows)]
    rows = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([*rows, "", table.caption])
