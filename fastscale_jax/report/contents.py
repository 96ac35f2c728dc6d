"""The contents of the report, section by section."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fastscale_jax.display.figure import Figure
from fastscale_jax.display.origins import Origin
from fastscale_jax.display.table import Cell, Column, Table
from fastscale_jax.report import (
    asymptotics,
    closed_forms,
    model_figures,
    observations,
    paper_tables,
    scaling_figures,
    series,
)
from fastscale_jax.report.explorer import describe
from fastscale_jax.report.inputs import Inputs
from fastscale_jax.report.paper import paper
from fastscale_jax.report.trained import Trained
from fastscale_jax.search import device_tables, study_results
from fastscale_jax.search.device_results import Findings

_ROWS_COMMAND = f"{series.CURVES_COMMAND} --rows --batch_size=auto"


class Section(NamedTuple):
    """A section of the page: paragraphs, then tables and figures."""

    key: str  # anchor in the page's address
    title: str
    paragraphs: tuple[str, ...]  # text between backticks is code
    items: tuple[Table | Figure, ...]


def sections(inputs: Inputs) -> list[Section]:
    """Returns the sections of the report, without its explorer."""
    rows = paper_tables.compare(inputs)
    all_sections = [
        Section(
            "closed-forms",
            "Closed forms and real networks",
            (
                "The paper's Tables 1 to 4 have the growth of flops, parameters and activations "
                "when a stage of equal dense convs is scaled by s. Real networks differ: blocks "
                "are whole, widths are multiples of 8, resolutions are multiples of 4, and some "
                "parts are not stages. The tables below show both.",
            ),
            (*closed_forms.tables(), asymptotics.powers_table(), asymptotics.shares_table()),
        ),
        Section(
            "networks",
            "The paper's networks",
            (paper_tables.agreement(rows), _of_measurements(inputs)),
            (
                *paper_tables.tables(rows),
                observations.runtime_table(),
                observations.error_table(),
            ),
        ),
        Section(
            "figures",
            "The paper's figures",
            (
                "Counts are drawn for 33 factors from 1 to 100. Errors on ImageNet and minutes on "
                "eight V100s are the paper's, where its tables print them. "
                "Figure 3 shows blocks and has no data.",
            ),
            tuple(_figures(inputs)),
        ),
    ]
    if inputs.findings:
        all_sections.append(_devices(inputs.findings))
    if inputs.trials:
        all_sections.append(_study(inputs))
    if inputs.trained:
        all_sections.append(_trained(inputs.trained))
    return all_sections


def sources(inputs: Inputs) -> list[tuple[Origin, str]]:
    """Returns each origin, and the source of its numbers in this report."""
    by_origin = {
        Origin.PAPER: "Dollár, Singh, Girshick: Fast and Accurate Model Scaling, CVPR 2021, "
        "arXiv:2103.06877. Copied from its tables.",
        Origin.FORMULA: "Equations 1 to 6 and Tables 1 to 4 of arXiv:2103.06877.",
        Origin.COUNTED: "`fastscale_jax.arch.count`: multiply-adds, trainable parameters, outputs "
        "of convs, dense layers and max-pooling, for one image.",
        Origin.MEASURED: _measured_source(inputs),
        Origin.TRAINED: _trained_source(inputs),
        Origin.PREDICTED: "No device model was given; `--device` takes one."
        if inputs.device is None
        else f"Fitted to measurements on {describe(inputs.device)['source']}.",
        Origin.COMPILED: _compiled_source(inputs),
    }
    return list(by_origin.items())


def _measured_source(inputs: Inputs) -> str:
    results, sentences = inputs.results, []
    if results.points:
        sentences.append(f"{results.source}; {len(results.points)} networks.")
    if results.left_aside:
        sentences.append(
            f"{results.left_aside} points of other frameworks in the files are not shown."
        )
    sentences += _of_findings(x for x in inputs.findings if not x.is_compiled)
    return " ".join(sentences) or "No measurements; `--results` takes files of `fastscale curves`."


def _of_findings(findings: Iterable[Findings]) -> list[str]:
    return [f"{len(x.networks)} networks of {x.base}: {x.source}." for x in findings]


def _trained_source(inputs: Inputs) -> str:
    sentences = []
    if inputs.trials:
        source = study_results.source(inputs.trials)
        sentences.append(f"Study: {len(inputs.trials)} runs on {source}.")
    if inputs.trained:
        sentences.append(f"{len(inputs.trained)} workdirs.")
    return " ".join(sentences) or "No trained networks; give `--workdirs` or `--study`."


def _compiled_source(inputs: Inputs) -> str:
    sentences = _of_findings(x for x in inputs.findings if x.is_compiled)
    if inputs.programs:
        targets = ", ".join(sorted({program.target for program in inputs.programs}))
        dates = sorted({program.date for program in inputs.programs})
        period = " to ".join(dict.fromkeys((dates[0], dates[-1])))
        steps = f"{len(inputs.programs)} training steps, compiled {period} for {targets}"
        sentences.append(f"{steps}; in the explorer.")
    return " ".join(sentences) or (
        "No compiled programs; `--programs` takes files of `fastscale curves --target`, and "
        "`--device_results` those of `fastscale device`."
    )


def _of_measurements(inputs: Inputs) -> str:
    if inputs.results.points:
        return (
            f"Measured: {inputs.results.source}. These are training steps on random images already "
            "on the device, without augmentation. The minutes of an epoch are computed from them, "
            "so they are not comparable with eight V100s and their data pipeline."
        )
    return f"Nothing was measured for this report. The rows are measured by `{_ROWS_COMMAND}`."


def _figures(inputs: Inputs) -> Iterator[Figure]:
    figures = [*scaling_figures.figures(inputs), *model_figures.figures(inputs)]
    yield from sorted(figures, key=lambda figure: figure.name)


def _devices(findings: tuple[Findings, ...]) -> Section:
    items: list[Table | Figure] = []
    for result in findings:
        strategies = result.strategies
        budget = result.budgets[0] if result.budgets else None
        items.append(device_tables.figure(result, strategies, budget))
        items += [device_tables.budget_table(result, strategies, each) for each in result.budgets]
        items.append(device_tables.front_table(result))
    return Section(
        "devices",
        "Scaling for a device",
        (
            "Flops do not predict the time of a step, and devices differ. For each device, the "
            "same base is scaled by several strategies to the largest network within a budget, "
            "after EfficientNet-X (arXiv:2102.05610). These networks were not trained, so their "
            "errors are unknown. The tables compare their size, their step, and the flops per "
            "image per millisecond of the step (for the whole batch). Made by `fastscale device`.",
        ),
        tuple(items),
    )


def _study(inputs: Inputs) -> Section:
    return Section(
        "study",
        "Scaling in miniature",
        (
            "The paper's first figure on a small scale: small networks and small images, which "
            "anyone can train. It shows how such a study is made, and whether the strategies have "
            "the paper's order here. It is no evidence for ImageNet.",
        ),
        (study_results.figure(inputs.trials), study_results.study_table(inputs.trials)),
    )


def _trained(runs: tuple[Trained, ...]) -> Section:
    columns = (
        Column("network", is_number=False),
        Column("data", is_number=False),
        *(Column(count, "one image", Origin.COUNTED) for count in ("flops", "params", "acts")),
        Column("top-1 error, %", "last evaluation", Origin.TRAINED),
        Column("of", "last evaluation", is_number=False),
        Column("epoch", "last evaluation", Origin.TRAINED),
        Column("workdir", is_number=False),
    )
    rows = tuple(
        (
            Cell(run.network.name),
            Cell(run.source),
            *(Cell(f"{amount / 1e6:,.3f} M", amount) for amount in run.cost),
            Cell(f"{run.error:.2f}"),
            Cell("averaged weights" if run.is_average else "last weights"),
            Cell(f"{run.epoch:g}"),
            Cell(run.folder),
        )
        for run in runs
    )
    table = Table(
        "runs",
        "Runs",
        "The last `test_top1_error` of each workdir, or `ema_test_top1_error` if it has an average "
        "of the weights. Runs on ImageNet are also marked in the paper's figures. Errors on other "
        "images are not comparable with the paper's.",
        columns,
        rows,
    )
    return Section("trained", "Networks trained here", (), (table,))


def missing() -> list[str]:
    """Returns sentences on the parts of the paper that no report can show."""
    return [
        *(f"{name}: {why}." for name, why in paper().unrecoverable.items()),
        "Errors of the curves in Figures 1, 4, 5, 6, 7 and 10, except for networks in the tables: "
        "the paper prints no numbers for them. `--workdirs` adds trained networks to the figures.",
        "Runtime on eight V100s, except for the rows of Tables 5 to 8.",
    ]
