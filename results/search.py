"""The search for a shape by validation accuracy alone, and what it found."""

import math
import statistics
from collections.abc import Iterator, Mapping

import claims
from parts import (
    Part,
    accuracy,
    against,
    chosen,
    compared,
    made_by,
    named,
    rate_of,
    recorded,
    tables,
)

from experiments.records.studies import Study, Variant
from experiments.report import comparison, measurements, pictures
from experiments.tables import Table, markdown, spread

SEARCHES = {
    "tanh": {
        "MNIST, MLP": "search_tanh_mlp.json",
        "MNIST, 12 hidden layers": "search_tanh_deep.json",
    },
    "relu": {
        "MNIST, MLP": "search_relu_mlp.json",
        "CIFAR-10, CNN with batch norm": "search_relu_cnn.json",
    },
}
# With what was found there, in a network that was not searched.
ELSEWHERE = {"tanh: CIFAR-10, CNN, not searched": "confirm_tanh_cnn.json"}
NOT_CANDIDATES = ("base", "dropout", "SiLU", "GELU")  # they change the value


def sections() -> Iterator[Part]:
    """Yields the sections on the searches and on what they found."""
    for base, names in SEARCHES.items():
        yield f"## The search for a shape: {base}\n"
        studies = {network: recorded(name)[0] for network, name in names.items()}
        for study in studies.values():
            yield made_by(study)
        yield from tables(table(studies))
        yield f"## What the search found, with other seeds: {base}\n"
        for network, name in names.items():
            yield f"### {network}\n"
            yield from confirmation(confirmed_in(name))
    for name in ELSEWHERE.values():
        yield "## What the search found, where it was not searched\n"
        study, _ = recorded(name)
        yield made_by(study)
        yield from named("elsewhere", pictures.learning_rates(study))
        yield from compared(chosen(study))


def confirmation(name: str) -> Iterator[Part]:
    """Yields what came of the candidate in one network."""
    study, analyses = recorded(name)
    yield made_by(study)
    yield from compared(study)
    yield from tables(comparison.reached(study), measurements.flatness(study, analyses))
    if analyses and study.base is not None:
        yield from tables(claims.of_flatness(study.base, study.chosen, analyses))


def in_short() -> Iterator[Part]:
    """Yields what the searches found."""
    yield (
        "A search on validation data, over two networks, chooses one shape for an "
        "activation: the candidate. It is then trained with ten other seeds, beside "
        "the plain activation and dropout.\n"
    )
    found = confirmations()
    for other, index in (("plain", 0), ("dropout", 1)):
        pairs = {
            name: (variants[2], variants[index]) for name, variants in found.items()
        }
        title = f"The candidate against {other}, each at its best"
        yield from named(f"candidate_{other}", pictures.differences_of(pairs, title))
    yield markdown(evidence())


def evidence() -> Table:
    """Returns what the candidates are worth in each network they were searched in."""
    rows = [
        [
            name,
            accuracy(plain),
            accuracy(dropout),
            f"{candidate.group}: {accuracy(candidate)}",
            against(candidate, plain) or "not compared",
            against(candidate, dropout) or "not compared",
        ]
        for name, (plain, dropout, candidate) in confirmations().items()
    ]
    columns = [
        *("test accuracy %", "plain", "dropout", "candidate"),
        *("against plain", "against dropout"),
    ]
    return Table(
        columns,
        rows,
        "Mean (standard deviation) over ten seeds, with 10,000 training images of "
        "MNIST or 5,000 of CIFAR-10, at the learning rate, and the dropout rate, that "
        "the search chose. With that of dropout some seeds failed in the deep network: "
        "its second best was added, and the better one on validation data is shown. "
        "The last row has five seeds, at rates chosen by their own validation data. "
        "Differences are of pairs with the same seed, in percentage points, with 95 % "
        "confidence intervals.",
    )


def confirmations() -> dict[str, tuple[Variant, Variant, Variant]]:
    """Returns the plain network, dropout and the candidate, by activation: network."""
    names = {
        f"{base}: {network}": confirmed_in(name)
        for base, searched in SEARCHES.items()
        for network, name in searched.items()
    }
    found = {}
    for network, name in {**names, **ELSEWHERE}.items():
        study, _ = recorded(name)
        (candidate,) = (v for v in study.chosen if v.config.accelerates)
        plain, dropout = study.base, study.dropout
        if plain is not None and dropout is not None:
            found[network] = plain, dropout, candidate
    return found


def confirmed_in(name: str) -> str:
    """Returns the file of the runs that confirm a search."""
    return name.replace("search", "confirm")


def table(studies: Mapping[str, Study]) -> Table:
    """Returns every candidate in every network, the best of all networks first.

    Args:
        studies: The searches with one activation, by the name of the network.
    """
    ratios = {name: error_ratios(study) for name, study in studies.items()}
    total = scores(studies)
    rows = []
    for group in sorted(total, key=total.__getitem__):
        row = [group]
        for name, study in studies.items():
            best = study.chosen_of(group)
            accuracy = [100 * value for value in best.values("validation_accuracy")]
            row += [
                f"{spread(accuracy, 2)} at {rate_of(best, study)}",
                f"{ratios[name][group]:.3f}",
            ]
        rows.append([*row, f"{total[group]:.3f}"])
    columns = ["candidate"]
    for name in studies:
        columns += [f"{name}: validation accuracy %", "error / base"]
    return Table(
        [*columns, "all networks"],
        rows,
        "Each at its own best learning rate (dropout at its best rate too), by mean "
        "validation accuracy over seeds; its error divided by that of the plain "
        "activation, below 1 where it is better; and the geometric mean over networks, "
        "which decides. The best of many is in part the luckiest: what it is worth, "
        "only runs with other seeds can say.",
    )


def winner(studies: Mapping[str, Study]) -> str:
    """Returns the candidate with the smallest error over all networks."""
    total = scores(studies)
    candidates = [name for name in total if name not in NOT_CANDIDATES]
    return min(candidates, key=total.__getitem__)


def scores(studies: Mapping[str, Study]) -> dict[str, float]:
    """Returns the geometric mean over networks of each candidate's error ratio."""
    ratios = [error_ratios(study) for study in studies.values()]
    return {
        group: math.exp(statistics.fmean(math.log(found[group]) for found in ratios))
        for group in ratios[0]
    }


def error_ratios(study: Study) -> dict[str, float]:
    """Returns validation errors relative to the plain activation's, by candidate."""
    errors = {
        variant.group: 1 - statistics.fmean(variant.values("validation_accuracy"))
        for variant in study.chosen
    }
    return {group: error / errors["base"] for group, error in errors.items()}
