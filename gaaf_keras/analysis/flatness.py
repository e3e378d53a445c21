"""How flat the loss is around a model's weights, and how robust the model.

The paper claims, without measuring it, that gradient in the saturation area leads to
flat regions of the loss, where small changes of weights and inputs matter little. All
measurements are made at inference, where activations have their plain gradients.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from gaaf_keras._core.checks import positive_integer
from gaaf_keras._core.differentiation import gradient
from gaaf_keras._core.types import Tensor
from gaaf_keras.analysis.data import Data, Loss, check_data
from gaaf_keras.analysis.losses import at_each, evaluation, loss_function
from gaaf_keras.analysis.stateless import stateless


@dataclasses.dataclass(frozen=True)
class Robustness:
    """Loss and accuracy under noise of different sizes.

    Attributes:
        sizes: The sizes of the noise; the first is 0, without noise.
        losses: Loss at each size, mean over the draws.
        loss_deviations: Standard deviation of the loss over the draws (n - 1).
        accuracies: Accuracy at each size, from 0 to 1, mean over the draws. Empty if
            the model does not classify.
    """

    sizes: list[float]
    losses: list[float]
    loss_deviations: list[float]
    accuracies: list[float]


@dataclasses.dataclass(frozen=True)
class Curvature:
    """An eigenvalue of the Hessian of a loss.

    Attributes:
        eigenvalue: The eigenvalue. Negative if the curvature in its direction is.
        residual: `|H v - eigenvalue v| / |eigenvalue|` for the direction v of length 1
            that was found. The Hessian has an eigenvalue within this relative distance.
            If it is not small, more iterations are needed, or two eigenvalues have the
            same size and opposite signs.
    """

    eigenvalue: float
    residual: float


def weight_noise(
    model: keras.Model,
    x: Data,
    y: Data,
    *,
    loss: Loss | None = None,
    sizes: Sequence[float] = (0.05, 0.1, 0.2, 0.4),
    draws: int = 5,
    seed: int = 0,
) -> Robustness:
    """Measures the loss when the weights are moved in random directions.

    Each trainable weight tensor w becomes `w + size * |w| * e / |e|`, where e is drawn
    from a normal distribution and |.| is the root of the sum of squares, so a tensor of
    any scale changes by the same fraction. The model stays as it is.

    Args:
        model: A built Keras model.
        x: Inputs: an array, or a list or dictionary of arrays.
        y: Targets likewise.
        loss: A Keras loss, its name, or a function of all targets and outputs. Defaults
            to what the model was compiled with.
        sizes: Relative sizes of the change, 0 or greater.
        draws: Number of random directions for each size. They come from
            `numpy.random.default_rng([seed, draw]).standard_normal`, one tensor after
            the other, and are the same for all sizes.
        seed: Seed of the directions.

    Returns:
        Loss and accuracy by the size of the change.

    Raises:
        ValueError: If a size is negative, or the model has no loss.

    Examples:
        ```python
        analysis.weight_noise(model, x_test, y_test).losses
        ```
    """
    _check(sizes, draws)
    check_data(x, y)
    variables = model.trainable_variables
    values = [ops.convert_to_numpy(variable.value) for variable in variables]
    lengths = [np.linalg.norm(value) for value in values]

    def forward(x: Data, weights: list[Tensor]) -> Tensor:
        for variable, value in zip(variables, weights, strict=True):
            variable.assign(value)  # only in this stateless run
        return model(x, training=False)

    evaluate = evaluation(model, forward, x, y, loss)

    def at(size: float, draw: int) -> np.ndarray:
        random = np.random.default_rng([seed, draw])
        weights = []
        for value, length in zip(values, lengths, strict=True):
            step = random.standard_normal(value.shape)
            step *= length / np.linalg.norm(step)
            weights.append((value + size * step).astype(value.dtype))
        return evaluate(x, y, weights)

    return Robustness([0.0, *sizes], *at_each(sizes, draws, at))


def input_noise(
    model: keras.Model,
    x: Data,
    y: Data,
    *,
    loss: Loss | None = None,
    sizes: Sequence[float] = (0.1, 0.2, 0.4, 0.8),
    draws: int = 3,
    seed: int = 0,
) -> Robustness:
    """Measures loss and accuracy when noise is added to the inputs.

    Args:
        model: A built Keras model.
        x: Inputs: one array of numbers, for a model with floating-point inputs.
        y: Targets.
        loss: A Keras loss, its name, or a function of all targets and outputs. Defaults
            to what the model was compiled with.
        sizes: Standard deviations of the noise, relative to that of all of `x`; 0 or
            greater.
        draws: Number of draws of noise for each size. They come from
            `numpy.random.default_rng([seed, draw]).standard_normal(x.shape)`.
        seed: Seed of the noise.

    Returns:
        Loss and accuracy by the size of the noise.

    Raises:
        ValueError: If a size is negative, or the model takes integers or several
            arrays, or has no loss.

    Examples:
        ```python
        analysis.input_noise(model, x_test, y_test).accuracies
        ```
    """
    _check(sizes, draws)
    check_data(x, y)
    _check_numbers(model, x)
    clean = np.asarray(x, "float32")
    deviation = float(clean.std())
    forward = functools.partial(model, training=False)
    evaluate = evaluation(model, forward, clean, y, loss)

    def at(size: float, draw: int) -> np.ndarray:
        noise = np.random.default_rng([seed, draw]).standard_normal(clean.shape)
        return evaluate((clean + size * deviation * noise).astype("float32"), y)

    return Robustness([0.0, *sizes], *at_each(sizes, draws, at))


def hessian_eigenvalue(
    model: keras.Model,
    x: Data,
    y: Data,
    *,
    loss: Loss | None = None,
    iterations: int = 100,
    tolerance: float = 1e-2,
    seed: int = 0,
) -> Curvature:
    """Returns the largest eigenvalue of the Hessian of the loss, by absolute value.

    The Hessian is that of the loss with respect to all trainable weights. Power
    iteration multiplies a random vector by it repeatedly, without ever forming it; each
    product costs about four times as much as a gradient. The model stays as it is.

    Args:
        model: A built Keras model.
        x: Inputs: an array, or a list or dictionary of arrays, all computed at once. A
            few hundred examples suffice.
        y: Targets likewise.
        loss: A Keras loss, its name, or a function of all targets and outputs. Defaults
            to what the model was compiled with.
        iterations: Maximum number of products.
        tolerance: Relative residual at which to stop.
        seed: Seed of the first vector.

    Returns:
        The eigenvalue, with its residual.

    Raises:
        ValueError: If the model has no loss, or no trainable weights.

    Examples:
        ```python
        analysis.hessian_eigenvalue(model, x_test[:500], y_test[:500]).eigenvalue
        ```
    """
    positive_integer("iterations", iterations)
    check_data(x, y)
    if not model.trainable_variables:
        raise ValueError(
            "Argument `model` must have trainable weights: the Hessian is with respect "
            "to them. Set `trainable = True` on a layer. "
            f"Received: model={model.name!r}, which has none"
        )
    loss_of = loss_function(model, loss, x, y, training=False)
    product = _hessian_product(model, loss_of)
    shapes = [variable.shape for variable in model.trainable_variables]
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    image = np.random.default_rng(seed).standard_normal(ends[-1])
    eigenvalue = residual = math.nan
    for _ in range(iterations):
        vector = image / np.linalg.norm(image)
        parts = np.split(vector.astype("float32"), ends[:-1])
        parts = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        products = product(x, y, parts)
        image = np.concatenate([part.ravel().astype("float64") for part in products])
        eigenvalue, square = float(vector @ image), float(image @ image)
        if not math.isfinite(square):
            return Curvature(math.nan, math.nan)
        if square == 0:
            return Curvature(0.0, 0.0)
        # |Hv - ev|^2 = |Hv|^2 - e^2, because v has length 1
        residual = math.sqrt(max(square - eigenvalue**2, 0.0)) / abs(eigenvalue)
        if residual <= tolerance:
            break
    return Curvature(eigenvalue, residual)


def _hessian_product(
    model: keras.Model, loss_of: Callable[[Data, Data, Tensor], Tensor]
) -> Callable[[Data, Data, list[np.ndarray]], list[np.ndarray]]:
    """Returns a function that multiplies a vector by the Hessian of a batch's loss."""
    variables = model.trainable_variables

    def product(x: Data, y: Data, vector: list[Tensor]) -> list[Tensor]:
        def loss_at(weights: Sequence[Tensor]) -> Tensor:
            state = list(zip(variables, weights, strict=True))
            with keras.StatelessScope(state, collect_losses=True):
                return loss_of(x, y, model(x, training=False))

        def slope(weights: Sequence[Tensor]) -> Tensor:
            pairs = zip(gradient(loss_at)(weights), vector, strict=True)
            return sum(ops.sum(g * ops.cast(v, g.dtype)) for g, v in pairs)

        return gradient(slope)([v.value for v in variables])

    return stateless(model, product, often=True)


def _check(sizes: Sequence[float], draws: int) -> None:
    positive_integer("draws", draws)
    if not isinstance(sizes, Sequence) or not all(size >= 0 for size in sizes):
        raise ValueError(
            "Argument `sizes` must be a list of numbers, each 0 or greater. "
            f"Received: sizes={sizes}"
        )


def _check_numbers(model: keras.Model, x: Data) -> None:
    """Raises if noise cannot be added to a model's inputs."""
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    whole = any("int" in tensor.dtype or tensor.dtype == "bool" for tensor in inputs)
    if whole or not hasattr(x, "shape"):
        taken = ", ".join(f"{tensor.dtype}{tensor.shape}" for tensor in inputs)
        raise ValueError(
            "Argument `x` must be one array, and the model must take floating-point "
            f"inputs, so that noise can be added. Received: {type(x).__name__}; the "
            f"model takes {taken or 'inputs of unknown type'}"
        )
