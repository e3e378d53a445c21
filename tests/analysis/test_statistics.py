"""Means, spreads and paired t intervals, against formulas and tables."""

import numpy as np
import pytest

from gaaf_keras.analysis import Spread, paired_difference

# Quantiles of Student's t distribution at 0.975, from a printed table.
T_TABLE = {2: 12.706, 3: 4.303, 5: 2.776, 10: 2.262}


@pytest.mark.parametrize("n", T_TABLE)
def test_interval(n):
    random = np.random.default_rng(n)
    values, base = random.normal(1, 1, n), random.normal(0, 1, n)
    difference = paired_difference(values, base)
    d = values - base
    half = T_TABLE[n] * np.sqrt(np.sum((d - d.mean()) ** 2) / (n - 1) / n)
    assert difference.n == n
    assert difference.mean == pytest.approx(d.mean())
    assert difference.low == pytest.approx(d.mean() - half, abs=1e-3)
    assert difference.high == pytest.approx(d.mean() + half, abs=1e-3)


def test_intervals_cover_the_true_difference_as_often_as_they_say():
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        values = random.normal(0.3, 1.0, 5)
        difference = paired_difference(values, np.zeros(5), confidence=0.9)
        covered += difference.low <= 0.3 <= difference.high
    assert covered / 2000 == pytest.approx(0.9, abs=0.02)


def test_direction():
    assert paired_difference([2.0, 2.1, 1.9], [1.0, 1.0, 1.0]).direction == "higher"
    assert paired_difference([0.0, 0.1, -0.1], [1.0, 1.0, 1.0]).direction == "lower"
    assert paired_difference([2.0, 0.5], [1.0, 1.0]).direction == "not shown"
    assert paired_difference([2.0], [1.0]).direction == "not shown"
    assert paired_difference([1.0, 1.0], [1.0, 1.0]).direction == "not shown"
    assert paired_difference([1.0, 2.0], [0.0, 1.0]).direction == "not shown"
    shares = np.array([[355, 353, 356], [354, 352, 355]]) / 360  # one more each time
    assert len({*np.subtract(*shares)}) > 1
    assert paired_difference(*shares).direction == "not shown"


@pytest.mark.parametrize(
    ("values", "base", "direction"),
    [
        ([1.0] * 3, [0.66] * 3, "higher"),
        ([100.0] * 3, [66.0] * 3, "higher"),
        ([1.0, 0.96, 0.98], [0.66, 0.62, 0.64], "higher"),
        ([0.66] * 3, [1.0] * 3, "lower"),
        ([0.8, 0.7, 0.9], [0.8, 0.7, 0.9], "not shown"),
        ([0.51] * 3, [0.5] * 3, "not shown"),
        ([355 / 360] * 3, [354 / 360] * 3, "not shown"),
        ([11 / 24, 12 / 24, 14 / 24], [10 / 24, 11 / 24, 13 / 24], "not shown"),
        ([4, 7, 5], [3, 6, 4], "not shown"),
        ([0.0, 0.0], [0.0, 0.0], "not shown"),
        ([1.0 + 1e-12] * 3, [1.0] * 3, "not shown"),
        ([0.91, 0.93, 0.92] * 3, [0.90, 0.92, 0.91] * 3, "higher"),
    ],
)
def test_differences_that_are_all_the_same(values, base, direction):
    found = paired_difference(values, base)
    assert found.identical
    assert found.direction == direction
    assert (found.p < 0.05) == (direction != "not shown")
    assert "in each of" in str(found)


def test_identical_differences_have_the_deviation_of_a_step():
    found = paired_difference([0.7, 0.8, 0.75], [0.4, 0.5, 0.45])
    half = T_TABLE[3] * 0.05 / np.sqrt(3)
    assert (found.low, found.high) == pytest.approx((0.3 - half, 0.3 + half), abs=1e-4)


def test_accuracies_show_what_errors_show():
    accuracies, errors = ([0.91] * 10, [0.90] * 10), ([0.09] * 10, [0.10] * 10)
    higher, lower = (paired_difference(*pair) for pair in (accuracies, errors))
    assert (higher.direction, lower.direction) == ("higher", "lower")
    assert higher.p == pytest.approx(lower.p) == pytest.approx(0.0115, abs=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_cannot_be_judged(value):
    with pytest.raises(ValueError, match=rf"finite values. Received: .*{value}"):
        paired_difference([value, 1.0], [0.0, 1.0])


def test_pairs_and_not_groups():
    """A small gain in every seed is not lost in the spread of the seeds."""
    base = np.array([90.0, 94.0, 98.0])
    assert (
        paired_difference(base + np.array([1.0, 1.1, 0.9]), base).direction == "higher"
    )


def test_a_single_pair_has_no_interval():
    difference = paired_difference([3.0], [1.0])
    assert (difference.mean, difference.low, difference.high) == (2.0, None, None)


def test_spread():
    assert Spread.of([1.0, 2.0, 4.0]).standard_deviation == pytest.approx(1.527525)
    assert Spread.of([1.0]).standard_deviation is None
