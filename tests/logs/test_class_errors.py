"""The account of an evaluation against scikit-learn's."""

import json
import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score

from fastscale_jax.logs.class_errors import account, account_of_all
from fastscale_jax.train.evaluate import Evaluation

NAMES = ("ant", "bee", "cat", "dog", "eel")
METRICS = {"loss": 0.5, "top1_error": 40.0, "top5_error": 0.0}


@pytest.fixture
def evaluation():
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 4, 200)  # there is no eel
    predicted = np.where(draw.random(200) < 0.6, labels, draw.integers(0, 5, 200))
    return Evaluation(METRICS, labels, predicted)


def test_errors_of_classes_are_one_minus_their_recall(evaluation):
    found = account(evaluation, NAMES)
    recall = recall_score(evaluation.labels, evaluation.predicted, labels=range(4), average=None)
    assert [x["name"] for x in found["classes"]] == list(NAMES)
    errors = [x["top1_error"] for x in found["classes"]]
    np.testing.assert_allclose(errors[:4], 100 * (1 - np.asarray(recall)))
    assert errors[4] is None
    images = [x["images"] for x in found["classes"]]
    assert images == [*np.bincount(evaluation.labels), 0]
    assert found["images"] == 200


def test_confusions_are_those_of_the_matrix_most_frequent_first(evaluation):
    found = account(evaluation, NAMES)["confusions"]
    matrix = confusion_matrix(evaluation.labels, evaluation.predicted, labels=range(5))
    np.fill_diagonal(matrix, 0)
    got = {(x["of"], x["taken_for"]): x["images"] for x in found}
    wanted = {(NAMES[i], NAMES[j]): int(matrix[i, j]) for i, j in np.argwhere(matrix)}
    assert got == wanted
    counts = [x["images"] for x in found]
    assert counts == sorted(counts, reverse=True)


def test_what_json_cannot_hold_becomes_null(evaluation):
    nan = evaluation._replace(metrics={**METRICS, "loss": math.nan})
    found = json.loads(json.dumps(account(nan, NAMES), allow_nan=False))
    assert (found["loss"], found["top1_error"]) == (None, 40.0)


def test_each_checkpoint_has_its_model_and_its_average(evaluation):
    better = evaluation._replace(predicted=evaluation.labels)
    found = account_of_all({"last": {"": evaluation, "ema_": better}, "best": {"": better}}, NAMES)
    assert {which: list(models) for which, models in found.items()} == {
        "last": ["model", "averaged"],
        "best": ["model"],
    }
    assert found["last"]["averaged"]["confusions"] == []
