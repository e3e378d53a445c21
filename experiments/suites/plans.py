"""Which runs are meant: one, a sweep of learning rates, or a suite."""

import dataclasses
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.config import ACCELERATION, NEW_MODEL, TrainingConfig, UsageError
from experiments.suites.catalogue import SUITES


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

    def all_runs(self, output_dir: Path) -> list[TrainingConfig]:
        """Returns the configuration of every run, one seed of all variants first.

        A run that is alone writes into `output_dir` itself, others into
        `VARIANT/seed_N` below it, without the variant if there is only one.
        """
        several = len(self.variants) > 1
        return [
            dataclasses.replace(
                config,
                variant=name,
                seed=config.seed + run,
                output_dir=str(
                    output_dir
                    / (folder_name(name) if several else "")
                    / (f"seed_{config.seed + run}" if several or self.runs > 1 else "")
                ),
            )
            for run in range(self.runs)
            for name, config in self.variants.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """Returns what is to be trained, as plain data."""
        return {
            "title": self.title,
            "command": shlex.join(["python", *sys.argv]),
            "variants": [
                {
                    "name": name,
                    "group": self.groups.get(name, name),
                    "seeds": [config.seed + run for run in range(self.runs)],
                }
                for name, config in self.variants.items()
            ],
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
        if len({f"{rate:g}" for rate in rates}) < len(rates) or not rates:
            raise UsageError(
                "learning_rate must be numbers that differ in their first six digits. "
                f"Received: {','.join(map(str, rates))}"
            )
        first = plan(suite, {**given, "learning_rate": rates[0]}, runs)
        return first if len(rates) == 1 else _sweep(first, rates)
    if suite is None:
        config = TrainingConfig(**given)
        _require_acceleration(given, [config])
        if config.init_from is None:
            _require_use(given, config.model)
        else:
            _require_no_new_model(given)
        return Plan(config.title, {str(config.variant): config}, runs)
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
        name: TrainingConfig(**{**definition.common, **given, **variant}, variant=name)
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
            variants[variant] = dataclasses.replace(
                config, learning_rate=rate, variant=variant
            )
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


def _require_no_new_model(given: Mapping[str, Any]) -> None:
    """Raises if a field is given that a model from a file has already."""
    unused = [name for name in NEW_MODEL if name in given]
    if unused:
        raise UsageError(
            f"{' and '.join(unused)} would describe a new model, but this one comes "
            "from init_from. Leave one or the other out."
        )


def require_files(plan: Plan) -> None:
    """Raises a `UsageError` if a file of the user's is not there."""
    for config in plan.variants.values():
        if config.reads_file and not Path(config.dataset).expanduser().is_file():
            raise UsageError(
                f"Data set '{config.dataset}' is not there. Give an .npz file that "
                "numpy.savez wrote, with x_train, y_train, x_test and y_test."
            )
        path = Path(config.init_from or "none.keras").expanduser()
        missing = config.init_from is not None and not path.is_file()
        if path.suffix != ".keras" or missing:
            raise UsageError(
                "init_from must be a .keras file, as `model.save` writes it. "
                f"Received: '{path}'"
            )
