"""Every analysis against an independent float64 computation on small networks."""

import keras
import numpy as np
import pytest

from gaaf_keras import GAAFReLU, GAAFTanh, analysis
from tests.analysis import numpy_network

CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
EXACT = {"rtol": 1e-5, "atol": 1e-8}
layers = keras.layers


def with_dropout():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, activation=GAAFTanh(), name="first"),
            layers.Dropout(0.3),
            layers.Dense(7, activation="relu", name="second"),
            layers.Dropout(0.5),
            layers.Dense(5, name="linear"),
            GAAFTanh(name="third"),
            layers.Dense(3, name="logits"),
        ]
    )


def with_batch_norm():
    model = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, use_bias=False),
            layers.BatchNormalization(name="norm"),
            GAAFReLU(name="first"),
            layers.Dense(6, activation="tanh", name="second"),
            layers.Dense(3),
        ]
    )
    random = np.random.default_rng(1)
    model.get_layer("norm").set_weights(
        [random.uniform(0.5, 1.5, 8).astype("float32") for _ in range(4)]
    )
    return model


def convolutional():
    return keras.Sequential(
        [
            keras.Input((6, 5, 2)),
            layers.Conv2D(4, 3, activation=GAAFReLU(), name="first"),
            layers.Conv2D(3, 2, name="linear"),
            layers.Activation("tanh", name="second"),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )


NETWORKS = [
    pytest.param(with_dropout, id="dropout"),
    pytest.param(with_batch_norm, id="batch norm"),
    pytest.param(convolutional, id="convolutional", marks=pytest.mark.once),
]


@pytest.fixture(params=NETWORKS)
def case(request):
    """A model whose biases are not 0, inputs and labels."""
    model = request.param()
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        if len(variable.shape) == 1:
            variable.assign(random.normal(0.1, 0.5, variable.shape))
        else:
            variable.assign(2 * keras.ops.convert_to_numpy(variable))
    x = random.normal(size=(40, *model.input_shape[1:])).astype("float32")
    return model, x, random.integers(0, 3, 40)


def state(model):
    return [np.array(keras.ops.convert_to_numpy(v)) for v in model.variables]


def test_gradient_flow(case):
    model, x, y = case
    before = state(model)
    flow = analysis.gradient_flow(model, x, y, loss=CROSS_ENTROPY)
    (masks,) = numpy_network.dropout_masks(model, x)
    network = numpy_network.of_model(model, training=True, masks=masks)
    network.backward(x.astype("float64"), y)
    assert list(flow) == list(network.activations)
    for name, layer in network.activations.items():
        gradient = layer.output_gradient
        np.testing.assert_allclose(
            [
                flow[name].pre_activation_gradient,
                flow[name].output_gradient,
                flow[name].activity,
                flow[name].sensitivity,
                flow[name].ratio,
            ],
            [
                np.abs(layer.pre_activation_gradient).mean(),
                np.abs(gradient).mean(),
                np.abs(layer.output).mean(),
                np.abs(gradient * layer.output).mean(),
                np.abs(gradient).mean() / np.abs(layer.output).mean(),
            ],
            **EXACT,
        )
    for value, expected in zip(state(model), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_gradient_flow_at_inference_has_the_true_gradient(case):
    model, x, y = case
    flow = analysis.gradient_flow(model, x, y, loss=CROSS_ENTROPY, training=False)
    network = numpy_network.of_model(model)
    network.backward(x.astype("float64"), y)
    for name, layer in network.activations.items():
        expected = np.abs(layer.pre_activation_gradient).mean()
        np.testing.assert_allclose(
            flow[name].pre_activation_gradient, expected, **EXACT
        )


def per_example(y, outputs):
    return keras.losses.sparse_categorical_crossentropy(y, outputs, from_logits=True)


@pytest.mark.parametrize("loss", [CROSS_ENTROPY, None, per_example])
def test_gradient_flow_under_weights(case, loss):
    model, x, y = case
    if loss is None:
        model.compile("sgd", CROSS_ENTROPY)
    by_class = {0: 5.0, 2: 0.25}
    weights = np.array([by_class.get(int(each), 1.0) for each in y])
    one_of = {"sample_weight": weights.astype("float32")}, {"class_weight": by_class}
    network = numpy_network.of_model(model)
    network.backward(x.astype("float64"), y, weights)
    for given in one_of:
        flow = analysis.gradient_flow(model, x, y, loss=loss, training=False, **given)
        for name, layer in network.activations.items():
            expected = np.abs(layer.pre_activation_gradient).mean()
            np.testing.assert_allclose(
                flow[name].pre_activation_gradient, expected, **EXACT
            )


def test_gradient_flow_is_the_mean_over_whole_batches(case):
    model, x, y = case
    flow = analysis.gradient_flow(
        model, x, y, loss=CROSS_ENTROPY, training=False, batch_size=15
    )
    network = numpy_network.of_model(model)
    means = []
    for first in (0, 15):
        part = slice(first, first + 15)
        network.backward(x[part].astype("float64"), y[part])
        means.append(
            [np.abs(a.output_gradient).mean() for a in network.activations.values()]
        )
    found = [layer.output_gradient for layer in flow.values()]
    np.testing.assert_allclose(found, np.mean(means, axis=0), **EXACT)


def test_saturation(case):
    model, x, _ = case
    found = analysis.saturation(model, x, threshold=0.4)
    network = numpy_network.of_model(model)
    network.forward(x.astype("float64"))
    accelerated = numpy_network.of_model(
        model, training=True, masks=[1.0, 1.0]
    ).activations
    for name, layer in network.activations.items():
        z = layer.pre_activation
        flat = np.abs(layer.slope(z)) < 0.4
        nodes = flat.reshape(-1, flat.shape[-1])
        assert found[name].share == pytest.approx(flat.mean(), abs=1e-12)
        assert found[name].dead_nodes == nodes.all(axis=0).sum()
        assert found[name].nodes == nodes.shape[1]
        assert found[name].accelerated_share == pytest.approx(
            (np.abs(accelerated[name].slope(z)) < 0.4).mean(), abs=1e-12
        )
        pre_activations = found[name].pre_activations
        np.testing.assert_allclose(
            [pre_activations.mean, pre_activations.standard_deviation],
            [z.mean(), z.std()],
            rtol=1e-5,
            atol=1e-6,  # pre-activations of about 2, whose mean is nearly 0
        )
        widths = np.diff(pre_activations.edges)
        assert np.sum(widths * pre_activations.density) == pytest.approx(1, abs=0.02)


def test_correlations(case):
    model, x, _ = case
    found = analysis.correlations(model, x)
    network = numpy_network.of_model(model)
    network.forward(x.astype("float64"))
    for name, layer in network.activations.items():
        nodes = layer.output.reshape(-1, layer.output.shape[-1])
        alive = nodes.std(axis=0) > 0
        matrix = np.corrcoef(nodes[:, alive], rowvar=False)
        pairs = matrix[np.triu_indices(len(matrix), 1)]
        assert found[name].constant_nodes == (~alive).sum()
        np.testing.assert_allclose(
            [found[name].mean_absolute, found[name].distribution.mean],
            [np.abs(pairs).mean(), pairs.mean()],
            rtol=1e-5,
            atol=1e-6,
        )


def test_ablation(case):
    model, x, y = case
    found = analysis.ablation(
        model, x, y, loss=CROSS_ENTROPY, shares=(0.3, 1.0), repeats=2, seed=5
    )
    network = numpy_network.of_model(model)
    x = x.astype("float64")
    network.forward(x)
    assert list(found) == list(network.activations)
    for name, layer in network.activations.items():
        layer.replace = lambda values: values
        network.forward(x)
        nodes = layer.output.reshape(-1, layer.output.shape[-1])
        mean = nodes.mean(axis=0)
        losses, accuracies = [], []
        for share in (0.0, 0.3, 1.0):
            rows = []
            for repeat in range(2):
                order = np.random.default_rng([5, repeat]).permutation(len(mean))
                held = np.isin(np.arange(len(mean)), order[: round(share * len(mean))])
                layer.replace = lambda values, held=held, mean=mean: np.where(
                    held, mean, values
                )
                rows.append([network.loss(x, y), network.accuracy(x, y)])
            losses.append(np.mean(rows, axis=0)[0])
            accuracies.append(np.mean(rows, axis=0)[1])
        layer.replace = lambda values: values
        np.testing.assert_allclose(found[name].losses, losses, **EXACT)
        np.testing.assert_allclose(found[name].accuracies, accuracies, atol=1e-6)


def test_weight_noise(case):
    model, x, y = case
    found = analysis.weight_noise(
        model, x, y, loss=CROSS_ENTROPY, sizes=(0.1, 0.5), draws=3, seed=7
    )
    before = [ops_numpy(v) for v in model.trainable_variables]
    expected = [[numpy_network.of_model(model).loss(x.astype("float64"), y)]]
    for size in (0.1, 0.5):
        losses = []
        for draw in range(3):
            random = np.random.default_rng([7, draw])
            for variable, value in zip(model.trainable_variables, before, strict=True):
                noise = random.standard_normal(value.shape)
                step = noise / np.sqrt((noise**2).sum()) * np.sqrt((value**2).sum())
                variable.assign(value + size * step)
            network = numpy_network.of_model(model)
            losses.append(network.loss(x.astype("float64"), y))
        expected.append(losses)
    np.testing.assert_allclose(found.losses, [np.mean(e) for e in expected], **EXACT)
    np.testing.assert_allclose(
        found.loss_deviations[1:], [np.std(e, ddof=1) for e in expected[1:]], rtol=1e-4
    )
    assert found.sizes == [0.0, 0.1, 0.5]


def ops_numpy(variable):
    return np.array(keras.ops.convert_to_numpy(variable))


def test_input_noise(case):
    model, x, y = case
    found = analysis.input_noise(
        model, x, y, loss=CROSS_ENTROPY, sizes=(0.3,), draws=2, seed=3
    )
    network = numpy_network.of_model(model)
    noisy = [
        x + 0.3 * x.std() * np.random.default_rng([3, draw]).standard_normal(x.shape)
        for draw in range(2)
    ]
    losses = [network.loss(x, y), np.mean([network.loss(n, y) for n in noisy])]
    accuracies = [np.mean([network.accuracy(n, y) for n in [x]])]
    accuracies.append(np.mean([network.accuracy(n, y) for n in noisy]))
    np.testing.assert_allclose(found.losses, losses, **EXACT)
    np.testing.assert_allclose(found.accuracies, accuracies, atol=1e-6)


def test_hessian_eigenvalue(case):
    model, x, y = case
    found = analysis.hessian_eigenvalue(
        model, x, y, loss=CROSS_ENTROPY, iterations=1000, tolerance=1e-5
    )
    values = [ops_numpy(v).astype("float64") for v in model.trainable_variables]
    sizes = np.cumsum([value.size for value in values])
    network = numpy_network.of_model(model)

    def gradient(vector):
        parts = np.split(vector, sizes[:-1])
        weights = [p.reshape(v.shape) for p, v in zip(parts, values, strict=True)]
        return network.weight_gradient(x.astype("float64"), y, weights)

    at = np.concatenate([value.ravel() for value in values])
    steps = 1e-5 * np.eye(at.size)
    hessian = [(gradient(at + step) - gradient(at - step)) / 2e-5 for step in steps]
    eigenvalues = np.linalg.eigvalsh((np.array(hessian) + np.transpose(hessian)) / 2)
    assert found.eigenvalue == pytest.approx(max(eigenvalues, key=abs), rel=1e-5)


def test_the_hessian_of_a_frozen_model_is_refused():
    model = with_dropout()
    model.trainable = False
    x, y = np.ones((4, 6), "float32"), np.zeros(4)
    with pytest.raises(ValueError, match="Argument `model` must have trainable"):
        analysis.hessian_eigenvalue(model, x, y, loss=CROSS_ENTROPY)


def test_pre_activation_variance():
    model = with_dropout()
    x = np.random.default_rng(0).normal(size=(30, 6)).astype("float32")
    before = state(model)
    found = analysis.pre_activation_variance(model, x, draws=6, threshold=0.5)
    runs = []
    for masks in numpy_network.dropout_masks(model, x, runs=6):
        network = numpy_network.of_model(model, training=True, masks=masks)
        network.forward(x.astype("float64"))
        runs.append({n: a.pre_activation for n, a in network.activations.items()})
    plain = numpy_network.of_model(model).activations
    in_training = network.activations
    for name in ("first", "second", "third"):
        z = np.array([run[name] for run in runs])
        mean = z.mean(axis=0)
        flat = plain[name].slope(mean) < 0.5
        expected = [
            z.var(axis=0, ddof=1).mean(),
            plain[name].slope(mean).mean(),
            plain[name].slope(z).mean(),
            in_training[name].slope(mean).mean(),
            flat.mean(),
            plain[name].slope(mean)[flat].mean(),
            plain[name].slope(z)[:, flat].mean(),
            in_training[name].slope(mean)[flat].mean(),
        ]
        got = found[name]
        np.testing.assert_allclose(
            [
                got.variance,
                got.derivative,
                got.derivative_under_noise,
                got.derivative_in_training,
                got.saturated,
                got.saturated_derivative,
                got.saturated_derivative_under_noise,
                got.saturated_derivative_in_training,
            ],
            expected,
            rtol=1e-5,
            atol=1e-7,
        )
    assert found["first"].variance == pytest.approx(0, abs=1e-12)
    for value, expected in zip(state(model), before, strict=True):
        np.testing.assert_array_equal(value, expected)
