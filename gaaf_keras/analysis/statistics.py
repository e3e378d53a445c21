"""Means, standard deviations and paired differences of a few runs."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

_ROUNDING = 1e-8  # relative to the values; records keep nine digits
_COARSEST = 0.02  # step where only two values occur; of 1 or of the largest value


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of some values.

    Attributes:
        mean: Their mean.
        standard_deviation: That of a sample (n - 1); None for a single value.
        n: Number of values.
    """

    mean: float
    standard_deviation: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Returns the spread of one or more values."""
        several = len(values) > 1
        deviation = float(np.std(values, ddof=1)) if several else None
        return cls(float(np.mean(values)), deviation, len(values))


@dataclasses.dataclass(frozen=True)
class Difference:
    """The mean difference of paired values, with its confidence interval.

    Attributes:
        mean: Mean of the differences.
        low: Lower bound of the confidence interval; None for a single pair.
        high: Upper bound; None for a single pair.
        confidence: Confidence of the interval, such as 0.95.
        n: Number of pairs.
        p: Probability of a mean difference this large if there were none (two-sided t
            test); None for a single pair.
        identical: Whether all differences are the same; see `paired_difference`.
    """

    mean: float
    low: float | None
    high: float | None
    confidence: float
    n: int
    p: float | None = None
    identical: bool = False

    @property
    def direction(self) -> Literal["higher", "lower", "not shown"]:
        """What the interval shows: nothing if it includes 0 or does not exist."""
        if self.low is None or self.high is None:
            return "not shown"
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "not shown"

    @property
    def decimals(self) -> int:
        """The decimals that show two digits of the interval, and the side of 0."""
        if self.low is None or self.high is None or self.identical:
            return decimals_of(self.mean, 3)
        return self._deciding(decimals_of((self.high - self.low) / 2, 2))

    def _deciding(self, decimals: int) -> int:
        """Returns the decimals, or more if a bound would appear to be 0."""
        if self.low is None or self.high is None or self.direction == "not shown":
            return decimals
        nearest = min(abs(self.low), abs(self.high))
        while round(nearest, decimals) == 0:
            decimals += 1
        return decimals

    def times(self, factor: float) -> "Difference":
        """Returns the difference of values in another unit, such as percent."""
        low, high = (None if v is None else factor * v for v in (self.low, self.high))
        return dataclasses.replace(self, mean=factor * self.mean, low=low, high=high)

    def __str__(self) -> str:
        return self.with_decimals(self.decimals)

    def with_decimals(self, decimals: int, *, exactly: bool = False) -> str:
        """Returns mean and interval as text, with more decimals if 0 is near.

        With `exactly`, never with more.
        """
        decimals = decimals if exactly else self._deciding(decimals)
        mean = signed(self.mean, decimals)
        if self.low is None or self.high is None:
            return f"{mean} (one pair)"
        if self.identical:
            return f"{mean} in each of {self.n} pairs"
        low, high = (signed(value, decimals) for value in (self.low, self.high))
        return f"{mean} [{low}, {high}]"


def decimals_of(value: float, digits: int) -> int:
    """Returns the decimals that show the given number of digits."""
    if not value or not math.isfinite(value):
        return 0
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def signed(value: float, decimals: int) -> str:
    """Returns a number with its sign, or ± if it rounds to 0."""
    if round(value, decimals) == 0:
        return f"±{0:.{decimals}f}"
    return f"{value:+.{decimals}f}".replace("-", "−")


def paired_difference(
    values: Sequence[float], base: Sequence[float], confidence: float = 0.95
) -> Difference:
    """Returns the mean difference of paired values and its t interval.

    `mean(d) +- t(confidence, n - 1) * standard deviation(d) / sqrt(n)` with
    `d = values - base`. For runs, pair those with the same seed, which start from the
    same weights and see the same batches.

    Differences that are all equal and not 0 have no deviation, but that gives no
    certainty: accuracies and epochs come in steps. Their deviation is taken to be one
    step, the smallest distance between two of all values. Where only two values occur,
    a step is at most 0.02, or 2 % of the largest value if that is above 1.

    Args:
        values: The values of a variant.
        base: The values to compare with, in the same order.
        confidence: Probability that the interval covers the true mean difference, if
            the differences are normally distributed. Above 0 and below 1.

    Raises:
        ValueError: If the numbers of values differ or are 0, a value is not finite, or
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
            "Arguments `values` and `base` must have the same number of values, at "
            f"least one. Received: {len(values)} and {len(base)}"
        )
    if not np.all(np.isfinite([values, base])):
        raise ValueError(
            "Arguments `values` and `base` must have finite values. "
            f"Received: values={values} and base={base}"
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
        half, p = 0.0, 1.0
        if mean:
            error = _step(values, base) / math.sqrt(n)
            half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
            p = float(2 * stats.t.sf(abs(mean) / error, n - 1))
        low, high = mean - half, mean + half
        return Difference(mean, low, high, confidence, n, p, identical=True)
    test = stats.ttest_rel(values, base)
    low, high = map(float, test.confidence_interval(confidence))
    return Difference(mean, low, high, confidence, n, float(test.pvalue))


def _step(values: Sequence[float], base: Sequence[float]) -> float:
    """Returns the step in which values come."""
    largest = float(np.max(np.abs([values, base])))
    rounding = _ROUNDING * largest
    distances = np.diff(np.sort([*values, *base]))
    steps = distances[distances > rounding]
    step = float(min(steps, default=rounding))
    return min(step, _COARSEST * max(1.0, largest)) if len(steps) == 1 else step


def paired_differences(
    pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    confidence: float = 0.95,
) -> dict[str, Difference]:
    """Returns several paired differences, corrected for their number.

    Holm's method: with probability `confidence`, no difference is shown that does not
    exist. Of m differences the one with the smallest p is tested at
    `(1 - confidence) / m`, the next at `(1 - confidence) / (m - 1)`, and so on; once a
    difference is not shown, the remaining ones are not shown either. Each interval has
    the confidence of its test, so that both agree.

    Args:
        pairs: For each name, its values and those of the base, as `paired_difference`
            takes them.
        confidence: Probability that no difference is shown that does not exist. Above 0
            and below 1.

    Returns:
        The differences in the order given, each with its `confidence` and a corrected
        `p`: a difference is shown if `p < 1 - confidence`.

    Raises:
        ValueError: As `paired_difference`.

    Examples:
        >>> from gaaf_keras.analysis import paired_differences
        >>> base = [0.90, 0.91, 0.89, 0.90]
        >>> found = paired_differences({
        ...     "one": ([0.93, 0.94, 0.93, 0.93], base),
        ...     "other": ([0.90, 0.92, 0.89, 0.89], base),
        ... })
        >>> {name: each.direction for name, each in found.items()}
        {'one': 'higher', 'other': 'not shown'}
    """
    plain = {name: paired_difference(*each, confidence) for name, each in pairs.items()}
    corrected: dict[str, Difference] = {}
    p, waiting = 0.0, len(pairs)
    level = (1 - confidence) / max(waiting, 1)
    for name in sorted(pairs, key=lambda name: _p(plain[name])):
        if p < 1 - confidence:  # every difference up to here is shown
            level = (1 - confidence) / waiting
        p = max(p, min(1.0, waiting * _p(plain[name])))
        found = paired_difference(*pairs[name], 1 - level)
        corrected[name] = dataclasses.replace(found, p=None if found.p is None else p)
        waiting -= 1
    return {name: corrected[name] for name in pairs}


def _p(difference: Difference) -> float:
    return 1.0 if difference.p is None else difference.p
