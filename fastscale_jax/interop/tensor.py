"""One tensor, in our variables and in another library."""

from typing import NamedTuple

import numpy as np


class Tensor(NamedTuple):
    """One tensor, in our variables and in another library."""

    path: tuple[str, ...]  # in our variables, the collection first
    name: str  # in the other library
    our_shape: tuple[int, ...]
    shape: tuple[int, ...]  # in the other library
    axes: tuple[int, ...]  # the library's axes in our order, without axes of one pixel
    is_bgr: bool = False  # the library's input channels are BGR; ours are RGB
    offset: float = 0.0  # added to the library's values to get ours

    def to_ours(self, values: np.ndarray) -> np.ndarray:
        """Returns a tensor of theirs in our layout: a copy, of the same dtype."""
        if self.is_bgr:
            values = values[:, ::-1]
        squeezed = tuple(self.our_shape[axis] for axis in np.argsort(self.axes))
        values = values.reshape(squeezed).transpose(self.axes)
        return np.array(values + self.offset if self.offset else values, order="C")

    def to_theirs(self, values: np.ndarray) -> np.ndarray:
        """Returns a tensor of ours in their layout: the inverse of `to_ours`."""
        values = values - self.offset if self.offset else values
        values = values.transpose(np.argsort(self.axes)).reshape(self.shape)
        return np.array(values[:, ::-1] if self.is_bgr else values, order="C")
