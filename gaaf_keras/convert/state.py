"""The state of a model, given to a copy of it."""

import tempfile
from typing import Any

import keras


def copy_state(model: Any, copy: Any, layers: list[tuple[Any, Any]]) -> None:
    """Gives a copy the variables, compilation and optimizer state of a model.

    Args:
        model: The original.
        copy: Its copy.
        layers: Pairs of a layer of the model and its copy.
    """
    _copy_variables(model.weights, copy.weights)
    for old, new in layers:
        _copy_other_state(old, new)
    if model.compiled:
        _copy_compilation(model, copy)


def _copy_variables(old: list[Any], new: list[Any]) -> None:
    """Gives variables the values and trainable flags of others."""
    if [tuple(v.shape) for v in old] != [tuple(v.shape) for v in new]:
        raise ValueError(
            "The model has variables that a copy made from its configuration has not. "
            f"Its variables: {[v.path for v in old]}; the copy's: "
            f"{[v.path for v in new]}"
        )
    for source, target in zip(old, new, strict=True):
        # A copy: JAX and PyTorch would share the memory, and JAX free it in training.
        target.assign(keras.ops.copy(source))
        if target.trainable != source.trainable:
            target.trainable = source.trainable


def _copy_compilation(model: Any, copy: Any) -> None:
    """Compiles a copy as its original is, with losses, metrics, optimizer of its own.

    Not from the serialised configuration, which Keras does not read back if a loss is a
    function that is not registered.
    """

    def own(value: Any) -> Any:
        stateful = isinstance(value, (keras.Loss, keras.Metric, keras.Optimizer))
        return type(value).from_config(value.get_config()) if stateful else value

    copy.compile(**keras.tree.map_structure(own, model._compile_config.config))
    if model.optimizer is not None and model.optimizer.built:
        copy.optimizer.build(copy.trainable_variables)
        _copy_variables(model.optimizer.variables, copy.optimizer.variables)


def _copy_other_state(old: Any, new: Any) -> None:
    """Copies what a layer keeps beside its weights: random state, a vocabulary."""
    random_states = [_random_states(layer) for layer in (old, new)]
    # A dropout layer whose rate was set to 0 has one, but its copy needs none.
    if len(random_states[0]) == len(random_states[1]):
        _copy_variables(*random_states)
    if hasattr(old, "save_assets") and hasattr(new, "load_assets"):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)
    elif hasattr(new, "finalize_state"):  # from its variables
        new.finalize_state()


def _random_states(layer: Any) -> list[Any]:
    if not isinstance(layer, keras.layers.Layer):
        return []
    weights = {id(weight) for weight in layer.weights}
    return [variable for variable in layer.variables if id(variable) not in weights]
