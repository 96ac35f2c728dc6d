"""A file of results that points are added to at once, so that nothing measured is lost."""

import dataclasses
import pathlib
from collections.abc import Iterable
from typing import Any

from fastscale_jax.measure import points
from fastscale_jax.measure.points import Spec
from fastscale_jax.measure.provenance import command


class PointsFile:
    """The points of one file, which belong together: of one device, type and batch size.

    Attributes:
        path: of the file.
        known: the record of each point that is in it.
    """

    def __init__(self, path: pathlib.Path, wanted: Iterable[Spec]) -> None:
        """Reads a file, which need not be there.

        Args:
            path: of the file; its folder is made if need be.
            wanted: points that are to be in it.

        Raises:
            ValueError: the file holds something else, results of several devices or versions, or
                points of another batch size, type or resolution than the wanted ones.
            OSError: it cannot be written.
        """
        self.path = path
        self.known = {points.spec_of(record): record for record in points.read(path)}
        points.check_same_machine(self.known.values())
        points.check_alike([*self.known, *wanted])
        points.check_writable(path)

    def is_due(self, spec: Spec, turn: int, *, again: bool) -> bool:
        """Whether a point is to be measured in a round.

        Args:
            spec: of the point.
            turn: number of the round, from 1 on.
            again: whether a point that failed is, in the first round.
        """
        record = self.known.get(spec)
        if record is None:
            return True
        if "error" in record:
            return again and turn == 1
        return record["rounds"] < turn

    def add(self, spec: Spec, figures: dict[str, Any]) -> dict[str, Any]:
        """Adds what was measured of a point; returns the point's record of this round.

        Args:
            spec: of the point.
            figures: of its step, or the error.

        Raises:
            ValueError: it was measured on another device, or with other versions, than the rest.
            OSError: the file cannot be written.
        """
        record = {**dataclasses.asdict(spec), **figures, "command": command()}
        points.check_same_machine([*self.known.values(), record])
        points.append(self.path, record)
        self.known[spec] = points.merged(self.known.get(spec), record)
        return record
