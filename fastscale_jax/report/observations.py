"""Claims of the paper's text, checked against its printed numbers, our counts and programs."""

from collections.abc import Iterable

from fastscale_jax.display.table import Cell, Column, Table
from fastscale_jax.report import error_claims, runtime_claims
from fastscale_jax.report.claim import Claim


def claims() -> list[Claim]:
    """Returns the claims that printed, counted and compiled numbers can check, by section."""
    return _by_section([*runtime_claims.claims(), *error_claims.claims()])


def runtime_table() -> Table:
    """Returns the claims about counts and runtime as a table of the page."""
    return _table(
        "claims-runtime",
        "The paper's claims about counts and runtime",
        f"Minutes are the paper's; counts are ours. {runtime_claims.floors_source()}",
        runtime_claims.claims(),
    )


def error_table() -> Table:
    """Returns the claims about errors and large networks as a table of the page."""
    return _table(
        "claims-errors",
        "The paper's claims about errors and large networks",
        "Errors and minutes are the paper's; counts are ours. Claims about errors that no table "
        "prints are left out.",
        error_claims.claims(),
    )


def sentences(section: str) -> str:
    """Returns the claims of a section and its parts, as text for a figure's caption."""
    return " ".join(
        f"The paper: {claim.text}. Here: {claim.ours}."
        for claim in claims()
        if claim.section.startswith(section)
    )


def _by_section(some: Iterable[Claim]) -> list[Claim]:
    return sorted(some, key=lambda claim: claim.section)


def _table(name: str, title: str, caption: str, some: Iterable[Claim]) -> Table:
    return Table(
        name,
        title,
        caption,
        tuple(Column(header, is_number=False) for header in ("section", "the paper", "here")),
        tuple(tuple(map(Cell, claim)) for claim in _by_section(some)),
    )
