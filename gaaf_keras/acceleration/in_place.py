"""The objects that replace activations while a model is accelerated."""

import collections
import functools
import threading
import types
from collections.abc import Callable
from typing import Any, Self

import keras

from gaaf_keras._accelerated.activation import AcceleratedActivation
from gaaf_keras._accelerated.layer import IN_PLACE, AcceleratedLayer
from gaaf_keras._core.compiling import is_of_torch
from gaaf_keras._core.exchange import Exchanges
from gaaf_keras._core.forms import current_form
from gaaf_keras.acceleration.sites import Site
from gaaf_keras.acceleration.table import ActivationTable, Row
from gaaf_keras.layers import accelerated_layers


class _Noted(threading.local):  # `torch.compile` cannot trace a context variable
    training: bool | None = None


_NOTED = _Noted()


class InPlace(AcceleratedLayer):
    """Accelerates an activation of another layer, without being part of that layer."""

    def __init__(self, accelerated: AcceleratedActivation, site: Site) -> None:
        holder = site.holders[-1]
        name = holder.name
        if site.argument is not None:
            name = f"{name}_{site.argument.replace('/', '_')}"
        super().__init__(accelerated, name=name)
        # Bypass Keras's tracking. A layer hosts its activations; the model hosts the
        # operations in its graph.
        is_layer = isinstance(holder, keras.layers.Layer)
        self.__dict__.update(
            host=holder if is_layer else site.holders[-2],
            site=site,
            acceleration=None,
            last=None,
        )

    def function(self) -> Callable[..., Any]:
        """Returns what is called in place of the activation."""
        plain = self.site.applied
        if not hasattr(plain, "__name__"):  # an object, maybe with attributes
            return _InPlaceOfObject(self, plain)

        @functools.wraps(plain)
        def accelerated(*args: Any, **kwargs: Any) -> Any:
            return self.apply(plain, args, kwargs)

        accelerated.__dict__[IN_PLACE] = self
        return accelerated

    def apply(
        self, plain: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Returns the value of a function, accelerated in training."""
        tensors = [each for each in (*args, *kwargs.values()) if _is_tensor(each)]
        if len(tensors) != 1 or not _is_dense_float(tensors[0]):
            return plain(*args, **kwargs)
        training = self._in_training()
        if current_form() == "plain" or training not in (None, True):
            return plain(*args, **kwargs)
        (x,) = tensors
        if len(args) == 1 and not kwargs:
            return self._apply(self._accelerated, x, training)

        def with_its_arguments(value: Any) -> Any:
            by_name = {k: value if v is x else v for k, v in kwargs.items()}
            return plain(*(value if each is x else each for each in args), **by_name)

        own = {"applied": with_its_arguments, "differentiate": True}
        return self._apply(self._accelerated.replaced(**own), x, training)

    def _in_training(self) -> bool | None:
        """Returns the `training` that Keras would pass if it called this layer."""
        context = self._get_call_context()
        training = context.get_value("training")
        outside_of_layers = context.entry_layer is self
        self._maybe_reset_call_context()
        if training is None:
            training = _NOTED.training
        rematerialised = getattr(self.site.holders[-1], "_remat_mode", None)
        if rematerialised is not None:
            if outside_of_layers and training is None:
                return self.__dict__["last"]  # computed again, for the backward pass
            self.__dict__["last"] = training
        return training

    def make_strength_variable(self) -> None:
        super().make_strength_variable()
        # On JAX a step knows only the variables of a model's layers.
        layers = self._layers_of_a_layer()
        if not any(layer is self for layer in layers):
            layers.append(self)

    def forget(self) -> None:
        """Takes the layer out of the model."""
        layers = self._layers_of_a_layer()
        layers[:] = [layer for layer in layers if layer is not self]

    def _layers_of_a_layer(self) -> list[Any]:
        """Returns Keras's list of the parts of the host, or of a layer inside it.

        Not that of a model, whose list is its `layers`.
        """
        layers = self.host._flatten_layers()
        own = next((each for each in layers if not isinstance(each, keras.Model)), None)
        return [] if own is None else own._layers


class _InPlaceOfObject:
    """Stands in for a callable object, with its attributes."""

    def __init__(self, layer: InPlace, plain: Any) -> None:
        self.__dict__.update({IN_PLACE: layer, "_plain": plain})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        layer: InPlace = self.__dict__[IN_PLACE]
        return layer.apply(self._plain, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_plain"], name)


def _is_tensor(value: Any) -> bool:
    return keras.ops.is_tensor(value) or isinstance(value, keras.KerasTensor)


def _is_dense_float(value: Any) -> bool:
    if is_of_torch(value):
        return True  # at once: the checks below take as long as a gradient
    is_symbolic = isinstance(value, keras.KerasTensor)
    is_sparse = hasattr(value, "dense_shape") or hasattr(value, "row_splits")
    if is_symbolic or is_sparse:
        return False
    return keras.backend.is_float_dtype(value.dtype)


class Acceleration(ActivationTable):
    """A model whose activations are accelerated; made by `gaaf_keras.accelerate`.

    In a `with` block the acceleration lasts as long as the block, otherwise until
    `remove()`. `print` shows a table of the activations.

    Attributes:
        model: The model's name.
        notes: Further notes, as sentences.
    """

    def __init__(
        self,
        model: keras.layers.Layer,
        layers: list[InPlace],
        rows: list[Row],
        notes: list[str],
    ) -> None:
        super().__init__(model.name, rows, notes)
        self._model = model
        self._layers = layers
        self._exchanges = Exchanges()
        self._in_place = True
        for layer in layers:
            layer.__dict__["acceleration"] = self
        try:
            _put_in_place(model, layers, self._exchanges)
            compile_step_again(model)
        except BaseException:
            self.remove()
            raise

    @property
    def rows(self) -> tuple[Row, ...]:
        """The activations as they are now, accelerated and left alone."""
        layers = iter(self._layers)
        return tuple(
            row if row.left_alone else row.with_gradient_of(next(layers))
            for row in self._rows
        )

    @property
    def title(self) -> str:
        return super().title + ("" if self._in_place else " (removed)")

    def remove(self) -> None:
        """Puts the plain activations back. Further calls do nothing."""
        self._exchanges.undo()
        for layer in self._layers:
            layer.forget()
        if self._in_place:
            compile_step_again(self._model)
        self._in_place = False

    def __enter__(self) -> Self:
        if not self._in_place:
            raise RuntimeError(
                f"The acceleration of model {self.model!r} was removed. Call "
                "`gaaf_keras.accelerate` again."
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.remove()


def _put_in_place(
    model: keras.layers.Layer, layers: list[InPlace], exchanges: Exchanges
) -> None:
    """Makes a model apply accelerated activations, but appear without them."""
    by_host: dict[int, tuple[Any, list[InPlace]]] = {}
    for layer in layers:
        by_host.setdefault(id(layer.host), (layer.host, []))[1].append(layer)
        exchanges.put(layer.site.container, layer.site.key, layer.function())
    for host, its_layers in by_host.values():
        exchanges.put(vars(host), IN_PLACE, its_layers)
    _put_new_traces(model, layers[0], exchanges)
    by_recurrent: dict[int, tuple[Any, list[InPlace]]] = {}
    for layer in layers:
        for holder in layer.site.holders:
            if isinstance(holder, keras.layers.RNN):
                by_recurrent.setdefault(id(holder), (holder, []))[1].append(layer)
    for recurrent, its_layers in by_recurrent.values():
        call = _plain_at_inference(recurrent.call, its_layers)
        exchanges.put(vars(recurrent), "call", call)
    exchanges.put(vars(model), "call", _with_training_noted(model.call))
    for layer in model._flatten_layers():
        names = ["get_config", "export"] if isinstance(layer, keras.Model) else []
        for name in names or ["get_config"]:  # methods that show a layer's contents
            if name not in vars(layer):
                exchanges.put(vars(layer), name, _as_it_was(layer, name, exchanges))


def _put_new_traces(
    model: keras.layers.Layer, layer: InPlace, exchanges: Exchanges
) -> None:
    """Replaces each `call` that is a `tf.function`, which has traces of before."""
    for part in model._flatten_layers():
        if hasattr(part.call, "python_function"):
            exchanges.put(vars(part), "call", _traced_again(part, layer))


def _traced_again(part: Any, layer: InPlace) -> Callable[..., Any]:
    """Returns a `call` with traces of its own, for training and for inference."""
    function, python_function = part.call, part.call.python_function
    if "call" not in vars(part):
        python_function = types.MethodType(type(part).call.python_function, part)
    # The same function with the same options, by the value of `training`.
    traced: dict[bool | None, Any] = collections.defaultdict(
        lambda: function._clone(python_function)
    )

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return traced[layer._in_training()](*args, **kwargs)

    return call


def _with_training_noted(call: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a `call` that tells activations about `training` where Keras does not.

    Keras does not in `stateless_call`, which calls the method without a call context.
    """

    @functools.wraps(call)
    def noted(*args: Any, **kwargs: Any) -> Any:
        before, _NOTED.training = _NOTED.training, kwargs.get("training")
        try:
            return call(*args, **kwargs)
        finally:
            _NOTED.training = before

    return noted


def _plain_at_inference(
    call: Callable[..., Any], layers: list[InPlace]
) -> Callable[..., Any]:
    """Returns a recurrent layer's `call`, whose kernels Keras chooses by function.

    At inference it must see the plain functions: cuDNN works only for these.
    """

    @functools.wraps(call)
    def called(*args: Any, **kwargs: Any) -> Any:
        plain = Exchanges()
        try:
            if all(layer._in_training() not in (None, True) for layer in layers):
                for layer in layers:
                    plain.put(layer.site.container, layer.site.key, layer.site.applied)
            return call(*args, **kwargs)
        finally:
            plain.undo()

    return called


def _as_it_was(layer: Any, name: str, exchanges: Exchanges) -> Callable[..., Any]:
    """Returns a method that sees the layer as it was before the exchange."""
    original = getattr(layer, name)

    @functools.wraps(original)
    def method(*args: Any, **kwargs: Any) -> Any:
        with exchanges.suspended():
            return original(*args, **kwargs)

    return method


def compile_step_again(model: keras.layers.Layer) -> None:
    """Makes `fit` compile its step again, even while it runs."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.Model) and layer.train_function is not None:
            layer.train_function = None
            layer.make_train_function()


def in_place_layers(model: keras.layers.Layer) -> list[InPlace]:
    """Returns the layers that accelerate activations of a model in place."""
    return [layer for layer in accelerated_layers(model) if isinstance(layer, InPlace)]
