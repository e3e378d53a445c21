"""What a page says of two variants: numbers, if the records bear out the words.

Variants are named by their records and their group, in the records of
`benchmarks/drop_in.py` by the network too: `"drop_in/cnn"`. `"plain"` and `"dropout"`
are the plain network, without and with it.
"""

import functools
import statistics
from collections.abc import Mapping
from fractions import Fraction

import drop_in
from parts import HERE, accuracy, recorded

from experiments import TrainingConfig, UsageError
from experiments.records.studies import Run, Study, Variant
from experiments.report import comparison, pictures

_WORDS = ("none", "one", "two", "three", "four", "five")


def better(records: str, group: str, other: str = "plain") -> str:
    """Returns by how much a variant is better than another."""
    return _difference("better", records, group, other)


def rise(records: str, group: str, other: str = "plain") -> str:
    """Returns two test accuracies in percent, and by how much the second is better."""
    difference = better(records, group, other)
    low, high = (
        100 * statistics.fmean(variant_of(records, each).values("test_accuracy"))
        for each in (other, group)
    )
    return f"{low:.2f} to {high:.2f} % ({difference})"


def part_of_rate(records: str, group: str) -> str:
    """Returns which part of the plain network's rate a better variant has, as 1/8."""
    better(records, group)
    rates = (Fraction(rate_of(records, each)) for each in (group, "plain"))
    return str(next(rates) / next(rates))


def worse(records: str, group: str, other: str = "plain") -> str:
    """Returns by how much a variant is worse than another."""
    return _difference("worse", records, group, other)


def alike(records: str, group: str, other: str = "plain") -> str:
    """Returns the difference between two variants, of which none is shown."""
    return _difference("no difference shown", records, group, other)


def failed(records: str, group: str) -> str:
    """Returns how many runs of a variant failed, and none of the plain network."""
    variant, plain = variant_of(records, group), variant_of(records, "plain")
    if not variant.diverged or plain.diverged:
        raise UsageError(
            f"{records}: {variant.diverged} runs of '{group}' failed and "
            f"{plain.diverged} of the plain network, so no page may say that it "
            "alone fails. Change the words in results/."
        )
    return f"{variant.diverged} of {len(variant.runs)}"


def at_full_size(variant: str, *verdicts: str) -> str:
    """Returns in how many networks at full size a verdict comes out, in words."""
    table = drop_in.table(drop_in.read(HERE / "drop_in.json"))
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    found = [row["verdict"] for row in rows if row["accelerated"] == variant]
    count = sum(verdict in verdicts for verdict in found)
    return f"{_WORDS[count]} of {_WORDS[len(found)]}"


def when(condition: bool, words: str) -> str:
    """Returns words, if the records bear them out."""
    if not condition:
        raise UsageError(f"The records contradict '{words}'. Change it in results/.")
    return words


def accuracy_of(records: str, group: str) -> str:
    """Returns a variant's test accuracy in percent."""
    return accuracy(variant_of(records, group))


def rate_of(records: str, group: str) -> str:
    """Returns a variant's learning rate."""
    return f"{variant_of(records, group).config.learning_rate:g}"


def examples(records: str) -> str:
    """Returns how many examples the networks are trained on."""
    return f"{variant_of(records, 'plain').config.train_examples:,}"


def seeds(records: str) -> str:
    """Returns how many seeds there are."""
    return str(len(variant_of(records, "plain").runs))


def differences(
    tried: Mapping[str, tuple[str, str]], other: str, title: str
) -> pictures.Pictures:
    """Returns a picture of how variants differ from another of the same records.

    Args:
        tried: Records and group of each, by what it is called.
        other: The group of the other.
        title: What is shown.
    """
    pairs = {
        name: (variant_of(records, group), variant_of(records, other))
        for name, (records, group) in tried.items()
    }
    return pictures.differences_of(pairs, title)


def variant_of(records: str, group: str) -> Variant:
    """Returns a variant that is compared."""
    name, _, network = records.partition("/")
    study = at_your_rate(network) if network else recorded(name)
    special = {"plain": study.plain, "dropout": study.dropout}
    return special.get(group) or study.chosen_of(group)


@functools.cache
def at_your_rate(network: str) -> Study:
    """Returns what `benchmarks/drop_in.py` has recorded of a network."""
    path = HERE / "drop_in.json"
    variants: dict[str, dict[int, Run]] = {}
    for record in drop_in.read(path):
        name, _, variant = record["variant"].partition(", ")
        if name == network:
            plain = variant == drop_in.PLAIN
            config = TrainingConfig(
                dataset=record["settings"]["dataset"],
                train_examples=record["result"]["examples"],
                activation="relu" if plain else "gaaf_relu",
                learning_rate=record["settings"]["learning_rate"],
                seed=record["seed"],
            )
            found = record["result"]
            result = {
                "test_accuracy": found["test_accuracy"],
                "diverged_at": len(found["losses"]) if found["failed"] else None,
            }
            runs = variants.setdefault(variant, {})
            runs[config.seed] = Run(path, config, record["resolved"], result, [], [])
    chosen = [Variant(name, name, True, runs) for name, runs in variants.items()]
    return Study(path, network, "", chosen, 0)


def _difference(verdict: str, records: str, group: str, other: str) -> str:
    difference = comparison.paired(
        variant_of(records, group), variant_of(records, other), "test_accuracy"
    )
    words = ("better", "worse")
    found = comparison.verdict(difference, words) if difference else "not compared"
    if difference is None or found != verdict:
        raise UsageError(
            f"{records}: '{group}' against '{other}' is said to be '{verdict}', and "
            f"the records show '{found}'. Change the words in results/."
        )
    return difference.with_decimals(2)
