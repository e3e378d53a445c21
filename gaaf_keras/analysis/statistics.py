"""Means, spreads and paired differences of a few runs."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

_ROUNDING = 1e-8  # relative to the values; records keep nine digits


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of some values.

    Attributes:
        mean: Their mean.
        standard_deviation: That of a sample (n - 1); None for a single value.
        n: How many there are.
    """

    mean: float
    standard_deviation: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Returns the spread of one value or more."""
        several = len(values) > 1
        deviation = float(np.std(values, ddof=1)) if several else None
        return cls(float(np.mean(values)), deviation, len(values))


@dataclasses.dataclass(frozen=True)
class Difference:
    """The mean difference of paired values, and where it lies.

    Attributes:
        mean: Mean of the differences.
        low: Lower bound of the confidence interval; None for a single pair.
        high: Upper bound; None for a single pair.
        confidence: Its confidence, such as 0.95.
        n: How many pairs there are.
    """

    mean: float
    low: float | None
    high: float | None
    confidence: float
    n: int

    @property
    def direction(self) -> Literal["higher", "lower", "not shown"]:
        """What the interval shows: nothing if it includes 0, or if there is none.

        Nor if it has no width: a few differences that are all the same, of accuracies
        or epochs, are coarse and not certain.
        """
        if self.low is None or self.high is None or self.low == self.high:
            return "not shown"
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "not shown"


def paired_difference(
    values: Sequence[float], base: Sequence[float], confidence: float = 0.95
) -> Difference:
    """Returns the mean difference of paired values and its t interval.

    `mean(d) +- t(confidence, n - 1) * standard deviation(d) / sqrt(n)` with
    `d = values - base`. For runs, pair those of the same seed, which begin with
    the same weights and see the same batches.

    Args:
        values: The values of a variant.
        base: Those that they are compared with, in the same order.
        confidence: Probability that the interval covers the true mean difference, if
            the differences are normally distributed. Above 0 and below 1.

    Raises:
        ValueError: If there are not as many values as those of the base, or none, or
            the confidence is out of range.

    Examples:
        >>> from gaaf_keras.analysis import paired_difference
        >>> difference = paired_difference([3.0, 5.0, 4.0], [1.0, 2.0, 3.0])
        >>> round(difference.low, 2), difference.mean, round(difference.high, 2)
        (-0.48, 2.0, 4.48)
        >>> difference.direction
        'not shown'
    """
    if len(values) != len(base) or not len(values):
        raise ValueError(
            "Arguments `values` and `base` must have as many values, at least one. "
            f"Received: {len(values)} and {len(base)}"
        )
    if not 0 < confidence < 1:
        raise ValueError(
            "Argument `confidence` must be above 0 and below 1. "
            f"Received: confidence={confidence}"
        )
    from scipy import stats  # not needed to train

    differences = np.subtract(values, base)
    mean, n = float(np.mean(differences)), len(differences)
    if n == 1:
        return Difference(mean, None, None, confidence, n)
    if np.ptp(differences) <= _ROUNDING * np.max(np.abs([values, base])):
        return Difference(mean, mean, mean, confidence, n)  # but for rounding
    low, high = stats.ttest_rel(values, base).confidence_interval(confidence)
    return Difference(mean, float(low), float(high), confidence, n)
