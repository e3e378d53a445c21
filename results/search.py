"""The search for a shape by only validation accuracy, and what it found."""

import math
import statistics
from collections.abc import Mapping

from parts import rate_of, recorded

from experiments.records.studies import Study
from experiments.report import comparison
from experiments.tables import Table

# The records of a search and of what confirms it, by activation and network.
SEARCHES = {
    "tanh": {
        "MNIST, MLP": "tanh_mlp",
        "MNIST, 12 hidden layers": "tanh_deep",
    },
    "relu": {
        "MNIST, MLP": "relu_mlp",
        "CIFAR-10, CNN with batch norm": "relu_cnn",
    },
}
NOT_CANDIDATES = ("plain", "dropout", "SiLU", "GELU")  # they change the value
# Those that a table of activations has: the paper's, and what it competes with.
IN_TABLE = (*NOT_CANDIDATES, "GAAF", "unit gain", "one-sided", "b_silu")


def searched(base: str) -> dict[str, Study]:
    """Returns the searches with an activation, by the name of the network."""
    names = SEARCHES[base].items()
    return {network: recorded(f"search_{name}") for network, name in names}


def table(studies: Mapping[str, Study]) -> Table:
    """Returns every candidate in every network, the best of all networks first.

    Args:
        studies: The searches with one activation, by the name of the network.
    """
    total = scores(studies)
    rows = [[group] for group in sorted(total, key=total.__getitem__)]
    columns = ["candidate"]
    for name, study in studies.items():
        columns += [f"{name}: validation accuracy %", "error / plain"]
        ratios = error_ratios(study)
        for row in rows:
            best = study.chosen_of(row[0])
            accuracies = comparison.mean(best, "validation_accuracy")
            row += [f"{accuracies} at {rate_of(best, study)}", f"{ratios[row[0]]:.3f}"]
    return Table(
        [*columns, "all networks"],
        [[*row, f"{total[row[0]]:.3f}"] for row in rows],
        "Each at its own best learning rate (dropout also at its best dropout rate), "
        "by mean validation accuracy over seeds; its error divided by that of the "
        "plain activation, below 1 where it is better; and the geometric mean over "
        "networks, which decides. The best of many is in part the luckiest: only runs "
        "with other seeds can show what it is worth.",
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
    return {group: error / errors["plain"] for group, error in errors.items()}
