"""Images that cannot be read: repaired, replaced or left out, told of, and limited."""

import itertools

import absl.logging
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from fastscale_jax.data.pipeline import eval_batches, train_batches
from fastscale_jax.data.sources.bad_images import ALLOWED_ALWAYS, NAMED, BadImages, DataError
from fastscale_jax.data.sources.images import as_evaluated, read_image
from fastscale_jax.data.sources.source import SOURCES, load_source
from tests.data.photos import CLASSES, encoded, photo, write_folder

SIZE = 24


def load(root, **more):
    options = {"resolution": SIZE, "num_classes": 2, "workers": 2, **more}
    return load_source("folder", directory=str(root), **options)


def sixteen_bits():
    grey = np.asarray(photo(0, 50, 60).convert("L"))
    return encoded(Image.fromarray(grey.astype(np.uint16) * 257), "PNG")


def animated():
    frames = [photo(i, 50, 60) for i in range(3)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


PHOTO = photo(0, 50, 60)
UNUSUAL = {
    "cmyk": encoded(PHOTO.convert("CMYK")),
    "grey": encoded(PHOTO.convert("L")),
    "progressive": encoded(PHOTO, progressive=True),
    "png, called jpeg": encoded(PHOTO, "PNG"),
    "16 bits": sixteen_bits(),
    "palette": encoded(PHOTO.convert("P"), "PNG"),
    "palette with transparency": encoded(PHOTO.convert("P"), "PNG", transparency=3),
    "rgba": encoded(PHOTO.convert("RGBA"), "PNG"),
    "animated": animated(),
    "webp": encoded(PHOTO, "WEBP", lossless=True),
    "bmp": encoded(PHOTO, "BMP"),
    "tiff": encoded(PHOTO, "TIFF"),
}


@pytest.fixture(scope="module")
def unusual(tmp_path_factory):
    root = write_folder(tmp_path_factory.mktemp("unusual"), train=2, test=1)
    for name, content in UNUSUAL.items():
        (root / "val" / CLASSES[0] / f"{name}.JPEG").write_bytes(content)
    return root


def test_unusual_images_are_evaluated_as_pillow_reads_them(unusual):
    source = load(unusual)
    (batch,) = eval_batches(source.test, source.test.examples)
    assert batch.mask.all()
    assert len(source.test.bad) == 0
    paths = sorted((unusual / "val").rglob("*.JPEG"))
    for path, pixels in zip(paths, batch.images, strict=True):
        wanted = as_evaluated(read_image(path), SIZE, SOURCES["folder"].crop)
        # of a CMYK file each library mixes the colours by itself
        limit = 2 if path.stem in ("cmyk", "16 bits") else 1
        assert abs(pixels.astype(int) - wanted).max() <= limit, path.name


def noted(kind):
    """A photograph whose EXIF data turn it, in a form that only Pillow is asked to read or not."""
    image, exif = photo(4, 50, 70), Image.Exif()
    exif[0x0112] = 6
    return encoded(image, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))


@pytest.mark.parametrize("turns", [True, False])
def test_folders_and_predictions_agree_on_what_is_upright(tmp_path, turns):
    root = write_folder(tmp_path, train=1, test=1)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        (root / "val" / CLASSES[0] / f"{kind}.JPEG").write_bytes(noted(kind))
    source = load(root, exif=turns)
    (batch,) = eval_batches(source.test, source.test.examples)
    paths = sorted((root / "val").rglob("*.JPEG"))
    for path, pixels in zip(paths, batch.images, strict=True):
        wanted = as_evaluated(read_image(path, exif=turns), SIZE, SOURCES["folder"].crop)
        assert abs(pixels.astype(int) - wanted).max() <= 1, path.name


def with_text(chunk):
    """A PNG with two megabytes of text, as it is or compressed; or a colour profile as long."""
    if chunk == "iCCP":
        return encoded(PHOTO, "PNG", icc_profile=bytes(2 << 20))
    text = PngImagePlugin.PngInfo()
    text.add_text("words", "x" * (2 << 20), zip=chunk == "zTXt")
    return encoded(PHOTO, "PNG", pnginfo=text)


def test_png_files_with_much_text_are_read_in_training_and_by_pillow(tmp_path):
    root = write_folder(tmp_path, train=1, test=1)
    paths = [root / "val" / CLASSES[0] / f"{chunk}.png" for chunk in ("tEXt", "zTXt", "iCCP")]
    for path in paths:
        path.write_bytes(with_text(path.stem))
        np.testing.assert_array_equal(np.asarray(read_image(path)), np.asarray(PHOTO))
    source = load(root)
    (batch,) = eval_batches(source.test, 5)
    assert batch.mask.all()
    wanted = as_evaluated(PHOTO, SIZE, SOURCES["folder"].crop)
    assert abs(batch.images[1:4].astype(int) - wanted).max() <= 1


JUNK = {
    "words": b"these are words and no pixels\n",
    "nothing": b"",
    "cut short": encoded(photo(1, 60, 80))[:900],
    "header": encoded(photo(1, 60, 80))[:30],
    "a jpeg in name": b"\xff\xd8\xff\xe0" + bytes(200),
}


@pytest.fixture
def with_junk(tmp_path):
    """A folder in whose first class some images are none."""
    root = write_folder(tmp_path, train=8, test=7)
    for split in ("train", "val"):
        paths = sorted((root / split / CLASSES[0]).iterdir())
        for path, content in zip(paths[1:], JUNK.values(), strict=False):
            path.write_bytes(content)
    return root


def test_in_evaluation_they_are_left_out_and_the_others_are_not(with_junk):
    source = load(with_junk)
    for _ in range(2):  # each evaluation finds them again, and counts them once
        batches = list(eval_batches(source.test, 7))
        mask = np.concatenate([batch.mask for batch in batches])
        np.testing.assert_array_equal(mask, [True] + [False] * 5 + [True] * 8)
        assert len(source.test.bad) == 5


def test_in_training_the_next_of_the_listing_takes_the_place(with_junk, monkeypatch):
    source = load(with_junk)
    split = source.train
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Ordered())
    batch = next(train_batches(split, 16, seed=0))
    assert batch.mask.all()
    # images 1 to 5 are junk; 6 is read in their place, with the crop that each would have had
    np.testing.assert_array_equal(batch.labels, [0] * 8 + [1] * 8)
    assert batch.images.std(axis=(1, 2, 3)).min() > 5
    again = next(train_batches(load(with_junk).train, 16, seed=0))
    np.testing.assert_array_equal(batch.images, again.images)


class Ordered:
    """Stands in for a generator: images come in the order of the listing."""

    def permutation(self, count):
        return np.arange(count)


def test_the_label_is_that_of_the_image_in_the_place(tmp_path):
    root = write_folder(tmp_path, train=4, test=1)
    for path in (root / "train" / CLASSES[1]).iterdir():
        path.write_bytes(b"junk")
    batches = itertools.islice(train_batches(load(root).train, 8, seed=0), 2)
    assert [sorted(batch.labels) for batch in batches] == [[0] * 8] * 2


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_too_many_stop_the_run_with_their_names(tmp_path, mode):
    root = write_folder(tmp_path, train=12, test=12)
    for path in root.rglob(f"{CLASSES[0]}/*.JPEG"):
        path.write_bytes(b"junk")
    source = load(root)
    batches = {
        "train": itertools.islice(train_batches(source.train, 8, seed=0), 6),
        "eval": eval_batches(source.test, 8),
    }[mode]
    with pytest.raises(DataError, match=r"1[12] of 24 images .* at most 10 .*/000.JPEG"):
        list(batches)


def test_a_file_that_is_gone_is_one_more_of_them(tmp_path):
    root = write_folder(tmp_path, train=1, test=4)
    source = load(root)
    (root / "val" / CLASSES[0] / "002.JPEG").unlink()
    (batch,) = eval_batches(source.test, 8)
    np.testing.assert_array_equal(batch.mask, [True, True, False, True, True, True, True, True])


@pytest.mark.slow
def test_tfds_s_junk_leaves_its_place_to_the_next_of_the_batch(tfds_photos):
    options = {"tfds_name": "tiny_junk", "resolution": SIZE, "num_classes": 2}
    source = load_source("tfds", directory=str(tfds_photos), **options)
    batch = next(train_batches(source.train, 21, seed=0))
    assert batch.mask.all()
    assert len(source.train.bad) == 2
    assert len({image.tobytes() for image in batch.images}) == 19
    assert min(image.std() for image in batch.images) > 5
    (whole,) = eval_batches(source.train, 21)
    assert whole.mask.sum() == 19


@pytest.mark.parametrize(("examples", "allowed"), [(20, ALLOWED_ALWAYS), (5000, 50)])
def test_one_percent_is_allowed_and_ten_always(examples, allowed):
    bad = BadImages(examples)
    for i in range(allowed):
        bad.add(f"{i}.jpg", f"{i}.jpg is words")
        bad.add(f"{i}.jpg", f"{i}.jpg is words")
        bad.check()
    bad.add("last.jpg", "last.jpg is words")
    with pytest.raises(
        DataError, match=rf"{allowed + 1} of {examples} images .* at most {allowed}"
    ):
        bad.check()


def test_a_few_are_named_and_all_are_counted_once(capsys):
    absl.logging.set_verbosity(absl.logging.FATAL)  # as commands have it, unless asked for more
    bad = BadImages(1000)
    for i in range(NAMED + 3):
        bad.add(f"{i}.jpg", f"{i}.jpg is words")
    bad.report()
    bad.report()
    assert capsys.readouterr().err.splitlines() == [
        *(f"fastscale_jax: skipped: {i}.jpg is words" for i in range(NAMED)),
        f"fastscale_jax: skipped {NAMED + 3} of 1,000 images, which cannot be read",
    ]
