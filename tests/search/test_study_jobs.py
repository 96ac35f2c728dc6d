"""A scaling study: which runs it is made of."""

from fastscale_jax import arch
from fastscale_jax.search.study_jobs import jobs_of
from tests.search.small import BASE


def test_every_network_is_trained_from_every_seed():
    jobs = jobs_of(BASE, ["w", "dWr"], [4.0, 2.0], 3)
    assert [job.number for job in jobs] == list(range(15))
    assert len({(job.network.name, job.seed) for job in jobs}) == 15
    assert [job.network for job in jobs[:5]] == [job.network for job in jobs[10:]]
    for job in jobs:
        strategy, factor, seed = job.parameters.values()
        assert seed == job.seed
        wanted = arch.scale(BASE, strategy, factor=factor) if strategy else BASE
        assert arch.count(job.network) == arch.count(wanted)
