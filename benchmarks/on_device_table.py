"""Tables of the results of `benchmarks.on_device`, with a list of possible improvements."""

import collections
import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from benchmarks.on_device_jobs import (
    BASES,
    SCALINGS,
    ConvPass,
    Digits,
    Results,
    conv_name,
    name_of,
    network_of,
    title,
)
from benchmarks.worker import FULL
from fastscale_jax.arch import Complexity
from fastscale_jax.convs import conv_choice
from fastscale_jax.measure import curve_figures, roofline
from fastscale_jax.measure.points import FRAMEWORKS, Spec

_NOTABLE = 1.05  # least speed-up that is worth a change
_NOTHING = "-"
_RESULTS = pathlib.Path(__file__).parent / "results"
_PLATFORMS = {"gpu": "cuda"}  # platform of compiled programs, by JAX's name of the backend


@dataclasses.dataclass(frozen=True)
class Floors:
    """Least milliseconds of compiled training steps on one device."""

    device: str = ""
    of_steps: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, path: pathlib.Path) -> "Floors":
        """Reads a file with `device`, and `floors` by `<network>/<batch>/<dtype>`.

        Raises:
            ValueError: the file cannot be read, or has another format.
        """
        try:
            content = json.loads(path.read_text())
            floors = {name: float(one["floor_ms"]) for name, one in content["floors"].items()}
            return cls(content["device"], floors)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f'{path} must have {{"device": …, "floors": {{"<network>/<batch>/<dtype>": '
                '{"floor_ms": …}}}'
            ) from error

    @classmethod
    def kept(cls, device: str) -> "Floors":
        """Returns the floors of a device from `benchmarks/results`; empty: no file."""
        all_floors = map(cls.read, sorted(_RESULTS.glob("program_floors_*.json")))
        return next((floors for floors in all_floors if floors.device == device), cls())

    def check(self, device: str) -> None:
        """Checks that the floors are of a device.

        Raises:
            ValueError: they are not; the message has both devices.
        """
        if self.device and self.device != device:
            raise ValueError(f"the floors are of {self.device}, and the results of {device}")

    def ms(self, spec: Spec) -> float:
        """Returns the floor of a step in milliseconds; NaN: unknown."""
        name = f"{name_of(spec)}/{spec.batch_size}/{spec.dtype}"
        return math.nan if spec.resolution else self.of_steps.get(name, math.nan)


def report(header: Mapping[str, Any], known: Results, floors: Floors) -> str:
    """Returns all tables as text, with possible improvements at the end.

    Args:
        header: the file's first line: machine and ceilings.
        known: results by job.
        floors: floors of compiled programs.

    Raises:
        ValueError: the floors are of another device.
    """
    machine, ceilings = header["machine"], roofline.Ceilings(**header["ceilings"])
    floors.check(machine["device"])
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    steps, changes = _steps(known, ceilings, floors)
    convs, more = _convs(known, ceilings, machine["platform"])
    failed = [[title(job), x["error"]] for job, x in known.items() if "error" in x]
    parts = [
        f"{machine['device']}, {machine['date']}, {versions}\n"
        f"ceilings: {ceilings.flops / 1e12:.4g} TFLOPS, {ceilings.memory / 1e9:.4g} GB/s "
        f"({ceilings.origin})",
        _columns("Training steps", steps),
        _columns(
            "Pearson's r of a step's time, over the points of the curves", _correlations(known)
        ),
        _columns("Convs, ms a pass (GB/s of the least bytes)", convs),
        _columns("Digits", _digits(known)),
        _columns("Failed", [["job", "why"], *failed]),
        _columns("What to change", [["where", "what"], *changes, *more]),
    ]
    return "\n\n".join(part for part in parts if part)


def _steps(
    known: Results, ceilings: roofline.Ceilings, floors: Floors
) -> tuple[list[list[str]], list[list[str]]]:
    """The table of training steps, and the networks for which PyTorch is faster."""
    groups: dict[Spec, dict[str, dict[str, Any]]] = collections.defaultdict(dict)
    for job, record in known.items():
        if isinstance(job, Spec):
            groups[dataclasses.replace(job, framework="")][job.framework] = record
    header = ["network", "images", "ours ms", "img/s", "eager ms", "compiled ms", "ours/PyTorch"]
    header += ["floor ms", "share", "program's", "share", "compiling s", "peak GB"]
    rows, changes = [header], []
    for spec, by_framework in groups.items():
        ours = by_framework.get("jax", {})
        times = {name: x["step_ms"] for name, x in by_framework.items() if "step_ms" in x}
        rivals = {name: ms for name, ms in times.items() if name != "jax"}
        rival = min(rivals, key=lambda name: rivals[name], default="")
        own, best = times.get("jax", math.nan), rivals.get(rival, math.nan)
        floor, program = _floor_ms(by_framework, spec, ceilings), floors.ms(spec)
        both = [ours, by_framework.get(rival, {})]
        rows.append(
            [
                name_of(spec),
                str(spec.batch_size),
                *(_time(by_framework.get("jax")), _number(1000 * spec.batch_size / own, "{:,.0f}")),
                *(_time(by_framework.get("torch")), _time(by_framework.get("torch-compile"))),
                _number(own / best, "{:.2f}"),
                *(_number(floor, "{:.4g}"), _number(floor / own, "{:.0%}")),
                *(_number(program, "{:.4g}"), _number(program / own, "{:.0%}")),
                ", ".join(_number(x.get("compile_seconds", math.nan), "{:.1f}") for x in both),
                ", ".join(_number(x.get("memory_bytes", math.nan) / 1e9, "{:.2f}") for x in both),
            ]
        )
        where = f"{name_of(spec)}, {spec.batch_size} images"
        if own > _NOTABLE * best:
            changes.append([where, f"{rival} is x{own / best:.2f} as fast as ours"])
    return rows, changes


def _floor_ms(found: Mapping[str, Any], spec: Spec, ceilings: roofline.Ceilings) -> float:
    record = next((x for x in found.values() if "flops" in x), None)
    if record is None:
        return math.nan
    cost = Complexity(record["flops"], record["params"], record["acts"])
    itemsize = jnp.dtype(spec.dtype).itemsize
    floor = roofline.floor(cost, spec.batch_size, itemsize, ceilings, training=True)
    return 1000 * floor.seconds


def _correlations(known: Results) -> list[list[str]]:
    """Pearson's r of each framework's times, over the points of the curves with one batch size."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = collections.defaultdict(list)
    for job, record in known.items():
        if isinstance(job, Spec) and job.base in BASES and network_of(job)[1:] in SCALINGS:
            groups[job.batch_size, job.dtype, job.resolution].append(record)
    rows = [["framework", "networks", "points", *curve_figures.COUNTS]]
    most = max(groups.values(), key=len, default=[])
    for framework in FRAMEWORKS:
        for row in curve_figures.correlations([x for x in most if x["framework"] == framework]):
            r = (f"{x:.3f}" for x in (row.flops, row.params, row.acts))
            rows.append([framework, row.base or "all", str(row.points), *r])
    return rows


def _convs(
    known: Results, ceilings: roofline.Ceilings, platform: str
) -> tuple[list[list[str]], list[list[str]]]:
    """The table of convs, and those for which another form than the chosen one is faster."""
    groups: dict[ConvPass, dict[str, dict[str, Any]]] = collections.defaultdict(dict)
    for job, record in known.items():
        if isinstance(job, ConvPass):
            groups[dataclasses.replace(job, form="")][job.form] = record
    forms = list(dict.fromkeys(form for found in groups.values() for form in found))
    rows = [["conv", "part", *forms, "share", "fastest", "auto", "verdict"]]
    changes = []
    for one, found in groups.items():
        times = {form: record["ms"] for form, record in found.items() if "ms" in record}
        fastest = min(times, key=lambda form: times[form], default="")
        target = _PLATFORMS.get(platform, platform)
        dtype = jnp.dtype(one.dtype)
        auto = conv_choice.choose("auto", one.part, one.shape, dtype, target)
        verdict = _verdict(times, fastest, auto)
        floor = max(least_bytes(one) / ceilings.memory, 2 * one.shape.macs / ceilings.flops)
        cells = (_conv_cell(one, found.get(form)) for form in forms)
        share = _number(1000 * floor / times[fastest] if times else math.nan, "{:.0%}")
        name = conv_name(one.shape)
        rows.append([name, one.part, *cells, share, fastest or _NOTHING, auto, verdict])
        if verdict not in ("keep", _NOTHING):
            changes.append([f"{name}, {one.part}", verdict])
    return rows, changes


def _verdict(times: Mapping[str, float], fastest: str, auto: str) -> str:
    if not times:
        return _NOTHING
    if auto not in times:
        return f"{auto} has no time, {fastest} has"
    gain = times[auto] / times[fastest]
    return f"change to {fastest}: x{gain:.2f}" if gain > _NOTABLE else "keep"


def least_bytes(one: ConvPass) -> int:
    """Returns the bytes of a conv's three arrays; each part reads two and writes one."""
    shape = one.shape
    return jnp.dtype(one.dtype).itemsize * sum(map(math.prod, (shape.x, shape.y, shape.filters)))


def _conv_cell(one: ConvPass, record: Mapping[str, Any] | None) -> str:
    if record is None or "error" in record:
        return _time(record)
    return f"{record['ms']:.4g} ({least_bytes(one) / record['ms'] / 1e6:,.0f})"


def _digits(known: Results) -> list[list[str]]:
    rows = [["epochs", "seconds in all", "img/s", "test error %", "of the average"]]
    for job, record in known.items():
        if not isinstance(job, Digits) or "error" in record:
            continue
        errors = (record["metrics"].get(f"{x}test_top1_error", math.nan) for x in ("", "ema_"))
        speed = record["images_per_second"] or math.nan
        figures = (record["command_seconds"], "{:.1f}"), (speed, "{:,.0f}")
        rows.append(
            [
                str(job.epochs),
                *(_number(*figure) for figure in figures),
                *(_number(error, "{:.2f}") for error in errors),
            ]
        )
    return rows


def _time(record: Mapping[str, Any] | None) -> str:
    if record is None:
        return _NOTHING
    if "error" in record:
        return "no room" if record["error"] == FULL else "failed"
    return f"{record['step_ms']:.4g}"


def _number(value: float, form: str) -> str:
    return _NOTHING if math.isnan(value) else form.format(value)


def _columns(heading: str, rows: Sequence[Sequence[str]]) -> str:
    """Rows as plain text, words left-aligned; empty if there is only the header."""
    if len(rows) < 2:
        return ""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    is_words = [any(x[:1].isalpha() for x in column[1:]) for column in columns]
    is_words[0] = True
    aligned = [
        [
            x.ljust(n) if left else x.rjust(n)
            for x, n, left in zip(row, widths, is_words, strict=True)
        ]
        for row in rows
    ]
    return "\n".join([heading, *("  " + "  ".join(row).rstrip() for row in aligned)])
