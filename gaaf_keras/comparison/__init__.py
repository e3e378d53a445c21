"""Compares a model trained plain and accelerated, side by side."""

import contextlib
import functools
import inspect
import itertools
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Literal

import keras

from gaaf_keras._core.checks import positive_integer, positive_number
from gaaf_keras.acceleration import accelerate
from gaaf_keras.comparison.answers import PLAIN, Answer
from gaaf_keras.comparison.progress import Progress
from gaaf_keras.comparison.records import Records, Run, require_folder
from gaaf_keras.comparison.result import SAME_START, Comparison
from gaaf_keras.comparison.start import (
    Start,
    checksum,
    configuration,
    require_compiled,
    scale_learning_rate,
)
from gaaf_keras.comparison.training import Training

__all__ = ["VARIANTS", "Answer", "Comparison", "compare"]

Arguments = Mapping[str, Any]
_ARGUMENTS = {*inspect.signature(accelerate).parameters} - {"model"}

VARIANTS: dict[str, Arguments] = {
    "paper's form": {"unit_gain": False},
    "strength 0.3": {"strength": 0.3, "unit_gain": False},
    "unit gain": {"unit_gain": True},
    "one-sided": {"shape_function": {"relu": "one_sided(shifted_sigmoid)"}},
}
"""The variants that `compare` compares with the plain model by default."""


def compare(
    model: keras.Model | Callable[[], keras.Model],
    x: Any,
    y: Any = None,
    *,
    epochs: int = 1,
    validation_data: Any = None,
    test_data: Any = None,
    variants: Mapping[str, Arguments | None] | None = None,
    learning_rates: Sequence[float] = (1,),
    seeds: int = 3,
    monitor: str | None = None,
    mode: Literal["auto", "min", "max"] = "auto",
    callbacks: Any = None,
    time_limit: float | None = None,
    folder: str | os.PathLike[str] | None = None,
    verbose: int | str = "auto",
    **fit_arguments: Any,
) -> Comparison:
    """Trains a model plain and accelerated, and reports which differences are shown.

    Each variant is trained by `fit` with each seed. Runs with the same seed start from
    the same weights, see the same batches and have the same dropout masks, so they
    differ only in the variant. The value of a run is that of its best epoch by
    `monitor`, as `EarlyStopping(restore_best_weights=True)` would keep it. A run whose
    loss or monitored value is not finite has failed. Failures are counted, and a
    variant with a failed run is not compared by its other runs.

    Differences from the plain model are means over pairs of runs with the same seed,
    with 95 % confidence intervals (Student's t), widened by Holm's method for the
    number of variants. There are up to two answers: one at the model's own learning
    rate, and one with each variant at its best rate by `monitor`.

    Args:
        model: A function without arguments that returns a compiled model. It is called
            after `keras.utils.set_random_seed(seed)`, so each seed has its own
            initial weights. Or a compiled and built model: every run starts from its
            current weights and optimizer, and the model is restored at the end, even
            after an error or Ctrl-C. Seeds then differ only in the order of batches and
            in dropout masks.
        x: Inputs, or anything else that `fit` takes. If the data can be read only once
            or shuffles itself, like a generator or a shuffled `tf.data`, give a
            function without arguments that returns it, called when a run begins.
        y: Targets, as `fit` takes them.
        epochs: Epochs of each run. Defaults to 1, as in `fit`.
        validation_data: As `fit` takes it, or a function that returns it. Without it
            (and without `validation_split`) training values are compared.
        test_data: As `validation_data`. The best epoch of each run is scored on it
            once; scores are shown only at a variant's chosen learning rate, and that
            answer then compares test scores.
        variants: Arguments of `gaaf_keras.accelerate`, or None for the plain model, by
            the name of the variant. Plain is always included. Defaults to
            `gaaf_keras.comparison.VARIANTS`: the paper's form, strength 0.3, unit gain,
            and one-sided where there is a ReLU; `{**VARIANTS, "mine": {...}}` adds one.
        learning_rates: Factors on the optimizer's own rate or schedule, above 0. A
            callback that sets the rate gets the scaled one, and should return a
            multiple of it.
        seeds: Number of runs of each variant, 1 or more. Differences need at least 2;
            with fewer than 5, intervals are wide.
        monitor: The value to compare, as in Keras's callbacks, such as `"val_loss"`.
            Defaults to the model's first metric, or the loss if it has none; on
            validation data if there is any.
        mode: Whether lower (`"min"`) or higher (`"max"`) is better. Defaults to
            `"auto"`: as Keras's callbacks decide, which know no direction of a metric
            of your own.
        callbacks: As `fit` takes them, or a function that returns new ones for each
            run, for callbacks that keep state.
        time_limit: Seconds in which to finish: no run starts that would exceed them,
            judging by earlier runs.
        folder: Where finished runs are kept. The same call with the same folder does
            not train them again; a call with another model, loss, data or arguments is
            refused. Arrays are compared by content, models by their configuration and
            their weights at seed 0, functions by their code. The contents of a
            generator or data set, the return value of a function, and custom training
            steps are not compared: give another folder if they change.
        verbose: 0 shows no progress. `fit` itself is silent.
        **fit_arguments: Passed to `fit`: `batch_size`, `class_weight`, ...

    Returns:
        A `gaaf_keras.comparison.Comparison`. `print` shows it: a verdict in words,
        cautions, and a table.

    Raises:
        ImportError: If SciPy is not installed.
        TypeError: If `model` is neither a model nor a function, `x` can be read only
            once, or an argument is of another type.
        ValueError: If an argument is out of range; the model is not compiled, or is
            given and not built; a variant does not fit it; its learning rate cannot be
            scaled; it does not report `monitor`, or needs `mode` for it; a variant
            names layers that the next model does not have; or `folder` is a file or has
            runs with other settings.

    Examples:
        ```python
        def make_model():
            layers = [keras.Input((8,)), keras.layers.Dense(16, "relu")]
            network = keras.Sequential([*layers, keras.layers.Dense(1)])
            network.compile("adam", "mse")
            return network

        comparison = gaaf_keras.compare(
            make_model, x, y, validation_split=0.2, epochs=2, seeds=2
        )
        print(comparison)
        ```
    """
    deadline = time.monotonic()
    deadline += (
        math.inf if time_limit is None else positive_number("time_limit", time_limit)
    )
    _require_readable(x=x, validation_data=validation_data, test_data=test_data)
    _require_pairs(validation_data=validation_data, test_data=test_data)
    require_folder(folder)
    positive_integer("epochs", epochs)
    positive_integer("seeds", seeds)
    factors = _factors(learning_rates)
    training = Training(
        arguments={"x": x, "y": y, "epochs": epochs, **fit_arguments},
        validation_data=validation_data,
        test_data=test_data,
        callbacks=callbacks,
        monitor=monitor,
        mode=mode,
    )
    begin, given = _beginning(model, training)
    with given or contextlib.nullcontext():
        trial = begin(0)
        training.require_direction(trial)
        found, notes = _variants(trial, variants)
        if given is None and any(each and "layers" in each for each in found.values()):
            _require_lasting_names(begin(0), found)
        for factor in factors:
            with scale_learning_rate(trial, factor):
                pass
        settings: dict[str, Any] = {}
        if folder is not None:
            settings = training.settings(trial)
            settings["configuration"] = configuration(trial)
            settings["weights"] = checksum(trial)
        del trial
        plan = [
            Run(*key)
            for seed in range(seeds)
            for key in itertools.product(found, factors, [seed])
        ]
        records = Records(folder, settings, found)
        with Progress(verbose) as progress:
            runs = _train(
                plan,
                found,
                begin,
                training=training,
                records=records,
                progress=progress,
                deadline=deadline,
            )
    if len(runs) < len(plan):
        notes.append(
            f"{len(plan) - len(runs)} of {len(plan)} runs did not start within the "
            "time limit. The same call with a `folder` and more time trains them."
        )
    if given is not None and seeds > 1:
        notes.append(
            f"{SAME_START} Give a function that makes the model for other weights with "
            "each seed."
        )
    return Comparison(runs, factors, notes)


def _require_readable(**data: Any) -> None:
    """Raises if data can be read only once, or SciPy is missing."""
    if find_spec("scipy") is None:
        raise ImportError("`compare` needs SciPy for its intervals: pip install scipy")
    for name, each in data.items():
        if hasattr(each, "__next__"):
            raise TypeError(
                f"Argument `{name}` is read for every run. Give a function that "
                f"returns it. Received: {name}={each!r}"
            )


def _require_pairs(**data: Any) -> None:
    """Raises if arrays are not in a tuple, as `fit` takes them."""
    for name, each in data.items():
        is_pair = isinstance(each, (tuple, list)) and len(each) in (1, 2, 3)
        has_arrays = isinstance(each, (tuple, list, dict)) or hasattr(each, "shape")
        if has_arrays and not is_pair:
            raise ValueError(
                f"Argument `{name}` must be (x, y) or (x, y, sample_weight), a data "
                "set of such batches, or a function that returns one of these. "
                f"Received: {name} of type {type(each).__name__}"
            )


def _factors(learning_rates: Sequence[float]) -> list[float]:
    """Returns the factors on the learning rate, the model's own first."""
    if isinstance(learning_rates, (str, bytes)):
        raise TypeError(
            "Argument `learning_rates` must be factors, such as (0.3, 1, 3). "
            f"Received: learning_rates={learning_rates!r} (of type "
            f"{type(learning_rates).__name__})"
        )
    rates = learning_rates if isinstance(learning_rates, Iterable) else [learning_rates]
    factors = sorted({positive_number("learning_rates", rate) for rate in rates})
    if not factors:
        raise ValueError("Argument `learning_rates` must not be empty. Received: ()")
    return sorted(factors, key=lambda factor: factor != 1)


def _train(
    plan: Sequence[Run],
    variants: Mapping[str, Arguments | None],
    begin: Callable[[int], keras.Model],
    *,
    training: Training,
    records: Records,
    progress: Progress,
    deadline: float,
) -> list[Run]:
    """Returns the runs of a plan that are recorded or can be trained in time."""
    done = [records.runs[run.key] for run in plan if run.key in records.runs]
    waiting = [run for run in plan if run.key not in records.runs]
    progress.begin(len(waiting), training.epochs)
    for run in waiting:
        if time.monotonic() + _longest(done, run.variant) > deadline:
            continue
        accelerated = functools.partial(_accelerated, arguments=variants[run.variant])
        trained = training.run(run, begin, accelerated, progress.of(run))
        records.add(trained)
        done.append(trained)
        progress.run_ends(trained)
    order = {run.key: index for index, run in enumerate(plan)}
    return sorted(done, key=lambda run: order[run.key])


def _beginning(
    model: object, training: Training
) -> tuple[Callable[[int], keras.Model], Start | None]:
    """Returns a function from a seed to the model as a run begins, and its start.

    A given model is restored when the block of its start ends.
    """
    if isinstance(model, keras.Model):
        given = Start(model, training.build)
        return given.begin, given
    if not callable(model) or inspect.isclass(model):
        raise TypeError(
            "Argument `model` must be a compiled Keras model, or a function without "
            f"arguments that returns one. Received: {model!r} "
            f"(of type {type(model).__name__})"
        )

    made: Any = None

    def make(seed: int) -> keras.Model:
        nonlocal made
        keras.utils.set_random_seed(seed)
        before, made = made, model()
        if not isinstance(made, keras.Model):
            raise TypeError(
                "Argument `model` must be a function that returns a compiled Keras "
                f"model. It returned: {made!r} (of type {type(made).__name__})"
            )
        if made is before:
            raise ValueError(
                "Argument `model` must be a function that returns a new model each "
                "time. To start from an existing model, give the model itself."
            )
        require_compiled(made)
        return made

    return make, None


def _variants(
    model: keras.Model, variants: Mapping[str, Arguments | None] | None
) -> tuple[dict[str, Arguments | None], list[str]]:
    """Returns the variants that fit the model, plain first; and notes."""
    given = VARIANTS if variants is None else variants
    if not isinstance(given, Mapping) or given.get(PLAIN) is not None:
        raise ValueError(
            "Argument `variants` must map names to arguments of "
            "`gaaf_keras.accelerate`, or to None for the plain model; the name "
            f"'{PLAIN}' must map to None. Received: variants={variants!r}"
        )
    for name, arguments in given.items():
        is_mapping = isinstance(arguments, Mapping)
        unknown = set(arguments or ()) - _ARGUMENTS if is_mapping else set()
        if unknown:
            raise TypeError(
                f"Variant {name!r} must have arguments of `gaaf_keras.accelerate`: "
                f"{', '.join(sorted(_ARGUMENTS))}. Received: "
                f"{', '.join(map(repr, sorted(unknown)))}"
            )
        if arguments is not None and not is_mapping:
            raise TypeError(
                "Argument `variants` must map each name to arguments of "
                '`gaaf_keras.accelerate`, such as {"strength": 0.3}, or to None. '
                f"Received: {name!r}: {arguments!r} (of type "
                f"{type(arguments).__name__})"
            )
    found: dict[str, Arguments | None] = {PLAIN: None}
    notes = []
    for name, arguments in given.items():
        try:
            with _accelerated(model, arguments):
                found[name] = arguments
        except (TypeError, ValueError) as error:
            if variants is None and len(found) > 1:  # there are activations
                notes.append(f"Left out: {name}, which does not fit this model.")
                continue
            raise type(error)(f"Variant {name!r}: {error}") from error
    if len(found) == 1:
        raise ValueError(
            "Argument `variants` must have at least one besides the plain model. "
            f"Received: variants={variants!r}"
        )
    return found, notes


def _require_lasting_names(
    model: keras.Model, variants: Mapping[str, Arguments | None]
) -> None:
    """Raises if variants name layers that a second model does not have."""
    for name, arguments in variants.items():
        try:
            with _accelerated(model, arguments):
                pass
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"Variant {name!r} selects layers that the next model does not have: "
                "Keras numbers default layer names across models. Give the layers "
                'names, such as `Dense(16, "relu", name="first")`. '
                f"Received: layers={(arguments or {}).get('layers')!r}. {error}"
            ) from error


@contextlib.contextmanager
def _accelerated(model: keras.Model, arguments: Arguments | None) -> Iterator[None]:
    """Accelerates a model inside the block, or leaves it plain."""
    if arguments is None:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about known failures: they show here
        acceleration = accelerate(model, **arguments)
    with acceleration:
        yield


def _longest(runs: Any, name: str) -> float:
    """Estimates a run's time by the longest run of its variant, or of all."""
    seconds = {run.variant: 0.0 for run in runs}
    for run in runs:
        seconds[run.variant] = max(seconds[run.variant], run.seconds)
    return seconds.get(name, max(seconds.values(), default=0.0))
