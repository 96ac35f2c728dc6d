"""The table of search.md: what successive halving saves, and what it loses."""

import optuna

from benchmarks.halving import RULES, outcome, read
from docs.speed_tables import RESULTS


def table() -> str:
    """Returns a row for each rule, of the first seed's networks."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    curves = read(RESULTS / "halving_digits.jsonl")[0]
    lines = [
        "| `--halving_from` | `--halving_factor` | epochs, % | of the best three | error lost, % |",
        "|--:|--:|--:|--:|--:|",
    ]
    for rule in RULES:
        share, kept, lost = outcome(curves, rule)
        lines.append(f"| {rule.start} | {rule.factor} | {100 * share:.0f} | {kept} | {lost:.2f} |")
    return "\n".join(lines)
