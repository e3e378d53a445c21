"""The backends' own transformations: compilation, vectorisation, derivatives."""

import keras
import numpy as np
import pytest

import gaaf_keras
from gaaf_keras import GAAF, GAAFReLU, GAAFTanh, Gaussian, ShiftedSigmoid, gaaf
from tests import reference
from tests.gradients import (
    points,
    second_derivative,
    upstream_like,
    value_and_gradient,
)

BACKEND = keras.backend.backend()


def made_when_called(x):
    def bell(x):
        return keras.ops.exp(-keras.ops.square(x / 2))

    return gaaf("tanh", bell)(x)


FUNCTIONS = {
    "gaaf_tanh": (gaaf_keras.gaaf_tanh, reference.gaaf_tanh),
    "gaaf_relu": (gaaf_keras.gaaf_relu, reference.gaaf_relu),
    "GAAFTanh": (GAAFTanh(), reference.gaaf_tanh),
    "GAAFReLU": (GAAFReLU(), reference.gaaf_relu),
    "user's": (gaaf(keras.ops.tanh, "gaussian"), reference.gaaf_tanh),
    "made when called": (made_when_called, reference.gaaf_tanh),
    "unit gain": (
        gaaf("tanh", unit_gain=True),
        lambda x, upstream: reference.gaaf_tanh(x, upstream) / 2,
    ),
}
BY_FUNCTION = pytest.mark.parametrize("name", FUNCTIONS)


def compiled_gradients(function):
    """Yields functions of (x, upstream) that compile the gradient in each way."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        for jit_compile in (False, True):

            @tf.function(jit_compile=jit_compile)
            def gradient(x, upstream):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    value = function(x)
                return tape.gradient(value, x, upstream)

            yield lambda x, u: gradient(tf.constant(x), tf.constant(u))
    elif BACKEND == "jax":
        import jax

        def gradient(x, upstream):
            return jax.vjp(function, x)[1](upstream)[0]

        yield jax.jit(gradient)
        yield jax.vmap(gradient)
        yield jax.jit(jax.vmap(gradient))
        yield jax.jit(jax.grad(lambda x, u: (function(x) * u).sum()))
    else:
        import torch

        def gradient(x, upstream):
            x = torch.tensor(x, requires_grad=True)
            return torch.autograd.grad(function(x), x, torch.tensor(upstream))[0]

        yield gradient
        # Without inductor, which would need a C++ compiler.
        function = torch.compile(function, backend="aot_eager", fullgraph=True)
        yield gradient


@BY_FUNCTION
def test_compiled_gradients(name):
    function, expected = FUNCTIONS[name]
    x = points("float32")
    upstream = upstream_like(x)
    wanted = expected(x.astype("float64"), upstream)
    for gradient in compiled_gradients(function):
        ours = keras.ops.convert_to_numpy(gradient(x, upstream))
        error = np.abs(ours - wanted)
        assert np.all(error <= 2e-6 * np.maximum(1, np.abs(upstream))), error.max()


@pytest.mark.parametrize("unit_gain", [False, True])
def test_second_derivative_of_more_combinations(unit_gain):
    x = np.linspace(-4, 4, 81, dtype="float32") + 0.01
    wide = x.astype("float64")
    step = reference.shifted_sigmoid(wide, 5, 1.1)
    density = np.exp(-wide * wide / 2) / np.sqrt(2 * np.pi)
    expected = density * (2 - wide * wide) + 5 * step * (1 - step)
    function = gaaf("gelu", unit_gain=unit_gain)
    if unit_gain:
        grid = np.linspace(-50, 50, 1_000_001)
        slope = reference.DERIVATIVES["gelu"](grid)
        total = slope + reference.shifted_sigmoid(grid, 5, 1.1)
        expected = expected * slope.max() / total.max()
    np.testing.assert_allclose(second_derivative(function, x), expected, atol=1e-5)


@pytest.mark.parametrize("unit_gain", [False, True])
def test_second_derivative_without_a_closed_form(unit_gain):
    x = np.linspace(-4, 4, 81) + 0.01
    function = gaaf("mish", unit_gain=unit_gain)
    below, above = (value_and_gradient(function, x + h)[1] for h in (-1e-5, 1e-5))
    expected = (above - below) / 2e-5
    np.testing.assert_allclose(second_derivative(function, x), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "policy", "unit_gain"),
    [("tanh", "mixed_bfloat16", False), ("mish", "float32", True)],
)
def test_a_strength_variable_in_the_body_of_a_loop(name, policy, unit_gain):
    x = np.random.default_rng(0).normal(size=(8, 3, 2)).astype("float32")
    weights = []
    for is_variable in (True, False):
        keras.utils.set_random_seed(0)
        layer = GAAF(name, strength=0.5, unit_gain=unit_gain)
        model = keras.Sequential(
            [
                keras.Input((3, 2)),
                keras.layers.LSTM(2, activation=layer, dtype=policy),
                keras.layers.Dense(1),
            ]
        )
        model.compile(keras.optimizers.SGD(1.0), "mse")
        if is_variable:
            layer.strength = 2.0
        schedule = gaaf_keras.AccelerationSchedule(lambda _: 0.5)
        callbacks = [schedule] if is_variable else []
        model.fit(x, x[:, 0, :1], epochs=2, verbose=0, callbacks=callbacks)
        weights.append(model.get_weights())
    error = 1e-5 if policy == "float32" else 2e-3
    for found, wanted in zip(*weights, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=error)


if BACKEND == "torch":
    import torch

    from gaaf_keras._core import on_torch

    def in_a_layer(activation, in_place=False):
        keras.utils.set_random_seed(0)
        dense = keras.layers.Dense(3, activation=activation)
        model = keras.Sequential([keras.Input((4,)), dense, keras.layers.Dense(2)])
        if in_place:
            gaaf_keras.accelerate(model)
        return model

    def with_variable(name, unit_gain=False):
        layer = GAAF(name, strength=0.5, unit_gain=unit_gain)
        layer.make_strength_variable()
        return layer

    FORMS = {
        "function": lambda: in_a_layer(gaaf_keras.gaaf_tanh),
        "gaaf": lambda: in_a_layer(gaaf("relu")),
        "layer": lambda: in_a_layer(GAAFTanh()),
        "in place": lambda: in_a_layer("tanh", in_place=True),
        "without a closed form": lambda: in_a_layer(GAAF("mish")),
        "user's": lambda: in_a_layer(gaaf(torch.tanh, "gaussian")),
        "unit gain": lambda: in_a_layer(GAAF("tanh", unit_gain=True)),
        "unit gain of mish": lambda: in_a_layer(GAAF("mish", unit_gain=True)),
        "variable": lambda: in_a_layer(with_variable("relu")),
        "variable and unit gain": lambda: in_a_layer(with_variable("mish", True)),
        "silu": lambda: in_a_layer(GAAF("silu")),
        "elu": lambda: in_a_layer(GAAF("elu")),
        "sawtooth": lambda: in_a_layer(GAAF("tanh", frequency=100.0)),
        "weights": lambda: in_a_layer(GAAF(keras.layers.PReLU())),
    }

    @pytest.mark.filterwarnings("error:.*performance drop")
    @pytest.mark.parametrize("form", FORMS)
    def test_transformations_of_torch_func(form):
        model = FORMS[form]()
        x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
        f = lambda row: model(row[None], training=True).sum()  # noqa: E731
        first, second = [], []
        for each in x:
            row = each.clone().requires_grad_()
            (slope,) = torch.autograd.grad(f(row), row, create_graph=True)
            first.append(slope.detach())
            more = {"retain_graph": True, "materialize_grads": True}
            second.append([torch.autograd.grad(d, row, **more)[0] for d in slope])
        first = torch.stack(first)
        second = torch.stack([torch.stack(rows) for rows in second])
        for found, wanted in [
            (torch.func.vmap(torch.func.grad(f))(x), first),
            (torch.func.jacrev(f)(x[0]), first[0]),
            (torch.func.jacfwd(f)(x[0]), first[0]),
            (torch.func.vmap(torch.func.hessian(f))(x), second),
            (torch.func.jacrev(torch.func.jacrev(f))(x[0]), second[0]),
        ]:
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("form", ["tanh", "relu", "gelu", "variable", "unit gain"])
    def test_the_expression_that_is_compiled_on_gpus(form, dtype, monkeypatch):
        forms = {
            "variable": with_variable("tanh"),
            "unit gain": gaaf("relu", unit_gain=True),
        }
        function = forms.get(form) or gaaf(form, strength=0.3)
        found = []
        for is_large in (False, True):
            monkeypatch.setattr(
                on_torch, "is_worth_compiling", lambda _, is_it=is_large: is_it
            )
            for count in (7, 11):
                x = torch.linspace(-3, 3, count, dtype=dtype, requires_grad=True)
                with torch.compiler.set_stance("force_eager"):  # needs no compiler
                    function(x).square().sum().backward()
                found.append(x.grad)
        torch.testing.assert_close(found[:2], found[2:])

    @pytest.mark.parametrize("layer", [GAAFTanh(), GAAF("mish")])
    def test_forward_mode_inside_of_forward_mode_is_refused(layer):
        twice = torch.func.jacfwd(torch.func.jacfwd(layer))
        with pytest.raises(NotImplementedError, match=r"torch.func.hessian"):
            twice(torch.ones(2))

    @pytest.mark.parametrize("activation", [GAAFTanh(), gaaf("mish"), gaaf("relu")])
    def test_functional_call(activation):
        class Network(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = torch.nn.Linear(4, 3)

            def forward(self, x):
                return activation(self.linear(x)).sum()

        network, x = Network(), torch.randn(6, 4)
        network(x).backward()
        parameters = {n: p.detach() for n, p in network.named_parameters()}
        call = lambda p: torch.func.functional_call(network, p, (x,))  # noqa: E731
        for name, found in torch.func.grad(call)(parameters).items():
            wanted = network.get_parameter(name).grad
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


if BACKEND == "jax":

    def test_forward_mode_is_refused_by_jax():
        import jax

        x = np.ones(2, "float32")
        with pytest.raises(TypeError, match="forward-mode"):
            jax.jvp(gaaf_keras.gaaf_tanh, (x,), (x,))


if BACKEND == "torch":
    import torch
    from torch.autograd import forward_ad

    @pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu", "gelu"])
    def test_forward_mode_over_a_gradient_that_keeps_no_graph(name):
        def second(create_graph):
            with forward_ad.dual_level():
                x = torch.linspace(-2, 2, 5).requires_grad_()
                dual = forward_ad.make_dual(x, torch.ones(5))
                total = gaaf(name)(dual).square().sum()
                (found,) = torch.autograd.grad(total, dual, create_graph=create_graph)
                return forward_ad.unpack_dual(found).tangent

        torch.testing.assert_close(
            second(create_graph=False), second(create_graph=True)
        )

    @pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
    def test_a_compiled_gradient_of_an_argument(name):
        gradient = torch.func.grad(lambda x: gaaf(name)(x).sum())
        compiled = torch.compile(gradient, backend="aot_eager")
        x = torch.linspace(-2, 2, 5)
        torch.testing.assert_close(compiled(x), gradient(x))

    @pytest.mark.parametrize("form", ["layer", "in place", "variable", "unit gain"])
    def test_a_step_is_compiled_as_a_whole(form):
        model, x = FORMS[form](), torch.randn(6, 4)
        step = lambda x: model(x, training=True).square().sum()  # noqa: E731
        compiled = torch.compile(step, backend="aot_eager", fullgraph=True)
        gradients = []
        for function in (step, compiled):
            model.zero_grad()
            function(x).backward()
            gradients.append([each.value.grad for each in model.trainable_variables])
        torch.testing.assert_close(*gradients)

    @pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
    def test_a_batch_of_upstream_gradients(name):
        x, upstream = torch.linspace(-2, 2, 5, requires_grad=True), torch.eye(5)
        value = gaaf(name)(x)
        more = {"is_grads_batched": True, "retain_graph": True}
        (rows,) = torch.autograd.grad(value, x, upstream, **more)
        (diagonal,) = torch.autograd.grad(value.sum(), x)
        torch.testing.assert_close(rows, torch.diag(diagonal))

    @pytest.mark.parametrize("strength", [0.3, 1.0, 50.0])
    def test_saturation_leaves_no_gradient_of_the_wrong_sign(strength):
        x = torch.tensor([8.0, 9.0, 12.0, torch.inf], requires_grad=True)
        gaaf("tanh", strength=strength)(x).sum().backward()
        wide = x.detach().double()
        expected = 1 - wide.tanh() ** 2 + strength * torch.exp(-(wide**2) / 4)
        torch.testing.assert_close(x.grad.double(), expected, rtol=1e-6, atol=1.2e-7)
        assert torch.all(x.grad >= 0)
        assert x.grad[-1] == 0

    @pytest.mark.parametrize(
        ("activation", "base"), [("tanh", Gaussian), ("relu", ShiftedSigmoid)]
    )
    def test_a_tensor_that_a_shape_function_keeps_is_not_overwritten(activation, base):
        kept = torch.tensor([0.5, torch.nan])

        class Keeping(base):
            def __call__(self, x):
                return kept

        function = gaaf(activation, Keeping())
        x = torch.ones(2, requires_grad=True)
        for _ in range(2):
            function(x).sum().backward()
        torch.testing.assert_close(kept, torch.tensor([0.5, torch.nan]), equal_nan=True)

    @pytest.mark.parametrize("recorded", [True, False])
    @pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
    def test_a_linear_function_that_is_called_twice(name, recorded):
        first, second = torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)
        network = lambda x: second(gaaf(name)(first(x)))  # noqa: E731
        x, tangent = torch.randn(2, 6, 4)
        with torch.set_grad_enabled(recorded):
            expected = torch.func.jvp(network, (x,), (tangent,))[1]
            linear = torch.func.linearize(network, x)[1]
            torch.testing.assert_close(linear(tangent), expected)
            torch.testing.assert_close(linear(tangent), expected)

    @pytest.mark.parametrize("name", ["tanh", "sigmoid", "relu", "gelu"])
    def test_a_graph_of_the_gradient_leaves_the_gradient(name):
        x = torch.tensor([torch.nan, torch.inf, -torch.inf, 2.0], requires_grad=True)
        total = gaaf(name)(x).sum()
        (alone,) = torch.autograd.grad(total, x, retain_graph=True)
        (with_graph,) = torch.autograd.grad(total, x, create_graph=True)
        torch.testing.assert_close(alone, with_graph.detach(), equal_nan=True)

    @pytest.mark.parametrize("name", ["gelu", "silu", "elu", "relu6", "softsign"])
    def test_a_value_that_is_changed_in_place(name):
        x = torch.linspace(-2, 2, 5, requires_grad=True)
        value = gaaf(name)(x * 1)
        value += x  # as a residual connection
        value.sum().backward()
        (expected,) = torch.autograd.grad((gaaf(name)(x) + x).sum(), x)
        torch.testing.assert_close(x.grad, expected)
