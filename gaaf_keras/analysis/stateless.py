"""Computing with a model without changing it.

The only part of the analyses that differs between backends.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from gaaf_keras._core.types import Tensor

Function = Callable[..., Any]  # from structures of tensors to one


def zeros_like(function: Callable[[], list[Tensor]]) -> list[Tensor]:
    """Returns zeros with the shapes and dtypes of the tensors that a function returns.

    Where the function is compiled, this costs nothing at run time.
    """
    with keras.StatelessScope(collect_losses=True):
        if keras.backend.backend() == "jax":
            import jax

            tensors = jax.eval_shape(function)
        elif keras.backend.backend() == "torch":
            tensors = _with_random_numbers_of_its_own(function)()
        else:
            tensors = function()
    return [
        ops.zeros(tuple(each.shape), keras.backend.standardize_dtype(each.dtype))
        for each in tensors
    ]


def replicas() -> int:
    """Returns the number of replicas by which Keras divides a loss."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def stateless(
    model: keras.Model, function: Function, *, often: bool = False
) -> Function:
    """Returns a function that computes with a model and leaves it as it was.

    Neither the moving statistics of normalisation nor the states of random generators
    change. A compiled function is compiled when it is first called with arrays of new
    shapes, and reads the model's variables again in every call.

    Args:
        model: A built Keras model.
        function: Maps tensors to a structure of tensors. It may call the model.
        often: Whether it will be called often enough to compile it on TensorFlow, where
            compilation takes as long as a hundred calls. On JAX it is always compiled.

    Returns:
        A function that takes arrays, or structures of them, and returns NumPy arrays.
    """

    def in_a_scope(*arguments: Any) -> Any:
        with keras.StatelessScope(collect_losses=True):
            return function(*arguments)

    compiled = in_a_scope
    if keras.backend.backend() == "tensorflow" and often:
        import tensorflow as tf

        compiled = tf.function(in_a_scope, autograph=False)
        # To TensorFlow several analyses are one function, traced suspiciously often.
        compiled._omit_frequent_tracing_warning = True
    elif keras.backend.backend() == "jax":
        compiled = _compiled_by_jax(model, function)
    elif keras.backend.backend() == "torch":
        compiled = _with_random_numbers_of_its_own(in_a_scope)

    def run(*arguments: Any) -> Any:
        tensors = keras.tree.map_structure(ops.convert_to_tensor, arguments)
        return keras.tree.map_structure(to_numpy, compiled(*tensors))

    return run


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Returns a tensor's values, with half precision converted to float32."""
    if keras.backend.standardize_dtype(tensor.dtype) in ("float16", "bfloat16"):
        tensor = ops.cast(tensor, "float32")
    return np.asarray(ops.convert_to_numpy(tensor))


def _compiled_by_jax(model: keras.Model, function: Function) -> Function:
    """Returns a compiled function without the model's variables as constants."""
    import jax

    variables = [*model.variables, *model.metrics_variables]
    variables = list({id(variable): variable for variable in variables}.values())

    @jax.jit
    def compiled(values: list[Any], arguments: tuple[Any, ...]) -> Any:
        state = zip(variables, values, strict=True)
        with keras.StatelessScope(state, collect_losses=True):
            return function(*arguments)

    return lambda *arguments: compiled([v.value for v in variables], arguments)


def _with_random_numbers_of_its_own(function: Function) -> Function:
    """Returns a function with its own copy of the random numbers to come.

    On PyTorch, dropout takes them from a generator that everything shares.
    """
    import torch

    def states() -> tuple[Any, list[Any]]:
        return torch.get_rng_state(), torch.cuda.get_rng_state_all()

    own = states()

    def run(*arguments: Any) -> Any:
        nonlocal own
        with torch.random.fork_rng():
            torch.set_rng_state(own[0])
            torch.cuda.set_rng_state_all(own[1])
            result = function(*arguments)
            own = states()
        return result

    return run
