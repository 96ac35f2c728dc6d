"""What a network sees in image files, against its own logits and against its evaluation."""

import functools
import json
import math
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from fastscale_jax import arch, models
from fastscale_jax.data.augment.augmented import prepare
from fastscale_jax.data.sources.images import as_evaluated, read_image
from fastscale_jax.data.sources.source import SOURCES, class_names, load_source
from fastscale_jax.interop import prediction as predict
from fastscale_jax.interop import weights
from fastscale_jax.interop.layout import tensors
from fastscale_jax.interop.prediction import Embedding, Guess, Prediction
from fastscale_jax.interop.vectors import write_vectors
from fastscale_jax.runs.assess import evaluate_weights
from fastscale_jax.train.evaluate import as_record
from tests.passes import rule
from tests.train.tiny import tiny_config, tiny_run


@pytest.fixture(scope="module", autouse=True)
def compiled_once(compiled_quickly):
    """Equal networks share a program, which is most of what these tests would do."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("probabilities_of", "vectors_of"):
            patch.setattr(predict, name, functools.cache(getattr(predict, name)))
        yield


def network(num_classes=10):
    """The tiny network, and weights that tell images apart."""
    config = tiny_config(**{"model.num_classes": num_classes}).model
    names = tensors(arch.as_architecture(config), "pycls")
    variables = weights.from_pycls(config, {t.name: rule(t.name, t.shape) for t in names})
    # machine code of our own takes longer to compile than all the rest; tests/convs has it
    return models.build(config, grouped_conv="portable"), variables


def of(source, num_classes=10):
    """A source's conventions, and the names of its classes."""
    return SOURCES[source], class_names(source, num_classes)


@functools.cache
def logits_by(num_classes):
    """The network's logits of any images, and nothing else of this module."""
    model, variables = network(num_classes)
    return jax.jit(lambda images: model.apply(variables, images, train=False))


def save_noise(folder, sizes):
    """Writes images of these heights and widths, and returns their files."""
    files = [folder / f"{i}.png" for i in range(len(sizes))]
    for i, (file, (height, width)) in enumerate(zip(files, sizes, strict=True)):
        pixels = np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    return files


def normalised(pixels, source):
    """Pixels of the network's size as it takes them, by the arithmetic of the definition."""
    scaled = pixels.astype(np.float64) / 255
    return (scaled - SOURCES[source].mean) / SOURCES[source].std


def softmax(logits):
    powers = np.exp(np.asarray(logits, np.float64) - np.max(logits, -1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("num_classes", [10, 3, 1000])
def test_the_guesses_are_the_largest_of_the_softmax_of_the_network_s_logits(tmp_path, num_classes):
    model, variables = network(num_classes)
    files = save_noise(tmp_path, [(20, 20), (31, 47), (60, 23)])
    pixels = [as_evaluated(read_image(file), 20, SOURCES["synthetic"].crop) for file in files]
    images = np.stack([normalised(x, "synthetic") for x in pixels]).astype(np.float32)
    wanted = softmax(logits_by(num_classes)(images))

    found = list(predict.predict(model, variables, files, *of("synthetic", num_classes)))
    assert [x.file for x in found] == [str(file) for file in files]
    for prediction, probabilities in zip(found, wanted, strict=True):
        order = np.argsort(-probabilities)[:5].tolist()
        assert [guess.label for guess in prediction.top] == order
        np.testing.assert_allclose(
            [guess.probability for guess in prediction.top], probabilities[order], rtol=1e-5
        )
        assert prediction.problem == ""
    if num_classes < 5:
        assert all(len(x.top) == num_classes for x in found)
        assert all(math.isclose(sum(g.probability for g in x.top), 1, rel_tol=1e-6) for x in found)


@pytest.mark.parametrize("num_classes", [10, 1000])
def test_classes_have_the_names_of_their_source(tmp_path, num_classes):
    files = save_noise(tmp_path, [(20, 20)])
    (found,) = predict.predict(*network(num_classes), files, *of("synthetic", num_classes))
    names = class_names("synthetic", num_classes)
    assert [guess.name for guess in found.top] == [names[guess.label] for guess in found.top]


BROKEN = (1, 4, 5)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Seven files in order, of which three are no images; and what is seen in each by itself."""
    folder = tmp_path_factory.mktemp("mixed")
    files = save_noise(folder, [(20 + 3 * i, 40 - 2 * i) for i in range(7)])
    content = files[4].read_bytes()
    files[1].write_text("words")
    files[4].write_bytes(content[: len(content) // 2])
    files[5] = folder / "missing.png"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "_BATCH", 1)
        return files, list(predict.predict(*network(), files, *of("synthetic")))


def test_files_that_cannot_be_read_say_so_and_stop_no_other(mixed):
    files, found = mixed
    assert [x.file for x in found] == [str(file) for file in files]
    for i, prediction in enumerate(found):
        if i in BROKEN:
            assert prediction.top == ()
            assert prediction.problem.startswith(f"{files[i]} is not an image that can be read: ")
        else:
            assert (len(prediction.top), prediction.problem) == (5, "")
    # each image is seen as something of its own, so that none can have stood in for another
    assert len({x.top[0].probability for x in found if x.top}) == len(files) - len(BROKEN)


@pytest.mark.parametrize("size", [2, 3, 16])
def test_batches_of_any_size_give_what_one_by_one_gives(mixed, monkeypatch, size):
    files, one_by_one = mixed
    monkeypatch.setattr(predict, "_BATCH", size)
    found = list(predict.predict(*network(), files, *of("synthetic")))
    for got, wanted in zip(found, one_by_one, strict=True):
        assert (got.file, got.problem) == (wanted.file, wanted.problem)
        assert [(g.name, g.label) for g in got.top] == [(g.name, g.label) for g in wanted.top]
        np.testing.assert_allclose(
            [g.probability for g in got.top], [g.probability for g in wanted.top], rtol=1e-5
        )


def test_of_files_that_all_cannot_be_read_there_is_nothing_to_see(tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(3)]
    found = list(predict.predict(*network(), files, *of("digits")))
    assert [(x.file, x.top) for x in found] == [(str(file), ()) for file in files]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The test split of digits, and a grey PNG of eight by eight pixels for each image."""
    folder = tmp_path_factory.mktemp("digits")
    split = load_source("digits", resolution=20, num_classes=10).test
    files = [folder / f"{i:03}.png" for i in range(split.examples)]
    for file, pixels in zip(files, split.images, strict=True):
        Image.fromarray(pixels[..., 0]).save(file)
    return split, files


def test_digits_come_out_of_their_files_as_evaluation_has_them(digits):
    split, files = digits
    mean, std, crop = SOURCES["digits"][:3]
    images = np.stack([as_evaluated(read_image(file), 20, crop) for file in files])
    np.testing.assert_array_equal(images, split.images)
    prepared = prepare(split.images, resolution=20, mean=mean, std=std)
    shape = network()[0].architecture
    alone = np.stack([predict._input(file, shape, SOURCES["digits"], read_image) for file in files])
    np.testing.assert_allclose(alone, prepared, rtol=0, atol=1e-6)


def test_digits_are_seen_as_evaluation_sees_them(digits):
    split, files = digits
    model, variables = network()
    found = list(predict.predict(model, variables, files, *of("digits")))
    mean, std = SOURCES["digits"][:2]
    prepared = prepare(split.images, resolution=20, mean=mean, std=std)
    wanted = softmax(logits_by(10)(prepared))
    got = np.array([[g.probability for g in x.top] for x in found])
    np.testing.assert_allclose(got, -np.sort(-wanted)[:, :5], rtol=1e-5)

    # and to the image, what is counted as an error
    tops = np.array([[g.label for g in x.top] for x in found])
    right = tops == split.labels[:, None]
    run = tiny_run(pathlib.Path(), "eval", grouped_conv="portable")
    metrics = as_record(evaluate_weights(run, variables)["last"])
    assert metrics["test_top1_error"] == 100 * (1 - right[:, 0]).sum() / 360
    assert metrics["test_top5_error"] == 100 * (1 - right.any(-1)).sum() / 360
    likelihood = wanted[np.arange(360), split.labels]
    assert metrics["test_loss"] == pytest.approx(-np.log(likelihood).mean(), rel=1e-6)


PREDICTIONS = (
    Prediction("a.png", (Guess("tench", 0, 0.75), Guess("goldfish", 1, 0.125))),
    Prediction("b.png", (), "b.png is not an image"),
    Prediction("c.png", (Guess("7", 7, 1.0),)),
)


def test_the_description_is_plain_json_of_what_was_seen():
    assert json.loads(json.dumps(predict.describe(PREDICTIONS[0]))) == {
        "file": "a.png",
        "top": [
            {"class": "tench", "label": 0, "probability": 0.75},
            {"class": "goldfish", "label": 1, "probability": 0.125},
        ],
    }


@pytest.mark.parametrize("top", [1, 3, 10, 99])
def test_as_many_classes_are_said_as_asked_for_or_all_of_them(tmp_path, top):
    files = save_noise(tmp_path, [(20, 20)])
    (found,) = predict.predict(*network(), files, *of("synthetic"), top=top)
    (whole,) = predict.predict(*network(), files, *of("synthetic"), top=10)
    assert found.top == whole.top[:top]
    assert sum(guess.probability for guess in whole.top) == pytest.approx(1)


def test_the_classifier_makes_the_logits_of_the_vectors(tmp_path):
    model, variables = network()
    files = save_noise(tmp_path, [(20, 20), (31, 47), (60, 23)])
    files[1].write_text("words")
    first, broken, last = predict.embed(model, variables, files, SOURCES["synthetic"])
    assert broken.problem.startswith(f"{files[1]} is not an image")
    head = variables["params"]["head"]["fc"]
    wanted = predict.predict(model, variables, files, *of("synthetic"), top=10)
    for embedding, prediction in zip((first, last), (next(wanted), list(wanted)[-1]), strict=True):
        assert embedding.file == prediction.file
        assert embedding.vector.dtype == np.float32
        logits = embedding.vector.astype(np.float64) @ head["kernel"] + head["bias"]
        found = {guess.label: guess.probability for guess in prediction.top}
        np.testing.assert_allclose([found[i] for i in range(10)], softmax(logits), rtol=1e-4)


def test_images_are_read_no_faster_than_they_are_seen(tmp_path):
    read = []

    def note(file):
        read.append(file)
        return read_image(file)

    files = save_noise(tmp_path, [(20, 20)]) * 100
    found = predict.predict(*network(), files, *of("synthetic"), read=note)
    next(found)
    assert len(read) <= 16


def test_vectors_are_in_the_file_in_order_with_their_names_beside(tmp_path):
    random = np.random.default_rng(0).normal(size=(123, 7)).astype(np.float32)
    names = [f"{i}.jpg" for i in range(122)] + ["ü\n\udcff.jpg"]
    path = tmp_path / "vectors.npy"
    written = write_vectors(path, map(Embedding, names, random))
    assert written == (123, 7)
    found = np.load(path)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, random)
    assert json.loads((tmp_path / "vectors.json").read_text()) == names


def test_vectors_are_written_whole_or_not_at_all(tmp_path):
    def failing():
        yield Embedding("a.jpg", np.zeros(3, np.float32))
        raise ValueError("the weights are gone")

    with pytest.raises(ValueError, match="gone"):
        write_vectors(tmp_path / "vectors.npy", failing())
    assert write_vectors(tmp_path / "vectors.npy", []) == (0, 0)
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_has_diverged_says_so_instead_of_guessing(tmp_path):
    model, variables = network()
    variables["params"]["head"]["fc"]["bias"][3] = math.nan
    files = save_noise(tmp_path, [(20, 20), (20, 20)])
    found = list(predict.predict(model, variables, files, *of("digits")))
    for file, prediction in zip(files, found, strict=True):
        assert prediction.top == ()
        assert prediction.problem.startswith(f"{file}: the network gives NaN")


def printed(*predictions):
    """The rows of the table, as texts of their cells."""
    console = Console(width=120)
    with console.capture() as capture:
        console.print(predict.predictions_table(predictions))
    lines = [line for line in capture.get().splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_the_table_has_a_row_a_guess_and_the_file_once():
    assert printed(PREDICTIONS[0], PREDICTIONS[2]) == [
        ["a.png", "tench", "75.0"],
        ["", "goldfish", "12.5"],
        ["c.png", "7", "100.0"],
    ]


@pytest.mark.parametrize(
    "name", ["a[red].png", "a[/b].png", ":cat:.png", "[link=x]a.png", "a\\[b].png"]
)
def test_the_table_shows_names_as_they_are(name):
    assert printed(Prediction(name, (Guess("[bold]x", 0, 1.0),))) == [[name, "[bold]x", "100.0"]]
