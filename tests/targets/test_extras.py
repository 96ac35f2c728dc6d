"""The compilers' wheels: what is missing, or of another version, is one line."""

import os
import re

import pytest

from fastscale_jax.targets import extras
from fastscale_jax.utils.installation import pip_install

INSTALLED = {
    "jax": "0.10.2",
    "jaxlib": "0.10.2",
    "jax-cuda12-plugin": "0.10.2",
    "nvidia-cuda-nvcc-cu12": "12.9.86",
    "libtpu": "0.0.42.1",
}


@pytest.fixture
def install(monkeypatch):
    def of(**versions):
        known = {**INSTALLED, **{name.replace("_", "-"): x for name, x in versions.items()}}
        monkeypatch.setattr(extras, "_version", lambda name: known.get(name, ""))
        asked = ["numpy>=2", "libtpu==0.0.42.* ; extra == 'tpu'"]
        monkeypatch.setattr(extras.importlib.metadata, "requires", lambda name: asked)

    return of


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_what_is_installed_as_jax_wants_it_is_taken(install, platform):
    install()
    extras.check_compiler(platform)
    assert extras.compiler_versions(platform)["jaxlib"] == "0.10.2"


@pytest.mark.parametrize(
    ("platform", "versions", "words"),
    [
        ("gpu", {"jax_cuda12_plugin": ""}, "XLA's GPU compiler has to be installed"),
        ("gpu", {"jax_cuda12_plugin": "0.11.2"}, "must have jaxlib's version, 0.10.2, but it is"),
        ("gpu", {"nvidia_cuda_nvcc_cu12": ""}, "NVIDIA's nvcc wheel has to be installed"),
        ("tpu", {"libtpu": ""}, "libtpu has to be installed"),
        (
            "tpu",
            {"libtpu": "0.0.52"},
            "must be 0.0.42.* for jax 0.10.2, but it is 0.0.52",
        ),
    ],
)
def test_what_is_missing_or_does_not_fit_is_said_with_what_to_install(
    install, platform, versions, words
):
    install(**versions)
    with pytest.raises(ValueError, match=re.escape(words)) as refused:
        extras.check_compiler(platform)
    assert pip_install(f"targets-{platform}") in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("installed", "present", "chosen", "platforms"),
    [
        ({}, [], None, "cpu"),
        ({"libtpu": ""}, [], None, "cpu"),
        ({"libtpu": "", "jax_cuda12_plugin": ""}, [], None, None),  # JAX's own search is quiet
        ({"nvidia_cudnn_cu12": "9.10"}, [], None, None),
        ({}, ["cuda"], None, None),
        ({}, ["accel0"], None, None),
        ({"libtpu": ""}, ["accel0"], None, "cpu"),
        ({}, [], "cuda", "cuda"),
    ],
)
def test_jax_looks_for_no_device_of_which_only_the_compiler_is_here(
    install, monkeypatch, tmp_path, installed, present, chosen, platforms
):
    install(**installed)
    for name in present:
        (tmp_path / name).touch()
    monkeypatch.setattr(extras, "_DEVICES", tmp_path)
    monkeypatch.setattr(extras, "_LOCAL_CUDA", tmp_path / "cuda")
    if chosen is None:
        monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    else:
        monkeypatch.setenv("JAX_PLATFORMS", chosen)
    extras.leave_out_devices_that_are_not_here()
    assert os.environ.get("JAX_PLATFORMS") == platforms
