"""What TFDS prepared: what is taken of it, and what is refused before a record is read."""

import subprocess
import sys

import pytest

from fastscale_jax.data.pipeline import eval_batches
from fastscale_jax.data.sources.bad_images import DataError
from fastscale_jax.data.sources.source import check_source, class_names, load_source


def test_a_prepared_set_has_its_classes_and_its_images(tfds_photos):
    options = {"directory": str(tfds_photos), "tfds_name": "tiny_photos"}
    source = load_source("tfds", resolution=8, num_classes=2, **options)
    assert source.summary == "tfds: 2 classes, 21 training and 5 test images"
    assert source.classes == class_names("tfds", 2, **options) == ("tench", "goldfish")


@pytest.mark.parametrize(
    ("name", "num_classes", "message"),
    [
        (
            "tiny_photos",
            10,
            r"tiny_photos has 2 classes, but the network has 10; set --config\.mod",
        ),
        (
            "imgnet",
            10,
            r"knows no set 'imgnet' \(Dataset imgnet not found\.\); set --config\.data\.",
        ),
        ("image net", 10, r"TFDS knows no set 'image net' \("),
        ("imagenet2012:9.9.9", 1000, r"knows no set 'imagenet2012:9\.9\.9' \(.*only: "),
        (
            "imagenet2012",
            1000,
            r"put ILSVRC2012_img_train\.tar and ILSVRC2012_img_val\.tar into \S+",
        ),
        (
            "imagenet2012",
            1000,
            r"run python -c .*\.download_and_prepare.*; without data, try --conf",
        ),
        ("cifar10", 10, r"there is no cifar10 with the splits train and validation or test in \S+"),
        ("coco", 10, r"coco is not a set of images with one label each"),
        ("imdb_reviews", 2, r"imdb_reviews is not a set of images with one label each"),
    ],
)
def test_sets_that_do_not_fit_are_refused_with_what_would(tfds_photos, name, num_classes, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_source("tfds", num_classes, directory=str(tfds_photos), tfds_name=name)
    assert len(str(caught.value).splitlines()) == 1


def test_labels_that_are_no_class_stop_the_run(tfds_photos):
    options = {"directory": str(tfds_photos), "tfds_name": "tiny_unlabelled"}
    source = load_source("tfds", resolution=8, num_classes=2, **options)
    with pytest.raises(
        DataError, match=r"tiny_unlabelled/1\.0\.0 has the label -1 in its split te"
    ):
        list(eval_batches(source.test, 5))


@pytest.mark.slow
def test_tensorflow_comes_quietly_and_sees_no_gpu():
    program = (
        "from fastscale_jax.data.sources.tensorflow_cpu import tf; tf.zeros(1);"
        "print(tf.config.get_visible_devices('GPU'))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (result.stdout, result.stderr) == ("[]\n", "")
