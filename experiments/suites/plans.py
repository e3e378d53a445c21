"""The runs to train: one, a sweep of learning rates, or a suite."""

import dataclasses
import hashlib
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.config import (
    ACCELERATION,
    MODELS,
    NEW_MODEL,
    TrainingConfig,
    UsageError,
    settings,
)
from experiments.suites.catalogue import SUITES
from experiments.suites.suite import (
    COMPARE,
    Suite,
    comparison,
    comparison_of_model,
)

NAMES = (*SUITES, COMPARE)
_SEVERAL = ("activation", "shape_function", "learning_rate")
_LONGEST = 200  # characters of a folder's name, before a hash
_DEFAULTS = {field.name: field.default for field in settings()}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to train: one configuration per variant, all with the same seeds.

    Attributes:
        title: Title of the table.
        variants: The configurations by the name of the variant. `seed` is the first
            seed; `output_dir` is not used.
        runs: Number of seeds for each variant: seed, seed + 1, ...
        groups: For variants that differ in a tuned setting, the name that they share.
            The one with the best mean validation accuracy is chosen.
    """

    title: str
    variants: Mapping[str, TrainingConfig]
    runs: int = 1
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def all_runs(self, output_dir: Path) -> list[TrainingConfig]:
        """Returns the configuration of every run, first one seed of all variants.

        A single run writes to `output_dir` itself, several to `VARIANT/seed_N` below
        it, without the variant if there is only one.
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
        """Returns the plan as plain data."""
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
    """Returns the name of a variant's folder, cut to what a file system takes."""
    name = re.sub(r"[^\w.()=-]+", "_", variant)
    if len(name) <= _LONGEST:
        return name
    return f"{name[:_LONGEST]}_{hashlib.sha256(variant.encode()).hexdigest()[:8]}"


def plan(suite: str | None, given: Mapping[str, Any], runs: int) -> Plan:
    """Returns what to train for a suite, or for one configuration without a suite.

    Args:
        suite: Name of a suite, or None.
        given: Fields of `TrainingConfig` set by the user. They override the suite's
            common settings. Activation, shape function and learning rate may be tuples
            of several values; each variant is trained with each value. The best
            learning rate is chosen; activations and shape functions are compared.
        runs: Number of seeds for each variant.

    Raises:
        UsageError: If there is no such suite, a value is out of range, or a given
            field distinguishes the suite's variants.
    """
    if runs < 1:
        raise UsageError(f"runs must be 1 or greater. Received: {runs}")
    if suite is not None and suite not in NAMES:
        raise UsageError(
            f"suite must be one of {', '.join(NAMES)}. Received: {suite!r}"
        )
    definition = None if suite is None else _definition(suite, given)
    common = {} if definition is None else definition.common
    several = {
        name: values
        for name in _SEVERAL
        if isinstance(values := given.get(name, common.get(name)), tuple)
    }
    one = {name: _one_of(name, values) for name, values in several.items()}
    found = _plan(suite, definition, {**given, **one}, runs)
    tuned = definition is None or not definition.at_each_rate
    for name, values in several.items():
        if len(values) > 1:
            found = _multiplied(found, name, values, tuned=tuned)
    _require_own_folders(found)
    return found


def _require_own_folders(plan: Plan) -> None:
    """Raises if two variants would have the same folder."""
    owners: dict[str, str] = {}
    for variant in plan.variants:
        other = owners.setdefault(folder_name(variant), variant)
        if other != variant:
            raise UsageError(
                f"'{other}' and '{variant}' would have the same folder, "
                f"'{folder_name(variant)}'. Write one of them in another way."
            )


def _definition(suite: str, given: Mapping[str, Any]) -> Suite:
    if suite != COMPARE:
        return SUITES[suite]
    if "init_from" in given:
        return comparison_of_model()
    base = given.get("activation", "relu")
    if isinstance(base, tuple):
        if len(base) > 1:
            raise UsageError(
                f"The suite '{suite}' compares the forms of one activation. Give only "
                f"one. Received: {','.join(base)}"
            )
        (base,) = base
    return comparison(base.removeprefix("gaaf_"))


def _plan(
    suite: str | None, definition: Suite | None, given: dict[str, Any], runs: int
) -> Plan:
    """Returns a plan for settings with one value each."""
    if definition is None:
        config = TrainingConfig(**given)
        _require_acceleration(given, [config])
        if config.init_from is None:
            _require_use(given, config.model)
        else:
            _require_no_new_model(given)
        return Plan(config.title, {str(config.variant): config}, runs)
    if suite == COMPARE:
        given = {name: value for name, value in given.items() if name != "activation"}
    fixed = definition.fields_set_by_variants()
    clash = sorted(fixed.intersection(given))
    if clash:
        raise UsageError(
            f"The suite '{suite}' sets {' and '.join(clash)} itself. Leave "
            f"{'them' if len(clash) > 1 else 'it'} out, or train without a suite."
        )
    if "init_from" in given and suite != COMPARE:
        raise UsageError(
            f"The suite '{suite}' trains new models. Leave init_from out, or choose "
            f"--suite={COMPARE}, which takes a model."
        )
    if "init_from" in given:
        _require_no_new_model(given)
    else:
        model = given.get("model", definition.common.get("model", "mlp"))
        _require_use(given, model)
        _require_suite_fits(suite, fixed, model)
    variants = {
        name: TrainingConfig(**{**definition.common, **given, **variant}, variant=name)
        for name, variant in definition.variants.items()
    }
    _require_acceleration(given, variants.values())
    title = definition.title
    if suite == COMPARE or not {"dataset", "model"}.isdisjoint(given):
        title = f"{next(iter(variants.values())).title}: {title}"
    return Plan(title, variants, runs, definition.groups)


def _one_of(name: str, values: tuple[Any, ...]) -> Any:
    """Returns one of the values: an accelerated activation if there is one."""
    if not values:
        raise UsageError(f"{name} must have at least one value. Received none.")
    texts = [f"{value:g}" if name == "learning_rate" else value for value in values]
    if len(set(texts)) < len(texts):
        differ = " in their first six digits" * (name == "learning_rate")
        raise UsageError(
            f"{name} must be different values{differ}. "
            f"Received: {','.join(map(str, values))}"
        )
    accelerated = [text for text in texts if str(text).startswith("gaaf_")]
    return accelerated[0] if accelerated else values[0]


def _multiplied(
    single: Plan, name: str, values: tuple[Any, ...], *, tuned: bool
) -> Plan:
    """Returns a plan with each variant of another at each of several values.

    Of learning rates the best is to be chosen, if they are tuned.
    """
    variants, groups = {}, {}
    for variant, config in single.variants.items():
        if name == "shape_function" and not config.accelerates:
            variants[variant] = config
            continue
        for value in values:
            label = str(value)
            if name == "learning_rate":
                label = f"{variant}, learning rate {value:g}"
                if tuned:
                    groups[label] = single.groups.get(variant, variant)
            elif len(single.variants) > 1:
                label = f"{variant}, {value}"
            changed = {name: value, "variant": label}
            if name == "activation" and not value.startswith("gaaf_"):
                changed |= {field: _DEFAULTS[field] for field in ACCELERATION}
            variants[label] = dataclasses.replace(config, **changed)
    return dataclasses.replace(
        single, variants=variants, groups=groups or single.groups
    )


def _require_use(given: Mapping[str, Any], model: str) -> None:
    """Raises if a field is given that the model does not have."""
    for unused in _without_effect(given, model):
        raise UsageError(f"{unused} has no effect on the {model}. Leave it out.")


def _require_suite_fits(suite: str | None, fixed: Iterable[str], model: str) -> None:
    """Raises if a suite's variants differ in what the model does not have."""
    for unused in _without_effect(fixed, model):
        raise UsageError(
            f"The suite '{suite}' sets {unused}, which has no effect on the {model}. "
            "Choose another suite, or another model."
        )


def _without_effect(names: Iterable[str], model: str) -> list[str]:
    of_some = {name for settings in MODELS.values() for name in settings}
    return sorted((of_some - {*MODELS.get(model, of_some)}).intersection(names))


def _require_acceleration(
    given: Mapping[str, Any], configs: Iterable[TrainingConfig]
) -> None:
    """Raises if a field is given that only accelerated activations have."""
    unused = [name for name in ACCELERATION if name in given]
    if unused and not any(config.accelerates for config in configs):
        raise UsageError(
            f"{' and '.join(unused)} would have no effect, because nothing is "
            "accelerated. Choose an activation such as gaaf_tanh, or accelerate."
        )
    if "frequency" in given and given.get("accelerate"):
        raise UsageError(
            "frequency cannot be used with accelerate, which keeps a model's outputs "
            "as they are. Leave it out."
        )


def _require_no_new_model(given: Mapping[str, Any]) -> None:
    """Raises if a field is given that a model from a file has already."""
    unused = [name for name in (*NEW_MODEL, "gates_alone") if name in given]
    if unused:
        raise UsageError(
            f"{' and '.join(unused)} would describe a new model, but the model comes "
            "from init_from. Leave one of them out."
        )


def require_files(plan: Plan) -> None:
    """Raises a `UsageError` if one of the user's files is missing."""
    for config in plan.variants.values():
        if config.reads_file and not Path(config.dataset).expanduser().is_file():
            raise UsageError(
                f"Data set '{config.dataset}' does not exist. Give an .npz file "
                "written by numpy.savez, with x_train, y_train, x_test and y_test."
            )
        path = Path(config.init_from or "none.keras").expanduser()
        if path.suffix != ".keras":
            raise UsageError(
                "init_from must be a .keras file, as `model.save` writes it. "
                f"Received: '{path}'"
            )
        if config.init_from is not None and not path.is_file():
            raise UsageError(
                "init_from must be a .keras file, as `model.save` writes it. "
                f"Received: '{path}', which does not exist"
            )
