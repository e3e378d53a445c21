"""The analysis of a trained network, made once and kept in its folder."""

from typing import Any

import keras
import numpy as np

from experiments import networks
from experiments.config import UsageError
from experiments.data import datasets
from experiments.records import run_folder
from experiments.records.studies import Run
from gaaf_keras import analysis
from gaaf_keras._core.kinds import name_of
from gaaf_keras.analysis.activation_values import Observation
from gaaf_keras.analysis.model_activations import (
    ObservedActivation,
    observed_activations,
)

_MOST_EXAMPLES = 1000
_FEWEST_EXAMPLES = 128
_NODE_VALUES = 4e7  # maximum to compute in one pass over the examples
_DRAWS = 32
_HESSIAN_EXAMPLES = 500


def analyse(run: Run, data_dir: str | None = None) -> None:
    """Analyses the network of a run, unless that has been done, and stores the result.

    It takes a few seconds and needs the data set.

    Args:
        run: A finished run. This sets its `analysis` and writes a file to its folder.
        data_dir: Folder of the prepared data set, if it has moved.

    Raises:
        UsageError: If the data set or the model is missing.
    """
    if run.analysis:
        return
    config = run.config
    data = datasets.load(
        config.dataset, data_dir or config.data_dir, False, config.train_examples
    )
    try:
        model = keras.saving.load_model(run.folder / run_folder.MODEL)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The model in '{run.folder}' cannot be read ({error})."
        ) from error
    network = networks.Network(config, data)
    if config.accelerate:  # a file has the plain activations
        networks.accelerated(model, config)
    run_folder.write_analysis(run.folder, _found(model, network, config.seed, data))
    keras.backend.clear_session()
    # As read from the file, so that the first report equals later ones.
    run.analysis = run_folder.read_analysis(run.folder)


def _found(
    model: keras.Model, network: networks.Network, seed: int, data: datasets.ImageData
) -> dict[str, Any]:
    weights = analysis.weights(model)
    keras.utils.set_random_seed(seed)  # the seed of training
    initial = analysis.weights(network.model())
    found: dict[str, Any] = {
        "weights": weights,
        # In the same order; the numbers in their paths may differ.
        "initial_weights": dict(zip(weights, initial.values(), strict=True)),
    }
    try:
        activations = observed_activations(model)
    except ValueError:  # nothing to analyse in the user's own model
        return found | {"layers": []}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=network.from_logits)
    one, _ = _first(data.test, 1)
    values = sum(array.size for (array,) in Observation(model)(one).values())
    examples = int(np.clip(_NODE_VALUES / values, _FEWEST_EXAMPLES, _MOST_EXAMPLES))
    x, y = _first(data.test, examples)
    few = _first(data.train, min(examples, _HESSIAN_EXAMPLES))
    noisy = any(v.name == "seed_generator_state" for v in model.variables)
    saturation = analysis.saturation(model, x)
    training_loss = analysis.weight_noise(model, *few, loss=loss, sizes=[])
    return found | {
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


def _first(split: datasets.Split, count: int) -> tuple[np.ndarray, np.ndarray]:
    return split.images[:count].astype("float32"), split.labels[:count]


def _description(activation: ObservedActivation) -> str:
    name = name_of(activation.base)
    return f"accelerated {name}" if activation.is_accelerated else name
