"""What memory is free, of limits that are set here."""

import subprocess
import sys

import pytest

from fastscale_jax.measure import limits


def group(folder, limit_name, limit, used_name, used, inactive):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit_name).write_text(f"{limit}\n")
    (folder / used_name).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\n")


def test_every_group_above_a_process_counts_and_files_give_way(tmp_path):
    memberships, root = tmp_path / "cgroup", tmp_path / "fs"
    memberships.write_text("0::/slice/job\n")
    two = ("memory.max", "memory.current")
    group(root / "slice" / "job", two[0], "max", two[1], 100, 0)
    group(root / "slice", two[0], 5000, two[1], 1000, 300)
    assert list(limits._free_in_cgroups(str(memberships), str(root))) == [4300]


def test_the_first_version_has_names_of_its_own(tmp_path):
    memberships, root = tmp_path / "cgroup", tmp_path / "fs"
    memberships.write_text("12:cpu:/job\n9:memory:/job\n1:name=systemd:/\n")
    one = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    group(root / "memory" / "job", one[0], 900, one[1], 200, 50)
    group(root / "memory", one[0], 2**63, one[1], 800, 0)
    assert list(limits._free_in_cgroups(str(memberships), str(root))) == [750, 2**63 - 800]


def test_without_groups_nothing_is_limited(tmp_path):
    assert list(limits._free_in_cgroups(str(tmp_path / "none"), str(tmp_path))) == []


def room(gigabytes=None):
    """What a process says, with or without a limit of its address space."""
    limit = (gigabytes or 0) << 30
    code = (
        "import resource\n"
        f"if {limit}: resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))\n"
        "from fastscale_jax.measure import limits\n"
        "print(limits.room())"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.parametrize("gigabytes", [6, 8])
def test_a_limit_of_the_process_counts(gigabytes):
    # what Python and JAX map is gone; of the rest half counts, less what is set aside for compiling
    least = min((gigabytes - 3) * 2**30 // 2 - 1_600_000_000, room() // 2)
    assert least < room(gigabytes) < gigabytes * 2**30 // 2


def test_where_processes_have_no_limits_the_rest_counts(monkeypatch):
    monkeypatch.setattr(limits, "resource", None)
    assert limits.room() > 0


@pytest.mark.parametrize(("has", "left"), [(0.2, 3.6), (1.0, 4.4), (1.5, 4.7), (9.0, 4.7)])
def test_what_compiling_has_taken_already_is_not_set_aside_again(monkeypatch, has, left):
    monkeypatch.setattr(limits, "_free_on_host", lambda: iter([10**10, 5 * 10**9]))
    monkeypatch.setattr(limits, "_table", lambda path: {"VmRSS": int(has * 1e9)})
    assert limits.room() == pytest.approx(left * 1e9)


def test_a_machine_that_does_not_say_is_told_apart(monkeypatch, tmp_path):
    nowhere = str(tmp_path / "proc")
    monkeypatch.setattr(limits, "resource", None)
    monkeypatch.setattr(limits, "_table", lambda path: {})
    monkeypatch.setattr(limits._free_in_cgroups, "__defaults__", (nowhere, nowhere))
    with pytest.raises(ValueError, match="does not report its free memory; give it as --mem"):
        limits.room()
