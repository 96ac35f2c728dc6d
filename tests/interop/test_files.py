"""Files of tensors: every kind that is read, and every kind that is refused, with its name."""

import argparse
import collections
import errno
import io
import json
import os
import pathlib
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
from flax.traverse_util import flatten_dict

from fastscale_jax.checkpoints.checkpoint import Checkpoints
from fastscale_jax.checkpoints.stores import checkpoints_of
from fastscale_jax.interop import files, torch_files
from fastscale_jax.interop.beside import Beside
from fastscale_jax.interop.weights import WeightsError
from fastscale_jax.train.state import TrainState
from fastscale_jax.utils.installation import pip_install

FORMS = {"zip": True, "legacy": False}  # of torch.save


def tensors() -> dict[str, torch.Tensor]:
    """As a state dict has them: kernels, vectors, a counter."""
    generator = torch.Generator().manual_seed(0)
    return {
        "stem.conv.weight": torch.randn(4, 3, 3, 3, generator=generator),
        "stem.bn.running_var": torch.rand(4, generator=generator, dtype=torch.float64),
        "stem.bn.num_batches_tracked": torch.tensor(7),
        "head.fc.bias": torch.randn(5, generator=generator).to(torch.bfloat16),
    }


def torch_bytes(content: object, form: str = "zip") -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=FORMS[form])
    return file.getvalue()


def assert_same(found: Mapping[str, Any], wanted: Mapping[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def refusal(path: pathlib.Path) -> str:
    """What `read` says of a file that it refuses: one line that names it."""
    with pytest.raises(WeightsError) as caught:
        files.read(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", [None, *torch_files.STATE_DICT_KEYS])
def test_a_pytorch_file_is_read_wherever_the_state_dict_is(tmp_path, key, form):
    beside = {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, model="regnetz", opt_betas=None),
        "optimizer": {"state": {0: {"momentum": torch.ones(2)}}, "param_groups": [{"lr": 0.1}]},
    }
    content = tensors() if key is None else {**beside, key: tensors()}
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(torch_bytes(content, form))
    found = files.read(path)
    assert_same(found.tensors, tensors())
    assert found.about == {}


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."),
        *("model.", "net.", "backbone.", "model.module.", "model.backbone._orig_mod."),
    ],
)
def test_what_wrapped_modules_put_before_every_name_is_left_out(tmp_path, prefix):
    wrapped = {prefix + name: tensor for name, tensor in tensors().items()}
    torch.save({"model": wrapped}, tmp_path / "a.pth")
    assert_same(files.read(tmp_path / "a.pth").tensors, tensors())
    safetensors.torch.save_file(wrapped, tmp_path / "b.safetensors")
    assert files.read(tmp_path / "b.safetensors").tensors.keys() == tensors().keys()


AVERAGES = {
    "flat": {name: x + 1 for name, x in tensors().items() if x.is_floating_point()},
    "nested": {"decay": 0.999, "module": {"module.a": torch.ones(3)}},
}


@pytest.mark.parametrize("key", torch_files.EMA_KEYS)
@pytest.mark.parametrize("kind", AVERAGES)
def test_the_average_beside_the_weights_is_chosen_by_name(tmp_path, key, kind):
    path, average = tmp_path / "a.pth", AVERAGES[kind]
    wanted = {"a": torch.ones(3)} if kind == "nested" else average
    torch.save({"state_dict": tensors(), key: average, "epoch": 3}, path)
    plain = files.read(path)
    assert_same(plain.tensors, tensors())
    assert plain.about == {"has_average": True}
    for name in ("ema", key):
        found = files.read(f"{path}#{name}")
        assert_same(found.tensors, wanted)
        assert found.about == {}
    assert_same(files.read(f"{path}#state_dict").tensors, tensors())
    # alone, it is what the file has
    torch.save({key: average}, path)
    assert_same(files.read(path).tensors, wanted)


def test_weights_that_are_not_there_are_refused_with_those_that_are(tmp_path):
    path = tmp_path / "a.pth"
    beside = {"epoch": 3, "args": {}, "optimizer": {"state": {}, "param_groups": []}}
    torch.save({"state_dict": tensors(), "swa": {"module": tensors()}, **beside}, path)
    there = r"no weights under 'ema'; it has state_dict, swa to choose"
    with pytest.raises(WeightsError, match=there):
        files.read(f"{path}#ema")
    safetensors.torch.save_file(tensors(), tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"#ema is for PyTorch files"):
        files.read(f"{tmp_path / 'a.safetensors'}#ema")
    with pytest.raises(WeightsError, match="this is a folder"):
        files.read(f"{tmp_path}#ema")
    path.rename(tmp_path / "b#ema")  # a name like any other
    assert_same(files.read(tmp_path / "b#ema").tensors, tensors())


def test_an_averaged_model_s_counter_is_passed_over(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(2, 3))
    averaged = torch.optim.swa_utils.AveragedModel(network)
    torch.save(averaged.state_dict(), tmp_path / "a.pth")
    assert_same(files.read(tmp_path / "a.pth").tensors, network.state_dict())


def test_plain_values_beside_the_weights_do_no_harm(tmp_path):
    beside = {
        "lr": np.float64(0.1),
        "step": np.int64(3),
        "is_best": np.bool_(True),
        "history": np.arange(3.0),
        "name": np.str_("x"),
        "folder": pathlib.Path("runs") / "x",
        "theirs": pathlib.PureWindowsPath("runs"),
        "log": collections.defaultdict(list, {"loss": [1.0]}),
        "of dictionaries": collections.defaultdict(dict, {"a": {"b": 1}}),
    }
    for form in FORMS:
        path = tmp_path / f"{form}.pth"
        path.write_bytes(torch_bytes({**beside, "state_dict": tensors()}, form))
        assert_same(files.read(path).tensors, tensors())


def test_no_array_of_numpy_s_is_made_of_what_lies_beside_the_weights(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(torch_files._Unread, "__init__", lambda self, *given: made.append(given))
    path = tmp_path / "a.pth"
    torch.save({"history": np.arange(3.0), "lr": np.float64(1), "model": tensors()}, path)
    assert_same(files.read(path).tensors, tensors())
    assert made  # in their place


def test_a_state_dict_of_numpy_arrays_is_none(tmp_path):
    torch.save({"a": np.arange(3.0)}, tmp_path / "a.pth")
    assert "'a' is no tensor" in refusal(tmp_path / "a.pth")


def test_names_of_numpy_1_and_of_python_3_13_are_known(tmp_path):
    saved = {"a": np.float64(0.1), "b": pathlib.PurePosixPath("x"), "model": tensors()}
    content = torch_bytes(saved, "legacy")
    older = content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    newer = content.replace(b"cpathlib\n", b"cpathlib._local\n")
    assert older != content != newer
    for i, bytes_ in enumerate((older, newer)):
        path = tmp_path / f"{i}.pth"
        path.write_bytes(bytes_)
        assert_same(files.read(path).tensors, tensors())


def test_a_prefix_that_not_all_names_have_is_part_of_the_name(tmp_path):
    content = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(content, tmp_path / "a.pth")
    assert_same(files.read(tmp_path / "a.pth").tensors, content)


def test_of_a_module_of_lightning_s_the_network_is_read(tmp_path, capsys):
    wrapped = {f"model.{name}": tensor for name, tensor in tensors().items()}
    beside = {"criterion.weight": torch.ones(3), "ema_model.a": torch.ones(1)}
    saved = {"pytorch-lightning_version": "2.5.0", "state_dict": {**wrapped, **beside}}
    torch.save(saved, tmp_path / "a.ckpt")
    assert_same(files.read(tmp_path / "a.ckpt").tensors, tensors())
    said = "of the module, model.* is read, and not criterion.weight and 1 more\n"
    assert capsys.readouterr().err.endswith(said)
    # which of two is the network is not guessed
    saved["state_dict"]["backbone.a"] = torch.ones(1)
    torch.save(saved, tmp_path / "b.ckpt")
    assert files.read(tmp_path / "b.ckpt").tensors.keys() == saved["state_dict"].keys()


def test_a_pycls_checkpoint_comes_with_its_config(tmp_path):
    torch.save({"model_state": tensors(), "cfg": "BN:\n  EPS: 1.0e-05\n"}, tmp_path / "a.pyth")
    found = files.read(tmp_path / "a.pyth")
    assert_same(found.tensors, tensors())
    assert found.about == {"cfg": "BN:\n  EPS: 1.0e-05\n"}


def bits(dtype: torch.dtype) -> torch.Tensor:
    """Every value of a type of 16 bits, or a million of a wider one: NaNs and subnormals too."""
    if dtype.itemsize == 2:
        return torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype)
    return torch.frombuffer(bytearray(np.random.default_rng(0).bytes(2**20)), dtype=dtype)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (torch.float64, np.float64),
        (torch.float32, np.float32),
        (torch.float16, np.float16),
        (torch.bfloat16, ml_dtypes.bfloat16),
    ],
)
def test_safetensors_have_the_values_that_torch_has(tmp_path, theirs, ours):
    wanted = bits(theirs).reshape(4, -1)
    content = {"x": wanted, "of no dimension": wanted[0, 0].clone()}
    safetensors.torch.save_file(content, tmp_path / "x")
    found = files.read(tmp_path / "x").tensors
    assert found.keys() == content.keys()
    for name, x in content.items():
        assert (found[name].dtype, found[name].shape) == (ours, x.shape)
    assert found["x"].tobytes() == wanted.view(torch.int8).numpy().tobytes()
    with np.errstate(invalid="ignore"):  # NaNs that signal
        np.testing.assert_array_equal(found["x"].astype(np.float64), wanted.double().numpy())


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.bool, torch.float8_e4m3fn])
def test_a_type_that_no_weight_has_is_refused_with_the_tensor_s_name(tmp_path, dtype):
    path = tmp_path / "x.safetensors"
    safetensors.torch.save_file({"a": torch.ones(2), "stem.b": torch.ones(3).to(dtype)}, path)
    assert "tensor stem.b" in refusal(path)


CONTENTS: dict[str, Callable[[], bytes]] = {
    "safetensors": lambda: safetensors.torch.save(tensors()),
    "torch-zip": lambda: torch_bytes(tensors()),
    "torch-legacy": lambda: torch_bytes(tensors(), "legacy"),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: torch.eye(2).to_sparse(), "sparse"),
        (lambda: torch.ones(2, device="meta"), "without values"),
        (lambda: torch.ones(2, dtype=torch.complex64), "complex"),
        (lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested"),
    ],
    ids=["sparse", "meta", "complex", "nested"],
)
def test_a_tensor_that_does_not_simply_hold_its_values_is_refused(tmp_path, make, kind):
    torch.save({"stem.conv.weight": make()}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=f"the tensor 'stem.conv.weight' is {kind}; save its"):
        files.read(tmp_path / "x.pth")


@pytest.mark.parametrize("name", ["x.pth", "x.pyth", "x.safetensors", "x"])
@pytest.mark.parametrize("content", CONTENTS)
def test_the_content_decides_and_not_the_name(tmp_path, content, name):
    (tmp_path / name).write_bytes(CONTENTS[content]())
    found = files.read(tmp_path / name).tensors
    assert found.keys() == tensors().keys()
    for key, tensor in tensors().items():
        values = found[key].tolist()
        assert values == tensor.tolist()


@pytest.mark.parametrize("length", [0x80, 0x180, 0x580, 0x10080])
def test_no_length_of_a_safetensors_header_makes_it_a_pickle(tmp_path, length):
    values = {"a": np.arange(3, dtype=np.float32)}
    bare = int.from_bytes(safetensors.numpy.save(values, {"x": ""})[:8], "little")
    # headers are padded to a multiple of eight bytes
    content = safetensors.numpy.save(values, {"x": "y" * (length - bare)})
    assert int.from_bytes(content[:8], "little") == length
    (tmp_path / "weights").write_bytes(content)
    found = files.read(tmp_path / "weights").tensors
    assert found.keys() == {"a"}
    np.testing.assert_array_equal(found["a"], values["a"])


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


def zip_of_two_disks() -> bytes:
    """A ZIP64 archive's ends, of which the first gives the number of disks; found by the fuzzer."""
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 2)
    return b"PK\x03\x04" + bytes(60) + locator + struct.pack("<4s4H2LH", b"PK\x05\x06", *[0] * 7)


def zip_of_text() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.txt", "not a network")
    return file.getvalue()


# what a file holds: (its bytes, what is said of it)
REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "no file of weights"),
    "text": (b"conv1.weight: 3.14\nconv1.bias: 2.72\n", "no file of weights"),
    "text with a brace": (b'weights:{"conv1": 3.14}', "damaged or cut short"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(99), "no file of weights"),
    "a truncated zip": (halved(torch_bytes(tensors())), "damaged or cut short"),
    "the start of a zip": (torch_bytes(tensors())[:4], "damaged or cut short"),
    "a truncated pickle": (halved(torch_bytes(tensors(), "legacy")), "damaged or cut short"),
    "the start of a pickle": (torch_bytes(tensors(), "legacy")[:30], "damaged or cut short"),
    "a zip of two disks": (zip_of_two_disks(), "damaged or cut short"),
    "another zip": (zip_of_text(), "damaged or cut short"),
    "a truncated body": (safetensors.torch.save(tensors())[:-1], "damaged or cut short"),
    "a truncated header": (safetensors.torch.save(tensors())[:40], "damaged or cut short"),
    "half a length": (safetensors.torch.save(tensors())[:4], "no file of weights"),
    "bytes after the body": (safetensors.torch.save(tensors()) + b"\0", "damaged or cut short"),
    "a list": (torch_bytes([torch.ones(2)]), "holds a list, not a state dict"),
    "a tensor": (torch_bytes(torch.ones(2)), "holds a Tensor, not a state dict"),
    "a module": (torch_bytes(torch.nn.Linear(2, 3)), "asks for torch.nn.modules.linear.Linear"),
    "a legacy module": (
        torch_bytes(torch.nn.Linear(2, 3), "legacy"),
        "asks for torch.nn.modules.linear.Linear",
    ),
    "a pickle of arrays": (pickle.dumps({"a": np.ones(2)}), "tensors and plain values"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_file_of_weights_is_refused_with_its_name(tmp_path, what):
    content, words = REFUSED[what]
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert words in refusal(path)
    assert path.read_bytes() == content


def test_a_missing_file_and_a_folder_without_weights_are_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "nothing.pth")
    assert "no checkpoint" in refusal(tmp_path)
    (tmp_path / "2012").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    assert "no checkpoint" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["²", "٣"])  # which str.isdigit calls digits
def test_a_folder_with_a_strange_name_in_it_is_refused_like_any_other(tmp_path, name):
    (tmp_path / name).mkdir()
    assert "no checkpoint" in refusal(tmp_path)


class WantsToRun:
    """Pickled, it asks whoever reads it to make a folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


HOSTILE: dict[str, Callable[[object], bytes]] = {
    "zip": torch_bytes,
    "legacy": lambda x: torch_bytes(x, "legacy"),
    **{f"protocol {i}": lambda x, i=i: pickle.dumps(x, i) for i in range(6)},
}


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize("how", HOSTILE)
def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not_run(tmp_path, how, name):
    made, path = tmp_path / "made", tmp_path / name
    content = HOSTILE[how]({"model_state": {"a": WantsToRun(made)}})
    path.write_bytes(content)
    refusal(path)
    assert not made.exists()
    if how.startswith("protocol"):  # it would have, elsewhere
        pickle.loads(content)
    else:
        torch.load(io.BytesIO(content), weights_only=False)
    assert made.is_dir()


def test_what_a_zip_asks_for_is_named(tmp_path):
    torch.save(WantsToRun(tmp_path / "made"), tmp_path / "x.pth")
    assert f"asks for {os.mkdir.__module__}.mkdir" in refusal(tmp_path / "x.pth")


def test_without_pytorch_its_files_are_refused_with_what_to_do(tmp_path, monkeypatch):
    torch.save(tensors(), tmp_path / "x.pth")
    safetensors.torch.save_file(tensors(), tmp_path / "x.safetensors")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert pip_install("torch") in refusal(tmp_path / "x.pth")
    assert files.read(tmp_path / "x.safetensors").tensors.keys() == tensors().keys()


def save_run(workdir: pathlib.Path, step: int) -> TrainState:
    """Leaves what a run leaves of a network, with values that a rounding would change."""
    draw = np.random.default_rng(step).standard_normal
    params = {
        "stem": {"conv": {"kernel": jnp.asarray(draw((3, 3, 3, 4)), jnp.float32)}},
        "head": {"fc": {"bias": jnp.asarray([np.nextafter(np.float32(1), 2), -0.0, np.inf])}},
    }
    batch_stats = {"stem": {"conv": {"bn": {"var": jnp.asarray(draw(4), jnp.float32)}}}}
    momentum = optax.sgd(0.1, momentum=0.9).init(params)
    state = TrainState(jnp.int32(step), params, batch_stats, momentum)
    with Checkpoints(checkpoints_of(workdir)) as checkpoints:
        checkpoints.save(state, about={"config": {"model": {"name": f"of step {step}"}}})
    return state


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A workdir with the checkpoints of steps 9 and 12, and their states."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    states = {step: save_run(workdir, step) for step in (12,)}
    states[9] = save_run(workdir.with_name("other"), 9)
    checkpoints = workdir.with_name("other") / "checkpoints"
    shutil.move(checkpoints / "9", workdir / "checkpoints" / "9")
    return workdir, states


def assert_state(found: files.Stored, state: TrainState) -> None:
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    wanted = {".".join(path): np.asarray(x) for path, x in flatten_dict(variables).items()}
    assert found.tensors.keys() == wanted.keys()
    for name, x in wanted.items():
        got = found.tensors[name]
        assert isinstance(got, np.ndarray)
        assert (got.dtype, got.shape, got.tobytes()) == (x.dtype, x.shape, x.tobytes())


@pytest.mark.parametrize(
    ("inside", "step"),
    [
        (".", 12),
        ("checkpoints", 12),
        ("checkpoints/12", 12),
        ("checkpoints/12/state", 12),
        ("checkpoints/9", 9),
    ],
)
def test_a_checkpoint_of_ours_is_read_bit_for_bit(runs, inside, step):
    workdir, states = runs
    found = files.read(workdir / inside)
    assert_state(found, states[step])
    model = {"name": f"of step {step}"}
    assert found.about == {"config": {"model": model}, "model": model}


@pytest.mark.parametrize(
    ("here", "path"),
    [
        ("..", "run"),
        ("..", "run/checkpoints/12"),
        (".", "."),
        (".", "checkpoints"),
        ("checkpoints", "12"),
        ("checkpoints/12", "."),
        ("checkpoints/12", "state"),
        ("checkpoints/12/state", "."),
    ],
)
def test_a_checkpoint_is_read_by_a_relative_path_too(runs, monkeypatch, here, path):
    workdir, states = runs
    monkeypatch.chdir(workdir / here)
    assert_state(files.read(pathlib.Path(path)), states[12])


@pytest.mark.parametrize("name", ["weights.safetensors", "model.safetensors"])
def test_of_a_folder_the_safetensors_are_read(tmp_path, name):
    safetensors.torch.save_file(tensors(), tmp_path / name)
    (tmp_path / "config.json").write_text('{"architecture": "regnety_002", "num_classes": 1000}')
    found = files.read(tmp_path)
    assert found.tensors.keys() == tensors().keys()
    beside = Beside("regnety_002", num_classes=1000)
    assert found.about == {"names": ["regnety_002"], "beside": beside}


def damage_data(checkpoint: pathlib.Path) -> None:
    for path in (checkpoint / "d").iterdir():
        path.write_bytes(path.read_bytes()[:10])


def damage_metadata(checkpoint: pathlib.Path) -> None:
    (checkpoint / "_METADATA").write_text("{")


def remove_data(checkpoint: pathlib.Path) -> None:
    shutil.rmtree(checkpoint / "d")
    shutil.rmtree(checkpoint / "ocdbt.process_0", ignore_errors=True)


DAMAGES = (damage_data, damage_metadata, remove_data)


def print_refusals(workdir: str) -> None:
    """Prints as JSON what `read` says of a workdir whose checkpoint is damaged."""
    messages = {}
    for damage in DAMAGES:
        damaged = shutil.copytree(workdir, f"{workdir}-{damage.__name__}")
        damage(pathlib.Path(damaged) / "checkpoints" / "12" / "state")
        try:
            files.read(pathlib.Path(damaged))
        except WeightsError as error:
            messages[damage.__name__] = str(error)
    print(json.dumps(messages))


@pytest.mark.slow
def test_a_damaged_checkpoint_is_refused_in_one_line_with_its_folder(runs):
    # In a process of its own: when a restore fails, Orbax drops coroutines, which complain in
    # whichever test comes next.
    workdir, _ = runs
    code = f"import tests.interop.test_files as t; t.print_refusals({str(workdir)!r})"
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    messages = json.loads(run.stdout)
    assert messages.keys() == {damage.__name__ for damage in DAMAGES}
    for name, message in messages.items():
        assert len(message.splitlines()) == 1
        assert f"step 12, {workdir}-{name}/checkpoints/12/state, cannot be read" in message
        assert "NoneType" not in message


def arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0).standard_normal
    return {
        "kernel": draw((3, 4)).astype(np.float32),
        "transposed": draw((5, 2, 3)).astype(np.float32).T,
        "wide": draw(3),
        "empty": np.zeros((0, 3), np.float32),
    }


def assert_arrays(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, x in wanted.items():
        np.testing.assert_array_equal(found[name], x, strict=True)


def test_what_is_written_is_what_other_loaders_read(tmp_path):
    path = tmp_path / "new" / "folder" / "weights.safetensors"
    files.write(path, arrays(), {"model": {"strides": [1, 2]}})
    assert_arrays(safetensors.numpy.load_file(path), arrays())
    theirs = {name: x.numpy() for name, x in safetensors.torch.load_file(path).items()}
    assert_arrays(theirs, arrays())
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata()["format"] == "pt"  # which transformers and timm ask for
    assert [x.name for x in path.parent.iterdir()] == [path.name]


def test_what_is_written_comes_back_with_what_was_said_of_it(tmp_path):
    path = tmp_path / "x"
    files.write(path, arrays(), {"model": {"strides": [1, 2], "block": "mbconv"}})
    found = files.read(path)
    assert_arrays(found.tensors, arrays())
    assert found.about == {"model": {"strides": [1, 2], "block": "mbconv"}}


def test_a_file_that_is_there_is_replaced(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_text("older, and longer than what takes its place " * 99)
    files.write(path, {"a": np.ones(1)}, {})
    assert_arrays(safetensors.numpy.load_file(path), {"a": np.ones(1)})
    assert [x.name for x in tmp_path.iterdir()] == [path.name]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    files.write(path, {"a": np.ones(1)}, {})
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for owner, name in ((os, "replace"), (pathlib.Path, "write_bytes")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            with pytest.raises(WeightsError, match=r"x\.safetensors cannot be written: No space"):
                files.write(path, {"a": np.zeros(9)}, {})
        assert path.read_bytes() == before
        assert [x.name for x in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("inside", ["file", "file/x", "file/folder/x", "folder"])
def test_a_place_that_cannot_be_written_is_refused_and_stays_as_it_is(tmp_path, inside):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    path = tmp_path / inside
    if inside == "file":
        path = pathlib.Path("/proc/nothing/x")
    with pytest.raises(WeightsError) as caught:
        files.write(path, arrays(), {})
    assert str(caught.value).startswith(f"{path} cannot be written: ")
    assert sorted(x.name for x in tmp_path.rglob("*")) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "mine"
