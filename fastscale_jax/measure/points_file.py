"""A results file that each point is appended to at once, so no measurement is lost."""

import dataclasses
import pathlib
from collections.abc import Iterable
from typing import Any

from fastscale_jax.measure import points
from fastscale_jax.measure.points import Spec
from fastscale_jax.measure.provenance import command


class PointsFile:
    """The points of one file, all of one device, type and batch size.

    Attributes:
        path: the file's path.
        known: the record of each point in the file.
    """

    def __init__(self, path: pathlib.Path, wanted: Iterable[Spec]) -> None:
        """Reads a file; a missing file is empty.

        Args:
            path: the file's path; its folder is made if missing.
            wanted: points that the file will have.

        Raises:
            ValueError: the file is no results file, is of several devices or versions, or has
                points of another batch size, type or resolution than `wanted`.
            OSError: it cannot be written.
        """
        self.path = path
        self.known = {points.spec_of(record): record for record in points.read(path)}
        points.check_same_machine(self.known.values())
        points.check_alike([*self.known, *wanted])
        points.check_writable(path)

    def is_due(self, spec: Spec, turn: int, *, again: bool) -> bool:
        """Whether to measure a point in this round.

        Args:
            spec: the point.
            turn: number of the round, from 1.
            again: retry failed points in the first round.
        """
        record = self.known.get(spec)
        if record is None:
            return True
        if "error" in record:
            return again and turn == 1
        return record["rounds"] < turn

    def add(self, spec: Spec, figures: dict[str, Any]) -> dict[str, Any]:
        """Adds a point's results to the file; returns its record of this round.

        Args:
            spec: the point.
            figures: results of its step, or the error.

        Raises:
            ValueError: it was measured on another device or with other versions than the rest.
            OSError: the file cannot be written.
        """
        record = {**dataclasses.asdict(spec), **figures, "command": command()}
        points.check_same_machine([*self.known.values(), record])
        points.append(self.path, record)
        self.known[spec] = points.merged(self.known.get(spec), record)
        return record
