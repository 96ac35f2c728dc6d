"""The description of a network, read by the counter, the scaler, Flax and PyTorch."""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict, FieldReference

from fastscale_jax.arch.blocks import (
    FUSED,
    RESIDUAL,
    BlockShape,
    ConvSizes,
    FeatureMap,
    Stage,
    stem_convs,
)
from fastscale_jax.arch.rounding import half_up
from fastscale_jax.arch.validation import STAGE_FIELDS, validate


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network. Every family is a function that returns one of these.

    Fields are those of `config.model`, with the per-stage tuples gathered into `stages`.
    `from_config` checks its values; for a value made in another way, call `validate`.
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
    padding: str = "symmetric"  # of convs and pooling; `same`: TensorFlow's, one-sided
    bn_eps: float = 1e-5  # added to BatchNorm's variances
    in_channels: int = 3  # of the images
    fused_stages: int = 0  # mbconv only: leading stages with fused blocks, which have no SE
    se_of: str = "input"  # width that `se_ratio` multiplies, as in `validation.SE_BASES`
    se_activation: str = ""  # between the layers of SE; empty: `activation`
    final_activation: bool = False  # activates the last stage's output, if there is no head conv
    pooled_skips: bool = False  # projected skips with a stride average 2x2 pixels first (ResNet-D)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each stage's blocks."""
        return (FUSED,) * self.fused_stages + (self.block,) * (len(self.stages) - self.fused_stages)

    @functools.cached_property  # `validate` and `count` both read it
    def stage_shapes(self) -> tuple[tuple[BlockShape, BlockShape, int], ...]:
        """For each stage: shape of the first block, shape of the other blocks, depth.

        All blocks after the first are alike, so two shapes describe a stage of any depth.
        """
        c_in, shapes = self.stem_width, []
        for stage, kind in zip(self.stages, self.kinds, strict=True):
            first = self._block_shape(kind, stage, c_in, stage.stride)
            shapes.append((first, self._block_shape(kind, stage, stage.width, 1), stage.depth))
            c_in = stage.width
        return tuple(shapes)

    def blocks(self) -> Iterator[tuple[str, BlockShape]]:
        """Yields every block in order as (name, shape), named `s1.b1`, `s1.b2` and so on."""
        for index, (first, rest, depth) in enumerate(self.stage_shapes, start=1):
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
        """Channels of the pooled features, the classifier's input."""
        return self.head_width or self.stages[-1].width

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        return self.resolution, self.resolution, self.in_channels

    @property
    def activation_in_se(self) -> str:
        """The activation between the layers of squeeze-and-excitation."""
        return self.se_activation or self.activation

    @property
    def stem_convs(self) -> tuple[ConvSizes, ...]:
        """The convs of the stem, in order; a max-pool may follow."""
        return stem_convs(self.stem, self.in_channels, self.stem_width)

    @property
    def pools(self) -> bool:
        """Whether a 3x3 max-pool of stride 2 follows the stem's convs."""
        return self.stem == "conv7x7_pool"

    @property
    def stem_strides(self) -> tuple[int, ...]:
        """Strides of the stem's convs, and of its max-pool."""
        return (*(conv.stride for conv in self.stem_convs), *((2,) if self.pools else ()))

    @functools.cached_property
    def scales_groups(self) -> bool:
        """Whether scaling changes group widths; depthwise and dense convs keep theirs."""
        in_groups = self.block in ("bottleneck", "linear_bottleneck")
        return in_groups and any(stage.group_width != 1 for stage in self.stages)

    @property
    def has_grouped_mbconv(self) -> bool:
        """Whether some mbconv blocks have groups of several channels, as in timm's RegNetZ."""
        return self.block == "mbconv" and any(stage.group_width > 1 for stage in self.stages)

    @property
    def feature_maps(self) -> tuple[FeatureMap, ...]:
        """The outputs of the stem's convs (before a max-pool) and of each stage."""
        stride = math.prod(conv.stride for conv in self.stem_convs)
        maps = [FeatureMap("stem", self.stem_width, stride)]
        stride = math.prod(self.stem_strides)
        for index, stage in enumerate(self.stages, start=1):
            stride *= stage.stride
            maps.append(FeatureMap(f"s{index}", stage.width, stride))
        return tuple(maps)

    def _block_shape(self, kind: str, stage: Stage, c_in: int, stride: int) -> BlockShape:
        c_out, is_mbconv = stage.width, self.block == "mbconv"
        has_expansion = not is_mbconv or stage.expansion != 1
        c_mid = int(c_in * stage.expansion) if is_mbconv else round(c_out * stage.expansion)
        if kind == FUSED or not self.se_ratio:
            c_se = 0
        elif self.se_of == "input":
            c_se = int(c_in * self.se_ratio) if is_mbconv else round(c_in * self.se_ratio)
        else:
            c_se = half_up((c_mid if self.se_of == "inner" else c_out) * self.se_ratio, 8)
        keeps_shape = stride == 1 and c_in == c_out
        is_residual = kind in RESIDUAL
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
            is_residual or keeps_shape,
            is_residual and not keeps_shape,
            "c" if self.se_of == "output" else "b",
            self.pooled_skips and stride > 1,
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
        """Returns this network as plain values, equal to those in records of older versions.

        Fields of `LATER_FIELDS` are left out if they have their defaults.
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
            ValueError: `config` has no fields; a field is missing, unknown, of the wrong type or
                out of range; per-stage tuples differ in length; a group width does not divide its
                channels; or the resolution is too small for the strides.
        """
        values = _fields_of(config)
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


_CONFIG_FIELDS = {
    *(field.name for field in dataclasses.fields(Architecture) if field.name != "stages"),
    *STAGE_FIELDS,
}
# Fields that configs of older versions lack, with their defaults.
LATER_FIELDS: Mapping[str, object] = {
    "padding": "symmetric",
    "bn_eps": 1e-5,
    "in_channels": 3,
    "fused_stages": 0,
    "se_of": "input",
    "se_activation": "",
    "final_activation": False,
    "pooled_skips": False,
}


def as_architecture(network: "Architecture | ConfigDict | Mapping[str, object]") -> Architecture:
    """Returns `network` as an `Architecture`; a config is checked on the way.

    Raises:
        ValueError: as `Architecture.from_config`.
    """
    return network if isinstance(network, Architecture) else Architecture.from_config(network)


def _fields_of(config: ConfigDict | Mapping[str, object]) -> dict[str, Any]:
    if not isinstance(config, ConfigDict):
        if not isinstance(config, Mapping):
            raise ValueError(
                "a network must be an Architecture, or the fields of config.model, which "
                f"fastscale_jax.model_config gives for a name; got {type(config).__name__}"
            )
        return dict(config)
    # plain `items()` looks each field up again and takes twice as long
    fields = config.items(preserve_field_references=True)
    return {name: x.get() if isinstance(x, FieldReference) else x for name, x in fields}


def _per_stage(field: str, value: object) -> tuple[object, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(value)
    raise ValueError(f"{field} must be a tuple with one entry per stage; got {value!r}")


def _refuse_fields(fields: object) -> None:
    names = set(fields)  # pyright: ignore[reportArgumentType]
    problems = [
        f"{label} {', '.join(sorted(wrong))}"
        for label, wrong in (
            ("missing", _CONFIG_FIELDS - LATER_FIELDS.keys() - names),
            ("unknown", names - _CONFIG_FIELDS),
        )
        if wrong
    ]
    raise ValueError(f"config.model has the wrong fields: {'; '.join(problems)}")
