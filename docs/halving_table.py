"""The table of search.md: what successive halving saves, and what it loses."""

from collections.abc import Sequence

import optuna

from benchmarks.halving import RULES, outcome, read
from docs.speed_tables import RESULTS


def table() -> str:
    """Returns a row for each rule, with a value for each seed's networks."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    of_seeds = [curves for _, curves in sorted(read(RESULTS / "halving_digits.jsonl").items())]
    lines = [
        "| rule | epochs, % | of the best three | error lost, % |",
        "|---|--:|--:|--:|",
    ]
    for rule in RULES:
        rounds = " --halving_rounds" * rule.in_rounds
        name = f"`--halving_from={rule.start} --halving_factor={rule.factor}{rounds}`"
        lines.append(_row(name, [outcome(curves, rule) for curves in of_seeds]))
    return "\n".join(lines)


def _row(name: str, outcomes: Sequence[tuple[float, int, float]]) -> str:
    shares, kept, lost = zip(*outcomes, strict=True)
    cells = ([f"{100 * x:.0f}" for x in shares], map(str, kept), [f"{x:.2f}" for x in lost])
    return f"| {name} | {' | '.join(', '.join(cell) for cell in cells)} |"
