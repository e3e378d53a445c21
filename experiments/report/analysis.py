"""The analyses of a trained network, made once and kept in its folder."""

import dataclasses
import hashlib
import json
from typing import Any

import keras
import numpy as np

from experiments import networks
from experiments.config import TrainingConfig, UsageError
from experiments.data import datasets
from experiments.records import files, run_folder
from experiments.records.studies import Run
from gaaf_keras import analysis
from gaaf_keras._core.kinds import name_of
from gaaf_keras.analysis.activation_values import Observation
from gaaf_keras.analysis.model_activations import observed_activations

_VERSION = 1
_MOST_EXAMPLES = 1000
_FEWEST_EXAMPLES = 128
_NODE_VALUES = 4e7  # to compute for one pass over the examples, at most
_DRAWS = 32
_HESSIAN_EXAMPLES = 500


def analysis_of(run: Run, data_dir: str | None = None) -> dict[str, Any]:
    """Returns the analyses of a run, from its folder if they are there.

    Otherwise they are made, which takes some seconds and needs the data set, and
    written there.

    Args:
        run: A finished run.
        data_dir: Where the prepared data set lies, if it has moved since.

    Raises:
        UsageError: If the data set or the model is not there.
    """
    found = made_before(run)
    if found is not None:
        return found
    path = run.folder / run_folder.ANALYSIS
    model_path = run.folder / run_folder.MODEL
    config = run.config
    data = datasets.load(
        config.dataset, data_dir or config.data_dir, False, config.train_examples
    )
    try:
        model = keras.saving.load_model(model_path)
    except (OSError, ValueError) as error:
        raise _unreadable(run, error) from error
    found = {"origin": _origin(run), **_analyse(model, config, data)}
    keras.backend.clear_session()
    files.write_json(path, found)
    # As read from the file, so that a report is the same at first and later.
    return json.loads(path.read_text(encoding="utf-8"))


def made_before(run: Run) -> dict[str, Any] | None:
    """Returns the analyses in a run's folder, None if it has none of its model.

    Raises:
        UsageError: If the model is not there.
    """
    path = run.folder / run_folder.ANALYSIS
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if found.get("origin") == _origin(run) else None


def _origin(run: Run) -> dict[str, Any]:
    """Returns what an analysis is of, and by which version of it."""
    try:
        content = (run.folder / run_folder.MODEL).read_bytes()
    except OSError as error:
        raise _unreadable(run, error) from error
    return {"version": _VERSION, "model": hashlib.sha256(content).hexdigest()}


def _unreadable(run: Run, error: Exception) -> UsageError:
    return UsageError(f"The model in '{run.folder}' cannot be read ({error}).")


def _analyse(
    model: Any, config: TrainingConfig, data: datasets.ImageData
) -> dict[str, Any]:
    weights = analysis.weights(model)
    initial = analysis.weights(_initial(config, data))
    found: dict[str, Any] = {
        "weights": weights,
        # In the same order; paths may have other numbers in them.
        "initial_weights": dict(zip(weights, initial.values(), strict=True)),
    }
    try:
        activations = observed_activations(model)
    except ValueError:  # nothing of the kind in the user's own model
        return _plain({**found, "layers": []})
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=not networks.gives_probabilities(config, model, data)
    )
    one, _ = _first(data.test, 1)
    values = sum(array.size for (array,) in Observation(model)(one).values())
    examples = int(np.clip(_NODE_VALUES / values, _FEWEST_EXAMPLES, _MOST_EXAMPLES))
    x, y = _first(data.test, examples)
    few = _first(data.train, min(examples, _HESSIAN_EXAMPLES))
    noisy = any(v.name == "seed_generator_state" for v in model.variables)
    saturation = analysis.saturation(model, x)
    training_loss = analysis.weight_noise(model, *few, loss=loss, sizes=[])
    found |= {
        "examples": len(x),
        "hessian_examples": len(few[0]),
        "layers": list(saturation),
        "saturation": saturation,
        "pre_activation_variance": analysis.pre_activation_variance(
            model, x[:_HESSIAN_EXAMPLES], _DRAWS if noisy else 2
        ),
        "correlations": analysis.correlations(model, x),
        "ablation": analysis.ablation(model, x, y, loss=loss),
        "weight_noise": analysis.weight_noise(model, x, y, loss=loss),
        "input_noise": analysis.input_noise(model, x, y, loss=loss),
        "hessian": analysis.hessian_eigenvalue(model, *few, loss=loss),
        "hessian_loss": training_loss.losses[0],
        "functions": {
            _description(activation): analysis.curve(activation.applied)
            for activation in activations
        },
    }
    return _plain(found)


def _first(split: datasets.Split, count: int) -> tuple[np.ndarray, np.ndarray]:
    return split.images[:count].astype("float32"), split.labels[:count]


def _initial(config: TrainingConfig, data: datasets.ImageData) -> Any:
    """Returns the model as it was before it was trained."""
    keras.utils.set_random_seed(config.seed)
    return networks.build(config, data)


def _description(activation: Any) -> str:
    name = name_of(activation.base)
    return f"accelerated {name}" if activation.is_accelerated else name


def _plain(value: Any) -> Any:
    """Returns results as data that JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(
            {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        )
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value
