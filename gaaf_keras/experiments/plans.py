"""Which trainings are meant: one, a sweep of learning rates, or a suite."""

import dataclasses
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gaaf_keras.experiments.config import (
    ACCELERATION,
    ARCHITECTURE,
    TrainingConfig,
    UsageError,
)


@dataclasses.dataclass(frozen=True)
class Suite:
    """A named table: settings shared by all its variants, and those of each.

    Attributes:
        title: What the table shows.
        common: Fields of `TrainingConfig` for all variants. Of the learning rate there
            may be several, in a tuple.
        variants: Fields of `TrainingConfig` by the name of the variant.
        groups: As in `Plan`.
    """

    title: str
    common: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def fields_set_by_variants(self) -> set[str]:
        """Returns the fields that tell variants apart and so cannot be overridden."""
        return {field for variant in self.variants.values() for field in variant}


def _mlp(title: str, dropout_rates: Sequence[float] = (0.2,), **common: Any) -> Suite:
    """The paper's table of MLPs. Of several dropout rates one is chosen."""
    several = len(dropout_rates) > 1
    dropouts = {
        f"dropout {rate:g}" if several else "dropout": {
            "activation": "tanh",
            "dropout": rate,
        }
        for rate in dropout_rates
    }
    return Suite(
        title=title,
        common={"model": "mlp", "optimizer": "sgd", "learning_rate": 0.1, **common},
        variants={
            "base": {"activation": "tanh", "dropout": 0.0},
            **dropouts,
            "GAAF": {"activation": "gaaf_tanh", "dropout": 0.0},
        },
        groups=dict.fromkeys(dropouts, "dropout") if several else {},
    )


def _scale_and_shape(title: str, base: str, **common: Any) -> Suite:
    """Each variant at the same learning rates, with and without a larger scale.

    The last variant's derivative is nowhere larger than 1, the largest of the plain
    activation, and not scaled down either.
    """
    accelerated = {"activation": f"gaaf_{base}", "dropout": 0.0}
    name, shape = {
        "tanh": ("shape alone", "from_derivative(gaussian)"),
        "relu": ("one-sided", "one_sided(shifted_sigmoid)"),
    }[base]
    return Suite(
        title=f"{title}: scale and shape of the gradient",
        common=common,
        variants={
            "base": {"activation": base, "dropout": 0.0},
            "dropout": {"activation": base, "dropout": 0.2},
            "GAAF": accelerated,
            "GAAF, unit gain": {**accelerated, "unit_gain": True},
            f"GAAF, {name}": {**accelerated, "shape": shape},
        },
    )


def _mlp_rates(base: str) -> Suite:
    return _scale_and_shape(
        f"MNIST, {base} MLP",
        base,
        dataset="mnist",
        model="mlp",
        optimizer="sgd",
        learning_rate=(0.05, 0.1, 0.2, 0.4),
        epochs=40,
        patience=8,
    )


def _cnn_rates(batch_norm: bool) -> Suite:
    suite = _scale_and_shape(
        f"CIFAR-10, ReLU CNN {'with' if batch_norm else 'without'} batch norm",
        "relu",
        dataset="cifar10",
        model="cnn",
        batch_norm=batch_norm,
        optimizer="momentum",
        learning_rate=(0.0025, 0.005, 0.01, 0.02, 0.04),
        learning_rate_schedule="cosine",
        epochs=40,
        patience=40,
    )
    others = {
        "B-SiLU": {"activation": "gaaf_relu", "dropout": 0.0, "shape": "b_silu"},
        "SiLU": {"activation": "silu", "dropout": 0.0},
        "GELU": {"activation": "gelu", "dropout": 0.0},
    }
    return dataclasses.replace(suite, variants={**suite.variants, **others})


def _convolutional(dataset: str, title: str) -> Suite:
    return Suite(
        title=title,
        common={
            "dataset": dataset,
            "model": "cnn",
            "optimizer": "momentum",
            "learning_rate": 0.01,
        },
        variants={
            "base": {"activation": "relu", "batch_norm": False},
            "batch norm": {"activation": "relu", "batch_norm": True},
            "GAAF": {"activation": "gaaf_relu", "batch_norm": False},
            "batch norm + GAAF": {"activation": "gaaf_relu", "batch_norm": True},
        },
    )


SUITES: Mapping[str, Suite] = {
    "digits": _mlp("UCI digits, tanh MLP", dataset="digits", batch_size=64, epochs=60),
    "mnist": _mlp("MNIST, tanh MLP", (0.1, 0.2, 0.3, 0.5), dataset="mnist", epochs=200),
    "mnist_rates": _mlp_rates("tanh"),
    "mnist_relu_rates": _mlp_rates("relu"),
    "cifar10": _convolutional("cifar10", "CIFAR-10, ReLU CNN"),
    "cifar10_rates": _cnn_rates(batch_norm=False),
    "cifar10_batch_norm_rates": _cnn_rates(batch_norm=True),
    "cifar100": _convolutional("cifar100", "CIFAR-100, ReLU CNN"),
    "svhn": _convolutional("svhn_cropped", "SVHN, ReLU CNN"),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to train: a configuration a variant, each with the same seeds.

    Attributes:
        title: What the table shows.
        variants: A configuration by the name of the variant. Its `seed` is the first
            seed, its `output_dir` is not used.
        runs: How many seeds each variant is trained with: seed, seed + 1, ...
        groups: For variants that differ in a setting that is to be tuned, the name of
            what they have in common. Of those the one with the best mean validation
            accuracy is chosen.
    """

    title: str
    variants: Mapping[str, TrainingConfig]
    runs: int = 1
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def trainings(self, output_dir: Path) -> list[tuple[str, TrainingConfig]]:
        """Returns the variant's name and the configuration of every training.

        A training that is alone writes into `output_dir` itself, others into
        `VARIANT/seed_N` below it, without the variant if there is only one.
        """
        trainings = []
        for run in range(self.runs):  # the first complete table comes early
            for name, config in self.variants.items():
                folder = output_dir
                if len(self.variants) > 1:
                    folder /= folder_name(name)
                if self.runs > 1 or len(self.variants) > 1:
                    folder /= f"seed_{config.seed + run}"
                seeded = dataclasses.replace(
                    config, seed=config.seed + run, output_dir=str(folder)
                )
                trainings.append((name, seeded))
        return trainings


def best_of_each_group(
    groups: Mapping[str, str], accuracies: Mapping[str, Sequence[float]]
) -> set[str]:
    """Returns the variants that are chosen: of each group one, and all without a group.

    Args:
        groups: As in `Plan`.
        accuracies: The validation accuracies of each variant, one a seed. The best has
            the highest mean.
    """
    names: dict[str, list[str]] = {}
    for name in accuracies:
        names.setdefault(groups.get(name, name), []).append(name)
    return {
        max(found, key=lambda name: statistics.fmean(accuracies[name]))
        for found in names.values()
    }


def folder_name(variant: str) -> str:
    """Returns the name of a variant's folder."""
    return re.sub("[ +,]+", "_", variant)


def plan(suite: str | None, given: Mapping[str, Any], runs: int) -> Plan:
    """Returns what to train for a suite, or for one configuration without a suite.

    Args:
        suite: Name of a suite, or None.
        given: Fields of `TrainingConfig` that the user has set. They override the
            suite's common settings. Of the learning rate there may be several, in a
            tuple: each variant is trained with each.
        runs: How many seeds to train each variant with.

    Raises:
        UsageError: If there is no such suite, a value is out of range, or a given
            field is one that tells the suite's variants apart.
    """
    if runs < 1:
        raise UsageError(f"runs must be 1 or greater. Received: {runs}")
    if suite is not None and suite not in SUITES:
        raise UsageError(
            f"suite must be one of {', '.join(SUITES)}. Received: {suite!r}"
        )
    common = {} if suite is None else SUITES[suite].common
    rates = given.get("learning_rate", common.get("learning_rate"))
    if isinstance(rates, tuple):
        if len(set(rates)) < len(rates) or not rates:
            raise UsageError(
                "learning_rate must be different numbers. "
                f"Received: {','.join(map(str, rates))}"
            )
        first = plan(suite, {**given, "learning_rate": rates[0]}, runs)
        return first if len(rates) == 1 else _sweep(first, rates)
    if suite is None:
        config = TrainingConfig(**given)
        _require_acceleration(given, [config])
        if config.init_from is None:
            _require_use(given, config.model)
            model, variant = config.model, config.activation
        else:
            _require_no_architecture(given)
            model = Path(config.init_from).name
            variant = "accelerated" if config.accelerate else "as it is"
        return Plan(f"{config.dataset}, {model}", {variant: config}, runs)
    definition = SUITES[suite]
    fixed = {
        "dataset",
        "model",
        "init_from",
        "accelerate",
        *definition.fields_set_by_variants(),
    }
    clash = sorted(fixed.intersection(given))
    if clash:
        raise UsageError(
            f"The suite '{suite}' sets {' and '.join(clash)} itself. Leave "
            f"{'them' if len(clash) > 1 else 'it'} out, or train without a suite."
        )
    _require_use(given, definition.common["model"])
    variants = {
        name: TrainingConfig(**{**definition.common, **given, **variant})
        for name, variant in definition.variants.items()
    }
    _require_acceleration(given, variants.values())
    return Plan(definition.title, variants, runs, definition.groups)


def _require_use(given: Mapping[str, Any], model: str) -> None:
    """Raises if a field is given that the model does not have."""
    unused = "hidden_units" if model == "cnn" else "width"
    if unused in given:
        raise UsageError(f"{unused} has no effect on the {model}. Leave it out.")


def _sweep(single: Plan, rates: tuple[float, ...]) -> Plan:
    """Returns a plan with each variant of another at each of several learning rates."""
    variants, groups = {}, {}
    for name, config in single.variants.items():
        for rate in rates:
            variant = f"{name}, learning rate {rate:g}"
            variants[variant] = dataclasses.replace(config, learning_rate=rate)
            groups[variant] = single.groups.get(name, name)
    return dataclasses.replace(single, variants=variants, groups=groups)


def _require_acceleration(
    given: Mapping[str, Any], configs: Iterable[TrainingConfig]
) -> None:
    """Raises if a field is given that only accelerated activations have."""
    unused = [name for name in ACCELERATION if name in given]
    if unused and not any(config.accelerates for config in configs):
        raise UsageError(
            f"{' and '.join(unused)} would have no effect, since nothing is "
            "accelerated. Choose an activation such as gaaf_tanh, or accelerate."
        )
    if "frequency" in given and given.get("accelerate"):
        raise UsageError(
            "frequency cannot be used with accelerate, which keeps a model's outputs "
            "as they are. Leave it out."
        )


def _require_no_architecture(given: Mapping[str, Any]) -> None:
    """Raises if a field is given that a model from a file has already."""
    unused = [name for name in ARCHITECTURE if name in given]
    if unused:
        raise UsageError(
            f"{' and '.join(unused)} would describe a new model, but this one comes "
            "from init_from. Leave one or the other out."
        )
