"""The jobs of `benchmarks.on_device`, in the order of importance."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.worker import FULL
from fastscale_jax.arch import FAMILIES, PAPER_ROWS
from fastscale_jax.convs.conv_choice import PARTS
from fastscale_jax.convs.conv_forms import FORMS, merged_groups
from fastscale_jax.convs.conv_shape import ConvShape
from fastscale_jax.measure.points import Spec

Network = tuple[str, str, float]  # base, strategy (empty: the base itself), factor of the flops

_DWR_16GF = next(
    (row.key, row.strategy, row.factor)
    for row in PAPER_ROWS
    if (row.key, row.strategy, row.flops) == ("regnetz:500mf", "dWr", 16e9)
)
BASES = ("efficientnet:b0", "regnety:500mf", "regnetz:500mf")
NETWORKS: tuple[Network, ...] = (
    *((base, "", 1.0) for base in BASES),
    ("regnety:4gf", "", 1.0),
    ("regnetz:4gf", "", 1.0),
    _DWR_16GF,
)
SCALINGS = (("", 1.0), ("dWr", 4.0), ("w", 4.0), ("dwr", 4.0))
# height and width, c_in, c_out, groups, kernel, stride, with a network that has the conv
CONVS = (
    (28, 416, 416, 104, 3, 2),  # regnetz:500mf, groups of 4
    (14, 416, 416, 104, 3, 1),
    (14, 672, 672, 672, 5, 1),  # efficientnet:b0, depthwise
    (28, 88, 248, 1, 1, 2),  # regnety:500mf, projection
    (14, 480, 480, 480, 3, 1),  # efficientnet:b0
    (56, 144, 144, 144, 5, 2),
    (112, 96, 96, 96, 3, 2),
    (30, 512, 512, 16, 3, 2),  # regnety:4gf, groups of 32
    (15, 512, 512, 16, 3, 1),
    (34, 1664, 1664, 104, 3, 2),  # regnetz:dWr_16gf, groups of 16
    (28, 248, 248, 62, 3, 2),  # regnety:500mf, groups of 4
    (30, 192, 512, 1, 1, 2),  # regnety:4gf, projection
)
_SMALL_CONVS = (
    (8, 16, 16, 4, 3, 2),
    (8, 16, 16, 16, 5, 1),
    (8, 8, 16, 1, 1, 2),
)


@dataclasses.dataclass(frozen=True)
class ConvPass:
    """One pass of a convolution in one form."""

    shape: ConvShape
    part: str  # one of `conv_choice.PARTS`
    form: str  # of `conv_forms.FORMS`, `phases`, or `native`
    dtype: str


@dataclasses.dataclass(frozen=True)
class Digits:
    """The command that trains on the handwritten digits."""

    epochs: int
    is_small: bool  # use a network of four blocks


Job = Spec | ConvPass | Digits
Results = dict[Job, dict[str, Any]]
_KINDS: dict[str, type] = {"step": Spec, "conv": ConvPass, "digits": Digits}


@dataclasses.dataclass(frozen=True)
class Settings:
    """The sizes of all jobs."""

    platform: str  # JAX's name: cpu or gpu
    dtype: str
    batch: int  # halved for a network that does not fit
    resolution: int  # of base networks, pixels; 0: their own
    frameworks: tuple[str, ...]  # in the order of measurement
    networks: tuple[Network, ...]
    bases: tuple[str, ...]  # of the curves
    scalings: tuple[tuple[str, float], ...]  # likewise: strategy and factor
    convs: tuple[tuple[int, ...], ...]
    epochs: int
    is_small: bool

    @classmethod
    def full(cls, platform: str, batch: int = 0) -> "Settings":
        """Returns the settings for a GPU; a `batch` of 0 is 256."""
        return cls(
            platform=platform,
            dtype=dtype_of(platform),
            batch=batch or 256,
            resolution=0,
            # eager PyTorch takes seconds, and shows which batches do not fit
            frameworks=("torch", "jax", "torch-compile"),
            networks=NETWORKS,
            bases=BASES,
            scalings=SCALINGS,
            convs=CONVS,
            epochs=10,
            is_small=False,
        )

    @classmethod
    def small(cls, platform: str, batch: int = 0) -> "Settings":
        """Returns settings that take about two minutes on a CPU; a `batch` of 0 is 4."""
        tiny = ("dWr", 0.05)
        return dataclasses.replace(
            cls.full(platform, batch or 4),
            resolution=32,
            frameworks=("torch", "jax"),
            networks=(("regnety:500mf", *tiny), ("regnetz:500mf", "", 1.0)),
            bases=("regnetz:500mf",),
            scalings=(("", 1.0), tiny),
            convs=_SMALL_CONVS,
            epochs=1,
            is_small=True,
        )

    def without_torch(self) -> "Settings":
        """Returns these settings without PyTorch."""
        return dataclasses.replace(self, frameworks=("jax",))


def dtype_of(platform: str) -> str:
    """Returns the dtype of the measurements on a platform."""
    return "float32" if platform == "cpu" else "bfloat16"


def plan(settings: Settings, known: Results) -> dict[str, Sequence[Job]]:
    """Returns the jobs of each section, the most important first.

    Args:
        settings: the sizes.
        known: results of jobs. A network that ran out of memory gets half the batch, in all
            frameworks.
    """

    def step(framework: str, network: Network) -> Spec:
        specs = (Spec(framework, *network, b, *size) for b in _halves(settings.batch))
        return next(spec for spec in specs if spec.batch_size == 1 or not _is_full(spec, known))

    size = (settings.dtype, settings.resolution)
    scaled = [[(base, *scaling) for base in settings.bases] for scaling in settings.scalings]
    # ours and eager PyTorch in pairs, because the time may end at any job; compiled PyTorch last
    together = [name for name in settings.frameworks if name != "torch-compile"]
    later = [name for name in settings.frameworks if name == "torch-compile"]
    curves = [step(name, one) for networks in scaled for name in together for one in networks]
    curves += [step(name, one) for name in later for networks in scaled for one in networks]
    frameworks = settings.frameworks
    return {
        "train": [step(name, network) for name in frameworks for network in settings.networks],
        "curves": curves,
        "convs": list(_convs(settings)),
        "digits": [Digits(settings.epochs, settings.is_small)],
    }


def as_record(job: Job) -> dict[str, Any]:
    """Returns a job, ready for JSON."""
    kind = next(name for name, of in _KINDS.items() if type(job) is of)
    return {"kind": kind, **dataclasses.asdict(job)}


def job_of(record: Mapping[str, Any]) -> Job:
    """Returns the job of a record.

    Raises:
        KeyError: the record has no job.
        TypeError: the record's job has wrong fields.
    """
    of = _KINDS[record["kind"]]
    fields = {field.name: record[field.name] for field in dataclasses.fields(of)}
    if of is ConvPass:
        fields["shape"] = ConvShape(**fields["shape"])
    return of(**fields)


def network_of(spec: Spec) -> Network:
    """Returns the network of a training step."""
    return spec.base, spec.strategy, spec.factor


def name_of(spec: Spec) -> str:
    """Returns a network's name for commands: `regnetz:500mf`, `regnetz:dWr_16gf`."""
    if not spec.strategy:
        return spec.base
    family, base = spec.base.split(":")
    budgets = (row.flops for row in PAPER_ROWS if (row.key, *row[3::2]) == network_of(spec))
    flops = next(budgets, 0)
    amount = f"{flops / 1e9:g}gf" if flops else f"x{spec.factor:g}"
    prefix = "" if base == FAMILIES[family].default else f"{base}_"
    return f"{family}:{prefix}{spec.strategy}_{amount}"


def title(job: Job) -> str:
    """Returns a job's name as text."""
    if isinstance(job, Digits):
        return f"digits, {job.epochs} epochs"
    if isinstance(job, ConvPass):
        return f"{conv_name(job.shape)}, {job.part}, {job.form}"
    return f"{name_of(job)}, {job.batch_size} images, {job.framework}"


def conv_name(shape: ConvShape) -> str:
    """Returns the sizes of a conv in a few characters: `28x416 g4 3x3/2`."""
    channels = f"{shape.c_in}" + (f">{shape.c_out}" if shape.c_out != shape.c_in else "")
    group = "" if shape.groups == 1 else " dw" if shape.is_depthwise else f" g{shape.group_in}"
    stride = f"/{shape.stride}" if shape.stride > 1 else ""
    return f"{shape.height}x{channels}{group} {shape.kernel}x{shape.kernel}{stride}"


def _convs(settings: Settings) -> Iterator[ConvPass]:
    for side, c_in, c_out, groups, kernel, stride in settings.convs:
        shape = ConvShape(settings.batch, side, side, c_in, c_out, groups, kernel, stride)
        for part in PARTS:
            for form in _forms(shape, part, settings.platform):
                yield ConvPass(shape, part, form, settings.dtype)


def _forms(shape: ConvShape, part: str, platform: str) -> Sequence[str]:
    """The forms of a conv's pass; forms that are new in `FORMS` are tried on every conv."""
    fits = {
        "im2col": shape.groups > 1,
        "shift": shape.is_depthwise,
        "product": shape.is_pointwise,
        "merged": platform == "tpu" and merged_groups(shape) > 1,
    }
    has_phases = part == "input_gradient" and shape.groups > 1 and shape.stride > 1
    others = ["phases"] * has_phases + ["native"] * (platform == "cpu")
    return [form for form in FORMS if fits.get(form, True)] + others


def _halves(batch: int) -> Iterator[int]:
    while batch:
        yield batch
        batch //= 2


def _is_full(spec: Spec, known: Results) -> bool:
    """Whether the network ran out of memory with such a batch, in any framework."""
    return any(
        isinstance(job, Spec)
        and dataclasses.replace(job, framework=spec.framework) == spec
        and record.get("error") == FULL
        for job, record in known.items()
    )
