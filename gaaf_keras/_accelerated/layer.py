"""The base class of `GAAF` layers and of activations accelerated in place."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from gaaf_keras._accelerated.activation import AcceleratedActivation
from gaaf_keras._core.checks import non_negative_number
from gaaf_keras._core.compiling import is_of_torch, is_traced
from gaaf_keras._core.forms import current_form
from gaaf_keras._core.sawtooth import require_floating_point
from gaaf_keras._core.types import Activation, Function, Tensor
from gaaf_keras.shapes import ShapeLike

# An attribute of a function: the layer that accelerates it in place; of a layer: all
# such layers of its activations. Keras saves nothing under such a name.
IN_PLACE = "__gaaf_keras__"


class AcceleratedLayer(keras.layers.Layer):
    """Applies an accelerated activation, and knows whether it runs in training."""

    def __init__(self, accelerated: AcceleratedActivation, **kwargs: Any) -> None:
        # As part of another layer, it must keep that layer's dtype.
        kwargs.setdefault("autocast", kwargs.get("dtype") is not None)
        super().__init__(**kwargs)
        self.supports_masking = True
        self._accelerated = accelerated
        self._strength_variable: keras.Variable | None = None
        self._was_traced = False  # for training, with the strength as a constant

    @property
    def activation(self) -> Activation:
        """The plain activation."""
        return self._accelerated.activation

    @property
    def shape_function(self) -> Function:
        """The shape function. Compiled training steps keep their first one."""
        return self._accelerated.shape_function

    @shape_function.setter
    def shape_function(self, value: ShapeLike) -> None:
        before = self.shape_function
        self._accelerated = self._accelerated.replaced(shape_function=value)
        if self._was_traced and self.shape_function != before:
            now = self.shape_function
            self._warn_of_compiled(f"shape function {before}", f"{now}")

    @property
    def frequency(self) -> float | None:
        """Teeth per unit of the paper's sawtooth; None for the exact limit."""
        return self._accelerated.frequency

    @property
    def unit_gain(self) -> bool:
        """Whether the derivative is scaled to the plain activation's largest."""
        return self._accelerated.unit_gain

    @property
    def strength(self) -> float:
        """The current factor on the shape.

        Compiled training steps keep the strength they started with, and a warning says
        so, unless an `AccelerationSchedule` is among the callbacks.
        """
        return self._accelerated.strength

    @strength.setter
    def strength(self, value: float) -> None:
        before, now = self.strength, non_negative_number("strength", value)
        self._accelerated.strength = now
        if self._strength_variable is not None:
            self._strength_variable.assign(now)
        elif self._was_traced and now != before:
            self._warn_of_compiled(
                f"strength {before:g}",
                f"{now:g}",
                " To change the strength during `fit`, use "
                "`gaaf_keras.AccelerationSchedule`.",
            )

    def _warn_of_compiled(self, before: str, now: str, more: str = "") -> None:
        warnings.warn(
            f"Training steps compiled before now keep {before} in {self.name!r}. To "
            f"train with {now}, call `model.make_train_function(force=True)` before "
            f"`fit`.{more}",
            # Bypass Keras's `__setattr__`; TensorFlow's layers have three of them.
            stacklevel=6 if keras.backend.backend() == "tensorflow" else 4,
        )

    def forget_compiled(self) -> None:
        """Notes that the training step will be compiled again."""
        self._was_traced = False

    def make_strength_variable(self) -> None:
        """Makes the strength a variable, which compiled training steps read each time.

        Until then it is a constant of the step, which is cheaper. The variable is not a
        weight: `get_weights` and weight files stay those of the plain model.
        """
        if self._strength_variable is None:
            variable = keras.Variable(
                self.strength,
                dtype="float32",
                trainable=False,
                autocast=False,  # a number made in a loop cannot leave it on JAX
                name="strength",
            )
            # Bypass Keras's tracking, which would make it a weight of the layer.
            object.__setattr__(self, "_strength_variable", variable)

    @property
    def variables(self) -> list[keras.Variable]:
        """Weights and other state, including the strength if it is a variable."""
        if self._strength_variable is None or current_form() != "custom gradient":
            return super().variables
        return [*super().variables, self._strength_variable]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and self._is_quick(args[0]):
            context = self._get_call_context()
            if context.entry_layer is not self:
                return self.call(args[0], context.get_value("training"))
            self._maybe_reset_call_context()
        return super().__call__(*args, **kwargs)

    def _is_quick(self, inputs: Tensor) -> bool:
        """Whether Keras has nothing to do for this layer inside another's call.

        On PyTorch its work takes longer than the activation of a time step.
        """
        return (
            is_of_torch(inputs)
            and self._remat_mode is None
            and self.activity_regularizer is None
            and not self.autocast
            and not isinstance(self.activation, keras.layers.Layer)
            and getattr(inputs, "_keras_mask", None) is None
        )

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        require_floating_point(inputs)
        if not (training is None or training):
            return self._accelerated.plain(inputs)
        return self._apply(self._accelerated, inputs, training)

    def _apply(
        self, accelerated: AcceleratedActivation, inputs: Tensor, training: bool | None
    ) -> Any:
        if training and not self._was_traced and is_traced(inputs):
            self._was_traced = True
        if self._strength_variable is None or current_form() != "custom gradient":
            return accelerated(inputs)
        value = ops.cast(self._strength_variable, "float32")  # as it is now
        return accelerated.accelerate(inputs, value)

    def rematerialized_call(
        self, layer_call: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Callable[..., Any]:
        call = functools.partial(layer_call, **kwargs)  # TensorFlow takes no keywords
        mode = self._remat_mode
        if mode is not None and mode.mode == "activations":
            # Here Keras would assign `activation`.
            again = keras.remat(call)
        else:
            again = super().rematerialized_call(call, *args, **kwargs)
        return lambda *args, **_: again(*args)
