"""Keys of a `config.json`, also inside `pretrained_cfg`: followed ones, and those without effect.

The keys are those of timm's `PretrainedCfg` and `save_config_for_hf` (version 1.0.31), and those of
transformers' `PretrainedConfig` and `TimmWrapperConfig`. Keys in neither list are not followed, and
the user is told so, as for unknown keys.
"""

from collections.abc import Mapping
from typing import Any

# `beside` follows them, or refuses what contradicts
FOLLOWED = frozenset(
    {
        *("architecture", "model_args", "pretrained_cfg", "license"),
        *("num_classes", "num_labels", "num_features", "global_pool"),
        *("label_names", "label_descriptions", "id2label", "label2id"),
        *("input_size", "mean", "std", "crop_pct", "crop_mode", "interpolation"),
    }
)
# Keys that do not change what a network computes: a file's origin, names of tensors, values that
# follow from other keys, and settings of how a program stores its files.
WITHOUT_EFFECT = frozenset(
    {
        *("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "tag"),
        *("custom_load", "description", "origin_url", "paper_name", "paper_ids", "notes"),
        *("first_conv", "classifier", "pool_size", "test_pool_size", "min_input_size"),
        *("architectures", "model_type", "transformers_version", "initializer_range"),
        *("_name_or_path", "_commit_hash", "torch_dtype", "dtype", "return_dict", "use_cache"),
    }
)
_MOST, _LONGEST = 8, 40  # keys that are named, characters of a value


def not_followed(content: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns keys that say something and are not followed, with their values, for people.

    Args:
        content: of the file.
        settings: its `pretrained_cfg`.
    """
    known = FOLLOWED | WITHOUT_EFFECT
    others = {key: x for key, x in {**settings, **content}.items() if key not in known}
    words = [f"{key} {_short(x)}" for key, x in others.items() if not _is_empty(x)]
    more = [f"and {len(words) - _MOST} more"] if len(words) > _MOST else []
    return (*words[:_MOST], *more)


def class_names(content: Mapping[str, Any], settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of the classes in the order of their labels; empty: there are none.

    Args:
        content: of the file.
        settings: its `pretrained_cfg`.

    Raises:
        ValueError: they are no names by label, or two keys contradict each other.
    """
    descriptions = content.get("label_descriptions", settings.get("label_descriptions"))
    words = descriptions if isinstance(descriptions, dict) else {}
    plain = _names("label_names", content.get("label_names", settings.get("label_names")))
    by_label = _names("id2label", content.get("id2label"))
    if by_label == tuple(f"LABEL_{i}" for i in range(len(by_label))):  # transformers' own
        by_label = ()
    described = tuple(words.get(name, name) for name in plain)
    if plain and by_label and by_label not in (plain, described):
        raise ValueError("label_names and id2label name other classes")
    labels = content.get("label2id")
    numbered = _names("label2id", {x: name for name, x in labels.items()}) if labels else ()
    if by_label and numbered not in ((), by_label):
        raise ValueError("label2id and id2label contradict each other")
    return tuple(map(str, described or by_label or numbered))


def _is_empty(value: Any) -> bool:
    return value is None or value is False or value in ("", [], {})  # but not 0


def _names(key: str, names: Any) -> tuple[str, ...]:
    if isinstance(names, dict):
        if not all(str(label).isdecimal() for label in names):
            raise ValueError(f"{key} must have whole numbers for keys; got {_short(list(names))}")
        by_label = {int(label): name for label, name in names.items()}
        if sorted(by_label) != list(range(len(names))):
            raise ValueError(f"{key} must name the labels from 0 to {len(names) - 1}, each once")
        names = [by_label[label] for label in range(len(by_label))]
    if not names:
        return ()
    if not isinstance(names, list):
        raise ValueError(f"{key} must be a list; got {_short(names)}")
    return tuple(map(str, names))


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
