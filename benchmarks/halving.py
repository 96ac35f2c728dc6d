"""Checks whether successive halving finds a search's best networks, and its number of epochs.

    python -m benchmarks.halving --output benchmarks/results/halving_digits.jsonl

Networks of `fastscale search digits --window=1mf:4mf` are trained to the end and evaluated after
every epoch; 24 take an hour on two cores. Then the rule is applied to the recorded errors, for one
worker that trains them in sequence. An existing file is continued.
"""

import argparse
import json
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

import optuna
from optuna.trial import TrialState

from fastscale_jax.arch import Architecture, model_config
from fastscale_jax.measure.machine import describe
from fastscale_jax.measure.provenance import provenance
from fastscale_jax.runs.recipes import read_config
from fastscale_jax.runs.run import Run
from fastscale_jax.search.halving import Halving, Verdict
from fastscale_jax.search.jobs import DONE, Entry, Job
from fastscale_jax.search.regnets import space_of, window_of
from fastscale_jax.search.rounds import last_comparisons
from fastscale_jax.search.sample import sample
from fastscale_jax.search.training import shortened, trained

EPOCHS, WINDOW = 10, "1mf:4mf"
RULES = [Halving(start, factor) for start, factor in ((1, 2), (2, 2), (3, 2), (2, 3), (3, 3))]
RULES += [rule._replace(in_rounds=True, epochs=EPOCHS) for rule in RULES]
Curve = Mapping[int, float]  # error in percent, by epochs
_ANY = Architecture.from_config(model_config("regnetz", "dWr_x0.1"))  # the rule does not look at it


def main() -> None:
    """Trains the networks that the file lacks, and prints the outcome of each rule."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a JSON-lines file")
    parser.add_argument("--networks", type=int, default=24, help="number per seed")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for seed in range(args.seeds):
        record(args.output, args.networks, seed)
    for seed, curves in read(args.output).items():
        for rule in RULES:
            share, kept, lost = outcome(curves, rule)
            print(
                f"seed {seed}, {len(curves)} networks, from {rule.start}, factor {rule.factor}"
                f"{', in rounds' * rule.in_rounds}: "
                f"{100 * share:.0f} % of the epochs, {kept} of the best three, {lost:.2f} % lost"
            )


def read(path: pathlib.Path) -> dict[int, list[Curve]]:
    """Returns the errors of each seed's networks, in order."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    curves: dict[int, list[Curve]] = {}
    for line in sorted(lines, key=lambda line: (line["seed"], line["number"])):
        errors = {int(epochs): error for epochs, error in line["errors"].items()}
        curves.setdefault(line["seed"], []).append(errors)
    return curves


def record(path: pathlib.Path, number: int, seed: int) -> None:
    """Trains the networks of a seed to the end, and adds their errors to a file."""
    run = shortened(Run.of(read_config("digits")), EPOCHS)
    network = run.network
    space = space_of("regnety", {}, network.resolution, network.num_classes)
    drawn = sample(space, window_of(WINDOW), number, seed=seed)
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(line["seed"], line["number"]) for line in known}
    machine = describe()
    for i, one in enumerate(drawn):
        if (seed, i) in done:
            continue
        errors: dict[int, float] = {}

        def keep(epochs: int, error: float, errors: dict[int, float] = errors) -> Verdict:
            errors[epochs] = error
            return Verdict.GO_ON

        with tempfile.TemporaryDirectory() as folder:
            job = Job(i, one.parameters._asdict(), one.network)
            workdir = pathlib.Path(folder)
            error, _ = trained(run, job, workdir, lambda: None, compare=keep, every_epochs=1)
        line = {"seed": seed, "number": i, "network": one.network.name}
        line |= {"errors": {**errors, EPOCHS: error}, **provenance(machine)}
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def outcome(curves: Sequence[Curve], rule: Halving) -> tuple[float, int, float]:
    """Returns the share of epochs, the number of the best three found, and the lost error."""
    lengths = trained_in_rounds(curves, rule) if rule.in_rounds else trained_for(curves, rule)
    share = sum(lengths) / (EPOCHS * len(curves))
    return share, *found(curves, [i for i, n in enumerate(lengths) if n == EPOCHS])


def found(curves: Sequence[Curve], ended: Sequence[int]) -> tuple[int, float]:
    """Returns how many of the best three are among networks, and how much worse their best is.

    Every network that is better than the third place counts. Of those that share the third place
    as many count as it takes for three: they are equally good.
    """
    errors = [curve[EPOCHS] for curve in curves]
    ends = [errors[i] for i in ended]
    best = sorted(errors)[:3]
    better = sum(error < best[-1] for error in ends)
    at_third = min(ends.count(best[-1]), best.count(best[-1]))
    return better + at_third, min(ends) - best[0]


def trained_for(curves: Sequence[Curve], rule: Halving) -> list[int]:
    """Returns the epochs that each network is trained for, in sequence."""
    attempts: list[list[optuna.trial.FrozenTrial]] = []
    lengths = []
    for number, curve in enumerate(curves):
        trial = optuna.trial.create_trial(state=TrialState.RUNNING)
        trial.number, length = number, EPOCHS
        for epochs in range(rule.start, EPOCHS, rule.start):
            trial.intermediate_values = {**trial.intermediate_values, epochs: curve[epochs]}
            is_behind, remembered = rule.is_behind(attempts, trial)
            trial.system_attrs = dict(remembered)
            if is_behind:
                length = epochs
                break
        attempts.append([trial])
        lengths.append(length)
    return lengths


def trained_in_rounds(curves: Sequence[Curve], rule: Halving) -> list[int]:
    """Returns the epochs that each network is trained for, if it is compared in rounds."""
    entries = [Entry(Job(i, {}, _ANY), DONE) for i in range(len(curves))]
    reported = [{n: curve[n] for n in range(rule.start, EPOCHS, rule.start)} for curve in curves]
    attempts = [
        [optuna.trial.create_trial(state=TrialState.RUNNING, intermediate_values=errors)]
        for errors in reported
    ]
    last = last_comparisons(entries, attempts, rule)
    return [last[i].epochs if last[i].verdict is Verdict.STOP else EPOCHS for i in last]


if __name__ == "__main__":
    main()
