"""Gradients of functions of tensors, on whichever backend Keras uses.

The one part of the analyses that differs from backend to backend.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

Tensors = Sequence[Any]


def gradient(function: Callable[[Tensors], Any]) -> Callable[[Tensors], list[Any]]:
    """Returns the function that computes the gradients of a scalar one.

    Args:
        function: Maps a list of tensors to a scalar.

    Returns:
        A function of the same list that returns a gradient for each of its tensors, 0
        for one that does not matter. It can be differentiated again.
    """
    both = gradient_and_more(lambda tensors: (function(tensors), []))
    return lambda tensors: both(tensors)[0]


def gradient_and_more(
    function: Callable[[Tensors], tuple[Any, list[Any]]],
) -> Callable[[Tensors], tuple[list[Any], list[Any]]]:
    """Returns what computes gradients and what else was found on the way.

    Args:
        function: Maps a list of tensors to a scalar and a list of other tensors.

    Returns:
        A function of the same list that returns the scalar's gradients and the others.
    """
    return _GRADIENTS[keras.backend.backend()](function)


def _tensorflow_gradient(function: Callable[[Tensors], Any]) -> Callable[..., Any]:
    import tensorflow as tf

    def gradients(tensors: Tensors) -> Any:
        tensors = [tf.identity(tensor) for tensor in tensors]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value, more = function(tensors)
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(value, tensors, unconnected_gradients=zero), more

    return gradients


def _jax_gradient(function: Callable[[Tensors], Any]) -> Callable[..., Any]:
    import jax

    return jax.grad(function, has_aux=True)


def _torch_gradient(function: Callable[[Tensors], Any]) -> Callable[..., Any]:
    import torch

    def gradients(tensors: Tensors) -> Any:
        tensors = [
            tensor if tensor.requires_grad else tensor.detach().clone().requires_grad_()
            for tensor in tensors
        ]
        with torch.enable_grad():
            value, more = function(tensors)
            found = torch.autograd.grad(
                value, tensors, create_graph=True, materialize_grads=True
            )
        return list(found), more

    return gradients


_GRADIENTS = {
    "tensorflow": _tensorflow_gradient,
    "jax": _jax_gradient,
    "torch": _torch_gradient,
}


def shapes_of(function: Callable[[], list[Any]]) -> list[tuple[tuple[int, ...], str]]:
    """Returns shape and dtype of the tensors that a function gives.

    Where the function is being compiled this costs nothing when it runs.
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
        (tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype))
        for tensor in tensors
    ]


def replicas() -> int:
    """Returns how many replicas Keras divides a loss by, for them to share it."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def isolated(
    model: Any, function: Callable[..., Any], *, often: bool = False
) -> Callable[..., Any]:
    """Returns a function that computes with a model and leaves it as it was.

    Neither the moving statistics of normalisations change nor the states of random
    generators. Where it is compiled, that happens when it is first called with arrays
    of some shapes, and it reads the model's variables anew with every call.

    Args:
        model: A built Keras model.
        function: Maps tensors to a structure of tensors. It may call the model.
        often: Whether it will be called so often that on TensorFlow, where that takes
            as long as a hundred calls, it should be compiled. On JAX it always is.

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
        # Several analyses are one function to TensorFlow, traced suspiciously often.
        compiled._omit_frequent_tracing_warning = True
    elif keras.backend.backend() == "jax":
        compiled = _compiled_by_jax(model, function)
    elif keras.backend.backend() == "torch":
        compiled = _with_random_numbers_of_its_own(in_a_scope)

    def run(*arguments: Any) -> Any:
        tensors = keras.tree.map_structure(ops.convert_to_tensor, arguments)
        return keras.tree.map_structure(to_numpy, compiled(*tensors))

    return run


def to_numpy(tensor: Any) -> np.ndarray:
    """Returns a tensor's values, those of half precision in float32."""
    if keras.backend.standardize_dtype(tensor.dtype) in ("float16", "bfloat16"):
        tensor = ops.cast(tensor, "float32")
    return np.asarray(ops.convert_to_numpy(tensor))


def _compiled_by_jax(model: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a compiled function to which a model's variables are arguments.

    Otherwise they would be constants of what was compiled.
    """
    import jax

    variables = [*model.variables, *model.metrics_variables]
    variables = list({id(variable): variable for variable in variables}.values())

    @jax.jit
    def compiled(values: list[Any], arguments: tuple[Any, ...]) -> Any:
        state = zip(variables, values, strict=True)
        with keras.StatelessScope(state, collect_losses=True):
            return function(*arguments)

    return lambda *arguments: compiled([v.value for v in variables], arguments)


def _with_random_numbers_of_its_own(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that goes on with the random numbers of now, in a copy.

    On PyTorch dropout takes them from a generator that everything shares.
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
