"""Weights in and out, under the names of other libraries."""

import functools
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict

from fastscale_jax import arch, models
from fastscale_jax.arch import Architecture
from fastscale_jax.interop import torch_twin, weights
from fastscale_jax.interop.counterparts import COUNTERPARTS, Counterpart, closest_named
from fastscale_jax.interop.layout import LIBRARIES, OURS, tensors
from fastscale_jax.interop.weights import WeightsError
from tests.compiler import QUICKLY
from tests.golden_files import golden
from tests.passes import assert_close, images_by_rule, rule

MANUAL = pathlib.Path(__file__).parents[2] / "docs" / "weights.md"
FROM = {
    "pycls": weights.from_pycls,
    "timm": weights.from_timm,
    "torchvision": weights.from_torchvision,
}
TO = {"pycls": weights.to_pycls, "timm": weights.to_timm, "torchvision": weights.to_torchvision}


def from_theirs(network: Counterpart, state_dict: Mapping[str, Any]) -> Any:
    imported = weights.import_tensors(network.package, network.architecture(), state_dict)
    return imported.variables


def twin_of(a: Architecture, ours: Mapping[str, Any]) -> torch_twin.Twin:
    with torch.device("meta"):  # nothing is drawn that would be overwritten
        twin = torch_twin.Twin(a).eval()
    state = {k: torch.from_numpy(x) for k, x in weights.to_pycls(a, ours).items()}
    assert {x.dtype for x in state.values()} == {torch.float64}
    twin.load_state_dict(state, assign=True)
    return twin


def recorded_shapes(library: str, name: str) -> dict[str, tuple[int, ...]]:
    """A state dict's shapes by name, without BatchNorm's counters."""
    shapes = {}
    recorded = golden("counterparts")[library][name]["shapes"]
    if isinstance(recorded, str):
        return recorded_shapes(library, recorded)
    for pattern, shape in recorded.items():
        run = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
        blocks = range(int(run[1]), int(run[2]) + 1) if run else [0]
        for block in blocks:
            shapes[pattern.replace(run[0], str(block)) if run else pattern] = tuple(shape)
    return shapes


def recorded_state_dict(network: Counterpart) -> dict[str, np.ndarray]:
    """Weights by rule, as tests/golden/README.md has it."""
    shapes = recorded_shapes(network.package, network.name)
    scale = np.float32(golden("counterparts")[network.package][network.name].get("norm_scale", 1))
    return {
        name: rule(name, shape) * (scale if _is_norm_scale(name, shape) else np.float32(1))
        for name, shape in shapes.items()
    }


def _is_norm_scale(name: str, shape: tuple[int, ...]) -> bool:
    return name.endswith("weight") and len(shape) == 1


def counterpart(library: str, name: str) -> Counterpart:
    (found,) = (c for c in COUNTERPARTS if (c.package, c.name) == (library, name))
    return found


def identity(network: Counterpart) -> str:
    return f"{network.package}-{network.name}"


def small(name: str, **changes: Any) -> Architecture:
    config = arch.model_config(*name.split(":"))
    config.update(resolution=40, num_classes=10, **changes)
    return Architecture.from_config(config)


def thin(name: str) -> Architecture:
    """A network of the same layers, a sixteenth as wide and with two blocks a stage at most."""
    config = arch.model_config(*name.split(":"))
    if name == "regnetz:d8":  # which cannot be scaled
        config.update(widths=(16, 32, 64, 96), head_width=448)
    else:
        config = arch.scale(config, "w", factor=1 / 16)
    depths = tuple(min(depth, 2) for depth in config.to_dict()["depths"])
    config.update(resolution=40, num_classes=10, depths=depths)
    return Architecture.from_config(config)


@functools.cache
def variables_of(a: Architecture) -> Mapping[str, Any]:
    return weights.from_pycls(a, {t.name: rule(t.name, t.shape) for t in tensors(a, "pycls")})


def blank(a: Architecture) -> Mapping[str, Any]:
    """The variables of a network, where values do not matter: to draw them takes long."""
    flat = {t.path: np.broadcast_to(np.float32(0), t.our_shape) for t in tensors(a, OURS)}
    return weights.nested(flat)


def assert_same(got: Any, wanted: Any) -> None:
    got, wanted = flatten_dict(got), flatten_dict(wanted)
    assert got.keys() == wanted.keys()
    for path, x in wanted.items():
        np.testing.assert_array_equal(got[path], x, err_msg=".".join(path), strict=True)


# one of each kind: with and without projections, SE, head and expansion
KINDS = [
    *("regnetx:200mf", "regnety:200mf", "regnetz:500mf", "efficientnet:b0", "resnet:50-32x4d"),
    *("resnet:18", "regnetz:d8"),
]


@pytest.mark.parametrize("name", KINDS)
def test_the_variables_are_those_that_the_flax_network_would_draw(name):
    a = thin(name)
    init = functools.partial(models.build(a).init, train=False)
    drawn = jax.eval_shape(init, jax.random.key(0), jnp.zeros((1, 40, 40, 3)))
    ours = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables_of(a))
    assert ours == drawn


@pytest.mark.parametrize(
    ("library", "name"),
    [
        (lib, name)
        for lib in FROM
        for name in KINDS
        if (lib, name[:7]) != ("torchvision", "regnetz")
    ],
)
def test_there_and_back_again_is_exact(name, library):
    a = thin(name)
    wanted = variables_of(a)
    theirs = TO[library](a, wanted)
    assert_same(FROM[library](a, theirs), wanted)
    assert_same(TO[library](a, FROM[library](a, theirs)), theirs)


def test_the_copies_share_no_memory_with_what_they_were_made_from():
    a = small("regnety:200mf")
    ours = variables_of(a)
    theirs = weights.to_pycls(a, ours)
    again = weights.from_pycls(a, theirs)
    for x in theirs.values():
        assert x.flags.writeable
        assert x.flags.c_contiguous
        x[...] = 7
    assert_same(again, ours)


def test_the_stem_is_turned_from_bgr_to_rgb_for_pycls_alone():
    a = small("regnetx:200mf")
    kernel = variables_of(a)["params"]["stem"]["conv"]["kernel"]
    assert kernel.shape == (3, 3, 3, 32)
    for library, order in (("pycls", (2, 1, 0)), ("timm", (0, 1, 2)), ("torchvision", (0, 1, 2))):
        (stem,) = (x for x in TO[library](a, variables_of(a)).values() if x.shape == (32, 3, 3, 3))
        np.testing.assert_array_equal(stem, kernel.transpose(3, 2, 0, 1)[:, order])


@pytest.mark.parametrize("network", COUNTERPARTS, ids=identity)
def test_every_tensor_of_a_counterpart_has_its_place(network):
    shapes = recorded_shapes(network.package, network.name)
    a = network.architecture()
    assert {t.name: t.shape for t in tensors(a, network.package)} == shapes
    params = sum(np.prod(shape) for name, shape in shapes.items() if "running" not in name)
    assert arch.count(a).params == params


def test_every_recorded_network_is_a_counterpart():
    recorded = {
        (library, name)
        for library, networks in golden("counterparts").items()
        for name in networks
        if library != "versions"
    }
    assert {(c.package, c.name) for c in COUNTERPARTS} == recorded


def test_a_network_of_the_same_tensors_that_activates_before_pooling_is_refused():
    config = arch.model_config("regnetz", "4gf")
    config.head_width = 0
    shapes = recorded_shapes("timm", "regnetz_040")
    a = Architecture.from_config(config)
    assert sorted(shapes.values()) == sorted(tensor.shape for tensor in tensors(a, "pycls"))
    state_dict = {k: np.zeros(shape, np.float32) for k, shape in shapes.items()}
    with pytest.raises(WeightsError, match="regnetz_040 and similar networks have an activation"):
        weights.from_timm(config, state_dict)
    config.final_activation = True
    weights.from_timm(config, state_dict)


# Of each kind of network one is computed in the default suite; and those of up to 6 million
# parameters, which take half a second each. The costs are of drawing and copying the weights.
CAREFUL = {
    "timm": ("regnetz_005", "regnetz_040", "efficientnet_lite2", "resnet18", "regnetz_d8"),
    "torchvision": ("regnet_y_800mf", "efficientnet_v2_s"),
    "efficientnet_pytorch": (),
}
_SMALL, _LARGE = 6e6, 36e6


def suite_of(network: Counterpart) -> str:
    """The part of the tests that computes a network: `default`, or the name of a mark.

    What only the exhaustive part computes is larger than a network of its kind, and nothing else.
    """
    params = arch.count(network.architecture()).params
    if params <= _SMALL or network.name in CAREFUL[network.package]:
        return "default"
    return "slow" if params <= _LARGE else "exhaustive"


def in_its_suite(network: Counterpart) -> Any:
    suite = suite_of(network)
    marks = {"slow": [pytest.mark.slow], "exhaustive": [pytest.mark.exhaustive]}.get(suite, [])
    return pytest.param(network, marks=marks)


def test_every_kind_of_network_is_computed_outside_of_the_exhaustive_suite():
    def kind(network: Counterpart) -> tuple[object, ...]:
        a = network.architecture()
        unseen = a.padding, a.bn_eps, a.activation, a.se_of, a.final_activation, a.head_width > 0
        blocks = a.block, a.stem, a.fused_stages > 0, a.has_grouped_mbconv, a.se_ratio > 0
        is_dense = all(stage.group_width == 0 for stage in a.stages)
        return network.package, *blocks, is_dense, *unseen

    outside = {kind(c) for c in COUNTERPARTS if suite_of(c) != "exhaustive"}
    assert {kind(c) for c in COUNTERPARTS} == outside


def test_the_manual_says_which_part_of_the_tests_computes_how_many():
    parts = [suite_of(c) for c in COUNTERPARTS]
    of = {part: parts.count(part) for part in ("default", "slow", "exhaustive")}
    assert (
        f"{of['default']} of the {len(parts)} in the default part, {of['slow']} more in the slow "
        f"one, and {of['exhaustive']} in the exhaustive one"
    ) in " ".join(MANUAL.read_text("utf-8").split())


@pytest.mark.parametrize("network", [*map(in_its_suite, COUNTERPARTS)], ids=identity)
def test_the_twin_computes_what_the_counterpart_did(network):
    """Through our variables: theirs → ours → the reference's names → PyTorch, in float64."""
    a = network.architecture()
    theirs = {k: x.astype(np.float64) for k, x in recorded_state_dict(network).items()}
    twin = twin_of(a, from_theirs(network, theirs))
    bgr = images_by_rule(2, 64)[:, ::-1].astype(np.float64)
    with torch.no_grad():
        logits = twin(torch.from_numpy(bgr)).numpy()
    recorded = golden("counterparts")[network.package][network.name]
    np.testing.assert_allclose(
        logits[:, :8], recorded["logits"], rtol=0, atol=1e-9 * recorded["logits_max"]
    )


# The slow ones are of kinds that the default suite has not here. The others' names are read above,
# for PyTorch, and tests/models/test_parity.py computes Flax's networks of their blocks.
IN_FLAX = {
    ("timm", "tf_efficientnet_lite0"): (),
    ("timm", "resnet18"): (),
    ("timm", "regnetz_005"): pytest.mark.slow,
    ("timm", "regnetz_040"): pytest.mark.slow,
    ("timm", "regnetz_d8"): pytest.mark.slow,
    ("timm", "resnetrs50"): pytest.mark.slow,
    ("timm", "tf_efficientnetv2_s"): pytest.mark.slow,
    ("torchvision", "efficientnet_b5"): pytest.mark.exhaustive,
    ("timm", "efficientnet_b1"): pytest.mark.exhaustive,
    ("torchvision", "regnet_y_800mf"): pytest.mark.exhaustive,
    ("timm", "resnet50"): pytest.mark.exhaustive,
}


@pytest.mark.parametrize(
    "network",
    [pytest.param(counterpart(*key), marks=marks) for key, marks in IN_FLAX.items()],
    ids=identity,
)
def test_the_flax_network_computes_what_the_counterpart_did(network):
    a = network.architecture()
    ours = from_theirs(network, recorded_state_dict(network))
    # The kernels of our own take longer to compile than all the rest. tests/convs compares them
    # with XLA's; test_torch_twin.py and test_export.py have whole networks of them.
    with jax.enable_x64(True):  # in float32 EfficientNetV2 carries the last digit to the third
        model = models.build(a, dtype=jnp.float64, grouped_conv="portable")
        apply = jax.jit(functools.partial(model.apply, train=False), compiler_options=QUICKLY)
        images = images_by_rule(2, 64).transpose(0, 2, 3, 1).astype(np.float64)
        logits = np.asarray(apply(jax.tree.map(np.float64, ours), images))
    recorded = golden("counterparts")[network.package][network.name]
    bound = 1e-9 * recorded["logits_max"]
    np.testing.assert_allclose(logits[:, :8], recorded["logits"], rtol=0, atol=bound)


@pytest.mark.slow
@pytest.mark.parametrize("network", COUNTERPARTS, ids=identity)
def test_the_library_itself_agrees_where_it_is_installed(network):
    pytest.importorskip("torchvision", exc_type=(ImportError, RuntimeError))
    if network.package == "timm":
        theirs = pytest.importorskip("timm").create_model(network.name)
    elif network.package == "efficientnet_pytorch":
        package = "efficientnet_lite_pytorch" if "lite" in network.name else "efficientnet_pytorch"
        theirs = pytest.importorskip(package).EfficientNet.from_name(network.name, image_size=64)
    else:
        theirs = getattr(pytest.importorskip("torchvision").models, network.name)(weights=None)
    theirs = theirs.double().eval()
    a = network.architecture()
    twin = twin_of(a, from_theirs(network, theirs.state_dict()))
    images = images_by_rule(2, 64).astype(np.float64)
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(images)).numpy()
        got = twin(torch.from_numpy(images[:, ::-1].copy())).numpy()
    assert_close(got, wanted, 1e-9)


def test_batch_norm_s_counters_are_passed_over():
    a = small("regnetx:200mf")
    twin = torch_twin.build(a)
    state_dict = twin.state_dict()
    assert any(name.endswith("num_batches_tracked") for name in state_dict)
    theirs = weights.to_pycls(a, weights.from_pycls(a, state_dict))
    assert theirs.keys() == {name for name in state_dict if "num_batches" not in name}
    for name, x in theirs.items():
        np.testing.assert_array_equal(x, state_dict[name].numpy())
    twin.load_state_dict({k: torch.from_numpy(x) for k, x in theirs.items()}, strict=True)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (torch.float16, np.float32),
        (torch.bfloat16, np.float32),
        (torch.float32, np.float32),
        (torch.float64, np.float64),
    ],
)
def test_narrow_floats_become_float32_and_float64_stays(given, kept):
    a = small("regnetx:200mf")
    state_dict = {k: x.to(given) for k, x in torch_twin.build(a).state_dict().items()}
    variables = weights.from_pycls(a, state_dict)
    fc = variables["params"]["head"]["fc"]["kernel"]
    assert {x.dtype for x in jax.tree.leaves(variables)} == {np.dtype(kept)}
    np.testing.assert_array_equal(fc, state_dict["head.fc.weight"].double().numpy().T)


def broken(change: str) -> dict[str, np.ndarray]:
    a = small("regnety:200mf")
    state_dict = weights.to_pycls(a, variables_of(a))
    if change == "missing":
        del state_dict["s3.b2.f.se.f_ex.0.bias"]
    elif change == "extra":
        state_dict["s3.b9.f.a.weight"] = np.zeros((3, 3, 1, 1), np.float32)
    elif change == "shape":
        state_dict["s2.b1.f.b.weight"] = np.zeros((56, 7, 3, 3), np.float32)
    elif change == "integers":
        state_dict["head.fc.bias"] = np.zeros(10, np.int32)
    elif change == "object":
        state_dict["head.fc.bias"] = {"a": 1}
    elif change == "names":
        state_dict = {f"encoder.{i}": x for i, x in enumerate(state_dict.values())}
    elif change == "empty":
        state_dict = {}
    return state_dict


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("missing", ["s3.b2.f.se.f_ex.0.bias is missing"]),
        ("extra", ["s3.b9.f.a.weight is not one of its tensors"]),
        ("shape", ["s2.b1.f.b.weight has the shape [56, 7, 3, 3] instead of [56, 8, 3, 3]"]),
        ("integers", ["head.fc.bias", "int32"]),
        ("object", ["head.fc.bias is no tensor, but of type dict"]),
        ("names", ["stem.conv.weight is missing (and 273 more)", "encoder.0 is not one"]),
        ("empty", ["stem.conv.weight is missing (and 273 more)"]),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused_by_the_tensor_s_name(change, words):
    with pytest.raises(WeightsError) as error:
        weights.from_pycls(small("regnety:200mf"), broken(change))
    for word in ["regnety-200mf", *words] if change not in ("integers", "object") else words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("library", "name", "words"),
    [
        (
            "timm",
            "regnetx_004",
            "regnetx_004 in timm's names, which is --config=regnetx:400mf",
        ),
        ("timm", "regnetz_005", "--config=regnetz:500mf --config.model.head_width=1024"),
        ("torchvision", "regnet_y_8gf", "--config.model.widths='(224, 448, 896, 2016)'"),
        ("torchvision", "resnet50", "--config=resnet:50"),
    ],
)
def test_another_network_s_weights_are_refused_and_named(library, name, words):
    shapes = recorded_shapes(library, name)
    state_dict = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    with pytest.raises(WeightsError, match="not the weights of regnety-400mf") as error:
        FROM[library](arch.model_config("regnety", "400mf"), state_dict)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("library", "name", "changes", "words"),
    [
        ("torchvision", "regnetz:500mf", {}, "no network of linear_bottleneck blocks"),
        ("torchvision", "regnetx:200mf", {"head_width": 64}, "head_width is 0"),
        ("timm", "regnety:200mf", {"activation": "silu"}, "activation is relu"),
        ("timm", "regnetz:500mf", {"activation": "relu"}, "activation is silu"),
        ("timm", "resnet:50", {"se_ratio": 0.25}, "se_ratio is 0"),
        ("timm", "resnet:50", {"strides": (1, 2, 2, 1)}, "strides is (1, 2, 2, 2)"),
        ("torchvision", "efficientnet:b0", {"stem": "conv7x7_pool"}, "stem conv7x7_pool"),
        ("torchvision", "efficientnet:b0", {"bn_eps": 1e-3}, "bn_eps) is ('symmetric', 1e-05)"),
        ("timm", "regnety:200mf", {"bn_eps": 1e-3}, "bn_eps) is ('symmetric', 1e-05)"),
        ("timm", "efficientnet:b0", {"padding": "same"}, "or ('same', 0.001)"),
        ("timm", "efficientnet:b0", {"activation": "relu"}, "activation is silu or relu6"),
        ("timm", "regnetz:b16", {"se_of": "input"}, "se_of is inner"),
        ("timm", "resnetrs:50", {"se_of": "input"}, "se_of is output"),
        ("timm", "resnetrs:50", {"pooled_skips": False}, "pooled_skips is True"),
        ("timm", "resnet:50", {"pooled_skips": True}, "pooled_skips is False"),
        ("timm", "regnetz:b16", {"se_activation": ""}, "se_activation is relu"),
        ("timm", "regnety:200mf", {"se_activation": "silu"}, "se_activation is relu"),
        ("timm", "efficientnetv2:s", {}, "is ('symmetric', 1e-05) or ('same', 0.001)"),
        (
            "torchvision",
            "regnetz:b16",
            {},
            "no network of grouped mbconv blocks",
        ),
        ("efficientnet_pytorch", "efficientnetv2:s", {"padding": "same"}, "fused_stages is 0"),
    ],
)
def test_a_network_that_a_library_does_not_have_is_refused_both_ways(library, name, changes, words):
    a = small(name, **changes)
    for call in (
        lambda: weights.import_tensors(library, a, {}),
        lambda: weights.to_library(library, a, blank(a)),
    ):
        with pytest.raises(WeightsError, match=re.escape(words)):
            call()


@pytest.mark.parametrize("bn_eps", [1e-5, 1e-3])
@pytest.mark.parametrize("name", ["efficientnet:b5", "efficientnetv2:s"])
def test_torchvision_s_large_epsilon_is_made_up_for_or_the_network_s_own(name, bn_eps):
    a = small(name, bn_eps=bn_eps)
    variables = blank(a)
    ours = rule("running_var", variables["batch_stats"]["stem"]["conv"]["bn"]["var"].shape)
    variables["batch_stats"]["stem"]["conv"]["bn"]["var"] = ours
    theirs = weights.to_torchvision(a, variables)
    (name, *_) = (name for name in theirs if name.endswith("running_var"))
    np.testing.assert_allclose(theirs[name] + 1e-3, ours + bn_eps, rtol=1e-6)


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("library", ["pycls", "timm"])
def test_other_channels_than_three_keep_their_order(library, channels):
    narrow = {"widths": (16,) * 4}
    a = small("resnet:18", in_channels=channels, **narrow)
    theirs = TO[library](a, variables_of(a))
    (stem,) = (x for x in theirs.values() if x.shape[2:] == (7, 7))
    ours = variables_of(a)["params"]["stem"]["conv"]["kernel"]
    np.testing.assert_array_equal(stem, ours.transpose(3, 2, 0, 1))
    assert_same(FROM[library](a, theirs), variables_of(a))
    with pytest.raises(WeightsError, match=rf"\[64, {channels}, 7, 7\] instead of \[64, 3, 7, 7\]"):
        FROM[library](small("resnet:18", **narrow), theirs)


def test_a_file_of_a_lite_network_is_named_as_one():
    shapes = recorded_shapes("timm", "tf_efficientnet_lite0")
    match = closest_named(shapes)
    assert match is not None
    assert match.description == (
        "efficientnet_lite0 in timm's names, which is --config=efficientnet:lite0 "
        "--config.model.padding=symmetric --config.model.bn_eps=1e-05, or tf_efficientnet_lite0 in "
        "timm's names, which is --config=efficientnet:lite0"
    )


def test_variables_of_another_network_are_not_exported():
    ours = variables_of(small("regnetx:200mf"))
    with pytest.raises(WeightsError, match=r"params\.s1\.b1\.se\.reduce\.kernel is missing"):
        weights.to_pycls(small("regnety:200mf"), ours)


def test_an_unknown_library_is_refused_with_the_choices():
    a = small("regnetx:200mf")
    with pytest.raises(
        ValueError, match="unknown library 'flax'; choose one of fastscale_jax, pycls"
    ):
        weights.to_library("flax", a, variables_of(a))


@pytest.mark.parametrize("library", [x for x in LIBRARIES if x != "keras"])  # it numbers layers
def test_the_library_is_known_by_its_names(library):
    a = small("efficientnet:lite0" if library == "efficientnet_pytorch" else "regnety:200mf")
    shapes = {tensor.name: tensor.shape for tensor in tensors(a, library)}
    assert weights.detect(a, shapes) == library
    del shapes[min(shapes)]
    assert weights.detect(a, shapes) == library


def test_names_that_are_nobody_s_are_refused():
    with pytest.raises(WeightsError, match=r"'encoder\.0'"):
        weights.detect(small("regnety:200mf"), {"encoder.0": (3,), "encoder.1": (3,)})


@pytest.mark.parametrize("library", [OURS, "pycls"])
def test_a_named_network_is_recognised_by_its_tensors(library):
    a = arch.resolve("regnetz", "4gf")[0]
    match = closest_named({tensor.name: tensor.shape for tensor in tensors(a, library)})
    assert match is not None
    assert (match.network.package, match.network.name) == (library, "regnetz-4gf")
    assert match.network.architecture() == a
