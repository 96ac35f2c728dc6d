"""The origins of numbers, and their marks in tables, figures and the explorer."""

import enum


class Origin(enum.Enum):
    """The origin of a number, with its mark, meaning, colour and form in figures."""

    PAPER = ("P", "printed in the paper", "#5b6470", "hollow mark")
    FORMULA = ("F", "closed form of the paper, nothing rounded", "#7a3fb0", "dotted line")
    COUNTED = ("C", "counted here, exact to the integer", "#1c5d99", "line without marks")
    MEASURED = ("M", "measured here", "#13693f", "filled mark")
    TRAINED = ("T", "trained here", "#a8322a", "filled mark with a rim")
    PREDICTED = ("E", "estimated by a model fitted to measurements", "#8a5a00", "")
    COMPILED = (
        "X",
        "counted in XLA's program for a target device; nothing was run",
        "#0f6673",
        "half-filled mark",
    )

    mark: str  # one letter, so that readers need not distinguish colours
    meaning: str
    color: str  # dark enough for text on white
    form: str  # form in figures; empty: not used in figures

    def __init__(self, mark: str, meaning: str, color: str, form: str) -> None:
        self.mark = mark
        self.meaning = meaning
        self.color = color
        self.form = form

    @property
    def is_of_a_machine(self) -> bool:
        """Whether the number depends on the machine or on time."""
        return self in (Origin.MEASURED, Origin.COMPILED, Origin.TRAINED)

    @property
    def key(self) -> str:
        """Its name in CSV files and style sheets."""
        return self.name.lower()
