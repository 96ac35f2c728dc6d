"""Prefetching: the same batches, a few of them early, and nothing left behind."""

import itertools
import threading

import jax
import numpy as np
import pytest

from fastscale_jax.data.pipeline import Batch
from fastscale_jax.data.prefetch import Prefetch


def numbered(count):
    for i in range(count):
        yield Batch(np.full((2, 1, 1, 3), i, np.uint8), np.full(2, i), np.ones(2, bool))


def test_batches_come_in_order_on_the_device():
    with Prefetch(numbered(5)) as batches:
        found = list(batches)
    for batch, wanted in zip(found, numbered(5), strict=True):
        assert isinstance(batch.images, jax.Array)
        jax.tree.map(np.testing.assert_array_equal, batch, wanted)


def test_batches_are_put_where_the_caller_says():
    with Prefetch(numbered(2), put=lambda batch: int(batch.labels[0]) + 10) as batches:
        assert list(batches) == [10, 11]


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_no_more_batches_are_on_the_device_than_were_asked_for(ahead):
    put, may_use = [], threading.Event()

    def host():
        for i in itertools.count():
            if i == ahead + 2:  # two were used, `ahead` wait, and this is on the host
                may_use.set()
            yield i

    with Prefetch(host(), put=lambda i: put.append(i) or i, ahead=ahead) as batches:
        assert [next(batches), next(batches)] == [0, 1]
        assert may_use.wait(60)
    assert put == list(range(ahead + 2))


def test_what_goes_wrong_is_raised_after_the_batches_before_it():
    def host():
        yield 1
        raise ValueError("the second batch")

    with Prefetch(host(), put=int) as batches:
        assert next(batches) == 1
        with pytest.raises(ValueError, match="the second batch"):
            next(batches)
        assert list(batches) == []


def test_closing_ends_the_thread_and_the_batches():
    before = threading.active_count()
    batches = Prefetch(itertools.count(), put=int)
    assert threading.active_count() == before + 1
    next(batches)
    batches.close()
    assert threading.active_count() == before
    assert list(batches) == []
    batches.close()


def test_the_thread_ends_where_the_consumer_fails():
    before = threading.active_count()
    with pytest.raises(KeyError), Prefetch(itertools.count(), put=int) as batches:
        raise KeyError(next(batches))
    assert threading.active_count() == before
