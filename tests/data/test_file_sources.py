"""Folders and TFDS: every image in its turn, from any step on, on any number of hosts."""

import dataclasses
import itertools
import shutil

import numpy as np
import pytest

from fastscale_jax.data.pipeline import eval_batches, train_batches
from fastscale_jax.data.sources.bad_images import DataError
from fastscale_jax.data.sources.source import load_source

SIZE = 20  # pixels
BATCH = 4


@pytest.fixture(
    scope="module",
    params=["folder", pytest.param("tfds tiny_photos", marks=pytest.mark.slow), "tfds tiny_files"],
)
def source(request):
    name, _, tfds_name = request.param.partition(" ")
    directory = request.getfixturevalue("folder_of_photos" if name == "folder" else "tfds_photos")
    return load(name, directory, tfds_name)


def load(name, directory, tfds_name=""):
    options = {"resolution": SIZE, "num_classes": 2, "workers": 2, "tfds_name": tfds_name}
    return load_source(name, directory=str(directory), **options)


def first(count, source, **options):
    return list(itertools.islice(train_batches(source.train, BATCH, seed=1, **options), count))


@pytest.fixture(scope="module")
def uninterrupted(source):
    return first(13, source)  # more than two epochs


def assert_same(batches, wanted):
    for batch, other in zip(batches, wanted, strict=True):
        for field, other_field in zip(batch, other, strict=True):
            assert field.dtype == other_field.dtype
            np.testing.assert_array_equal(field, other_field)


def together(shares):
    """The batches of one host, from those of several."""
    for batches in zip(*shares, strict=True):
        yield type(batches[0])(*map(np.concatenate, zip(*batches, strict=True)))


def test_training_batches_are_full_and_of_one_shape(uninterrupted):
    for batch in uninterrupted:
        assert (batch.images.shape, batch.images.dtype) == ((BATCH, SIZE, SIZE, 3), np.uint8)
        assert (batch.labels.dtype, batch.mask.dtype) == (np.int32, np.bool_)
        assert batch.mask.all()
        assert batch.images.std() > 10  # photographs, not black


# a tf.data pipeline takes half a second to build, and there are many; 5 is in the second epoch,
# and for TFDS its first step; hosts start within the first one below
@pytest.mark.parametrize(
    "first_step", [5, *(pytest.param(step, marks=pytest.mark.exhaustive) for step in (1, 9))]
)
def test_a_run_that_starts_at_a_step_sees_what_it_would_have_seen(
    source, uninterrupted, first_step
):
    found = first(13 - first_step, source, first_step=first_step)
    assert_same(found, uninterrupted[first_step:])


@pytest.mark.slow
def test_hosts_together_train_on_the_batches_of_one(source, uninterrupted):
    shares = [first(7, source, first_step=2, process_index=i, process_count=2) for i in range(2)]
    assert_same(together(shares), uninterrupted[2:9])


@pytest.mark.slow
def test_hosts_together_evaluate_every_image_once(source):
    shares = [
        list(eval_batches(source.test, BATCH, process_index=i, process_count=4)) for i in range(4)
    ]
    whole = list(together(shares))
    assert_same(whole, eval_batches(source.test, BATCH))
    mask = np.concatenate([batch.mask for batch in whole])
    assert mask.sum() == source.test.examples
    assert mask[:-BATCH].all()  # what is missing is missing from the last batch
    images = np.concatenate([batch.images for batch in whole])[mask]
    assert len({image.tobytes() for image in images}) == source.test.examples


def test_the_number_of_threads_changes_nothing(source, uninterrupted):
    split = dataclasses.replace(source.train, workers=1)
    assert_same(itertools.islice(train_batches(split, BATCH, seed=1), 6), uninterrupted[:6])


def test_every_epoch_has_its_own_order_and_its_own_crops(source, uninterrupted):
    steps = source.train.examples // BATCH
    epochs = [uninterrupted[:steps], uninterrupted[steps : 2 * steps]]
    labels = [np.concatenate([batch.labels for batch in epoch]) for epoch in epochs]
    assert not np.array_equal(*labels)
    images = np.concatenate([batch.images for epoch in epochs for batch in epoch])
    assert len({image.tobytes() for image in images}) == len(images)
    other = next(train_batches(source.train, BATCH, seed=2))
    assert not np.array_equal(other.images, uninterrupted[0].images)


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [2, pytest.param(4, marks=pytest.mark.exhaustive)])
def test_of_records_in_files_a_host_opens_its_own_alone(tfds_photos, tmp_path, hosts):
    """The others' files hold nothing that can be read."""
    shutil.copytree(tfds_photos, tmp_path / "tfds")
    whole = load("tfds", tfds_photos, "tiny_files")
    (folder,) = (tmp_path / "tfds" / "tiny_files").iterdir()
    files = sorted(folder.glob("tiny_files-train*"))
    assert len(files) == 5
    for file in files[3:]:
        file.write_bytes(b"noise")
    own = {"process_index": 0, "process_count": hosts}
    assert_same(
        first(6, load("tfds", tmp_path / "tfds", "tiny_files"), **own), first(6, whole, **own)
    )
    with pytest.raises(DataError, match=r"tiny_files/1\.0\.0, train: a file of records cannot be"):
        first(6, load("tfds", tmp_path / "tfds", "tiny_files"))
