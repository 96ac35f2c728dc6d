"""Whether a run may use a workdir; looking changes nothing."""

import dataclasses
import json
import os

import pytest

from fastscale_jax import arch
from fastscale_jax.checkpoints.stores import Folder
from fastscale_jax.checkpoints.workdir import (
    as_recorded,
    changes,
    check_evaluable,
    check_trainable,
    remains_of_run,
)
from fastscale_jax.logs.records import write_config
from fastscale_jax.report import trained
from fastscale_jax.runs.recipes import read_config
from fastscale_jax.train.recipe import default_config
from fastscale_jax.utils.nested import as_flat
from tests.full_disk import full

NETWORK, _ = arch.resolve("regnetz", "500mf")


def config_of(network=NETWORK, **changes):
    """The config of a run as it is read back from its file."""
    config = default_config()
    config.model = network.to_config()
    config.update({"data": {"name": "digits", "batch_size": 64}, "ema": {"every_steps": 0}})
    config.update(changes)
    return as_recorded(config)


def contents(folder):
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def with_run(workdir, network=NETWORK, checkpoint=True):
    write_config(workdir, config_of(network))
    if checkpoint:
        (workdir / "checkpoints" / "10").mkdir(parents=True)
    return workdir


def test_a_new_an_empty_and_its_own_workdir_can_be_trained_in(tmp_path):
    own = with_run(tmp_path / "own")
    for workdir in (tmp_path / "new" / "deep", tmp_path, own):
        before = contents(tmp_path)
        check_trainable(workdir, config_of())
        assert contents(tmp_path) == before


def test_a_network_is_the_same_by_any_name(tmp_path):
    with_run(tmp_path)
    renamed = dataclasses.replace(NETWORK, name="mine")
    check_trainable(tmp_path, config_of(renamed))
    check_evaluable(tmp_path, config_of(renamed))
    assert len(contents(tmp_path)) == 3


@pytest.mark.parametrize("check", [check_trainable, check_evaluable])
def test_a_workdir_of_another_network_is_refused_with_what_differs(tmp_path, check):
    with_run(tmp_path)
    other = dataclasses.replace(NETWORK, name="other", resolution=64, num_classes=10)
    message = r"holds another network, regnetz-500mf \(different: name is regnetz-500mf, "
    with pytest.raises(ValueError, match=message):
        check(tmp_path, config_of(other))


@pytest.mark.parametrize("check", [check_trainable, check_evaluable])
@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"model": 3}', '{"model": null}'])
def test_a_config_that_is_no_run_s_is_refused_by_its_path(tmp_path, check, text):
    with_run(tmp_path)
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"config\.json is not the config of a run"):
        check(tmp_path, config_of())


def test_only_a_workdir_with_a_checkpoint_can_be_evaluated(tmp_path):
    for workdir in (tmp_path / "new", with_run(tmp_path, checkpoint=False)):
        with pytest.raises(
            ValueError, match=r"there is no (checkpoint in|workdir) .*; train first"
        ):
            check_evaluable(workdir, config_of())
    assert not (tmp_path / "new").exists()
    with_run(tmp_path)
    check_evaluable(tmp_path, config_of())
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="cannot be written: Permission denied"):
        check_trainable(tmp_path / "new", config_of())


def test_a_full_disk_is_refused_before_anything_is_computed(tmp_path):
    with full(), pytest.raises(ValueError, match=r"the workdir .* cannot be written: File too"):
        check_trainable(tmp_path, config_of())


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"7", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 5000, b'{"model": []}'],
    ids=["empty", "list", "number", "bytes", "deep list", "deep object", "no network"],
)
def test_a_config_that_is_none_is_refused_in_a_line(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    for read in (
        lambda: check_trainable(tmp_path, config_of()),
        lambda: read_config(None, workdir=tmp_path),
        lambda: trained.read([tmp_path]),
    ):
        with pytest.raises(ValueError, match=r"config\.json is (not the|no) config of"):
            read()


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ValueError, match="it is not a file but a pipe"):
        check_trainable(tmp_path, config_of())
    (tmp_path / "config.json").unlink()
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(ValueError, match="it is not a file but a pipe"):
        check_trainable(tmp_path, config_of())


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ValueError, match="cannot be written: Not a directory"):
            check_trainable(workdir, config_of())


@pytest.mark.parametrize(
    "changes",
    [{"seed": 1}, {"data": {"batch_size": 32}}, {"optim": {"learning_rate": 1.0}}],
    ids=["seed", "data", "optim"],
)
def test_a_run_goes_on_with_its_own_recipe_unless_changes_are_allowed(tmp_path, changes):
    with_run(tmp_path)
    message = rf"another recipe: config\.{next(iter(changes))}\S* was .* and is now .*; repeat"
    with pytest.raises(ValueError, match=message):
        check_trainable(tmp_path, config_of(**changes))
    check_trainable(tmp_path, config_of(**changes, checkpoint={"allow_changes": True}))
    check_evaluable(tmp_path, config_of(**changes))  # an evaluation may use another batch size
    other = with_run(tmp_path / "fresh", checkpoint=False)
    check_trainable(other, config_of(**changes))
    assert json.loads((other / "config.json").read_text()) == config_of()


def test_what_makes_no_difference_to_the_weights_may_change(tmp_path):
    with_run(tmp_path)
    data, train = {"dir": "/elsewhere", "workers": 3}, {"steps": 7, "log_every_steps": 1}
    checkpoint = {"every_steps": 5}
    check_trainable(tmp_path, config_of(data=data, train=train, checkpoint=checkpoint))
    assert json.loads((tmp_path / "config.json").read_text()) == config_of()  # it is only checked
    # and of all keys but the network's, these alone; the last two because digits are in no files
    recorded = as_flat(config_of())
    free = {key for key in recorded if not changes(config_of(), recorded | {key: "another"})}
    of_run = {key for key in free if not key.startswith(("model.", "checkpoint."))}
    assert of_run == {
        *("variant", "data.dir", "data.workers", "train.steps", "train.log_every_steps"),
        *("train.shard_optimizer", "grouped_conv", "scan_blocks", "remat"),
        *("data.exif", "data.max_pixels"),
    }


def test_a_config_from_before_a_key_was_there_had_its_default(tmp_path):
    with_run(tmp_path)
    config = config_of()
    del config["bn"], config["optim"]["nesterov"]
    write_config(tmp_path, config)
    check_trainable(tmp_path, config_of())
    with pytest.raises(ValueError, match=r"config\.optim\.nesterov was True and is now False"):
        check_trainable(tmp_path, config_of(optim={"nesterov": False}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ema": {"every_steps": 32}, "checkpoint": {"allow_changes": True}},
            "is without an average, but config.ema.every_steps asks for one",
        ),
        (
            {"optim": {"name": "adamw"}, "checkpoint": {"allow_changes": True}},
            "name = 'sgd', and its checkpoint fits no other value; repeat it, or, for 'adamw'",
        ),
        (
            {"train": {"freeze": "stem.*"}, "checkpoint": {"allow_changes": True}},
            "has config.train.freeze = '', and its checkpoint fits no other",
        ),
        ({"dtype": "float16"}, "is without a loss scale, but config.dtype asks for one;"),
    ],
)
def test_a_run_goes_on_with_what_it_kept_so_far(tmp_path, changes, message):
    with_run(tmp_path)
    with pytest.raises(ValueError, match=message):
        check_trainable(tmp_path, config_of(**changes))


def test_a_run_goes_on_with_the_same_frozen_parts_in_another_spelling(tmp_path):
    with_run(tmp_path)
    write_config(tmp_path, config_of(train={"freeze": "stem.*, s1.*"}))
    for same in ("stem.*,s1.*", " s1.* ,stem.*", "s1.*,s1.*,stem.*"):
        check_trainable(tmp_path, config_of(train={"freeze": same}))
    with pytest.raises(ValueError, match="its checkpoint fits no other"):
        check_trainable(tmp_path, config_of(train={"freeze": "stem.*,s2.*"}))


def test_a_checkpoint_of_which_nothing_is_recorded_is_refused(tmp_path):
    with_run(tmp_path)
    (tmp_path / "config.json").unlink()
    for check in (check_trainable, check_evaluable):
        with pytest.raises(
            ValueError, match=r"has a checkpoint, but neither it nor .* has the config"
        ):
            check(tmp_path, config_of())


def test_damaged_metrics_and_a_file_for_checkpoints_are_refused(tmp_path):
    with_run(tmp_path / "a")
    (tmp_path / "a" / "metrics.jsonl").write_text("noise\n" * 3)
    with pytest.raises(ValueError, match="line 1 is not a record"):
        check_trainable(tmp_path / "a", config_of())
    with_run(tmp_path / "b", checkpoint=False)
    (tmp_path / "b" / "checkpoints").write_text("")
    with pytest.raises(ValueError, match="checkpoints is not a folder"):
        check_trainable(tmp_path / "b", config_of())


def test_what_is_left_of_a_run_without_a_checkpoint_is_named(tmp_path):
    checkpoints = Folder(tmp_path / "checkpoints")
    assert remains_of_run(tmp_path, checkpoints) == ""
    (checkpoints / "damaged-7").mkdir(parents=True)
    (tmp_path / "metrics.jsonl").write_text('{"step": 9, "epoch": 1.0}\n')
    remains = remains_of_run(tmp_path, checkpoints)
    assert f"{checkpoints}/damaged-7; " in remains
    assert "metrics.jsonl goes up to step 9" in remains
