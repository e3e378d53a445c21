"""The largest derivative of an accelerated activation, compared with plain's."""

import functools

import keras
import numpy as np
from keras import ops

from gaaf_keras._core.types import Function, Tensor
from gaaf_keras.shapes import Shape

_SPACING = 1e-3
_TOLERANCE = 1e-6
_STRENGTHS = [0.0, *np.geomspace(1e-3, 1e3, 13)]


class UnitGain:
    """The factor that keeps a total derivative from exceeding the plain one's largest.

    `factor(strength) = min(1, sup |phi'| / sup |phi' + strength * s|)`

    The suprema are computed once: on pre-activations from -100 to 100 at a spacing of
    0.001, refined to 1e-6 around every local maximum, and further out at distances
    that grow by a tenth. For shapes no narrower than 0.01 there, and no narrower than a
    fifth of the distance further out, their relative error is at most 1e-6. The
    supremum is stored as a function of the strength (the maximum of straight lines), so
    it follows a strength that changes in training and is not computed again.
    """

    def __init__(self, derivative: Function, shape: Function) -> None:
        def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            tensor = ops.convert_to_tensor(points)
            slope = ops.convert_to_numpy(derivative(tensor)).astype("float64")
            slope = np.nan_to_num(slope, nan=0.0, posinf=0.0, neginf=0.0)
            added = ops.convert_to_numpy(ops.cast(shape(tensor), tensor.dtype))
            added = np.broadcast_to(added.astype("float64"), slope.shape)
            if not np.isfinite(added).all():
                raise ValueError(
                    "Argument `unit_gain` needs a shape that is finite everywhere. "
                    f"Received: shape_function={shape!r}, which is not finite at "
                    f"x={points[~np.isfinite(added)][0]:g}"
                )
            return slope, added

        points = _points()
        slope, added = evaluate(points)
        around = points[_local_maxima(slope, added)]
        fine = np.linspace(-_SPACING, _SPACING, 2001)
        fine_slope, fine_added = evaluate(np.add.outer(around, fine).ravel())
        slope = np.concatenate([slope, fine_slope])
        added = np.concatenate([added, fine_added])
        self._base = float(np.abs(slope).max())
        slope, added = np.concatenate([slope, -slope]), np.concatenate([added, -added])
        best = _upper_hull(slope, added)
        self._slope, self._added = slope[best], added[best]

    def __call__(self, strength: float | Tensor) -> Tensor:
        """Returns the factor for a strength: a number or tensor, as the strength is."""
        if isinstance(strength, float):
            largest = np.max(self._slope + strength * self._added)
            return float(self._base / max(self._base, largest))
        dtype = keras.backend.standardize_dtype(strength.dtype)
        slope = ops.convert_to_tensor(self._slope, dtype=dtype)
        added = ops.convert_to_tensor(self._added, dtype=dtype)
        largest = ops.max(slope + strength * added)
        return self._base / ops.maximum(largest, self._base)


def unit_gain(derivative: Function, shape: Function) -> UnitGain:
    """Returns the factor for a derivative and a shape, computed once."""
    # A user's own shape may change later.
    return (_known if isinstance(shape, Shape) else UnitGain)(derivative, shape)


_known = functools.lru_cache(maxsize=64)(UnitGain)


@functools.cache
def _points() -> np.ndarray:
    """The pre-activations of the first search, sorted: a grid, and the usual kinks."""
    everywhere = np.arange(-100_000, 100_001) * _SPACING
    beyond = np.geomspace(100, 1e30, 700)
    kinks = np.add.outer(np.arange(-10, 10.5, 0.5), [-1e-9, 1e-9]).ravel()
    return np.sort(np.concatenate([everywhere, kinks, -beyond, beyond]))


def _local_maxima(slope: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Indices where the magnitude of slope + t * added peaks, for t small and large.

    Peaks lower than the tolerance are rounding, or so flat that the grid suffices.
    A peak that decides the factor at a t between two tried values is, at one of them,
    more than a quarter as high as the highest: their ratio is the root of ten.
    """
    peaks = np.zeros(len(slope), bool)
    for strength in _STRENGTHS:
        size = np.abs(slope + strength * added)
        middle = size[1:-1]
        higher = np.maximum(size[:-2], size[2:])
        lower = np.minimum(size[:-2], size[2:])
        is_peak = (middle >= higher) & (middle > lower * (1 + _TOLERANCE))
        peaks[1:-1] |= is_peak & (middle > size.max() / 4)
    return np.flatnonzero(peaks)


def _upper_hull(slope: np.ndarray, added: np.ndarray) -> np.ndarray:
    """Indices of the points that maximise slope + t * added for some t >= 0."""
    order = np.lexsort((-added, -slope))
    highest = np.maximum.accumulate(added[order])
    ahead = np.concatenate([[True], added[order][1:] > highest[:-1]])
    hull: list[int] = []
    for index in order[ahead]:
        while len(hull) > 1 and not _turns(slope, added, hull[-2], hull[-1], index):
            hull.pop()
        hull.append(index)
    return np.array(hull)


def _turns(slope: np.ndarray, added: np.ndarray, a: int, b: int, c: int) -> bool:
    """Whether b lies outside the line from a to c."""
    first = (slope[b] - slope[a]) * (added[c] - added[a])
    second = (added[b] - added[a]) * (slope[c] - slope[a])
    return bool(first > second)
