"""Sources made of one's own data: arrays, examples of other libraries, CSV files."""

import csv
import itertools

import numpy as np
import pytest
from PIL import Image

from fastscale_jax.data.pipeline import eval_batches, train_batches
from fastscale_jax.data.sources.bad_images import DataError
from fastscale_jax.data.sources.conventions import SOURCES
from fastscale_jax.data.sources.examples import as_image, random_box
from fastscale_jax.data.sources.images import centre_crop
from fastscale_jax.data.sources.own import from_arrays, from_csv, from_examples

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (30, 6, 8, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3
PHOTOS = [RANDOM.integers(0, 256, (10 + i, 20 - i, 3), dtype=np.uint8) for i in range(12)]


def of_split(split):
    """All images and labels of a split, in order."""
    batches = list(eval_batches(split, 4))
    images, labels, mask = (np.concatenate(x) for x in zip(*batches, strict=True))
    return images[mask], labels[mask]


def test_arrays_are_split_by_class_and_stay_as_they_are():
    source = from_arrays(IMAGES, LABELS, classes=("a", "b", "c"), holdout=0.2)
    assert source.summary == "own: 3 classes, 24 training and 6 test images"
    assert source.conventions == SOURCES["folder"]._replace(crop=0.0)
    train, test = of_split(source.train), of_split(source.test)
    np.testing.assert_array_equal(np.bincount(test[1]), [2, 2, 2])
    for images, labels in (train, test):
        for image, label in zip(images, labels, strict=True):
            (index,) = np.flatnonzero((image == IMAGES).all((1, 2, 3)))
            assert LABELS[index] == label
    again = from_arrays(IMAGES, LABELS, holdout=0.2)
    np.testing.assert_array_equal(of_split(again.test)[0], test[0])
    other = from_arrays(IMAGES, LABELS, holdout=0.2, seed=1)
    assert (of_split(other.test)[0] != test[0]).any()


def test_arrays_with_a_test_split_are_not_split():
    names = np.array(["dog", "cat", "owl"])[LABELS]
    source = from_arrays(
        IMAGES, names, test=(IMAGES[:5], names[:5]), mean=(0.5,) * 3, std=(0.2,) * 3
    )
    assert source.classes == ("cat", "dog", "owl")  # sorted
    assert (source.train.examples, source.test.examples) == (30, 5)
    np.testing.assert_array_equal(of_split(source.test)[1], [1, 0, 2, 1, 0])
    assert source.conventions[:3] == ((0.5,) * 3, (0.2,) * 3, 0.0)


def test_grey_arrays_have_three_equal_channels():
    source = from_arrays(IMAGES[..., 0], LABELS)
    images, _ = of_split(source.train)
    assert images.shape[1:] == (6, 8, 3)
    assert (images[..., :1] == images).all()


class MapStyle:
    """A data set of another library, by index; it counts what is fetched."""

    def __init__(self, as_dict=False):
        self.as_dict, self.fetched = as_dict, 0

    def __len__(self):
        return len(PHOTOS)

    def __getitem__(self, index):
        self.fetched += 1
        image, label = PHOTOS[index], index % 2
        return {"image": image, "label": np.int64(label)} if self.as_dict else (image, label)


class Broken(MapStyle):
    """One that cannot be read any more."""

    def __getitem__(self, index):
        raise OSError("the disk is gone")


def generated():
    return ((image, i % 2) for i, image in enumerate(PHOTOS))


def files(tmp_path):
    for i, image in enumerate(PHOTOS):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    return [(tmp_path / f"{i}.png", i % 2) for i in range(len(PHOTOS))]


@pytest.mark.parametrize("kind", ["generator", "map", "dict", "paths", "bytes", "pillow"])
def test_examples_of_any_kind_are_evaluated_as_image_files_are(kind, tmp_path):
    written = files(tmp_path)
    examples = {
        "generator": generated,
        "map": MapStyle,
        "dict": lambda: MapStyle(as_dict=True),
        "paths": lambda: [(str(path), label) for path, label in written],
        "bytes": lambda: [(path.read_bytes(), label) for path, label in written],
        "pillow": lambda: [(Image.fromarray(x), i % 2) for i, x in enumerate(PHOTOS)],
    }[kind]()
    source = from_examples(examples, test=written).at(8)
    images, labels = of_split(source.train)
    np.testing.assert_array_equal(labels, np.arange(12) % 2)
    wanted = [centre_crop(Image.fromarray(image), 8, source.conventions.crop) for image in PHOTOS]
    np.testing.assert_array_equal(images, [np.asarray(image) for image in wanted])
    np.testing.assert_array_equal(of_split(source.test)[0], images)


def test_photographs_are_turned_upright_however_they_are_given(tmp_path):
    upright = Image.fromarray(PHOTOS[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "x.png", exif=exif)
    given = (tmp_path / "x.png", (tmp_path / "x.png").read_bytes(), Image.open(tmp_path / "x.png"))
    for image in given:
        np.testing.assert_array_equal(np.asarray(as_image(image)), PHOTOS[0])
        assert as_image(image, exif=False).size == upright.size[::-1]


def test_tf_data_is_read_as_it_comes():
    tf = pytest.importorskip("tensorflow")
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    source = from_examples(dataset, crop=0.0).at(6)
    images, labels = of_split(source.test)
    plain = from_examples(list(zip(IMAGES, LABELS, strict=True)), crop=0.0).at(6)
    np.testing.assert_array_equal(images, of_split(plain.test)[0])
    np.testing.assert_array_equal(labels, of_split(plain.test)[1])
    with pytest.raises(
        ValueError, match=r"example 0 has a label of the shape .* must be unbatched"
    ):
        from_examples(dataset.batch(2))

    with pytest.raises(ValueError, match="examples must come to an end; leave out repeat"):
        from_examples(dataset.repeat())


def test_data_sets_of_grain_are_read_as_they_come():
    grain = pytest.importorskip("grain")
    dataset = grain.MapDataset.source(range(12)).map(lambda i: {"image": PHOTOS[i], "label": i % 2})
    wanted = of_split(from_examples(generated()).at(8).test)
    for examples in (dataset, dataset.to_iter_dataset()):
        images, labels = of_split(from_examples(examples).at(8).test)
        np.testing.assert_array_equal(images, wanted[0])
        np.testing.assert_array_equal(labels, wanted[1])
    with pytest.raises(ValueError, match="examples must come to an end; leave out repeat"):
        from_examples(dataset.repeat())


def test_training_batches_depend_on_seed_and_position_alone():
    source = from_examples(generated()).at(8)
    one, two = (
        list(itertools.islice(train_batches(source.train, 4, seed=3, first_step=k), n))
        for k, n in ((0, 5), (3, 2))
    )
    for whole, resumed in zip(one[3:], two, strict=True):
        np.testing.assert_array_equal(whole.images, resumed.images)
        np.testing.assert_array_equal(whole.labels, resumed.labels)
    assert (one[0].images != one[2].images).any()


def test_random_boxes_lie_inside_and_have_the_areas_of_torchvision_s():
    boxes = [random_box((400, 300), np.random.default_rng(i)) for i in range(2000)]
    left, top, right, bottom = np.array(boxes).T
    assert min(left.min(), top.min()) >= 0
    assert (right.max(), bottom.max()) <= (400, 300)
    area, aspect = (right - left) * (bottom - top) / 120_000, (right - left) / (bottom - top)
    # uniform from 0.08 to 1, but what does not fit is drawn again
    assert 0.07 < area.min() < 0.1
    assert 0.4 < area.mean() < 0.55
    assert 0.7 < aspect.min() < aspect.max() < 1.4
    assert random_box((1000, 10), np.random.default_rng(0))[1::2] == (0, 10)  # a panorama


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: from_arrays(IMAGES / 255, LABELS), "images must be uint8, .*; got float64"),
        (
            lambda: from_arrays(IMAGES[0, 0], LABELS),
            r"must be \[n, h, w, 3\], .* \[8, 3\]",
        ),
        (lambda: from_arrays(IMAGES, LABELS[:7]), "there are 30 images and 7 labels"),
        (
            lambda: from_arrays(IMAGES, LABELS / 2),
            "one whole number or one .* of float64",
        ),
        (lambda: from_arrays(IMAGES, LABELS - 1), "the label -1 of image 0 is not a class"),
        (
            lambda: from_arrays(IMAGES, LABELS * 2),
            r"the class '1' \(label 1\) has no training image",
        ),
        (
            lambda: from_arrays(IMAGES, LABELS, classes=("a", "b")),
            "the label 2 of image 2 is not a class: labels are numbers from 0 to 1",
        ),
        (
            lambda: from_arrays(IMAGES[:2], ["cat", "dgo"], classes=("cat", "dog")),
            "the label 'dgo' of image 1 is none of the 2 classes; did you mean dog",
        ),
        (lambda: from_arrays(IMAGES[:2], ["cat", 3]), "must be all names or all numbers"),
        (
            lambda: from_arrays(IMAGES, LABELS, classes=("a", "b", "c", "d")),
            "the class 'd' .* no tr",
        ),
        (lambda: from_arrays(IMAGES, LABELS, holdout=1.5), "holdout must be above 0 and below 1"),
        (lambda: from_arrays(IMAGES, [0] * 29 + [1]), "the class '1' has 1 image, too few"),
        (lambda: from_arrays(IMAGES, LABELS, std=(0, 1, 1)), "std must be above 0"),
        (lambda: from_arrays(IMAGES, LABELS, mean=(0.5,)), "mean must be three numbers"),
        (
            lambda: from_arrays(IMAGES, LABELS, test=(IMAGES[:1], [7])),
            "images for evaluation: the label 7 of image 0 is not a class",
        ),
        (lambda: from_examples(3), "must be an iterable of .image, label.*; got int"),
        (lambda: from_examples([]), "there is no image"),
        (lambda: from_examples({"image": PHOTOS, "label": [0]}), "for a dict of arrays, call"),
        (lambda: from_arrays(IMAGES, LABELS, classes=("a", "a", "b")), "class 'a' is named twice"),
        (lambda: from_arrays(IMAGES, LABELS, mean=0.5), "mean and std must be three numbers each"),
        (lambda: from_examples([PHOTOS[0]]), "example 0: an example must be .*; got ndarray"),
        (lambda: from_examples([{"x": 1}]), "example 0: an example needs image and label; got x"),
    ],
)
def test_what_is_wrong_with_one_s_own_data_is_said_in_a_line(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_an_example_that_is_no_image_is_named_when_it_is_read():
    source = from_examples([("none.png", 0), ("none.png", 0)]).at(8)
    with pytest.raises(DataError, match=r"^example \d: none\.png .*No such file"):
        next(eval_batches(source.test, 1))
    broken = MapStyle()
    source = from_examples(broken).at(8)
    broken.__class__ = Broken
    with pytest.raises(DataError, match=r"^example \d+: OSError: the disk is gone"):
        next(eval_batches(source.test, 1))


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize("header", [[], [("path", "class", "split")], [("Path", "Class", "Split")]])
def test_a_csv_file_lists_paths_beside_it_with_classes_and_splits(tmp_path, header):
    (tmp_path / "images").mkdir()
    written = files(tmp_path / "images")
    rows = [
        (f"images/{path.name}", ("cat", "dog")[label], "val" if i > 8 else "train")
        for i, (path, label) in enumerate(written)
    ]
    source = from_csv(write_csv(tmp_path / "labels.csv", header + rows)).at(8)
    assert source.classes == ("cat", "dog")
    assert (source.train.examples, source.test.examples) == (9, 3)
    np.testing.assert_array_equal(of_split(source.test)[1], [1, 0, 1])
    # as the same images in folders, but for how TensorFlow resizes
    wanted = of_split(from_examples(written[:2], test=written[9:]).at(8).test)[0]
    np.testing.assert_allclose(of_split(source.test)[0].astype(int), wanted, atol=2)


def test_a_csv_file_without_splits_is_split_by_class(tmp_path):
    rows = [(str(path), str(label)) for path, label in files(tmp_path)]
    source = from_csv(write_csv(tmp_path / "labels.csv", rows), holdout=0.34)
    np.testing.assert_array_equal(np.bincount(source.test.labels), [2, 2])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "lists no image; a line has path,class"),
        ([("path", "class")], "lists no image"),
        ([("0.png", "a"), ("none.png", "b")], r"line 2: there is no file \S+/none\.png"),
        ([("0.png", "a"), ("1.png",)], r"line 2: it must have path and class, .*; got \['1.png'\]"),
        ([("0.png", "")], "line 1: it must have path and class"),
        ([("labels.csv", "a")], r"line 1: \S+labels\.csv is not an image \(.*\.png"),
        ([("0.png", "a", "dev")], "line 1: the split must be train or val; got 'dev'"),
        ([("0.png", "a", "val")], "has images of only one split"),
        (
            [("0.png", "a", "train"), ("1.png", "b", "val")],
            "the class 'b' .* has no training image",
        ),
    ],
)
def test_lines_of_a_csv_file_that_are_wrong_are_named(tmp_path, rows, message):
    files(tmp_path)
    with pytest.raises(ValueError, match=message):
        from_csv(write_csv(tmp_path / "labels.csv", rows))


def test_a_csv_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"the CSV file \S+/none cannot be read: No such file"):
        from_csv(tmp_path / "none")
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read: 'utf-8' codec"):
        from_csv(tmp_path / "labels.csv")
