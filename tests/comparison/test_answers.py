"""What runs show: Holm's correction, chosen rates, words."""

import contextlib
import io
import re

import numpy as np
import pytest
from scipy import stats

from gaaf_keras.analysis import paired_difference, paired_differences
from gaaf_keras.comparison import Comparison
from gaaf_keras.comparison.answers import best_rate
from gaaf_keras.comparison.records import Run

pytestmark = pytest.mark.once


def runs(variant, values, rate=1.0, **given):
    given = {"monitor": "val_accuracy", "higher": True} | given
    return [
        Run(variant, rate, seed, value=value, failed=value is None, **given)
        for seed, value in enumerate(values)
    ]


def holm(p_values, level=0.05):
    """Returns which hypotheses are rejected, by the definition."""
    order = np.argsort(p_values)
    rejected = np.zeros(len(p_values), bool)
    for rank, index in enumerate(order):
        if p_values[index] >= level / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def test_shown_is_what_holm_rejects():
    random = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        base = random.normal(size=6)
        sizes = random.choice([0, 0.6, 1.2, 3], 4)
        values = [base + size + 0.7 * random.normal(size=6) for size in sizes]
        found = paired_differences({i: (v, base) for i, v in enumerate(values)})
        p_values = [stats.ttest_rel(value, base).pvalue for value in values]
        expected = holm(p_values)
        for index, rejected in enumerate(expected):
            assert (found[index].direction != "not shown") == rejected
            assert (found[index].p < 0.05) == rejected
            assert found[index].p >= p_values[index]
        seen.add(tuple(expected))
    assert len(seen) > 6


def test_a_single_difference_is_not_corrected():
    pair = [0.93, 0.94, 0.92], [0.9, 0.91, 0.9]
    found = paired_differences({"one": pair})["one"]
    expected = paired_difference(*pair)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.p == pytest.approx(expected.p)
    assert paired_differences({}) == {}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.9312, 0.9401, 0.9255], "+0.026 [+0.003, +0.048]"),
        ([0.91, 0.93, 0.89], "+0.00333 [−0.04637, +0.05304]"),
    ],
)
def test_as_many_digits_as_decide(values, text):
    difference = paired_difference(values, [0.9, 0.92, 0.9])
    assert str(difference)[0] == text[0]
    low, high = str(difference).split("[")[1].rstrip("]").split(", ")
    if difference.direction == "higher":
        assert float(low) > 0
    assert len(low.split(".")[1]) == len(high.split(".")[1])


def test_the_best_rate_is_that_of_the_mean_over_seeds_that_all_have():
    found = runs("a", [0.8, 0.9]) + runs("a", [0.9, 0.7, 1.0], 3.0)
    assert best_rate(found, "a", [1.0, 3.0]) == 1.0
    assert best_rate(found, "a", [1.0, 3.0, 9.0]) is None
    lower = {"monitor": "val_loss", "higher": False}
    found = runs("a", [0.8], **lower) + runs("a", [0.7], 3.0, **lower)
    assert best_rate(found, "a", [1.0, 3.0]) == 3.0
    found = runs("a", [0.5, 0.5]) + runs("a", [0.9, None], 3.0)
    assert best_rate(found, "a", [1.0, 3.0]) == 1.0  # the other fails


PLAIN = [0.90, 0.91, 0.92, 0.91, 0.90]


def test_words():
    better = np.add(PLAIN, [0.031, 0.029, 0.03, 0.03, 0.032]).tolist()
    noise = np.add(PLAIN, [0.01, -0.01, 0.0, 0.02, -0.02]).tolist()
    found = Comparison(
        [
            *runs("plain", PLAIN),
            *runs("noise", noise),
            *runs("ours", better),
            *runs("theirs", [None, 0.99, 0.99, None, 0.99]),
        ],
        [1],
    )
    assert found.verdict.startswith(
        "At the model's own learning rate (val_accuracy): ours helps (+3.04 "
        "points, corrected 95 % interval +2.86 to +3.22); theirs failed in 2 of "
        "5 runs; no other variant shows a difference."
    ), found.verdict
    assert found.cautions == ()
    loss = {"monitor": "val_loss", "higher": False}
    found = Comparison(runs("plain", PLAIN, **loss) + runs("ours", better, **loss), [1])
    assert "ours harms (+0.0304," in found.verdict


def test_one_pair_shows_nothing():
    found = Comparison(runs("plain", [0.5]) + runs("ours", [0.9]), [1])
    assert "one run of each cannot show a difference" in found.verdict
    assert "helps" not in str(found)
    assert not any("interval" in each for each in found.cautions)


def test_the_same_in_each_pair():
    found = Comparison(runs("plain", [0.66] * 3) + runs("ours", [1.0] * 3), [1])
    assert "ours helps (+34.0 points in each of 3 pairs)." in found.verdict
    assert "+34.0 in each of 3 pairs" in str(found)
    null = Comparison(runs("plain", PLAIN) + runs("ours", PLAIN), [1])
    assert "no variant shows a difference" in null.verdict
    assert "90.80 (0.84)" in str(null)
    loss = {"monitor": "val_loss", "higher": False}
    values = [0.6812, 0.7125]
    null = Comparison(runs("plain", values, **loss) + runs("a", values, **loss), [1])
    assert "0.6968 (0.0221)" in str(null)


def test_two_pairs_are_said_to_be_two():
    found = Comparison(runs("plain", [0.5, 0.6]) + runs("ours", [0.8, 0.9001]), [1])
    assert "ours helps, with only two pairs (+30." in found.verdict
    three = Comparison(runs("plain", PLAIN[:3]) + runs("ours", [0.99, 1, 1]), [1])
    assert "two pairs" not in three.verdict


def test_variants_are_in_the_order_of_the_table():
    values = {
        name: np.add(PLAIN, size).tolist()
        for name, size in {"a": 0.06, "b": -0.2, "c": 0.07, "d": -0.3}.items()
    }
    every = [run for name in values for run in runs(name, values[name])]
    verdict = Comparison([*runs("plain", PLAIN), *every], [1]).verdict
    assert verdict.index("a helps") < verdict.index("b harms")
    assert verdict.index("b harms") < verdict.index("c helps")
    assert verdict.index("c helps") < verdict.index("d harms")


def test_without_plain_nothing_is_compared():
    found = Comparison(runs("plain", [None, *PLAIN]) + runs("ours", [0.9] * 6), [1])
    expected = "plain failed in 1 of 6 runs, so no variant is compared with it."
    assert found.verdict.endswith(expected)


@pytest.mark.parametrize(("monitor", "digits"), [("val_accuracy", 3), ("val_loss", 6)])
def test_no_more_digits_than_anyone_reads(monitor, digits):
    given = {"monitor": monitor, "higher": True}
    ours = np.add(PLAIN, 0.0123456 + np.arange(5) * 1e-7).tolist()
    found = Comparison(runs("plain", PLAIN, **given) + runs("ours", ours, **given), [1])
    assert "ours helps" in found.verdict
    numbers = re.findall(r"\d+\.(\d+)", str(found))
    assert max(map(len, numbers)) <= digits


def test_names_are_no_markup():
    name = "a [bold]name[/bold] [/]"
    assert str(Comparison(runs("plain", PLAIN) + runs(name, PLAIN), [1])).count(name)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_printed_in_any_encoding(encoding):
    noise = np.add(PLAIN, [0.01, -0.01, 0.0, 0.02, -0.02]).tolist()
    found = Comparison(runs("plain", PLAIN) + runs("nœud", noise), [1])
    expected = str(found)
    file = io.TextIOWrapper(io.BytesIO(), encoding)
    with contextlib.redirect_stdout(file):
        print(found)
    file.seek(0)
    lines = file.read().splitlines()
    assert [*map(len, lines)] == [*map(len, expected.splitlines())]
    minus, dash = "−–" if encoding == "utf-8" else "--"
    assert f"[{minus}2.0, +2.0]" in "\n".join(lines)
    name = "n?ud" if encoding == "ascii" else "nœud"
    assert re.search(rf"{name} .*1x", "\n".join(lines))
    assert re.search(rf"plain .* {dash} ", "\n".join(lines))


def test_few_pairs_and_the_end_of_the_rates_are_cautioned():
    values = {1.0: [0.8, 0.81], 3.0: [0.9, 0.92], 9.0: [0.7, 0.7]}
    every = [
        run
        for name in ("plain", "ours")
        for rate in values
        for run in runs(name, values[rate], rate)
    ]
    found = Comparison(every, [1, 3, 9])
    assert len(found.answers) == 2
    assert [found.answers[1].learning_rate(n) for n in ("plain", "ours")] == [3, 3]
    assert any(
        each.startswith(
            "Only 2 seeds: a difference that is not shown may still exist, and"
        )
        for each in found.cautions
    )
    assert not any("learning rate tried" in each for each in found.cautions)
    found = Comparison(every, [1, 3])
    assert any("learning rate tried" in each for each in found.cautions)
