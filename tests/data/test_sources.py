"""Sources of images: digits are scikit-learn's, split once and for all; noise is cheap."""

import collections
import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fastscale_jax.data.sources import arrays
from fastscale_jax.data.sources.arrays import ArraySplit
from fastscale_jax.data.sources.source import SOURCES, check_source, class_names, load_source


@pytest.fixture(scope="module")
def digits():
    return load_source("digits", resolution=32, num_classes=10)


def fingerprints(images):
    """Counts each image with its label left aside."""
    return collections.Counter(image.tobytes() for image in images)


def test_digits_are_all_of_scikit_learn_s_and_each_in_one_split(digits):
    pixels, labels = load_digits(return_X_y=True)
    grey = np.floor(pixels * 255 / 16 + 0.5).astype(np.uint8).reshape(-1, 8, 8, 1)
    theirs = collections.Counter(
        (image.tobytes(), label) for image, label in zip(np.tile(grey, 3), labels, strict=True)
    )
    ours = collections.Counter(
        (image.tobytes(), label)
        for split in (digits.train, digits.test)
        for image, label in zip(split.images, split.labels, strict=True)
    )
    assert ours == theirs
    assert max(theirs.values()) == 1  # so that no image can be in both splits


def test_digits_have_the_documented_sizes_and_types(digits):
    for split, examples in ((digits.train, 1437), (digits.test, 360)):
        assert split.examples == examples
        assert (split.images.shape, split.images.dtype) == ((examples, 8, 8, 3), np.uint8)
        assert (split.labels.shape, split.labels.dtype) == ((examples,), np.int32)
    assert (digits.train.images.min(), digits.train.images.max()) == (0, 255)


def test_digits_are_split_as_scikit_learn_splits_them(digits):
    theirs = load_digits()
    images = np.floor(theirs.images * 255 / 16 + 0.5)
    indices = np.arange(len(images))
    orders = train_test_split(indices, test_size=360, stratify=theirs.target, random_state=0)
    for split, order in zip((digits.train, digits.test), orders, strict=True):
        np.testing.assert_array_equal(split.labels, theirs.target[order])
        np.testing.assert_array_equal(split.images[..., 0], images[order])


def test_digits_are_the_same_where_scikit_learn_keeps_them_elsewhere(digits, monkeypatch, tmp_path):
    moved = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: moved)
    for split, same in zip(arrays.digits(), (digits.train, digits.test), strict=True):
        np.testing.assert_array_equal(split.images, same.images)
        np.testing.assert_array_equal(split.labels, same.labels)
        assert split.labels.dtype == same.labels.dtype


def test_digits_of_each_class_are_split_in_proportion(digits):
    train, test = (np.bincount(split.labels) for split in (digits.train, digits.test))
    assert len(train) == len(test) == 10
    assert np.all(abs(test - (train + test) * 360 / 1797) < 1)


def test_digits_are_normalised_by_their_training_split(digits):
    pixels = digits.train.images.astype(np.float64) / 255
    np.testing.assert_allclose(digits.conventions.mean, pixels.mean((0, 1, 2)), atol=5e-4)
    np.testing.assert_allclose(digits.conventions.std, pixels.std((0, 1, 2)), atol=5e-4)


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_a_source_is_the_same_each_time(name):
    first, second = (load_source(name, resolution=12, num_classes=10) for _ in range(2))
    for one, other in ((first.train, second.train), (first.test, second.test)):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)


def test_synthetic_images_have_the_network_s_size_and_classes():
    source = load_source("synthetic", resolution=12, num_classes=7)
    assert source.train.images.shape[1:] == (12, 12, 3)
    assert source.train.images.dtype == np.uint8
    assert set(source.train.labels) == set(range(7))
    assert source.train.examples == 1_281_167  # ImageNet-1k's
    assert max(fingerprints(source.train.images).values()) == 1


def test_a_split_repeats_its_images_beyond_their_number():
    split = ArraySplit(np.arange(6, dtype=np.uint8).reshape(3, 2, 1, 1), np.arange(3), examples=8)
    images, labels = split.take(np.array([7, 0, 3, 2]))
    np.testing.assert_array_equal(labels, [1, 0, 0, 2])
    np.testing.assert_array_equal(images[:, 0, 0, 0], [2, 0, 0, 4])


def load(name, num_classes):
    return load_source(name, resolution=32, num_classes=num_classes)


@pytest.mark.parametrize("function", [check_source, load])
@pytest.mark.parametrize(
    ("name", "num_classes", "message"),
    [
        (
            "mnist",
            10,
            "unknown data source 'mnist'; choose one of digits, synthetic, folder, csv, tfds$",
        ),
        ("digits", 1000, "digits has 10 classes, but the network has 1000; set --config.model"),
    ],
)
def test_a_source_that_does_not_fit_is_refused(function, name, num_classes, message):
    with pytest.raises(ValueError, match=message):
        function(name, num_classes)


# of the thousand, by their number in every list of ImageNet-1k's classes
IMAGENET = {
    0: "tench",
    1: "goldfish",
    207: "golden retriever",
    281: "tabby",
    340: "zebra",
    388: "giant panda",
    779: "school bus",
    817: "sports car",
    948: "Granny Smith",
    963: "pizza",
}


def test_a_thousand_classes_are_imagenet_s():
    names = class_names("synthetic", 1000)
    assert len(set(names)) == 1000
    assert {i: names[i] for i in IMAGENET} == IMAGENET
    assert all(name == name.strip() != "" for name in names)


@pytest.mark.parametrize(
    ("source", "classes"), [("digits", 10), ("synthetic", 10), ("synthetic", 3)]
)
def test_other_classes_are_numbered(source, classes):
    assert class_names(source, classes) == tuple(str(i) for i in range(classes))


@pytest.mark.parametrize("name", SOURCES)
def test_conventions_are_those_of_colour_images(name):
    conventions = SOURCES[name]
    assert len(conventions.mean) == len(conventions.std) == 3
    assert 0 <= conventions.crop <= 1


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_a_source_has_the_conventions_and_the_classes_of_its_name(name):
    source = load_source(name, resolution=12, num_classes=10)
    assert source.conventions == SOURCES[name]
    assert source.classes == class_names(name, 10)


def test_a_source_says_how_large_it_is(digits):
    assert digits.summary == "digits: 10 classes, 1,437 training and 360 test images"


@pytest.mark.parametrize("name", ["folder", "tfds"])
def test_without_tensorflow_files_cannot_be_read(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    for function in (load, lambda *args: check_source(*args, directory="")):
        with pytest.raises(
            ValueError, match=rf"'{name}' needs tensorflow; run pip install '.*\[data"
        ):
            function(name, 10)
    check_source(name, 10)  # a network can be looked at, and used, without its data
    assert class_names(name, 3) == ("0", "1", "2")


def test_small_sources_do_without_large_packages():
    program = (
        "import sys; from fastscale_jax.data.sources.source import load_source; "
        "[load_source(name, resolution=8, num_classes=10) for name in ('digits', 'synthetic')]; "
        "print(sorted({'sklearn', 'tensorflow', 'tensorflow_datasets'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"
