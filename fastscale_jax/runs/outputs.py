"""The outputs of a run: logs, checkpoints and callbacks."""

import signal
from collections.abc import Callable
from typing import NamedTuple

from fastscale_jax.checkpoints.checkpoint import Checkpoints
from fastscale_jax.distributed.peers import Peers
from fastscale_jax.logs.progress import Progress
from fastscale_jax.logs.records import Recorder
from fastscale_jax.runs.best import Best
from fastscale_jax.runs.interrupt import Interrupts
from fastscale_jax.train.evaluate import Evaluation, as_record, error_of


class Outputs(NamedTuple):
    """Logs, checkpoints and other hosts of a run, and the signals that interrupt it."""

    recorder: Recorder | None  # on the first host only
    progress: Progress
    checkpoints: Checkpoints
    interrupts: Interrupts
    peers: Peers
    leave: Callable[[signal.Signals], None]  # ends the program, after the state is saved
    # called with the epochs done and the error in percent; an exception from it ends the run
    after_evaluation: Callable[[float, float], object] = lambda epochs, error: None

    def record(self, record: dict[str, float]) -> None:
        """Writes a line of `metrics.jsonl`."""
        if self.recorder is not None:
            self.recorder.write(record)

    def log(self, step: int, epoch: float, record: dict[str, float]) -> None:
        """Writes a line of `metrics.jsonl`, and shows it."""
        self.record({"step": step, "epoch": epoch, **record})
        self.progress.update(
            step,
            epoch=epoch,
            loss=record["train_loss"],
            error=record["train_top1_error"],
            images_per_second=record["images_per_second"],
            data_wait_percent=record["data_wait_percent"],
        )

    def log_evaluation(
        self, step: int, epoch: float, evaluations: dict[str, Evaluation], best: Best
    ) -> bool:
        """Writes and shows an evaluation, with the best one so far.

        Args:
            step: steps done.
            epoch: epochs done.
            evaluations: by prefix: of the model, and of the average if there is one.
            best: updated with the evaluation.

        Returns:
            Whether it is better than all before.
        """
        self.record({"step": step, "epoch": epoch, **as_record(evaluations)})
        error = error_of(evaluations)
        is_best = best.add(error, epoch)
        average = evaluations.get("ema_")
        name = "best" if average is None else "best average"
        best_so_far = "best so far" if is_best else best.in_words(name)
        self.progress.evaluated(
            epoch=epoch,
            error=evaluations[""].metrics["top1_error"],
            average=None if average is None else average.metrics["top1_error"],
            remark=best_so_far if error is not None else f"the loss is not finite; {best_so_far}",
        )
        return is_best
