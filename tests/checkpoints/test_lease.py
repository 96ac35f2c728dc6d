"""One run at a time in a folder of an object store; TensorStore's store in memory stands for it."""

import json
import threading

import jax.numpy as jnp
import pytest
import tensorstore as ts

from fastscale_jax.checkpoints.checkpoint import Checkpoints, SaveError
from fastscale_jax.checkpoints.lease import Lease, LeaseLostError
from fastscale_jax.checkpoints.lock import InUseError
from fastscale_jax.checkpoints.stores import Folder, StoreError
from tests.checkpoints.test_checkpoint import state_at
from tests.object_store import Store

NAME = "gs://bucket/run"


@pytest.fixture
def store():
    return ts.KvStore.open({"driver": "memory"}).result()


def lease(store, said=None, seconds=0.2, **options):
    tell = [].append if said is None else said.append
    return Lease(store, NAME, tell, seconds=seconds, **options)


def killed(store):
    """Leaves a lease as a run does that is killed."""
    content = json.dumps({"owner": "process 7 on there", "token": "its own", "renewals": 1})
    store.write("lease", content).result()


def test_a_second_run_is_kept_out_while_the_first_renews_its_lease(store):
    said = []
    with lease(store), pytest.raises(InUseError, match=rf"at work in {NAME} \(process \d+ on"):
        lease(store, said, seconds=2.0).__enter__()
    assert "to see whether that run is still alive" in said[0]


def test_a_lease_that_is_given_back_keeps_nobody_waiting(store):
    for _ in range(2):
        said = []
        with lease(store, said):
            pass
        assert said == []
    assert store.read("lease").result().state == "missing"


def test_the_lease_of_a_killed_run_is_taken_over_by_one_alone(store):
    killed(store)
    said, results = [], []

    def start(ready):
        try:
            with lease(store, said):
                results.append("in")
                ready.wait(5)
        except InUseError:
            results.append("kept out")
            ready.set()

    ready = threading.Event()
    threads = [threading.Thread(target=start, args=(ready,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["in", "kept out"]
    assert f"{NAME} has the lease of a run (process 7 on there); waiting up to 1 s" in said[0]


def test_a_run_whose_lease_was_taken_over_saves_nothing_more(store, tmp_path):
    renewed = threading.Event()

    def wait(over, seconds):
        renewed.wait(10)
        return over.wait(0.01)

    with lease(store, wait=wait) as ours:
        ours.check()
        killed(store)  # another run's, whoever it is
        renewed.set()
        ours._thread.join(10)
        with pytest.raises(LeaseLostError, match=r"another run \(process 7 on there\) has taken"):
            ours.check()
        with (
            pytest.raises(SaveError, match=r"no checkpoint can be .* taken over gs://bucket/run"),
            Checkpoints(Folder(tmp_path), check=ours.check) as checkpoints,
        ):
            checkpoints.save(state_at(1).replace(step=jnp.int32(1)))
    assert store.read("lease").result().state == "value"  # it is not ours to delete


def test_a_store_that_cannot_be_reached_is_said_in_a_line():
    class Broken:
        def read(self, name):
            raise ValueError("UNAVAILABLE: no route\nmore of it")

    with pytest.raises(StoreError, match=f"^{NAME} cannot be locked: UNAVAILABLE: no route$"):
        lease(Broken()).__enter__()


@pytest.fixture
def bucket(monkeypatch):
    """Google's protocol, answered on this machine: conditions are on generations of objects."""
    with Store() as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", found.address)
        monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "nobody")
        yield found
        found.shutdown()


def test_a_bucket_has_a_lease_by_conditions_on_generations(bucket):
    with Lease.of(Folder(NAME), [].append):
        assert [*bucket.objects] == ["run/lease"]
        second = Lease.of(Folder(NAME), [].append)
        second._wait = lambda over, seconds: bucket.put("run/lease", b"renewed", {})
        with pytest.raises(InUseError, match=f"another run is at work in {NAME}"):
            second.__enter__()
    assert bucket.objects["run/lease"].content == b"renewed"  # by another one, whose it is
