"""The images that a run's network was trained on, against others."""

import dataclasses
import json

import pytest

from fastscale_jax.checkpoints.stores import Folder
from fastscale_jax.checkpoints.trained_on import check_same_images, result_name, trained_on
from fastscale_jax.data.sources.conventions import SOURCES, SourceInfo

PHOTOS = SourceInfo("folder", ("cat", "dog", "owl"), SOURCES["folder"])


def of_classes(*classes, name="folder"):
    return dataclasses.replace(PHOTOS, classes=classes, name=name)


def test_what_a_checkpoint_keeps_of_the_images_comes_back(tmp_path):
    about = tmp_path / "10" / "about"
    about.mkdir(parents=True)
    (about / "metadata").write_text(json.dumps({"source": PHOTOS.to_json()}))
    assert trained_on(Folder(tmp_path)) == PHOTOS
    (about / "metadata").write_text("{}")  # of an older version
    assert trained_on(Folder(tmp_path)) is None
    assert trained_on(Folder(tmp_path / "none")) is None


@pytest.mark.parametrize("key", ["classes", "mean", "std", "crop"])
def test_a_damaged_description_is_refused(key):
    values = PHOTOS.to_json()
    del values[key]
    with pytest.raises(ValueError, match="its description of the images is damaged"):
        SourceInfo.from_json(values)


@pytest.mark.parametrize(
    ("here", "message"),
    [
        (
            of_classes("cat", "owl", "dog"),
            "class 1 is 'dog' in the network and 'owl' in these images",
        ),
        (
            of_classes("cat", "dog", "Owl"),
            "class 2 is 'owl' in the network and 'Owl' in these images",
        ),
        (of_classes("cat", "dog"), "the network has 3 classes, these images 2"),
        (of_classes("cat", "dog", "owl", name="synthetic"), "but these images are synthetic: an"),
        (
            SourceInfo("digits", PHOTOS.classes, SOURCES["digits"]),
            r"from that of digits: mean .0\.485, .* 0\.875 in training, mean .0\.305",
        ),
    ],
)
def test_other_images_are_refused_with_the_first_difference(here, message):
    with pytest.raises(ValueError, match=f"^the run was trained on .*{message}"):
        check_same_images("the run", PHOTOS, "folder", here)


def test_other_images_of_the_same_classes_are_taken():
    check_same_images("the run", PHOTOS, "folder", of_classes(*PHOTOS.classes, name="tfds"))


def test_a_run_of_an_older_version_says_once_what_it_lacks(capsys):
    check_same_images("the run", None, "folder", PHOTOS)
    assert capsys.readouterr().err.count("the run is of an older version") == 1
    with pytest.raises(ValueError, match="normalisation differs from that of digits"):
        check_same_images("the run", None, "folder", SourceInfo("digits", (), SOURCES["digits"]))


def test_each_set_of_images_has_a_result_of_its_own():
    data = {"name": "folder", "dir": "/a/photos", "tfds_name": "", "holdout": 0.1}
    data |= {"holdout_seed": 0, "batch_size": 64}
    assert result_name(data, data) == "evaluation.json"
    assert result_name(data, {**data, "batch_size": 32, "tfds_name": "x"}) == "evaluation.json"
    older = {"name": "folder", "dir": "/a/photos/"}  # without the new keys
    assert result_name(older, data) == "evaluation.json"
    names = {
        result_name(data, {**data, **changes})
        for changes in (
            {"dir": "/b/photos"},
            {"dir": "/a/other"},
            {"holdout_seed": 1},
            {"name": "tfds"},
        )
    }
    assert len(names) == 4
    assert "evaluation.json" not in names
    assert any(name.startswith("evaluation-folder-photos-") for name in names)
