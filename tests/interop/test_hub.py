"""Weights on the hub: a server on this machine, its cache, and everything that can go wrong."""

import io
import json
import shutil

import numpy as np
import pytest
import safetensors.numpy

from fastscale_jax import arch
from fastscale_jax.arch.zoo import base_architecture
from fastscale_jax.interop import files, hub, pretrained
from fastscale_jax.interop.counterparts import COUNTERPARTS
from fastscale_jax.interop.layout import tensors
from fastscale_jax.interop.load import load
from fastscale_jax.interop.weights import WeightsError
from fastscale_jax.runs.run import Run
from fastscale_jax.utils.installation import pip_install
from tests.interop.hub_server import COMMIT, Hub, connected

pytest.importorskip("huggingface_hub")

NAME = "timm/regnety_004.pycls_in1k"
WEIGHTS = safetensors.numpy.save({"stem.conv.weight": np.arange(3000, dtype=np.float32)})
ABOUT = json.dumps({"architecture": "regnety_004", "pretrained_cfg": {"crop_pct": 0.875}}).encode()
REPOSITORIES = {
    NAME: {"model.safetensors": WEIGHTS, "config.json": ABOUT},
    "me/older": {"pytorch_model.bin": WEIGHTS, "sub/a.safetensors": WEIGHTS},
    "me/gated": {"model.safetensors": WEIGHTS},
    "me/other": {"notes.txt": b"", "b.pth": WEIGHTS},
}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The hub, and an empty cache, in a folder that has the name of one within it."""
    copy = {name: dict(content) for name, content in REPOSITORIES.items()}
    served = Hub(copy, gated={"me/gated": "secret"}, branches=("main", "v2"))
    with connected(monkeypatch, tmp_path / "snapshots" / "cache", served):
        yield served


@pytest.fixture
def unreachable(monkeypatch):
    """Called: from now on no hub answers."""
    return lambda: monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def refusal(name: str) -> str:
    with pytest.raises(WeightsError) as caught:
        files.read(name)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def test_weights_come_with_their_description_and_only_once(server):
    stored = files.read(f"hf:{NAME}")
    np.testing.assert_array_equal(stored.tensors["stem.conv.weight"], np.arange(3000))
    assert stored.about["names"] == ["regnety_004"]
    assert stored.about["beside"].crop_pct == 0.875
    assert stored.about["licence"] == "mit"
    assert sum("GET" in x and "/blobs/" in x for x in server.asked) == 1
    # a branch may have moved on, so that it is asked for again; a commit cannot
    server.asked.clear()
    files.read(f"hf:{NAME}")
    assert server.asked == [f"HEAD /{NAME}/resolve/main/model.safetensors"]
    server.asked.clear()
    files.read(f"hf:{NAME}@{COMMIT}")
    assert server.asked == []


class Terminal(io.StringIO):
    """What a terminal was sent."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("screen", [Terminal, io.StringIO])
def test_a_terminal_sees_how_far_a_download_is_and_a_log_does_not(server, monkeypatch, screen):
    shown = screen()
    monkeypatch.setattr("sys.stderr", shown)
    files.read(f"hf:{NAME}")
    size = f"{len(WEIGHTS) / 1e3:.1f}k"  # as in `model.safetensors: 100%|███| 12.1k/12.1k`
    is_shown = f"{size}/{size}" in shown.getvalue() and "model.safetensors" in shown.getvalue()
    assert is_shown == shown.isatty()


def test_a_revision_and_a_file_can_be_chosen(server):
    assert hub.download("hf:me/older").name == "pytorch_model.bin"
    assert hub.download("hf:me/older/sub/a.safetensors@v2").name == "a.safetensors"
    assert "HEAD /me/older/resolve/v2/sub/a.safetensors" in server.asked
    assert str(hub.reference("hf:me/older/a.bin@refs/pr/1")) == "hf:me/older/a.bin@refs/pr/1"


def test_offline_and_without_a_hub_the_cache_is_enough(server, unreachable, monkeypatch):
    wanted = hub.download(f"hf:{NAME}")
    unreachable()
    assert hub.download(f"hf:{NAME}") == wanted
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert files.read(f"hf:{NAME}").about["beside"].crop_pct == 0.875
    message = refusal("hf:timm/regnety_002.pycls_in1k")
    assert "is not in the cache" in message
    assert "HF_HUB_OFFLINE forbids" in message
    assert f"did you mean hf:{NAME}" in refusal("hf:timm/regnety_04.pycls_in1k")


def test_a_description_that_is_not_in_the_cache_is_missed(server, unreachable, capsys):
    path = hub.download(f"hf:{NAME}")
    (path.parent / "config.json").unlink()
    unreachable()
    hub.download(f"hf:{NAME}")
    assert "its config.json is not in the cache" in capsys.readouterr().err


def test_a_hub_that_is_not_reached_is_named_at_once_with_the_cache(
    server, unreachable, monkeypatch, caplog
):
    unreachable()
    wait = "huggingface_hub.utils._http.time.sleep"
    monkeypatch.setattr(wait, lambda seconds: pytest.fail("it waits, and tries again"))
    message = refusal(f"hf:{NAME}")
    assert message.startswith("the hub http://127.0.0.1:9 is not reached (")
    assert f"hf:{NAME} is not in the cache " in message
    assert "did you mean" not in message
    assert "Retrying" not in caplog.text


@pytest.mark.parametrize("variable", ["http_proxy", "all_proxy"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_is_asked_in_place_of_the_hub(server, monkeypatch, variable, scheme):
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    assert "hub.invalid is not reached" in refusal(f"hf:{NAME}")
    monkeypatch.setenv(variable, scheme + server.address.removeprefix("http://"))
    assert hub._unreached() is None


@pytest.mark.parametrize("endpoint", ["http://host:port", "socks5://host", "nonsense"])
def test_an_address_that_cannot_be_judged_is_left_to_the_library(monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert hub._unreached() is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf:timm/regnety_04.pycls_in1k", f"did you mean hf:{NAME}"),
        ("hf:me/oldr", "did you mean hf:me/older?"),
        ("hf:regnety_004.pycls_in1k", f"did you mean hf:{NAME}?"),
        (f"hf:{NAME}@mian", "has no revision 'mian'; did you mean main? it has main, v2"),
        ("hf:me/other", "no pytorch_model.bin; its files of weights are b.pth"),
        ("hf:me/other/a.pth", "did you mean hf:me/other/b.pth?"),
        ("hf:", "is no name of weights on the hub"),
        ("hf:me/../etc", "is no name of weights on the hub"),
        (f"hf:{NAME}@", "is no name of weights on the hub"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_names_near_it(server, name, words):
    assert words in refusal(name)


def test_a_licence_that_must_be_accepted_says_where(server, monkeypatch):
    message = refusal("hf:me/gated")
    assert f"accept its licence: do so at {server.address}/me/gated" in message
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert files.read("hf:me/gated").tensors


def test_half_a_download_is_no_file(server):
    server.cut = 1000
    size = len(WEIGHTS)
    assert f"only 1,000 of the {size:,} bytes of model.safetensors" in refusal(f"hf:{NAME}")
    server.cut = None
    assert files.read(f"hf:{NAME}").tensors


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_file_that_is_not_the_hub_s_is_refused(server, file):
    blob = (hub.download(f"hf:{NAME}").parent / file).resolve()
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + b" ")
    message = refusal(f"hf:{NAME}")
    assert f"{file} is not the file on the hub: its SHA-" in message
    assert f"delete {blob} and start again" in message
    blob.unlink()
    assert files.read(f"hf:{NAME}").tensors
    assert blob.read_bytes() == content


def test_what_comes_with_a_wrong_checksum_is_refused(server):
    server.stated = "0" * 64
    assert f"the hub states {'0' * 64}" in refusal(f"hf:{NAME}")


def test_a_cache_that_another_program_filled_will_do(server, tmp_path, unreachable, monkeypatch):
    hub.download(f"hf:{NAME}")
    shutil.move(tmp_path / "snapshots" / "cache", tmp_path / "home" / "hub")
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    unreachable()
    assert files.read(f"hf:{NAME}").tensors
    # the snapshot is a folder like any other, too
    snapshot = tmp_path / "home/hub" / f"models--{NAME.replace('/', '--')}" / "snapshots" / COMMIT
    assert files.read(snapshot).about["names"] == ["regnety_004"]


def test_without_huggingface_hub_it_is_said_how_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    assert pip_install("hub") in refusal(f"hf:{NAME}")


def test_timm_means_its_default_weights_of_the_network():
    def default(family: str, base: str, **changes: object) -> str:
        config = base_architecture(family, base).to_config()
        return pretrained.default_weights(arch.as_architecture({**config, **changes}))

    assert default("regnety", "400mf") == "hf:timm/regnety_004.tv2_in1k"
    assert default("regnety", "400mf", num_classes=7, resolution=64) == default("regnety", "400mf")
    assert default("efficientnet", "b0") == "hf:timm/efficientnet_b0.ra_in1k"
    # timm has only Google's of the large ones
    assert default("efficientnet", "b7") == "hf:timm/tf_efficientnet_b7.ns_jft_in1k"
    same = {"padding": "same", "bn_eps": 1e-3}
    assert default("efficientnet", "b0", **same) == "hf:timm/tf_efficientnet_b0.ns_jft_in1k"
    with pytest.raises(
        ValueError, match=r"timm has no weights of .*; it has those of regnetx:200mf"
    ):
        default("regnety", "400mf", depths=(1, 1, 1, 1))


def test_timm_is_written_down_as_what_it_means():
    from fastscale_jax.runs.recipes import read_config

    config = read_config("finetune:regnety:400mf", ["--config.init_from=timm"])
    assert Run.of(config).recipe.init_from == "hf:timm/regnety_004.tv2_in1k"


def test_the_table_is_of_networks_and_licences_that_are_known():
    rows = pretrained.pretrained()
    assert len({x.repository for x in rows}) == len(rows) > 150
    assert {x.licence for x in rows} <= {
        *("apache-2.0", "bsd-3-clause", "mit", "cc-by-nc-4.0", "seer-license"),
    }
    assert all(x.top1 is None or 60 < x.top1 < 90 for x in rows)
    assert all((x.top1 is None) == (x.classes != 1000) for x in rows)
    known = {c.name for c in COUNTERPARTS if c.package == "timm"}
    untrained = known - {x.name for x in rows}
    assert untrained >= {"efficientnet_b6", "efficientnet_b7", "efficientnet_lite1"}
    assert not {x for x in untrained if x.startswith(("regnetx", "regnety", "tf_", "resnet"))}
    assert {x for x in untrained if x.startswith("regnetz")} == {"regnetz_005"}


def test_a_network_takes_weights_from_the_hub_and_what_they_say(server):
    config = arch.scale(arch.model_config("regnety"), "dWr", factor=1 / 64)
    theirs = {
        t.name: np.ones(t.shape, np.float32) for t in tensors(arch.as_architecture(config), "timm")
    }
    note = {"pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "license": "mit"}}
    server.repositories["me/small"] = {
        "model.safetensors": safetensors.numpy.save(theirs),
        "config.json": json.dumps(note).encode(),
    }
    found = load("hf:me/small@v2", config)
    assert found.account == (
        "hf:me/small@v2, in timm's names, licence mit; "
        "followed: mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5)"
    )
    assert (found.variables["params"]["stem"]["conv"]["kernel"] == 1).all()
    wider = arch.scale(config, "w", factor=2)
    with pytest.raises(WeightsError, match=r"^hf:me/small: these are not the weights of "):
        load("hf:me/small", wider)


def test_a_network_with_our_tensors_that_computes_something_else_is_refused(server):
    config = arch.scale(arch.model_config("resnet"), "dWr", factor=1 / 64)
    theirs = {
        t.name: np.ones(t.shape, np.float32) for t in tensors(arch.as_architecture(config), "timm")
    }
    # no config.json: the name of the repository says it
    server.repositories["timm/resnetblur50.bt_in1k"] = {
        "model.safetensors": safetensors.numpy.save(theirs)
    }
    with pytest.raises(WeightsError, match=r"timm's resnetblur50…, which blurs before it strides"):
        load("hf:timm/resnetblur50.bt_in1k", config)
