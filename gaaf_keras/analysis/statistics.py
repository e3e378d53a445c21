"""Means, spreads and paired differences of a few runs."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

_ROUNDING = 1e-8  # relative to the values; records keep nine digits
_COARSE = 0.02  # relative to the values: what may hide where runs do not differ at all


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
        p: Probability of differences as large, were there none (two-sided t test); None
            for a single pair.
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
        """What the interval shows: nothing if it includes 0, or if there is none."""
        if self.low is None or self.high is None:
            return "not shown"
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "not shown"

    @property
    def decimals(self) -> int:
        """How many decimals show two digits of the interval, and on which side 0 is."""
        if self.low is None or self.high is None or self.identical:
            return decimals_of(self.mean, 3)
        return self._deciding(decimals_of((self.high - self.low) / 2, 2))

    def _deciding(self, decimals: int) -> int:
        """Returns so many decimals, or more if a bound would seem to be 0."""
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

        Not with more if it is to have `exactly` so many.
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
    """Returns how many decimals show some digits of a number."""
    if not value or not math.isfinite(value):
        return 0
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def signed(value: float, decimals: int) -> str:
    """Returns a number with its sign, which is ± where it is rounded to 0."""
    if round(value, decimals) == 0:
        return f"±{0:.{decimals}f}"
    return f"{value:+.{decimals}f}".replace("-", "−")


def paired_difference(
    values: Sequence[float], base: Sequence[float], confidence: float = 0.95
) -> Difference:
    """Returns the mean difference of paired values and its t interval.

    `mean(d) +- t(confidence, n - 1) * standard deviation(d) / sqrt(n)` with
    `d = values - base`. For runs, pair those of the same seed, which begin with
    the same weights and see the same batches.

    Differences that are all the same and not 0 have no deviation, which is certain of
    no measure: accuracies and epochs come in steps. For these it is taken to be one
    step, or 2 % of the largest value if that is more. A step is the smallest distance
    between two values of a variant, or of the base.

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
        half, p = 0.0, 1.0
        if mean:
            error = _least_deviation(values, base) / math.sqrt(n)
            half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
            p = float(2 * stats.t.sf(abs(mean) / error, n - 1))
        low, high = mean - half, mean + half
        return Difference(mean, low, high, confidence, n, p, identical=True)
    test = stats.ttest_rel(values, base)
    low, high = map(float, test.confidence_interval(confidence))
    return Difference(mean, low, high, confidence, n, float(test.pvalue))


def _least_deviation(values: Sequence[float], base: Sequence[float]) -> float:
    """Returns a deviation for differences that are all the same."""
    largest = float(np.max(np.abs([values, base])))
    distances = np.concatenate([np.diff(np.sort(each)) for each in (values, base)])
    steps = distances[distances > _ROUNDING * largest]
    step = float(np.min(steps)) if len(steps) else 0.0
    return max(_COARSE * largest, step)


def paired_differences(
    pairs: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    confidence: float = 0.95,
) -> dict[str, Difference]:
    """Returns several paired differences, corrected for how many there are.

    Holm's method, so that with probability `confidence` none is shown that is not
    there: of m differences the one with the smallest p is tested at
    `(1 - confidence) / m`, the next at `(1 - confidence) / (m - 1)`, and so on, until
    one is not shown; the others are not, either. The interval of each has the
    confidence at which it was tested, so that both agree.

    Args:
        pairs: By what is compared: its values, and those of the base, as
            `paired_difference` takes them.
        confidence: Probability that nothing is shown that is not there. Above 0 and
            below 1.

    Returns:
        The differences in the order given, each with its `confidence`, and with a `p`
        that is corrected: it is shown if `p < 1 - confidence`.

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
        if p < 1 - confidence:  # all so far are shown
            level = (1 - confidence) / waiting
        p = max(p, min(1.0, waiting * _p(plain[name])))
        found = paired_difference(*pairs[name], 1 - level)
        corrected[name] = dataclasses.replace(found, p=None if found.p is None else p)
        waiting -= 1
    return {name: corrected[name] for name in pairs}


def _p(difference: Difference) -> float:
    return 1.0 if difference.p is None else difference.p
