"""Batches: every image as often as it should be, in an order that seed, epoch and step decide."""

import itertools

import numpy as np
import pytest

from fastscale_jax.data.pipeline import Plan, eval_batches, steps_per_epoch, train_batches
from fastscale_jax.data.sources.arrays import ArraySplit


def numbered(examples, images=None):
    """A split whose labels, and the pixels of whose images, are their own numbers."""
    labels = np.arange(images or examples, dtype=np.int32)
    pixels = np.broadcast_to(labels.astype(np.uint8)[:, None, None, None], (len(labels), 2, 2, 3))
    return ArraySplit(pixels, labels, examples)


def first(count, *args, **options):
    return list(itertools.islice(train_batches(*args, **options), count))


@pytest.mark.parametrize(("examples", "batch_size"), [(23, 5), (24, 6), (7, 7), (5, 1)])
def test_an_epoch_has_no_image_twice_and_leaves_less_than_a_batch_out(examples, batch_size):
    split = numbered(examples)
    steps = steps_per_epoch(split, batch_size)
    assert 0 <= examples - steps * batch_size < batch_size
    batches = first(3 * steps, split, batch_size, seed=1)
    for epoch in range(3):
        labels = np.concatenate([b.labels for b in batches[epoch * steps :][:steps]])
        assert len(labels) == len(set(labels)) == steps * batch_size
        assert set(labels) <= set(range(examples))


def test_batches_are_full_and_hold_each_image_with_its_label():
    for batch in first(8, numbered(23), 5, seed=0):
        assert batch.images.shape == (5, 2, 2, 3)
        assert batch.images.dtype == np.uint8
        assert batch.mask.dtype == np.bool_
        assert batch.mask.all()
        np.testing.assert_array_equal(batch.images[:, 0, 0, 0], batch.labels)


def test_over_many_epochs_every_image_has_its_turn():
    batches = first(20 * 4, numbered(23), 5, seed=0)
    assert set(np.concatenate([b.labels for b in batches])) == set(range(23))


def test_each_epoch_and_each_seed_has_its_own_order():
    def epochs(seed):
        batches = first(6, numbered(60), 20, seed=seed)
        labels = np.concatenate([b.labels for b in batches])
        return tuple(labels[:60]), tuple(labels[60:])

    orders = {*epochs(0), *epochs(1), tuple(range(60))}
    assert len(orders) == 5
    assert epochs(0) == epochs(0)
    # a seed's second epoch is not another seed's first
    assert epochs(0)[1] != epochs(1)[0]


@pytest.mark.parametrize("first_step", [0, 1, 3, 4, 5, 11])
def test_starting_at_a_step_gives_the_batches_of_a_run_that_got_there(first_step):
    split = numbered(23)
    through = first(14, split, 5, seed=3)[first_step:]
    started = first(14 - first_step, split, 5, seed=3, first_step=first_step)
    assert len(started) == len(through)
    for one, other in zip(started, through, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.images, other.images)


@pytest.mark.parametrize(
    ("examples", "batch_size"), [(23, 5), (20, 5), (3, 8), (8, 8), (1, 1), (9, 8)]
)
def test_evaluation_counts_every_image_once_in_order(examples, batch_size):
    batches = list(eval_batches(numbered(examples), batch_size))
    assert len(batches) == -(-examples // batch_size)
    for batch in batches:
        assert batch.images.shape == (batch_size, 2, 2, 3)
        assert batch.labels.shape == batch.mask.shape == (batch_size,)
        np.testing.assert_array_equal(batch.images[:, 0, 0, 0], batch.labels)
    counted = np.concatenate([batch.labels[batch.mask] for batch in batches])
    np.testing.assert_array_equal(counted, np.arange(examples))


def test_a_split_that_repeats_its_images_has_an_epoch_of_its_examples():
    split = numbered(12, images=4)
    assert steps_per_epoch(split, 5) == 2
    counted = np.concatenate([b.labels[b.mask] for b in eval_batches(split, 5)])
    np.testing.assert_array_equal(counted, [0, 1, 2, 3] * 3)
    epoch = np.concatenate([b.labels for b in first(3, split, 4, seed=0)])
    np.testing.assert_array_equal(np.bincount(epoch), [3, 3, 3, 3])


def test_a_batch_larger_than_the_split_is_refused():
    with pytest.raises(ValueError, match="batch size 24 is larger than the 23 training images"):
        steps_per_epoch(numbered(23), 24)
    with pytest.raises(ValueError, match="batch size 24"):
        next(train_batches(numbered(23), 24, seed=0))


@pytest.mark.parametrize("hosts", [1, 2, 4, 8])
def test_shares_of_hosts_put_together_are_the_batches_of_one(hosts):
    split = numbered(23)
    alone = first(7, split, 8, seed=2, first_step=1), list(eval_batches(split, 8))
    shares = [
        (
            first(7, split, 8, seed=2, first_step=1, process_index=i, process_count=hosts),
            list(eval_batches(split, 8, process_index=i, process_count=hosts)),
        )
        for i in range(hosts)
    ]
    for whole, parts in zip(alone, zip(*shares, strict=True), strict=True):
        for batch, *rows in zip(whole, *parts, strict=True):
            for field, *of_hosts in zip(batch, *rows, strict=True):
                assert {len(part) for part in of_hosts} == {8 // hosts}
                np.testing.assert_array_equal(np.concatenate(of_hosts), field)


def test_a_batch_that_hosts_cannot_share_is_refused():
    with pytest.raises(ValueError, match="batch size 10 cannot be shared by 4 hosts; set --config"):
        next(train_batches(numbered(23), 10, seed=0, process_count=4))
    with pytest.raises(ValueError, match="batch size 10 cannot be shared by 4 hosts"):
        next(eval_batches(numbered(23), 10, process_count=4))


def test_every_image_of_a_run_has_a_seed_of_its_own():
    picks = itertools.islice(Plan(20, 5, seed=3).train_picks(), 12)  # three epochs
    seeds = np.concatenate([p.seeds for p in picks])
    other = next(Plan(20, 5, seed=4).train_picks()).seeds
    assert len({tuple(seed) for seed in (*seeds, *other)}) == 65
