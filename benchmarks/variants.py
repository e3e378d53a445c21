"""The variants of `speed.py`: activations, networks with them, and how to run them."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from experiments.networks import cnn, mlp
from gaaf_keras import GAAF, gaaf

Call = Callable[[], Any]
Function = Callable[[Any], Any]
Make = Callable[[], keras.Model]

DROPOUT = 0.5
_SEED = keras.random.SeedGenerator(0)
_FREQUENCY = 10_000.0
_CLASSES = 10
_LSTM_UNITS = 64


def literal_sawtooth(base: str) -> Function:
    """Returns the paper's formula, for the framework to differentiate."""
    phi = keras.activations.get(base)

    def activation(x: Any) -> Any:
        scaled = x * _FREQUENCY
        sawtooth = (scaled - ops.floor(scaled) - 0.5) / _FREQUENCY
        if base == "tanh":
            return phi(x) + sawtooth * ops.exp(-ops.square(x) / 4)
        return phi(x) + sawtooth * ops.sigmoid(5 * (x + 0.5))

    return activation


def functions(base: str) -> dict[str, Function]:
    """Returns the activations to compare, the plain one first."""
    phi = keras.activations.get(base)
    return {
        base: phi,
        f"GAAF {base}": gaaf(base),
        f"GAAF {base}, unit gain": gaaf(base, unit_gain=True),
        f"{base}, dropout": lambda x: keras.random.dropout(phi(x), DROPOUT, seed=_SEED),
        "GELU": keras.activations.gelu,
        "SiLU": keras.activations.silu,
        "PReLU": lambda x: ops.where(x > 0, x, 0.25 * x),
        "literal sawtooth": literal_sawtooth(base),
    }


def _lstm(activation: Any, dropout: float = 0.0) -> keras.Model:
    layer = layers.LSTM(_LSTM_UNITS, activation=activation, dropout=dropout)
    return keras.Sequential([keras.Input((28, 28)), layer, layers.Dense(_CLASSES)])


# By the name of a network: plain activation, batch size, maker.
_mlp = functools.partial(mlp, (28, 28, 1), _CLASSES)
_cnn = functools.partial(cnn, (32, 32, 3), _CLASSES)
NETWORKS: dict[str, tuple[str, int, Callable[..., keras.Model]]] = {
    "mlp": ("tanh", 128, _mlp),
    "ReLU mlp": ("relu", 128, _mlp),
    "cnn": ("relu", 32, functools.partial(_cnn, 64)),
    "cnn with batch norm": ("relu", 32, functools.partial(_cnn, 64, batch_norm=True)),
    "narrow cnn": ("relu", 128, functools.partial(_cnn, 16)),
    "narrow GELU cnn": ("gelu", 128, functools.partial(_cnn, 16)),
    "lstm": ("tanh", 128, _lstm),
    "lstm of few examples": ("tanh", 8, _lstm),
}


def networks() -> Iterator[tuple[str, int, dict[str, Make]]]:
    """Yields names, batch sizes and the maker of each variant, the plain one first."""
    for name, (base, batch, make) in NETWORKS.items():
        options: dict[str, dict[str, Any]] = {
            base: {"activation": base},
            f"GAAF {base}": {"activation": GAAF(base)},
            f"GAAF {base}, unit gain": {"activation": GAAF(base, unit_gain=True)},
            f"{base}, dropout": {"activation": base, "dropout": DROPOUT},
            "GELU": {"activation": "gelu"},
            "SiLU": {"activation": "silu"},
            "literal sawtooth": {"activation": literal_sawtooth(base)},
        }
        if make is not _lstm:
            options["PReLU"] = {"activation": layers.PReLU()}
        yield name, batch, {v: functools.partial(make, **o) for v, o in options.items()}


def values(count: int) -> list[Any]:
    """Returns pre-activations and an upstream gradient, drawn where they are used."""
    return [keras.random.normal((count,), seed=seed) for seed in range(2)]


def forward_and_backward(function: Function, count: int, jit: bool) -> Call:
    """Returns a call that applies a function to values and takes its gradient."""
    x, upstream = values(count)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function(jit_compile=jit)
        def both(x: Any, upstream: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = function(x)
            return value, tape.gradient(value, x, upstream)

        return lambda: both(x, upstream)
    if keras.backend.backend() == "jax":
        import jax

        @jax.jit
        def both_compiled(x: Any, upstream: Any, seed: Any) -> Any:
            # An argument, as in a training step, so that XLA cannot draw beforehand.
            with keras.StatelessScope(state_mapping=[(_SEED.state, seed)]):
                value, pull_back = jax.vjp(function, x)
            return value, pull_back(upstream)

        seed = jax.device_put(np.asarray(_SEED.state))
        return lambda: both_compiled(x, upstream, seed)
    import torch

    x.requires_grad_()
    return lambda: torch.autograd.grad(function(x), x, upstream)


def copy(count: int) -> Call:
    """Returns a call that copies values, on JAX or PyTorch."""
    x, _ = values(count)
    if keras.backend.backend() == "jax":
        import jax

        negative = jax.jit(jax.numpy.negative)
        return lambda: negative(x)
    return x.clone


def device() -> str:
    """Returns the name of the GPU that JAX or PyTorch uses, or "no GPU"."""
    if keras.backend.backend() == "jax":
        import jax

        is_gpu = jax.default_backend() == "gpu"
        return jax.devices()[0].device_kind if is_gpu else "no GPU"
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return "no GPU"


def wait_for(result: Any) -> None:
    """Waits until the last call is done."""
    if keras.backend.backend() == "jax":
        import jax

        jax.block_until_ready(result)
    elif keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.synchronize()


def training_step(make: Make, batch: int, jit: bool) -> Call:
    """Returns a call that trains a new network on one batch."""
    model, x, y = _compiled(make, batch, jit)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        step = tf.function(model.train_step, jit_compile=jit)
        return lambda: step((x, y))
    return lambda: model.train_on_batch(x, y)


def prediction(make: Make, batch: int, jit: bool) -> Call:
    """Returns a call that predicts one batch with a new network."""
    model, x, _ = _compiled(make, batch, jit)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        predict = tf.function(lambda x: model(x, training=False), jit_compile=jit)
        return lambda: predict(x)
    return lambda: model.predict_on_batch(x)


def bytes_by_compiler(make: Make, batch: int) -> float:
    """Returns the bytes that XLA allocates for a training step on JAX.

    They cover everything but arguments and results: what the backward pass needs, and
    the gradients.
    """
    import jax

    model, x, y = _compiled(make, batch, jit=True)
    kept = [model.trainable_variables, model.non_trainable_variables]
    kept += [model.optimizer.variables, model.metrics_variables]
    state = [[variable.value for variable in variables] for variables in kept]
    step = jax.jit(model.train_step).lower(state, (x, y)).compile()
    return float(step.memory_analysis().temp_size_in_bytes)


def _compiled(make: Make, batch: int, jit: bool) -> tuple[keras.Model, Any, Any]:
    keras.utils.set_random_seed(0)
    model = make()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    on_torch = keras.backend.backend() == "torch"
    model.compile("sgd", loss, jit_compile=jit and not on_torch)
    model.optimizer.build(model.trainable_variables)
    random = np.random.default_rng(0)
    x = random.random((batch, *model.input_shape[1:]), "float32")
    y = random.integers(0, _CLASSES, batch)
    return model, ops.convert_to_tensor(x), ops.convert_to_tensor(y)


def kept_for_backward(function: Function, count: int) -> float:
    """Returns the bytes per element that an activation keeps for its gradient.

    Without the history of its input and without its output, which the next layer keeps
    anyway. On JAX and PyTorch.
    """
    x, _ = values(count)
    kept: dict[int, int] = {}
    if keras.backend.backend() == "jax":
        import jax

        output, pull_back = jax.vjp(function, x)
        for array in jax.tree.leaves(pull_back):
            if hasattr(array, "unsafe_buffer_pointer") and array.size >= count:
                kept[array.unsafe_buffer_pointer()] = array.nbytes
        kept.pop(output.unsafe_buffer_pointer(), None)
    else:
        import torch

        def pack(tensor: Any) -> Any:
            if tensor.numel() >= count:
                kept[tensor.data_ptr()] = tensor.nbytes
            return tensor

        x.requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            output = function(x)
        kept.pop(output.data_ptr(), None)
    return sum(kept.values()) / count
