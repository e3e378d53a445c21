"""What takes the place of activations while a model is accelerated."""

import functools
import types
from collections.abc import Callable
from typing import Any, Self

import keras

from gaaf_keras.accelerated import AcceleratedActivation
from gaaf_keras.accelerated_layer import IN_PLACE, AcceleratedLayer
from gaaf_keras.acceleration.sites import Site
from gaaf_keras.acceleration.table import ActivationTable, Row
from gaaf_keras.exchange import Exchanges
from gaaf_keras.forms import current_form
from gaaf_keras.layers import accelerated_layers


class InPlace(AcceleratedLayer):
    """Accelerates an activation of another layer, without being a part of that.

    Args:
        accelerated: The activation.
        site: Where it is applied.
    """

    def __init__(self, accelerated: AcceleratedActivation, site: Site) -> None:
        holder = site.holders[-1]
        name = holder.name
        if site.argument is not None:
            name = f"{name}_{site.argument.replace('/', '_')}"
        super().__init__(accelerated, name=name)
        # Past Keras's tracking. A layer is the host of its activations; the model, of
        # an operation in its graph.
        is_layer = isinstance(holder, keras.layers.Layer)
        self.__dict__.update(
            host=holder if is_layer else site.holders[-2], site=site, acceleration=None
        )

    def function(self) -> Callable[..., Any]:
        """Returns what is called in place of the activation."""
        plain = self.site.applied

        def accelerated(x: Any, *args: Any, **kwargs: Any) -> Any:
            is_ours = (
                not (args or kwargs)
                and keras.ops.is_tensor(x)
                and keras.backend.is_float_dtype(x.dtype)
                and current_form() != "plain"
            )
            if not is_ours:
                return plain(x, *args, **kwargs)
            return self.call(x, training=self._in_training())

        functools.update_wrapper(accelerated, plain)
        accelerated.__dict__[IN_PLACE] = self
        return accelerated

    def _in_training(self) -> bool | None:
        """Returns what Keras would give this layer as `training`, were it called."""
        context = self._get_call_context()
        training = context.get_value("training")
        self._maybe_reset_call_context()
        return training

    def make_strength_variable(self) -> None:
        super().make_strength_variable()
        # On JAX a step knows the variables of a model's layers alone.
        listed = self.host._layers
        if not isinstance(self.host, keras.Sequential) and not any(
            layer is self for layer in listed
        ):
            listed.append(self)

    def forget(self) -> None:
        """Takes the layer out of its host."""
        if not isinstance(self.host, keras.Sequential):
            listed = self.host._layers
            listed[:] = [layer for layer in listed if layer is not self]


class Acceleration(ActivationTable):
    """A model whose activations are accelerated; made by `gaaf_keras.accelerate`.

    In a `with` block the acceleration lasts as long as the block, otherwise until
    `remove()`. `print` shows a table of the activations.

    Attributes:
        model: The model's name.
        rows: The activations, accelerated and left alone.
        notes: What else is to be known.
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
            _forget_compiled_step(model)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        """Puts the plain activations back; does nothing the second time."""
        self._exchanges.undo()
        for layer in self._layers:
            layer.forget()
        if self._in_place:
            _forget_compiled_step(self._model)
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
    """Has a model apply accelerated activations, and show itself without them.

    Args:
        model: The model.
        layers: What accelerates its activations.
        exchanges: Takes note of what is done.
    """
    by_host: dict[int, tuple[Any, list[InPlace]]] = {}
    for layer in layers:
        by_host.setdefault(id(layer.host), (layer.host, []))[1].append(layer)
        exchanges.put(layer.site.container, layer.site.key, layer.function())
    for host, its_layers in by_host.values():
        exchanges.put(vars(host), IN_PLACE, its_layers)
    for layer in model._flatten_layers():
        for name in ("get_config", "export"):  # which show what a layer consists of
            method = getattr(layer, name, None)
            if method is not None:
                exchanges.put(vars(layer), name, _as_it_was(layer, name, exchanges))


def _as_it_was(layer: Any, name: str, exchanges: Exchanges) -> Callable[..., Any]:
    """Returns a method that sees nothing of what was exchanged."""

    @functools.wraps(getattr(layer, name))
    def method(*args: Any, **kwargs: Any) -> Any:
        with exchanges.suspended():
            return getattr(layer, name)(*args, **kwargs)

    return method


def _forget_compiled_step(model: keras.layers.Layer) -> None:
    """Has `fit` compile its step again."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.Model):
            layer.train_function = None


def in_place_layers(model: keras.layers.Layer) -> list[InPlace]:
    """Returns what accelerates activations of a model in place."""
    return [layer for layer in accelerated_layers(model) if isinstance(layer, InPlace)]
