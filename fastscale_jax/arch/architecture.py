"""What a network is: one value that counter, scaler, Flax and PyTorch all read."""

import dataclasses
import numbers
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ml_collections import ConfigDict

from fastscale_jax.arch.spelling import did_you_mean, nearest

BLOCKS = ("bottleneck", "linear_bottleneck", "mbconv")
STEMS = ("conv3x3", "conv7x7_pool")
ACTIVATIONS = ("relu", "relu6", "silu")
PADDINGS = ("symmetric", "same")

_MOST = 2**31 - 1  # of any size
MOST_BLOCKS = 100_000  # of a network; the deepest variant, `b7_d_x1024`, has 56,320


class Stage(NamedTuple):
    """A run of equal blocks; the first one carries the stride and the change of width."""

    depth: int  # blocks
    width: int  # output channels
    stride: int  # of the first block's spatial conv
    kernel: int  # side of the spatial conv
    group_width: int  # channels per group of the spatial conv; 1: depthwise
    expansion: float  # inner width over output width; in `mbconv`, over input width


class BlockShape(NamedTuple):
    """Sizes of one block, in channels. Flax, PyTorch and the counter read these."""

    kind: str  # one of BLOCKS
    c_in: int
    c_mid: int
    c_out: int
    c_se: int  # 0: no squeeze-and-excitation
    kernel: int
    stride: int
    group_width: int
    has_expansion: bool  # a 1x1 conv from c_in to c_mid comes first
    has_skip: bool
    has_projection: bool  # the skip is a 1x1 conv with BatchNorm

    @property
    def groups(self) -> int:
        """Groups of the spatial conv."""
        return self.c_mid // self.group_width


class FeatureMap(NamedTuple):
    """What a stage returns, as `models.Network.features` does."""

    name: str  # `stem`, `s1`, …
    channels: int
    stride: int  # pixels of the image to one of the map


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network. Every family is a function that returns one of these.

    Fields are those of `config.model`, with the per-stage tuples gathered into `stages`. A value
    made by hand is not checked; `validate` does that, and every way in from a config calls it.
    """

    name: str
    block: str
    resolution: int
    stem: str
    stem_width: int
    stages: tuple[Stage, ...]
    se_ratio: float
    head_width: int
    activation: str
    num_classes: int  # 0: no classifier
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    padding: str = "symmetric"  # of convs and pooling; `same` is TensorFlow's, one-sided
    bn_eps: float = 1e-5  # added to BatchNorm's variances

    def stage_shapes(self) -> Iterator[tuple[BlockShape, BlockShape, int]]:
        """Yields for each stage its first block, the block that follows, and the stage's depth.

        All blocks after the first are alike, so two shapes describe a stage of any depth.
        """
        c_in = self.stem_width
        for stage in self.stages:
            first = self._block_shape(stage, c_in, stage.stride)
            yield first, self._block_shape(stage, stage.width, 1), stage.depth
            c_in = stage.width

    def blocks(self) -> Iterator[tuple[str, BlockShape]]:
        """Yields every block in order as (name, shape), named `s1.b1`, `s1.b2` and so on."""
        for index, (first, rest, depth) in enumerate(self.stage_shapes(), start=1):
            for block in range(1, depth + 1):
                yield f"s{index}.b{block}", first if block == 1 else rest

    def drop_rates(self) -> list[float]:
        """Returns for each block, in order, the chance that stochastic depth drops its branch.

        It grows linearly from the first block to `stochastic_depth` at the last (arXiv:1603.09382).
        """
        blocks = sum(stage.depth for stage in self.stages)
        return [self.stochastic_depth * index / blocks for index in range(1, blocks + 1)]

    @property
    def vector_width(self) -> int:
        """Channels of what is pooled, which the classifier takes."""
        return self.head_width or self.stages[-1].width

    @property
    def feature_maps(self) -> tuple[FeatureMap, ...]:
        """The outputs of the stem's conv, before a ResNet pools, and of each stage."""
        stride = 2
        maps = [FeatureMap("stem", self.stem_width, stride)]
        if self.stem == "conv7x7_pool":
            stride *= 2
        for index, stage in enumerate(self.stages, start=1):
            stride *= stage.stride
            maps.append(FeatureMap(f"s{index}", stage.width, stride))
        return tuple(maps)

    def _block_shape(self, stage: Stage, c_in: int, stride: int) -> BlockShape:
        kind, c_out = self.block, stage.width
        keeps_shape = stride == 1 and c_in == c_out
        if kind == "mbconv":
            c_mid = int(c_in * stage.expansion)
            c_se = int(c_in * self.se_ratio)
            has_expansion = stage.expansion != 1
        else:
            c_mid = round(c_out * stage.expansion)
            c_se = round(c_in * self.se_ratio)
            has_expansion = True
        residual = kind == "bottleneck"
        return BlockShape(
            kind,
            c_in,
            c_mid,
            c_out,
            c_se,
            stage.kernel,
            stride,
            stage.group_width,
            has_expansion,
            residual or keeps_shape,
            residual and not keeps_shape,
        )

    def to_config(self) -> ConfigDict:
        """Returns this network as `config.model`: numbers, strings and tuples only."""
        values: dict[str, object] = {}
        for field in dataclasses.fields(self):
            if field.name != "stages":
                values[field.name] = getattr(self, field.name)
                continue
            columns = zip(*self.stages, strict=True)
            values.update(zip(STAGE_FIELDS, columns, strict=True))
        return ConfigDict(values)

    def to_record(self) -> dict[str, object]:
        """Returns this network as plain values that older versions' records can be compared with.

        Fields of `LATER_FIELDS` are left out where they have their defaults.
        """
        values = self.to_config().to_dict()
        return {key: x for key, x in values.items() if LATER_FIELDS.get(key) != x}

    @classmethod
    def from_config(cls, config: ConfigDict | Mapping[str, object]) -> "Architecture":
        """Returns the network that `config.model` describes.

        Args:
            config: the fields of `config.model`; not modified. Those of `LATER_FIELDS` may be
                missing: they get their defaults.

        Raises:
            ValueError: a field is missing, unknown, of the wrong type or out of range; per-stage
                tuples differ in length; a group width does not divide its channels; or the
                resolution is too small for the strides.
        """
        values = dict(config.items())
        if not _CONFIG_FIELDS - LATER_FIELDS.keys() <= values.keys() <= _CONFIG_FIELDS:
            _refuse_fields(values.keys())
        columns = [_per_stage(field, values.pop(field)) for field in STAGE_FIELDS]
        lengths = {field: len(column) for field, column in zip(STAGE_FIELDS, columns, strict=True)}
        if len(set(lengths.values())) != 1:
            summary = ", ".join(f"{field} has {n}" for field, n in lengths.items())
            raise ValueError(f"per-stage fields must all have the same length; {summary}")
        stages = tuple(map(Stage._make, zip(*columns, strict=True)))
        architecture = cls(stages=stages, **values)  # pyright: ignore[reportArgumentType]
        validate(architecture)
        return architecture


# `config.model`'s name for each field of Stage, in Stage's order.
STAGE_FIELDS = ("depths", "widths", "strides", "kernels", "group_widths", "expansions")
_CONFIG_FIELDS = {
    *(field.name for field in dataclasses.fields(Architecture) if field.name != "stages"),
    *STAGE_FIELDS,
}
# What configs of older versions lack, and what they mean.
LATER_FIELDS: Mapping[str, object] = {"padding": "symmetric", "bn_eps": 1e-5}


def as_architecture(network: "Architecture | ConfigDict | Mapping[str, object]") -> Architecture:
    """Returns `network` as an `Architecture`; a config is checked on the way.

    Raises:
        ValueError: as `Architecture.from_config`.
    """
    return network if isinstance(network, Architecture) else Architecture.from_config(network)


def validate(architecture: Architecture) -> None:
    """Checks that a network can be built.

    Raises:
        ValueError: says which field is wrong and what would be right.
    """
    a = architecture
    if not isinstance(a.name, str) or not a.name or "/" in a.name or not a.name.isprintable():
        raise ValueError(
            f"name must be a text without slashes and control characters, not empty; got {a.name!r}"
        )
    _check_choice("block", a.block, BLOCKS)
    _check_choice("stem", a.stem, STEMS)
    _check_choice("activation", a.activation, ACTIVATIONS)
    _check_choice("padding", a.padding, PADDINGS)
    _check_real("bn_eps", a.bn_eps, 1e-9, 1)
    for field, least in (
        ("resolution", 1),
        ("stem_width", 1),
        ("num_classes", 0),
        ("head_width", 0),
    ):
        _check_int(field, getattr(a, field), least)
    _check_real("se_ratio", a.se_ratio, 0, 1)
    for field in ("dropout", "stochastic_depth"):
        if _check_real(field, getattr(a, field), 0, 1) == 1:
            raise ValueError(f"{field} must be below 1; got 1")
    if not a.stages:
        raise ValueError("a network needs at least one stage; the per-stage fields are empty")
    for index, stage in enumerate(a.stages, start=1):
        _check_stage(a.block, index, stage)
    blocks = sum(stage.depth for stage in a.stages)
    if blocks > MOST_BLOCKS:
        raise ValueError(f"a network has at most {MOST_BLOCKS:,} blocks; depths sum to {blocks:,}")
    for index, (first, rest, depth) in enumerate(a.stage_shapes(), start=1):
        _check_groups(index, first)
        if depth > 1:
            _check_groups(index, rest)
    _check_resolution(a)


def _check_stage(block: str, index: int, stage: Stage) -> None:
    for field, value in zip(STAGE_FIELDS[:-1], stage, strict=False):
        _check_int(f"{field} of stage {index}", value, 1)
    expansion = _check_real(f"expansions of stage {index}", stage.expansion, 0, 64)
    if expansion == 0:
        raise ValueError(f"expansions of stage {index} must be above 0")
    if stage.stride > 2:
        raise ValueError(f"strides of stage {index} must be 1 or 2; got {stage.stride}")
    if stage.kernel % 2 == 0:
        raise ValueError(f"kernels of stage {index} must be odd; got {stage.kernel}")
    if block == "mbconv" and stage.group_width != 1:
        raise ValueError(
            f"mbconv is depthwise: group_widths of stage {index} must be 1; got {stage.group_width}"
        )


def _check_groups(index: int, shape: BlockShape) -> None:
    if shape.c_mid < 1 or shape.c_mid % shape.group_width:
        raise ValueError(
            f"group width {shape.group_width} of stage {index} does not divide its inner width "
            f"{shape.c_mid} (block {shape.kind}, width {shape.c_out})"
        )


def _check_resolution(a: Architecture) -> None:
    """A stride on a single pixel halves nothing: that resolution is too small."""
    strides = [2] if a.stem == "conv3x3" else [2, 2]
    strides += [stage.stride for stage in a.stages]
    size = a.resolution
    for stride in strides:
        if stride == 2 and size == 1:
            smallest = 2 ** (sum(s == 2 for s in strides) - 1) + 1
            raise ValueError(
                f"resolution {a.resolution} is too small for the strides "
                f"{tuple(strides)} (stem first); the smallest that fits is {smallest}"
            )
        size = (size - 1) // stride + 1


def _check_choice(field: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        question = did_you_mean(nearest(str(value), choices))
        raise ValueError(f"unknown {field} {value!r}; {question}choose one of {', '.join(choices)}")


def _check_int(field: str, value: object, low: int) -> None:
    if type(value) is int and low <= value <= _MOST:
        return
    if type(value) is int and value > _MOST:
        raise ValueError(f"{field} must be at most {_MOST:,}")
    raise ValueError(f"{field} must be a whole number of at least {low}; got {value!r}")


def _check_real(field: str, value: object, low: float, high: float) -> float:
    if not isinstance(value, bool) and isinstance(value, numbers.Real):
        number = float(value)
        if low <= number <= high:
            return number
    raise ValueError(f"{field} must be a number from {low} to {high}; got {value!r}")


def _per_stage(field: str, value: object) -> tuple[object, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(value)
    raise ValueError(f"{field} must be a tuple with one entry per stage; got {value!r}")


def _refuse_fields(fields: object) -> None:
    names = set(fields)  # pyright: ignore[reportArgumentType]
    problems = [
        f"{label} {', '.join(sorted(which))}"
        for label, which in (
            ("missing", _CONFIG_FIELDS - LATER_FIELDS.keys() - names),
            ("unknown", names - _CONFIG_FIELDS),
        )
        if which
    ]
    raise ValueError(f"config.model has the wrong fields: {'; '.join(problems)}")
