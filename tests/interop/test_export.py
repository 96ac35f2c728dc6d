"""An exported network: what it computes where this package is not, and what is said of it."""

import functools
import json
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export as jax_export
from PIL import Image

import fastscale_jax
from fastscale_jax import arch, models
from fastscale_jax.data.sources.conventions import SOURCES, SourceInfo
from fastscale_jax.data.sources.source import class_names
from fastscale_jax.interop import exporting as export
from fastscale_jax.interop import prediction as predict
from fastscale_jax.interop import weights
from fastscale_jax.interop.layout import tensors
from fastscale_jax.interop.load import load
from fastscale_jax.interop.weights import WeightsError
from tests.compiler import QUICKLY
from tests.passes import assert_close, rule
from tests.train.tiny import tiny_config

CONFIG = tiny_config().to_dict()
FILES = ["manifest.json", "model.jaxexport", "weights.safetensors"]


def of(source, num_classes=10):
    """What an export is told of a source."""
    images = SourceInfo(source, class_names(source, num_classes), SOURCES[source])
    return {"images": images, "config": {**CONFIG, "data": {"name": source}}}


def tiny(**changes):
    """The tiny network, or another; and weights that tell images apart."""
    config = tiny_config().model
    config.update(changes)
    network = arch.as_architecture(config)
    names = tensors(network, "pycls")
    variables = weights.from_pycls(network, {t.name: rule(t.name, t.shape) for t in names})
    return network, variables


def images_of(network, count):
    shape = (count, *network.input_shape)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def flax_logits(network, variables, images):
    apply = functools.partial(models.build(network).apply, train=False)
    return np.asarray(jax.jit(apply, compiler_options=QUICKLY)(variables, images))


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A network, its weights, and the folder that they were exported to."""
    folder = tmp_path_factory.mktemp("exported") / "new" / "folder"
    network, variables = tiny()
    files = export.export_network(folder, network, variables, **of("digits"))
    return network, variables, folder, files


def test_an_export_is_its_three_files(exported):
    _, _, folder, files = exported
    assert sorted(files) == sorted(folder.iterdir()) == [folder / name for name in FILES]


# What a user of an export runs. Nothing of this package can be imported there, nor Flax.
ELSEWHERE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("fastscale_jax", "flax", "ml_collections", "orbax"):
            raise ImportError(name)

sys.meta_path.insert(0, Blocker())
try:
    import fastscale_jax
except ImportError:
    pass
else:
    sys.exit("fastscale_jax is here")

import numpy as np
from jax import export

with open(sys.argv[1], "rb") as file:
    network = export.deserialize(bytearray(file.read()))
images = np.load("images.npy")
logits = {str(n): np.asarray(network.call(images[:n])) for n in (1, 3)}
assert not {"fastscale_jax", "flax"} & set(sys.modules)
np.savez("logits.npz", **logits)
"""


@pytest.mark.slow
def test_where_this_package_is_not_the_export_gives_flax_s_logits(exported, tmp_path):
    network, variables, folder, _ = exported
    images = images_of(network, 3)
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-I", "-c", ELSEWHERE, str(folder / "model.jaxexport")]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = np.load(tmp_path / "logits.npz")
    wanted = flax_logits(network, variables, images)
    for count in (1, 3):
        logits = found[str(count)]
        assert (logits.shape, logits.dtype) == ((count, 10), np.float32)
        assert_close(logits, wanted[:count], 1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_export_takes_any_batch_on_any_platform_in_float32(dtype):
    network, variables = tiny()
    content = export.serialized(network, variables, dtype, "auto")
    found = jax_export.deserialize(content)
    assert found.platforms == ("cpu", "cuda", "tpu")
    (taken,), (given,) = found.in_avals, found.out_avals
    assert (str(taken.shape), taken.dtype) == ("(batch, 20, 20, 3)", jnp.float32)
    assert (str(given.shape), given.dtype) == ("(batch, 10)", jnp.float32)


@pytest.mark.parametrize(
    ("changes", "grouped_conv"),
    [({"group_widths": (1, 1)}, "auto"), ({}, "lax")],
    ids=["depthwise", "lax"],
)
def test_every_way_to_convolve_in_groups_is_exported_alike(changes, grouped_conv):
    network, variables = tiny(**changes)
    found = jax_export.deserialize(export.serialized(network, variables, "float32", grouped_conv))
    images = images_of(network, 2)
    assert_close(found.call(images), flax_logits(network, variables, images), 1e-5)


def test_machine_code_is_not_exported():
    network, variables = tiny()
    with pytest.raises(WeightsError, match=r"'native' cannot be exported: .*; choose one of auto"):
        export.serialized(network, variables, "float32", "native")
    content = export.serialized(network, variables, "float32", "auto")
    assert b"fastscale_forward" not in content


@pytest.mark.parametrize(("source", "num_classes"), [("digits", 10), ("synthetic", 1000)])
def test_the_manifest_says_what_the_source_s_conventions_are(source, num_classes):
    network, _ = tiny(num_classes=num_classes, name="mine")
    found = json.loads(json.dumps(export.manifest(network, **of(source, num_classes))))
    made_by = f"fastscale_jax {fastscale_jax.__version__}, jax {jax.__version__}"
    assert (found["name"], found["made_by"]) == ("mine", made_by)
    assert found["function"] == "model.jaxexport"
    assert found["platforms"] == ["cpu", "cuda", "tpu"]
    assert found["classes"] == list(class_names(source, num_classes))
    assert len(found["classes"]) == num_classes
    resize = {
        "digits": {"height": 20, "width": 20},
        "synthetic": {"short_side": 23, "centre_crop": 20},  # 20 · 256/224 = 22.9
    }
    assert found["input"] == {
        "shape": ["batch", 20, 20, 3],
        "size": 20,
        "dtype": "float32",
        "channels": "RGB",
        "resize": resize[source],
        "interpolation": "bilinear",
        "crop_mode": "center",
        "pixel_range": [0, 1],
        "mean": list(SOURCES[source].mean),
        "std": list(SOURCES[source].std),
        "crop": SOURCES[source].crop,
        "exif": True,
    }
    assert found["config"]["data"] == {"name": source}
    assert found["output"] == {
        "shape": ["batch", num_classes],
        "dtype": "float32",
        "meaning": "logits",
    }


def test_the_written_manifest_is_that_of_the_network(exported):
    network, _, folder, _ = exported
    text = (folder / "manifest.json").read_text(encoding="utf-8")
    assert json.loads(text) == json.loads(json.dumps(export.manifest(network, **of("digits"))))


@pytest.mark.slow
def test_the_manifest_is_enough_to_see_what_predict_sees(tmp_path):
    network, variables = tiny()
    pixels = np.random.default_rng(1).integers(0, 256, (50, 71, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    export.export_network(tmp_path / "out", network, variables, **of("synthetic"))

    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    function = jax_export.deserialize(
        bytearray((tmp_path / "out" / manifest["function"]).read_bytes())
    )
    wanted, resize = manifest["input"], manifest["input"]["resize"]
    with Image.open(tmp_path / "x.png") as image:
        scale = resize["short_side"] / min(image.size)
        resized = image.resize(
            [round(side * scale) for side in image.size], Image.Resampling.BILINEAR
        )
    side = resize["centre_crop"]
    left, top = ((length - side) // 2 for length in resized.size)
    cropped = np.asarray(resized.crop((left, top, left + side, top + side))) / 255
    image = ((cropped - wanted["mean"]) / wanted["std"]).astype(np.float32)
    logits = np.asarray(function.call(image[None]), np.float64)[0]
    probabilities = np.exp(logits) / np.exp(logits).sum()
    order = np.argsort(-probabilities)[:5]

    model = models.build(network, grouped_conv="portable")
    images = of("synthetic")["images"]
    (seen,) = predict.predict(
        model, variables, [tmp_path / "x.png"], images.conventions, images.classes
    )
    assert [guess.name for guess in seen.top] == [manifest["classes"][i] for i in order]
    np.testing.assert_allclose([g.probability for g in seen.top], probabilities[order], rtol=1e-5)


@pytest.mark.parametrize("names", ["fastscale_jax", "pycls", "timm"])
def test_the_exported_weights_come_back_bit_for_bit(tmp_path, names, monkeypatch):
    # four stages, as all of timm's have
    config = arch.scale(arch.model_config("regnetz"), "dWr", factor=1 / 64)
    network, variables = tiny(**config)
    monkeypatch.setattr(export, "serialized", lambda *_: bytearray())  # it is tested above
    export.export_network(tmp_path, network, variables, **of("synthetic"), names=names)
    found = load(tmp_path / "weights.safetensors", network)
    assert ("in " in found.description) == (names != "fastscale_jax")
    leaves = jax.tree.leaves_with_path(found.variables)
    assert len(leaves) == len(jax.tree.leaves(variables))
    for path, x in leaves:
        np.testing.assert_array_equal(x, functools.reduce(lambda t, k: t[k.key], path, variables))


def test_names_of_a_library_without_such_a_network_are_refused_and_nothing_is_written(tmp_path):
    network, variables = tiny()
    with pytest.raises(WeightsError, match="timm has no network like"):
        export.export_network(tmp_path / "out", network, variables, **of("digits"), names="timm")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("blocked", ["out", *(f"out/{name}" for name in FILES)])
def test_a_folder_that_cannot_be_written_is_refused_and_stays_as_it_is(
    tmp_path, blocked, monkeypatch
):
    network, variables = tiny()
    monkeypatch.setattr(export, "serialized", lambda *_: bytearray())  # it is tested above
    place = tmp_path / blocked
    if blocked == "out":
        place.write_text("mine")
    else:  # a folder, where a file would go
        place.mkdir(parents=True)
    before = contents(tmp_path)
    with pytest.raises(WeightsError, match=r"/out\S* cannot be written: "):
        export.export_network(tmp_path / "out", network, variables, **of("digits"))
    assert contents(tmp_path) == before


def contents(folder: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("what", ["weights", "mean", "config"])
def test_what_is_nan_is_not_exported(tmp_path, what):
    network, variables = tiny()
    given = of("digits")
    if what == "weights":
        variables = jax.tree.map(lambda x: np.full_like(x, np.nan), variables)
    elif what == "mean":
        conventions = SOURCES["digits"]._replace(mean=(0.5, float("nan"), 0.5))
        given["images"] = SourceInfo("digits", given["images"].classes, conventions)
    else:
        given["config"] = {**given["config"], "x": float("nan")}
    words = {"weights": "are NaN or infinite", "mean": "mean must be", "config": "not JSON"}
    with pytest.raises(ValueError, match=words[what]):
        export.export_network(tmp_path / "new", network, variables, **given)
    assert not (tmp_path / "new").exists()
