"""How much an accelerated activation passes at most, compared with the base."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

_REACH = 50.0
_SPACING = 1e-3
_MOST_CANDIDATES = 256


class UnitGain:
    """The factor that keeps a total derivative from exceeding the base's largest.

    `factor(strength) = min(1, sup phi' / sup(phi' + strength * s))`

    The suprema are computed once, on net inputs from -50 to 50 at a spacing of 0.001,
    refined to 1e-6 around every candidate, and at infinity; for shapes that are no
    narrower than 0.01 they are right to a relative 1e-6. The supremum is kept as a
    function of the strength (the largest of straight lines), so that a strength that
    changes in training is followed without computing it again.

    Args:
        derivative: phi' of the base activation.
        shape: The shape function s.
    """

    def __init__(
        self, derivative: Callable[[Any], Any], shape: Callable[[Any], Any]
    ) -> None:
        def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            tensor = ops.convert_to_tensor(points)
            values = (ops.convert_to_numpy(f(tensor)) for f in (derivative, shape))
            slope, added = (value.astype("float64") for value in values)
            return slope, added

        points = np.arange(-_REACH, _REACH + _SPACING / 2, _SPACING)
        around = np.array([-1e-9, 1e-9])  # both sides of a kink on a round number
        kinks = np.arange(-10, 10.5, 0.5)
        points = np.concatenate(
            [points, np.add.outer(kinks, around).ravel(), [-1e4, 1e4]]
        )
        slope, added = evaluate(points)
        self._base = float(slope.max())
        best = _upper_hull(slope, added)
        fine = np.linspace(-_SPACING, _SPACING, 2001)
        refined = np.add.outer(points[best], fine).ravel()
        fine_slope, fine_added = evaluate(refined)
        slope = np.concatenate([slope, fine_slope])
        added = np.concatenate([added, fine_added])
        best = _upper_hull(slope, added)
        self._slope, self._added = slope[best], added[best]

    def __call__(self, strength: Any) -> Any:
        """Returns the factor for a strength: a number for one, a tensor for one."""
        if isinstance(strength, float):
            largest = np.max(self._slope + strength * self._added)
            return float(self._base / max(self._base, largest))
        dtype = keras.backend.standardize_dtype(strength.dtype)
        slope = ops.convert_to_tensor(self._slope, dtype=dtype)
        added = ops.convert_to_tensor(self._added, dtype=dtype)
        largest = ops.max(slope + strength * added)
        return self._base / ops.maximum(largest, self._base)


def _upper_hull(slope: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Indices of the points that maximise slope + t * added for some t >= 0."""
    order = np.lexsort((-added, -slope))
    highest = np.maximum.accumulate(added[order])
    ahead = np.concatenate([[True], added[order][1:] > highest[:-1]])
    front = order[ahead]
    hull: list[int] = []
    for index in front:
        while len(hull) > 1 and not _turns(slope, added, hull[-2], hull[-1], index):
            hull.pop()
        hull.append(index)
    kept = np.array(hull)
    if len(kept) > _MOST_CANDIDATES:
        chosen = np.linspace(0, len(kept) - 1, _MOST_CANDIDATES).round().astype(int)
        kept = kept[chosen]
    return kept


def _turns(slope: np.ndarray, added: np.ndarray, a: int, b: int, c: int) -> bool:
    """Whether b lies outside the line from a to c."""
    first = (slope[b] - slope[a]) * (added[c] - added[a])
    second = (added[b] - added[a]) * (slope[c] - slope[a])
    return bool(first > second)
