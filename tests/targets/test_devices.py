"""Figures of accelerators, against their sources, what they are made of, and XLA's own files."""

import dataclasses

import pytest

from fastscale_jax.targets.devices import by_kind, devices, xla_text

GPUS = [key for key in devices() if key.startswith("gpu:")]
TPUS = [key for key in devices() if key.startswith("tpu:")]
NO_FIGURES = {"key", "sources", "xla", "topology", "other_names", "clock_hz", "available_bytes"}


@pytest.mark.parametrize("key", devices())
def test_every_figure_has_a_source(key):
    device = devices()[key]
    figures = {field.name for field in dataclasses.fields(device)} - NO_FIGURES
    figures |= set(device.xla)
    figures |= {
        name
        for name in ("topology", "other_names", "clock_hz", "available_bytes")
        if getattr(device, name)
    }
    assert set(device.sources) == figures
    for source in device.sources.values():
        assert "[" not in source
        assert "https://" in source or "assumption" in source or "reports" in source


@pytest.mark.parametrize("key", devices())
def test_a_device_has_what_its_kind_needs(key):
    device = devices()[key]
    assert device.key == key
    assert device.platform == key[:3]
    assert bool(device.xla) == (device.platform == "gpu")
    assert bool(device.topology) == (device.platform == "tpu")
    assert device.network < device.link < device.bandwidth < device.peak("float32")


# openxla/xla, xla/backends/gpu/target_config/specs/h100_sxm.txtpb, a100_sxm_80.txtpb and v100.txtpb
# have the same figures, and more that the compiler does without.
TEXT = """\
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {shared}
  threads_per_core_limit: 2048
  core_count: {cores}
  fpus_per_core: {fpus}
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth}
  l2_cache_size: {l2}
  clock_rate_ghz: {clock}
  device_memory_size: {memory}
  shared_memory_per_block_optin: {optin}
  cuda_compute_capability {{ major: {major} }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "{name}"
"""
GOLDEN = {
    "gpu:h100": {
        "shared": 233472,
        "cores": 132,
        "fpus": 128,
        "bandwidth": 3352320000000,
        "l2": 52428800,
        "clock": 1.98,
        "memory": 84942979072,
        "optin": 232448,
        "major": 9,
        "name": "NVIDIA H100 80GB HBM3",
    },
    "gpu:a100": {
        "shared": 167936,
        "cores": 108,
        "fpus": 64,
        "bandwidth": 2039040000000,
        "l2": 41943040,
        "clock": 1.41,
        "memory": 85100068864,
        "optin": 166912,
        "major": 8,
        "name": "NVIDIA A100-SXM4-80GB",
    },
    "gpu:v100": {
        "shared": 98304,
        "cores": 80,
        "fpus": 64,
        "bandwidth": 898048000000,
        "l2": 6291456,
        "clock": 1.53,
        "memory": 16935682048,
        "optin": 98304,
        "major": 7,
        "name": "Tesla V100-SXM2-16GB",
    },
}


@pytest.mark.parametrize("key", GOLDEN)
def test_xla_gets_the_figures_of_its_own_files(key):
    assert xla_text(devices()[key]) == TEXT.format(**GOLDEN[key])


def test_xla_gets_the_minor_compute_capability_too():
    assert "  cuda_compute_capability { major: 8 minor: 9 }\n" in xla_text(devices()["gpu:l4"])
    assert "  cuda_compute_capability { major: 10 }\n" in xla_text(devices()["gpu:b200"])


def test_a_tpu_has_no_such_text():
    with pytest.raises(ValueError, match="GPUs only; tpu:v5e is none"):
        xla_text(devices()["tpu:v5e"])


# Bits of the bus, and the memory's clock in MHz: deviceQuery prints both. Two transfers a clock.
MEMORY = {
    "gpu:h100": (5120, 2619),
    "gpu:h200": (6144, 3201),  # at which its maker's 4.8 TB/s are exceeded by 2.4 %
    "gpu:a100": (5120, 1593),
    "gpu:a100-40gb": (5120, 1215),
    "gpu:l4": (192, 6251),
    "gpu:rtx4090": (384, 10501),
    "gpu:v100": (4096, 877),
    "gpu:v100-32gb": (4096, 877),
    "gpu:b200": (7680, 3996),
}


@pytest.mark.parametrize("key", GPUS)
def test_a_gpu_s_bandwidth_is_that_of_its_bus(key):
    bits, clock = MEMORY[key]
    tolerance = 0.025 if key == "gpu:h200" else 1e-9
    assert devices()[key].bandwidth == pytest.approx(bits / 8 * 2 * clock * 1e6, rel=tolerance)


# Multiply-adds a clock of a multiprocessor: its tensor cores by what each does in float16 or
# bfloat16, summed in float32; its CUDA cores; and the tensor cores' clock in MHz. From the makers'
# whitepapers, of the architecture. TF32 goes at half the rate.
UNITS = {
    "gpu:h100": (4 * 512, 128, 1830),
    "gpu:h200": (4 * 512, 128, 1830),
    "gpu:a100": (4 * 256, 64, 1410),
    "gpu:a100-40gb": (4 * 256, 64, 1410),
    "gpu:l4": (4 * 128, 128, 2040),
    "gpu:rtx4090": (4 * 64, 128, 2520),  # GeForce: half of Ada's rate
    "gpu:v100": (8 * 64, 64, 1530),
    "gpu:v100-32gb": (8 * 64, 64, 1530),
    "gpu:b200": (4 * 1024, 128, 1835),  # XLA's b200.txtpb: no whitepaper has them
}


@pytest.mark.parametrize("key", GPUS)
def test_a_gpu_s_rates_are_those_of_its_units(key):
    device = devices()[key]
    tensor, cuda, clock = UNITS[key]
    units = device.xla["core_count"] * 2e6  # a multiply-add is two operations
    vector = units * cuda * 1e3 * device.xla["clock_rate_ghz"]
    expected = {"float16": units * tensor * clock, "vector_float32": vector}
    if key.startswith("gpu:v100"):
        expected["float32"] = vector
    else:
        expected |= {"bfloat16": expected["float16"], "float32": expected["float16"] / 2}
    assert dict(device.peak_flops) == pytest.approx(expected, rel=0.02)
    assert cuda == device.xla["fpus_per_core"]


# Matrix units of 128 x 128, and their clock in MHz: docs.cloud.google.com/tpu/docs/v4, v5e, v5p;
# clocks from arXiv:2304.01433 and jax-ml.github.io/scaling-book/tpus.
@pytest.mark.parametrize(
    ("key", "units", "clock"), [("tpu:v4", 8, 1050), ("tpu:v5e", 4, 1500), ("tpu:v5p", 8, 1750)]
)
def test_a_tpu_s_rate_is_that_of_its_matrix_units(key, units, clock):
    rate = units * 128 * 128 * 2 * clock * 1e6
    assert devices()[key].peak("bfloat16") == pytest.approx(rate, rel=0.02)


# Operations a second of a whole pod, from the same pages.
@pytest.mark.parametrize(("key", "pod"), [("tpu:v5e", 50.63e15), ("tpu:v6e", 234.9e15)])
def test_a_pod_s_rate_is_that_of_its_chips(key, pod):
    device = devices()[key]
    assert device.peak("bfloat16") * device.topology["pod_chips"] == pytest.approx(pod, rel=0.02)


@pytest.mark.parametrize("key", TPUS)
def test_a_tpu_in_float32_is_as_fast_as_in_bfloat16(key):
    assert devices()[key].peak("float32") == devices()[key].peak("bfloat16")


# Links, and what each carries one way in GB/s: NVLink 4, 3, 2 and 5, PCIe 4.0 (16 lanes of
# 16 Gb/s), ICI. Then Gb/s of the network that so many devices share.
LINKS = {
    "gpu:h100": (18, 25, 400, 1),
    "gpu:h200": (18, 25, 400, 1),
    "gpu:a100": (12, 25, 200, 1),
    "gpu:a100-40gb": (12, 25, 200, 1),
    "gpu:l4": (16, 2, 100, 8),
    "gpu:rtx4090": (16, 2, 100, 8),
    "gpu:v100": (6, 25, 400, 8),
    "gpu:v100-32gb": (6, 25, 400, 8),
    "gpu:b200": (18, 50, 400, 1),
    "tpu:v4": (6, 50, 200, 4),
    "tpu:v5e": (4, 50, 200, 8),
    "tpu:v5p": (6, 100, 50, 1),
    "tpu:v6e": (4, 100, 800, 8),
}


@pytest.mark.parametrize("key", devices())
def test_links_and_networks_carry_what_their_parts_carry(key):
    links, each, gigabits, sharing = LINKS[key]
    assert devices()[key].link == links * each * 1e9
    assert devices()[key].network == gigabits * 1e9 / 8 / sharing


# GiB that the makers name; a driver keeps some for itself, and error correction takes a 16th of
# memory that has none of its own.
SIZES = {
    "gpu:h100": 80,
    "gpu:h200": 141,
    "gpu:a100": 80,
    "gpu:a100-40gb": 40,
    "gpu:l4": 24,
    "gpu:rtx4090": 24,
    "gpu:v100": 16,
    "gpu:v100-32gb": 32,
    "gpu:b200": 180,
    "tpu:v4": 32,
    "tpu:v5e": 16,
    "tpu:v5p": 95,
    "tpu:v6e": 32,
}


@pytest.mark.parametrize("key", devices())
def test_the_memory_is_what_is_sold_less_what_the_driver_keeps(key):
    share = devices()[key].memory_bytes / (SIZES[key] * 2**30)
    if key in TPUS:
        assert share == 1
    else:
        assert 0.91 < share < 1


# Since compute capability 8.0 CUDA keeps 1 KiB of each block's shared memory (CUDA C++ Programming
# Guide, "Shared Memory" of each).
@pytest.mark.parametrize("key", GPUS)
def test_a_block_may_have_a_multiprocessor_s_shared_memory_but_what_cuda_keeps(key):
    xla = devices()[key].xla
    kept = 0 if xla["compute_capability"] == "7.0" else 1024
    assert xla["shared_memory_per_block_optin"] == xla["shared_memory_per_core"] - kept


@pytest.mark.parametrize("key", TPUS)
def test_the_largest_slice_is_part_of_a_pod_and_has_whole_hosts(key):
    device = devices()[key]
    assert device.group <= device.topology["pod_chips"]
    assert device.group % device.topology["chips_per_host"] == 0
    assert device.topology["dimensions"] == (3 if key in ("tpu:v4", "tpu:v5p") else 2)


def test_a_device_is_found_by_what_jax_calls_it():
    names = [name for device in devices().values() for name in (device.name, *device.other_names)]
    assert len(set(names)) == len(names)
    assert by_kind("NVIDIA H100 80GB HBM3") is devices()["gpu:h100"]
    assert by_kind("TPU v5 lite") is by_kind("TPU v5e") is devices()["tpu:v5e"]
    assert by_kind("TPU v5") is by_kind("TPU v5p") is devices()["tpu:v5p"]


@pytest.mark.parametrize("kind", ["cpu", "", "NVIDIA H100 PCIe", "nvidia l4"])
def test_an_unknown_kind_gives_none(kind):
    assert by_kind(kind) is None


@pytest.mark.parametrize(
    ("key", "dtype", "line"),
    [
        ("gpu:v100", "bfloat16", "Tesla V100-SXM2-16GB has no bfloat16; use float16 or float32"),
        ("tpu:v5e", "float16", "TPU v5 lite has no float16; use bfloat16 or float32"),
    ],
)
def test_a_dtype_that_a_device_lacks_is_refused(key, dtype, line):
    with pytest.raises(ValueError, match=f"^{line}$"):
        devices()[key].peak(dtype)
