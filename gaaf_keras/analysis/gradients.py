"""How much gradient reaches each layer: the paper's table 2.

With the loss L, the pre-activation z of a layer and its output a = phi(z), these are,
for each layer, the means over examples and nodes of |dL/dz|, |dL/da| and |a|.

Dropout multiplies the outputs that it keeps by 1 / (1 - rate), and a network may have
large outputs and small weights after them or the other way round, so the gradients of
two networks are not on one scale. Two more numbers take the activity into account: the
ratio of |dL/da| to |a| says how fast a gradient step would change the outputs, relative
to their size; and |a dL/da| says how much the loss changes with a relative change of
the outputs. The latter stays the same when a layer's outputs are multiplied by a factor
and the weights after them divided by it.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from gaaf_keras._core.checks import positive_integer
from gaaf_keras._core.differentiation import gradient_and_more
from gaaf_keras._core.types import Tensor
from gaaf_keras.analysis.activation_values import PRE_ACTIVATION, observing
from gaaf_keras.analysis.data import (
    Data,
    Loss,
    check_data,
    count,
    part,
    weights_of,
)
from gaaf_keras.analysis.losses import loss_function
from gaaf_keras.analysis.model_activations import observed_activations
from gaaf_keras.analysis.stateless import stateless, zeros_like

# A float16 gradient below 6e-8 is 0; multiplied by the first factor it is not. If that
# overflows, the others are tried.
_LOSS_SCALES = (2.0**12, 1.0, 2.0**-12)


@dataclasses.dataclass(frozen=True)
class LayerGradient:
    """Gradient and activity of a layer, means over examples and nodes.

    Attributes:
        pre_activation_gradient: Mean of |dL/dz|, with the pre-activation z.
        output_gradient: Mean of |dL/da|, with the output a of the activation, before
            dropout.
        activity: Mean of |a|.
        sensitivity: Mean of |a dL/da|: how much the loss changes with a relative change
            of an output. Does not depend on the scale of the outputs.
    """

    pre_activation_gradient: float
    output_gradient: float
    activity: float
    sensitivity: float

    @property
    def ratio(self) -> float:
        """Mean |dL/da| divided by mean |a|."""
        return self.output_gradient / self.activity if self.activity else 0.0

    @classmethod
    def mean(cls, values: Sequence["LayerGradient"]) -> "LayerGradient":
        """Returns the means over several batches or runs."""
        rows = [dataclasses.astuple(value) for value in values]
        return cls(*np.mean(rows, axis=0).tolist())


Measurements = list[tuple[int, dict[str, LayerGradient]]]  # each with its step


def mean_of(measurements: Measurements) -> dict[str, LayerGradient]:
    """Returns the mean of measurements by layer; empty if there are none."""
    layers = [found for _, found in measurements]
    return {
        name: LayerGradient.mean([found[name] for found in layers])
        for name in (layers[0] if layers else ())
    }


def gradient_flow(
    model: keras.Model,
    x: Data,
    y: Data,
    *,
    loss: Loss | None = None,
    training: bool = True,
    batch_size: int = 128,
    sample_weight: Data | None = None,
    class_weight: Mapping[int, float] | None = None,
) -> dict[str, LayerGradient]:
    """Measures the gradient that reaches each layer of a model: table 2.

    The loss is the mean over a batch, so an example's gradient is divided by the batch
    size: compare only numbers with the same batch size. The loss is weighted as in
    `fit(sample_weight=..., class_weight=...)` only if these are given here. The model
    stays as it is.

    Args:
        model: A built Keras model.
        x: Inputs: an array, or a list or dictionary of arrays.
        y: Targets likewise.
        loss: A Keras loss, its name, or a function of all targets and outputs. Defaults
            to what the model was compiled with.
        training: Whether the model runs in training mode: with dropout and accelerated
            gradients.
        batch_size: Examples that share a loss. Those left over are not used.
        sample_weight: Factors on the examples' losses, as `fit` takes them.
        class_weight: Factors by class, as `fit` takes them; 1 for classes left out.

    Returns:
        The gradients by the name of the layer that holds the activation, in the order
        computed.

    Raises:
        ValueError: If the model has no activations to analyse, or no loss; if both
            weights are given, or weights with a loss that is one number per batch.

    Examples:
        >>> import keras, numpy
        >>> from gaaf_keras import GAAFTanh, analysis
        >>> dense = keras.layers.Dense(3, activation=GAAFTanh(), name="hidden")
        >>> model = keras.Sequential([keras.Input((4,)), dense])
        >>> x, y = numpy.ones((8, 4)), numpy.zeros((8, 3))
        >>> flow = analysis.gradient_flow(model, x, y, loss="mse")
        >>> flow["hidden"].output_gradient > 0
        True
    """
    positive_integer("batch_size", batch_size)
    total = check_data(x, y)
    data = (x, y, *weights_of(y, sample_weight, class_weight))
    size = min(batch_size, total)
    probe = gradient_probe(model, loss, *part(data[:2], 0, size), training=training)
    return mean_of(
        [
            (first, probe(*part(data, first, first + size)))
            for first in range(0, total - size + 1, size)
        ]
    )


def gradient_probe(
    model: keras.Model,
    loss: Loss | None,
    x: Data,
    y: Data,
    *,
    training: bool = True,
    often: bool = False,
) -> Callable[..., dict[str, LayerGradient]]:
    """Returns a function that measures the gradient flow of a batch such as x and y.

    It takes a batch's inputs and targets, and optionally weights of its examples.
    """
    measurement = GradientMeasurement(model, loss, x, y, training=training)
    compiled = stateless(model, measurement.measure, often=often)

    def probe(*batch: Data) -> dict[str, LayerGradient]:
        rows = finite_rows(lambda scale: compiled(scale, *batch))
        found = (LayerGradient(*row) for row in rows.tolist())
        return dict(zip(measurement.names, found, strict=True))

    return probe


class GradientMeasurement:
    """Measures the gradient flow of a batch such as x and y, by operations alone.

    Attributes:
        names: The layers in the last call of `measure`, in the order computed.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Loss | None,
        x: Data,
        y: Data,
        *,
        training: bool = True,
    ) -> None:
        self._model = model
        self._training = training
        self._activations = observed_activations(model)
        self._loss_of = loss_function(model, loss, x, y, training=training)
        self.names: list[str] = []

    def measure(
        self, scale: Tensor, x: Data, y: Data, *weights: Data
    ) -> list[list[Tensor]]:
        """Returns, for each layer, the numbers of its `LayerGradient`.

        Args:
            scale: Factor on the loss that keeps gradients from vanishing or
                overflowing.
            x: Inputs.
            y: Targets.
            *weights: Weights of the examples, if they have any.
        """

        def run(nudges: Iterable[Tensor]) -> tuple[Tensor, list[Tensor]]:
            waiting = iter(nudges)
            values: list[Tensor] = []
            self.names.clear()

            def observe(name: str, kind: str, tensor: Tensor) -> Tensor:
                if kind == PRE_ACTIVATION:
                    self.names.append(name)
                values.append(tensor + next(waiting))
                return values[-1]

            with observing(self._activations, observe):
                outputs = self._model(x, training=self._training)
            loss = self._loss_of(x, y, outputs, *weights)
            return loss * ops.cast(scale, loss.dtype), values

        nudges = zeros_like(lambda: run(itertools.repeat(0.0))[1])
        gradients, values = gradient_and_more(run)(nudges)
        return [
            _means(gradients[i], gradients[i + 1], values[i + 1], scale)
            for i in range(0, len(values), 2)  # pre-activation and output alternate
        ]


def finite_rows(measure: Callable[[np.float32], Any]) -> np.ndarray:
    """Returns the measurement at the first scale of the loss for which it is finite.

    Args:
        measure: Maps a scale to an array with one row per layer, in the last two axes.
    """
    first, *others = (np.float32(scale) for scale in _LOSS_SCALES)
    rows = np.array(measure(first))
    for scale in others:
        failed = ~np.isfinite(rows).all(axis=(-2, -1))
        if not failed.any():
            break
        rows[failed] = np.array(measure(scale))[failed]
    return rows


def _means(
    of_pre_activation: Tensor, of_output: Tensor, output: Tensor, scale: Tensor
) -> list[Tensor]:
    """Returns the attributes of a `LayerGradient`, in order."""
    of_pre_activation, of_output, output = (
        ops.cast(tensor, "float32") for tensor in (of_pre_activation, of_output, output)
    )
    return [
        ops.mean(ops.abs(of_pre_activation)) / scale,
        ops.mean(ops.abs(of_output)) / scale,
        ops.mean(ops.abs(output)),
        ops.mean(ops.abs(output * of_output)) / scale,
    ]


class GradientFlow(keras.callbacks.Callback):
    """Measures the gradient that reaches each layer while a model trains: table 2.

    At regular intervals it measures `gradient_flow` on a batch of the given data: the
    next part of it each time. A callback does not see the weights passed to `fit`: the
    numbers are for the unweighted loss unless you give the weights here too.
    Training is the same with or without it. On TensorFlow and JAX a measurement takes
    about as long as two training steps; the first takes longer, because it is compiled.

    Args:
        x: Inputs, for example the training data or a part of it.
        y: Targets.
        every: Steps between two measurements.
        batch_size: Examples per measurement. The loss is the mean over them, so give
            the batch size of training to get the gradients of training.
        loss: A Keras loss, its name, or a function of all targets and outputs. Defaults
            to what the model was compiled with.
        sample_weight: Factors on the examples' losses, as `fit` takes them.
        class_weight: Factors by class, as `fit` takes them; 1 for classes left out.

    Attributes:
        history: The measurements of the last run: for each, the step, counted from 1,
            and the layers' gradients by name.
        probe: The function that measures a batch; set when training begins.

    Raises:
        TypeError: If `class_weight` is not a mapping.
        ValueError: If `every` or `batch_size` is below 1, or both weights are given;
            when training begins, if the model has no activations to analyse, or no
            loss.

    Examples:
        ```python
        flow = gaaf_keras.analysis.GradientFlow(x_train, y_train)
        model.fit(x_train, y_train, epochs=10, callbacks=[flow])
        print(flow.mean())
        ```
    """

    def __init__(
        self,
        x: Data,
        y: Data,
        every: int = 100,
        batch_size: int = 128,
        *,
        loss: Loss | None = None,
        sample_weight: Data | None = None,
        class_weight: Mapping[int, float] | None = None,
    ) -> None:
        super().__init__()
        self._every = positive_integer("every", every)
        positive_integer("batch_size", batch_size)
        self._size = min(batch_size, check_data(x, y))
        self._data = (x, y, *weights_of(y, sample_weight, class_weight))
        self._loss = loss
        self._steps_before = 0
        self.history: Measurements = []

    def mean(self) -> dict[str, LayerGradient]:
        """Returns the mean over all measurements, by the name of the layer.

        Raises:
            ValueError: If there are none, because training took fewer steps than
                `every`.
        """
        if not self.history:
            raise ValueError(
                "There are no measurements: training took fewer steps than argument "
                f"`every`. Give a smaller one. Received: every={self._every}"
            )
        return mean_of(self.history)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        x, y, *_ = self._batch(0)
        self.probe = gradient_probe(self.model, self._loss, x, y, often=True)
        self.history = []
        self._last_step: int | None = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        steps = (self.params or {}).get("steps")
        if steps is not None:
            self._steps_before = epoch * steps
        elif self._last_step is not None:
            self._steps_before = self._last_step

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        step = self._steps_before + batch + 1
        last = self._steps_before if self._last_step is None else self._last_step
        self._last_step = step
        if step // self._every > last // self._every:
            _ = self.model  # on JAX, reading it updates its variables
            measured = self.probe(*self._batch(step // self._every - 1))
            self.history.append((step, measured))

    def _batch(self, index: int) -> tuple[Data, ...]:
        """Returns a batch of the data, which repeat from the start after the last."""
        first = index % (count(self._data[0]) // self._size) * self._size
        return part(self._data, first, first + self._size)
