"""Twenty steps on some devices of some processes; tests start it, and compare what it prints.

python -m tests.train.twenty_steps DEVICES [PROCESSES PROCESS PORT]
"""

import collections
import functools
import json
import pathlib
import re
import sys
import tempfile
from typing import Any

import jax

STEPS = 20
# what a run has in common on any number of devices: the images that BatchNorm and mixing see
# together are those of a group, or those of all
CASES = {
    "sync": {"bn.sync": True, "augment.mixup": 0.0},
    "groups": {"bn.group_size": 4, "augment.mixup": 0.3, "augment.flip": True},
    "shared": {"bn.group_size": 4, "augment.mixup": 0.0, "train.shard_optimizer": True},
    "frozen": {
        "bn.group_size": 4,
        "augment.mixup": 0.0,
        "train.freeze": "stem.*,s1.*",
        "optim.clip_norm": 1.0,
        "optim.layer_decay": 0.7,
    },
}
COMMON = {
    "data.batch_size": 16,
    "optim.learning_rate": 0.2,
    "optim.warmup_epochs": 0.0,
    "model.dropout": 0.2,
    "model.stochastic_depth": 0.1,
    "bn.precise_images": 32,
}


def main(devices: int, processes: int = 1, process: int = 0, port: int = 0) -> None:
    """Prints, on the first process, what the steps of each case came to."""
    jax.config.update("jax_num_cpu_devices", devices)
    jax.config.update("jax_disable_most_optimizations", True)
    if processes > 1:
        from fastscale_jax.distributed.cluster import Cluster

        Cluster(f"127.0.0.1:{port}", processes, process, timeout=60).join()
    with tempfile.TemporaryDirectory() as folder:
        found = {
            name: twenty_steps(pathlib.Path(folder), {**COMMON, **changes})
            for name, changes in CASES.items()
        }
    if process == 0:
        print(json.dumps(found))


def twenty_steps(folder: pathlib.Path, changes: dict[str, Any]) -> dict[str, Any]:
    """Returns losses, evaluations, and how many collectives a step has."""
    from fastscale_jax.data.pipeline import train_batches
    from fastscale_jax.distributed.sharding import replicated, shared_out, this_host
    from fastscale_jax.train.evaluate import Evaluator
    from fastscale_jax.train.precise_bn import PreciseStatistics
    from fastscale_jax.train.state import shardings
    from fastscale_jax.train.step import create_state, train_step
    from tests.train.tiny import tiny_run

    run = tiny_run(folder, **changes)
    task, key = run.task(), jax.random.key(0)
    state = replicated(jax.jit(functools.partial(create_state, task))(key), task.mesh)
    layout = shardings(state, task.mesh, run.recipe.train.shard_optimizer)
    place = jax.jit(lambda x: x, out_shardings=layout)
    state, losses = place(state), []
    step = jax.jit(functools.partial(train_step, task), out_shardings=(layout, None, None))

    def batches() -> Any:
        return train_batches(run.source.train, 16, seed=0, **this_host())

    endless = batches()
    shown = [shared_out(next(endless), task.mesh) for _ in range(STEPS)]
    for batch in shown:
        state, metrics, _ = step(state, batch, key)
        losses.append(float(metrics.loss) / float(metrics.images))
    text = step.lower(state, shown[0], key).compile().as_text() or ""
    (weights,) = PreciseStatistics(task, 32)([state.weights], batches(), key)
    evaluation = Evaluator(task, run.source.test, 16)(weights)
    shared = [x.sharding.is_fully_replicated for x in jax.tree.leaves(state.opt_state)]
    return {
        "losses": losses,
        "evaluated": len(evaluation.labels),
        "errors": evaluation.metrics["top1_error"],
        "test_loss": evaluation.metrics["loss"],
        "predicted": evaluation.predicted.tolist(),
        "collectives": collections.Counter(re.findall(r" (all-\w+|reduce-scatter)\(", text)),
        "shared_out": shared.count(False),
    }


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
