"""Makes the tables of the manual, in its pages.

python -m docs.make_tables          # checks them
python -m docs.make_tables --write  # writes them
"""

import pathlib
import re
import sys
from collections.abc import Callable, Mapping

from docs import (
    accelerator_programs,
    accelerator_tables,
    bytes_tables,
    config_tables,
    cpu_tables,
    finetune_tables,
    halving_table,
    maker,
    report_tables,
    results_table,
    scale_out,
    scaling_tables,
    shares_tables,
    speed_tables,
)
from fastscale_jax import arch
from fastscale_jax.interop.counterparts import COUNTERPARTS
from fastscale_jax.interop.pretrained import Pretrained, pretrained
from fastscale_jax.report.paper import arrowed

FOLDER = pathlib.Path(__file__).parent


def named_networks() -> str:
    """Returns a table of every named network and what it costs."""
    rows = ["| variant | pixels | depths | widths | group widths | GF | Mparams | Macts |"]
    rows += ["|---|--:|---|---|---|--:|--:|--:|"]
    for family, members in arch.FAMILIES.items():
        for base in members.bases:
            a, _ = arch.resolve(family, base)
            columns = zip(*a.stages, strict=True)
            depths, widths, _, _, groups, _ = (", ".join(map(str, one)) for one in columns)
            if groups in (", ".join("1" * len(a.stages)), ", ".join("0" * len(a.stages))):
                groups = groups[0]  # all depthwise, or all dense
            sizes = f"{a.resolution} | {depths} | {widths} | {groups}"
            rows.append(f"| `{family}.py:{base}` | {sizes} | {_costs(a)} |")
    return "\n".join(rows)


def resnet_rs() -> str:
    """Returns a table of ResNet-RS-50, -420, and the former scaled to the latter's flops."""
    rows = ["| | depths | pixels | GF | Mparams | Macts |", "|---|---|--:|--:|--:|--:|"]
    for variant in ("50", "420", "50_rs_depth_x34.75"):
        a, _ = arch.resolve("resnetrs", variant)
        depths = ", ".join(str(stage.depth) for stage in a.stages)
        rows.append(f"| `resnetrs:{variant}` | {depths} | {a.resolution} | {_costs(a)} |")
    return "\n".join(rows)


def paper_rows() -> str:
    """Returns a table of the networks that the paper scaled, as variants."""
    rows = ["| in the paper | variant | factor | pixels | GF | Mparams | Macts |"]
    rows += ["|---|---|--:|--:|--:|--:|--:|"]
    for row in arch.PAPER_ROWS:
        if row.strategy:
            variant = f"{row.base}_{row.strategy}_{row.flops / 1e9:g}gf"
            a, _ = arch.resolve(row.family, variant)
            name = arrowed(row.name)
            where = f"`{row.family}.py:{variant}` | {row.factor:g} | {a.resolution}"
            rows.append(f"| {name} | {where} | {_costs(a)} |")
    return "\n".join(rows)


def counterparts() -> str:
    """Returns a table of the networks of other libraries that are ours."""
    rows = ["| library | its name | ours |", "|---|---|---|"]
    rows += [f"| {c.package} | `{c.name}` | `{c.arguments}` |" for c in COUNTERPARTS]
    return "\n".join(rows)


def weights_by_name() -> str:
    """Returns a table of timm's weights on the hub of networks that are ours."""
    ours = {c.name: c for c in COUNTERPARTS if c.package == "timm"}
    rows = ["| weights | network | pixels | classes | top-1 | licence |"]
    rows += ["|---|---|--:|--:|--:|---|"]
    for name, c in ours.items():
        for x in (x for x in pretrained() if x.name == name):
            top1 = "" if x.top1 is None else f"{x.top1:.1f}"
            network = f"`{c.family}:{c.base}`{'*' if c.changes else ''}"
            sizes = f"{x.resolution} | {x.classes:,} | {top1}"
            rows.append(f"| `hf:{x.repository}` | {network} | {sizes} | {x.licence} |")
    return "\n".join(rows)


# whose weights are those of a network or a tag, and where they are described; the first that fits
# counts
_SOURCES: Mapping[str, tuple[str, str]] = {
    r"resnetrs\S+": ("Google's ResNet-RS, converted by timm", "arXiv:2103.07579"),
    r"tf_\S+": (
        "Google's EfficientNets, converted by timm",
        "arXiv:1905.11946, V2 2104.00298; `aa` 1805.09501, `ra` 1909.13719, `ap` 1911.09665, "
        "`ns_jft` 1911.04252",
    ),
    r"\S+\.pycls_in1k": ("pycls's model zoo (Facebook)", "arXiv:2003.13678"),
    r"\S+\.tv2?_in1k": ("torchvision", "github.com/pytorch/vision"),
    r"\S+\.swag_\w+": ("Facebook's SWAG", "arXiv:2201.08371"),
    r"\S+\.seer\w*": ("Facebook's SEER", "arXiv:2202.08360"),
    r"\S+\.fb_wsl\w+": ("Facebook's weakly supervised one", "arXiv:1805.00932"),
    r"\S+\.fb_s\w+": ("Facebook's semi-supervised ones", "arXiv:1905.00546"),
    r"\S+\.deit_in1k": ("Facebook's DeiT, its teacher", "arXiv:2012.12877"),
    r"\S+\.gluon_in1k": ("GluonCV", "arXiv:1812.01187"),
    r"\S+\.([abcd]|a1h|[abc][123]k?)_in1k": ("timm, ResNet strikes back", "arXiv:2110.00476"),
    r"\S+": ("timm's other ones", "github.com/huggingface/pytorch-image-models"),
}


def sources_of_weights() -> str:
    """Returns a table of whose the weights on the hub are, and under which licence."""
    rows = ["| whose | weights | tags | licence | described in |", "|---|--:|---|---|---|"]
    of_source: dict[str, list[Pretrained]] = {pattern: [] for pattern in _SOURCES}
    for x in pretrained():
        fits = (p for p in _SOURCES if re.fullmatch(p, f"{x.name}.{x.tag}"))
        of_source[next(fits)].append(x)
    for pattern, (whose, where) in _SOURCES.items():
        weights = of_source[pattern]
        tags, licences = (
            ", ".join(sorted({getattr(x, field) for x in weights})) for field in ("tag", "licence")
        )
        rows.append(f"| {whose} | {len(weights)} | {tags} | {licences} | {where} |")
    return "\n".join(rows)


def _costs(a: arch.Architecture) -> str:
    cost = arch.count(a)
    return f"{cost.flops / 1e9:.3f} | {cost.params / 1e6:.3f} | {cost.acts / 1e6:.3f}"


# by page
TABLES = {
    "architectures.md": {"named networks": named_networks, "paper rows": paper_rows},
    "augmentation.md": {"cost": cpu_tables.augmentation},
    "config-keys.md": {"recipe keys": config_tables.recipe},
    "curves.md": {
        "correlations": cpu_tables.correlations,
        "balance": cpu_tables.balance,
        "correlations largest": cpu_tables.correlations_largest,
    },
    "data.md": {"host pipeline": cpu_tables.host_pipeline},
    "fine-tuning.md": {
        "small network": finetune_tables.small,
        "imagenet": finetune_tables.imagenet,
        "until equal": finetune_tables.until_equal,
        "until equal imagenet": finetune_tables.until_equal_imagenet,
        "ablations": finetune_tables.ablations,
    },
    "weights.md": {"counterparts": counterparts},
    "weights-by-name.md": {
        "weights by name": weights_by_name,
        "sources of weights": sources_of_weights,
    },
    "performance.md": {
        "train step": speed_tables.train_step,
        "grouped conv": speed_tables.grouped_conv,
        "compile time": speed_tables.compile_time,
        "bytes": bytes_tables.before_and_after,
        "remat": bytes_tables.remat,
    },
    "accelerators.md": {
        "program": accelerator_programs.program,
        "targets": accelerator_programs.targets,
        "kinds": accelerator_programs.kinds,
        "causes": accelerator_programs.causes,
        "correlations": accelerator_tables.correlations,
        "curve programs": accelerator_tables.curve_programs,
        "alphas": accelerator_tables.alphas,
        "shares example": shares_tables.example,
        "shares": shares_tables.alphas,
        "shares fronts": shares_tables.fronts,
        "shares all": shares_tables.all_shares,
        "shares source": shares_tables.source,
        "rows memory": accelerator_tables.rows_memory,
        "rows bytes": accelerator_tables.rows_bytes,
        "rows correlations": accelerator_tables.rows_correlations,
        "v100": accelerator_tables.v100,
        "outcomes": accelerator_programs.outcomes,
        "source": accelerator_programs.source,
    },
    "scaling.md": {
        "growth": scaling_tables.growth,
        "example": scaling_tables.example,
        "ResNet-RS": resnet_rs,
    },
    "search.md": {"halving": halving_table.table},
    "scale-out.md": {
        "weak scaling": scale_out.table,
        "reductions": scale_out.reductions_table,
    },
    "recipe.md": {"digits": cpu_tables.digits},
    "results.md": {"paper networks": scaling_tables.paper_networks, "files": results_table.files},
    "study.md": {"study": report_tables.study},
    "paper.md": {
        "claims runtime": report_tables.runtime_claims,
        "claims errors": report_tables.error_claims,
        "hours": report_tables.hours,
    },
}


def with_tables(page: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """Returns a page with each of `tables`, between its two markers, made anew.

    Raises:
        ValueError: the page lacks a table's markers.
    """
    for name, make in tables.items():
        start, end = f"<!-- table: {name} -->\n", "\n<!-- end -->"
        before, found, rest = page.partition(start)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"no {start.strip()} followed by {end.strip()} in the page")
        page = f"{before}{start}{make()}{end}{after}"
    return page


def differing() -> list[str]:
    """Returns the pages whose tables are not what the code and the files of results say."""
    return [name for name, (page, made) in _pages().items() if page != made]


def write() -> None:
    """Writes the tables into their pages."""
    for name, (page, made) in _pages().items():
        if page != made:
            (FOLDER / name).write_text(made, encoding="utf-8")


def _pages() -> dict[str, tuple[str, str]]:
    """Each page as it is, and as it would be made now."""
    pages = {name: (FOLDER / name).read_text(encoding="utf-8") for name in TABLES}
    return {name: (page, with_tables(page, TABLES[name])) for name, page in pages.items()}


MAKER = maker.Maker(differing, write)

if __name__ == "__main__":
    sys.exit(maker.run(__doc__, MAKER, "docs.make_tables"))
