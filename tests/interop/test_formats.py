"""A network in formats of other frameworks: ONNX and TFLite, computed by their own runtimes."""

import collections
import dataclasses
import importlib.util
import json

import numpy as np
import pytest
import torch

from fastscale_jax import arch
from fastscale_jax.cli.application import main
from fastscale_jax.interop import exporting, formats, torch_twin, weights
from fastscale_jax.interop.formats import FORMATS, check_formats
from fastscale_jax.interop.layout import tensors
from fastscale_jax.interop.weights import WeightsError
from tests.interop.test_export import contents, images_of, of, tiny
from tests.passes import assert_close, rule

DIGITS = of("digits")
# a network of each block, cut to a quarter of its width and to a block or two a stage
NETWORKS = {
    "linear_bottleneck": ("regnetz", "500mf", (1, 2, 1, 1)),
    "bottleneck, SE": ("regnety", "400mf", (1, 2, 1, 1)),
    "bottleneck, pooling": ("resnet", "50-32x4d", (1, 2, 1, 1)),
    "mbconv": ("efficientnet", "b0", (1, 2, 1, 1, 1, 1, 1)),
    "same, relu6": ("efficientnet", "lite0", (1, 2, 1, 1, 1, 1, 1)),
    "same, pooling": ("resnet", "50-32x4d", (1, 2, 1, 1), "same"),
    "basic": ("resnet", "18", (1, 2, 1, 1)),
    "fused": ("efficientnetv2", "s", (2, 2, 1, 1, 1, 1)),
    "tiered, in groups": ("regnetz", "d8", (1, 2, 1, 1)),
    "deep, SE of the output, pooled skips": ("resnetrs", "50", (1, 2, 1, 1)),
    "final activation, grey": ("regnetz", "500mf", (1, 2, 1, 1), "", True),
}


def cut(family, base, depths, padding="", is_grey=False):
    config = arch.model_config(family, base)
    if base == "d8":  # which cannot be scaled
        config.update(widths=(16, 32, 64, 96), head_width=448)
    else:
        config = arch.scale(config, "w", factor=1 / 16)
    config.update(depths=depths, resolution=36, num_classes=7, padding=padding or config.padding)
    if is_grey:
        config.update(in_channels=1, head_width=0, final_activation=True)
    network = arch.as_architecture(config)
    state = {t.name: rule(t.name, t.shape) for t in tensors(network, "pycls")}
    return network, weights.from_pycls(network, state)


def torch_logits(network, variables, images):
    """Those of the twin, which wants BGR."""
    state = {name: torch.from_numpy(x) for name, x in weights.to_pycls(network, variables).items()}
    twin = torch_twin.build(network).eval()
    twin.load_state_dict(state)
    with torch.inference_mode():
        order = -1 if network.in_channels == 3 else 1
        return twin(torch.from_numpy(images[..., ::order].transpose(0, 3, 1, 2).copy())).numpy()


@pytest.fixture
def onnx_graph():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from fastscale_jax.interop import onnx_graph

    return onnx_graph


@pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)
def test_onnxruntime_computes_the_logits_of_pytorch(case, onnx_graph):
    network, variables = cut(*case)
    images = images_of(network, 3)
    wanted = torch_logits(network, variables, images)
    for dtype, tolerance in (("float32", 1e-5), ("float16", 5e-3)):
        content = onnx_graph.onnx_model(network, variables, dtype).SerializeToString()
        for count in (1, 3):
            logits = onnx_graph.run(content, images[:count])
            assert (logits.shape, logits.dtype) == ((count, 7), np.float32)
            assert_close(logits, wanted[:count], tolerance)


@pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)
def test_an_onnx_graph_has_an_operator_a_layer_and_is_valid(case, onnx_graph):
    import onnx  # pyright: ignore[reportMissingImports]

    network, variables = cut(*case)
    model = onnx_graph.onnx_model(network, variables)
    onnx.checker.check_model(model, full_check=True)
    kinds = collections.Counter(node.op_type for node in model.graph.node)
    layers = [layer for layer in arch.layers(network) if layer.c_group]
    assert (kinds["Conv"], kinds["Transpose"]) == (len(layers), 1)
    activations = {"Relu", "Clip", "Sigmoid", "Mul"}
    pools = {"MaxPool", "AveragePool", "GlobalAveragePool"}
    others = {"Transpose", "Conv", "Add", "Flatten", "Cast"} | pools
    assert kinds.keys() <= activations | others
    # BatchNorm's four arrays have become a bias
    arrays = [tensor for tensor in model.graph.initializer if tensor.dims]
    learned = sum(np.prod(tensor.dims) for tensor in arrays)
    norms = sum(layer.width for layer in layers if layer.kernel)
    assert learned == arch.count(network).params - norms


def test_float16_halves_the_weights(onnx_graph):
    network, variables = cut(*NETWORKS["mbconv"])
    models = [onnx_graph.onnx_model(network, variables, f"float{bits}") for bits in (32, 16)]
    whole, half = (sum(len(w.raw_data) for w in model.graph.initializer) for model in models)
    assert whole == 2 * half


def test_what_is_too_large_for_a_file_of_onnx_is_refused(onnx_graph, monkeypatch):
    monkeypatch.setattr(onnx_graph, "_MOST_BYTES", 1000)
    with pytest.raises(WeightsError, match="is larger than the 2 GB that a file of ONNX can hold"):
        onnx_graph.onnx_model(*tiny())


@pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS)
def test_tensorflow_s_interpreter_computes_the_logits_of_pytorch(case):
    pytest.importorskip("tensorflow")
    from fastscale_jax.interop import tflite

    network, variables = cut(*case)
    images = images_of(network, 2)
    wanted = torch_logits(network, variables, images)
    whole, half = (tflite.tflite_model(network, variables, f"float{bits}") for bits in (32, 16))
    assert_close(tflite.run(whole, images), wanted, 1e-5)
    assert_close(tflite.run(half, images), wanted, 5e-3)
    # a graph of a few kB is in both
    assert len(half) < 0.75 * len(whole)


@pytest.mark.parametrize("name", ["onnx", "tflite"])
def test_a_network_without_a_classifier_is_exported_with_its_pooled_vector(name, tmp_path):
    pytest.importorskip(FORMATS[name].package)
    if name == "onnx":
        pytest.importorskip("onnxruntime")
        from fastscale_jax.interop.onnx_graph import run
    else:
        from fastscale_jax.interop.tflite import run
    network, variables = cut(*NETWORKS["mbconv"])
    headless = dataclasses.replace(network, num_classes=0)
    head = {part: x for part, x in variables["params"]["head"].items() if part != "fc"}
    params = {**variables["params"], "head": head}
    (file, *_) = exporting.export_network(
        tmp_path, headless, {**variables, "params": params}, formats=[name], **DIGITS
    )
    output = json.loads((tmp_path / "manifest.json").read_text())["output"]
    assert (output["meaning"], output["shape"][1]) == ("vector", network.vector_width)
    images = images_of(network, 3)
    vectors = run(file.read_bytes(), images)
    assert vectors.shape == (3, network.vector_width)
    # the classifier, of these vectors, gives PyTorch's logits
    fc = variables["params"]["head"]["fc"]
    logits = vectors @ fc["kernel"] + fc["bias"]
    assert_close(logits, torch_logits(network, variables, images), 1e-5)


def test_an_export_has_the_files_of_all_its_formats_and_the_manifest_lists_them(
    tmp_path, monkeypatch
):
    onnx = pytest.importorskip("onnx")
    network, variables = tiny()
    chosen = ("onnx", "stablehlo")
    monkeypatch.setattr(exporting, "serialized", lambda *_: b"")  # test_export has it
    exporting.export_network(tmp_path, network, variables, formats=chosen, **DIGITS)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["formats"] == {"onnx": "model.onnx", "stablehlo": "model.jaxexport"}
    assert manifest["function"] == "model.onnx"
    files = {*manifest["formats"].values(), "manifest.json", "weights.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == files
    properties = {p.key: p.value for p in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(properties["classes"]) == manifest["classes"]
    assert json.loads(properties["input"]) == manifest["input"]
    assert properties["name"] == network.name


def test_a_format_that_computes_other_logits_is_refused_and_nothing_is_lost(
    tmp_path, onnx_graph, monkeypatch
):
    network, variables = tiny()
    monkeypatch.setattr(exporting, "serialized", lambda *_: b"")
    exporting.export_network(tmp_path, network, variables, **DIGITS)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    right = onnx_graph.run

    def off(content, images):
        return right(content, images) * 1.001

    monkeypatch.setattr(onnx_graph, "run", off)
    with pytest.raises(WeightsError, match=r"as onnx in float32 computes other logits: .* off"):
        exporting.export_network(
            tmp_path, network, variables, formats=["stablehlo", "onnx"], **DIGITS
        )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_network_that_is_too_wide_for_float16_is_refused_as_that():
    with pytest.raises(WeightsError, match="export it in float32"):
        formats._compare("onnx", np.full((1, 2), np.nan), np.ones((1, 2)), "float16")
    formats._compare("onnx", np.zeros((1, 2)), np.zeros((1, 2)), "float32")


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].package])
def test_a_missing_package_is_named_before_anything_is_written(name, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec

    def without(package, *rest):
        return None if package == FORMATS[name].package else find(package, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(ValueError, match=rf"install 'fastscale_jax\[{FORMATS[name].extra}\]'"):
        check_formats([name])
    output = tmp_path / "out"
    assert main(["export", "digits", f"--formats=stablehlo,{name}", f"--output={output}"]) == 2
    said = capsys.readouterr().err
    assert f"the format {name} needs {FORMATS[name].package}; run pip install" in said
    assert (said.count("\n"), contents(tmp_path)) == (1, [])


def test_a_dtype_that_no_file_has_is_refused(tmp_path, capsys):
    assert main(["export", "digits", "--stored_dtype=float16", f"--output={tmp_path}"]) == 2
    assert "--stored_dtype=float16 is for --formats=onnx and tflite" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["onxn", "", "stablehlo,,onnx"])
def test_an_unknown_format_is_refused_with_the_choices(given):
    with pytest.raises(ValueError, match=r"unknown format .*choose among stablehlo, onnx, tflite"):
        check_formats(given.split(","))
    with pytest.raises(ValueError, match="unknown format"):
        check_formats([])
