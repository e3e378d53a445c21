"""Learning rates over time, weight decay, label smoothing."""

import keras
import numpy as np
import pytest

from experiments import TrainingConfig, config, optimization, train_and_evaluate
from tests.processes import python

STEPS = 5  # an epoch


def choices_of(name):
    (field,) = (field for field in config.settings() if field.name == name)
    return field.metadata["choices"]


def rates(**given):
    rate = optimization.learning_rate(
        TrainingConfig(learning_rate=0.4, epochs=8, **given), STEPS
    )
    if isinstance(rate, float):
        return np.full(8 * STEPS, rate)
    return np.array([float(rate(step)) for step in range(8 * STEPS)])


def test_constant():
    np.testing.assert_allclose(rates(), 0.4)
    np.testing.assert_allclose(rates(batch_size=64), 0.4)
    np.testing.assert_allclose(rates(batch_size=64, scale_learning_rate=True), 0.2)


def test_cosine():
    steps = np.arange(8 * STEPS)
    expected = 0.2 * (1 + np.cos(np.pi * steps / (8 * STEPS)))
    made = rates(learning_rate_schedule="cosine")
    np.testing.assert_allclose(made, expected, atol=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_warm_up(schedule):
    made = rates(learning_rate_schedule=schedule, warm_up_epochs=2)
    np.testing.assert_allclose(made[:10], 0.4 * np.arange(10) / 10, atol=1e-6)
    after = np.arange(30)
    cosine = 0.2 * (1 + np.cos(np.pi * after / 30))
    expected = cosine if schedule == "cosine" else np.full(30, 0.4)
    np.testing.assert_allclose(made[10:], expected, atol=1e-6)


def test_steps_down():
    made = rates(learning_rate_schedule="step")
    np.testing.assert_allclose(made, np.repeat([0.4, 0.04, 0.004], [20, 10, 10]), 1e-6)
    made = rates(learning_rate_schedule="step", warm_up_epochs=1)
    expected = np.repeat([0.2, 0.4, 0.04, 0.004], [5, 15, 10, 10])
    np.testing.assert_allclose(made, expected, 1e-6)


@pytest.mark.parametrize("epochs", [1, 2, 3, 5])
@pytest.mark.parametrize("warm_up", [0, 1, 2, 4])
def test_few_epochs(epochs, warm_up):
    if warm_up >= epochs:
        return
    for schedule in choices_of("learning_rate_schedule"):
        given = TrainingConfig(
            epochs=epochs, warm_up_epochs=warm_up, learning_rate_schedule=schedule
        )
        rate = optimization.learning_rate(given, STEPS)
        if callable(rate):
            assert all(0 <= float(rate(i)) <= 0.1 + 1e-7 for i in range(epochs * STEPS))


@pytest.mark.parametrize("name", choices_of("optimizer"))
def test_every_optimizer_takes_a_step(name):
    given = TrainingConfig(optimizer=name, learning_rate=0.1, weight_decay=0.5)
    kernel = keras.Variable(np.ones(3), name="kernel")
    bias = keras.Variable(np.ones(3), name="bias")
    made = optimization.optimizer(given, STEPS)
    zero = keras.ops.zeros(3)
    made.apply([zero, zero], [kernel, bias])
    np.testing.assert_allclose(kernel, 0.95, atol=1e-6)
    np.testing.assert_allclose(bias, 1.0, atol=1e-6)
    assert (getattr(made, "momentum", 0) == 0.9) == (name in ("momentum", "nesterov"))


@pytest.mark.parametrize("from_logits", [True, False])
def test_label_smoothing(from_logits):
    random = np.random.default_rng(0)
    logits = random.normal(size=(6, 4))
    labels = random.integers(0, 4, 6)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = np.full((6, 4), 0.1 / 4)
    wanted[np.arange(6), labels] += 0.9
    expected = -(wanted * np.log(probabilities)).sum(axis=1).mean()
    given = TrainingConfig(label_smoothing=0.1)
    loss = optimization.loss(given, from_logits)
    predicted = (logits if from_logits else probabilities).astype("float32")
    assert float(loss(labels, predicted)) == pytest.approx(expected, rel=1e-5)
    assert not isinstance(optimization.loss(TrainingConfig(), from_logits), type(loss))


def test_a_model_trained_with_smoothed_labels_needs_no_code_of_the_laboratory(tmp_path):
    config = TrainingConfig(
        label_smoothing=0.1,
        epochs=1,
        hidden_units=(4,),
        export=False,
        output_dir=str(tmp_path / "run"),
    )
    train_and_evaluate(config)
    program = (
        "import sys, keras, numpy, gaaf_keras;"
        "sys.modules['experiments'] = None;"
        f"model = keras.saving.load_model({str(tmp_path / 'run' / 'model.keras')!r});"
        "x, y = numpy.zeros((4, 8, 8, 1)), numpy.zeros(4);"
        "print('trains on:', model.train_on_batch(x, y))"
    )
    assert "trains on:" in python("-c", program)
