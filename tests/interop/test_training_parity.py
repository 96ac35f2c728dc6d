"""Twenty steps of training: ours and PyTorch's, from the same weights on the same images.

Training is chaotic if the network is deep or the learning rate is high, above all with ReLU. In
float32, a different rounding of the last digit changes the losses of the smallest RegNetX by a
hundredth within ten steps. So all is in float64: if losses differ there, the two programs differ.
"""

import dataclasses
import functools

import jax
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from configs.digits import get_config
from fastscale_jax.arch import model_config
from fastscale_jax.data.augment.augment_config import Augment
from fastscale_jax.data.augment.augmented import prepare
from fastscale_jax.data.pipeline import Batch, train_batches
from fastscale_jax.interop import torch_twin, weights
from fastscale_jax.runs.run import Run
from fastscale_jax.train.optim import learning_rate
from fastscale_jax.train.step import Task, create_state, train_step
from tests.compiler import QUICKLY

pytestmark = pytest.mark.slow
STEPS = 20


# of each family, its smallest network
NETWORKS = {
    "regnetz": "dWr_x0.1",
    "efficientnet": "b0",
    "regnetx": "200mf",
    "regnety": "200mf",
    "resnet": "50-32x4d",
}
IN_TURN = [pytest.param(pair, id="-".join(pair)) for pair in NETWORKS.items()]


@pytest.fixture(scope="module", params=IN_TURN)
def run(request, tmp_path_factory) -> Run:
    """The digits recipe with one block a stage, without what draws random numbers as it trains."""
    config = get_config()
    config.variant, config.model = "", model_config(*request.param)
    config.model.update(depths=(1,) * len(config.model.depths), resolution=48, num_classes=10)
    config.model.update(dropout=0.0, stochastic_depth=0.0)
    if request.param[0] == "resnet":  # an eighth as wide
        config.model.update(widths=(32, 64, 128, 256), group_widths=(4, 4, 8, 8))
    config.optim.update(learning_rate=0.048, warmup_epochs=0.5)  # 0.003 after half of the steps
    config.augment.update(dataclasses.asdict(Augment.none(label_smoothing=0.1)))
    config.ema.every_steps = 0
    return Run.prepare(config, tmp_path_factory.mktemp("run"), "train")


@pytest.fixture(scope="module")
def batches(run) -> list[Batch]:
    endless = train_batches(run.source.train, run.recipe.data.batch_size, seed=0)
    return [next(endless) for _ in range(STEPS)]


def losses_in_torch(run: Run, batches: list[Batch], start: dict[str, np.ndarray]) -> list[float]:
    recipe = run.recipe
    twin = torch_twin.build(run.network).double().train()
    twin.load_state_dict({name: torch.from_numpy(x) for name, x in start.items()})
    rate = learning_rate(recipe, run.epoch_steps)  # test_optim holds it against its formula
    optim = recipe.optim
    groups = torch_twin.parameter_groups(twin, optim.weight_decay)
    sgd = torch.optim.SGD(groups, lr=1.0, momentum=optim.momentum, nesterov=True)
    losses = []
    for step, batch in enumerate(batches):
        mean, std = run.source.conventions[:2]
        images = prepare(batch.images, resolution=run.network.resolution, mean=mean, std=std)
        rgb = np.asarray(images, np.float64)
        bgr = torch.from_numpy(rgb[..., ::-1].transpose(0, 3, 1, 2).copy())
        labels = torch.from_numpy(batch.labels).long()
        smoothing = recipe.augment.label_smoothing
        for group in sgd.param_groups:
            group["lr"] = float(rate(step))
        loss = F.cross_entropy(twin(bgr), labels, label_smoothing=smoothing)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
        losses.append(loss.item())
    return losses


def in_double(run: Run) -> Task:
    task = run.task()
    options = {"dtype": "float64", "implementation": "portable"}
    computation = dataclasses.replace(task.model.computation, **options)
    return task._replace(model=task.model.clone(computation=computation))


def test_twenty_steps_of_sgd_lose_what_pytorch_s_lose(run, batches):
    key = jax.random.key(0)
    with jax.enable_x64(True):
        task, ours = in_double(run), []
        create = functools.partial(create_state, task)
        state = jax.jit(create, compiler_options=QUICKLY)(key)
        state = jax.tree.map(lambda x: x.astype(np.float64) if x.ndim else x, state)
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        theirs = losses_in_torch(run, batches, weights.to_pycls(run.network, variables))
        step = jax.jit(functools.partial(train_step, task), compiler_options=QUICKLY)
        for batch in batches:
            state, metrics, _ = step(state, batch, key)
            ours.append(float(metrics.loss) / len(batch.labels))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    assert ours[-1] < 0.97 * ours[0]  # it has learned something, so the steps were real
