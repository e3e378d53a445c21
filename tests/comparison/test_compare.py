"""`compare`: runs that differ only in the variant, and an unchanged model."""

import functools
import json

import keras
import numpy as np
import pytest
from scipy import stats

import gaaf_keras
from gaaf_keras.comparison.records import as_text

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(96, 8)).astype("float32")
Y = (X[:, :3] + 0.3 * RANDOM.normal(size=(96, 3))).argmax(1)
TRAIN, VALIDATION, TEST = ((X[p], Y[p]) for p in np.split(np.arange(96), [48, 72]))
# Where what `fit` compiles is not what is tested, it would take a second a run.
EAGER = {"run_eagerly": True}
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def make(optimizer=None, **compiled):
    layers = [keras.Input((8,)), keras.layers.Dense(12, "relu")]
    layers += [keras.layers.Dropout(0.3), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    optimizer = optimizer or keras.optimizers.SGD(0.2)
    model.compile(optimizer, LOSS, metrics=["accuracy"], **(compiled or EAGER))
    return model


def compiled(optimizer=None):
    return make(optimizer, run_eagerly=False)


def compare(model, variants=None, **given):
    given = {"validation_data": VALIDATION, "epochs": 2, "seeds": 1} | given
    variants = {"alias": None} if variants is None else variants
    data = given.pop("data", TRAIN)
    return gaaf_keras.compare(
        model, *data, batch_size=16, variants=variants, verbose=0, **given
    )


class Begins(keras.callbacks.Callback):
    """Records the weights and learning rate at the beginning of each run."""

    def __init__(self):
        super().__init__()
        self.weights, self.rates = [], []

    def on_train_begin(self, logs=None):
        self.weights.append(self.model.get_weights())
        self.rates.append(float(self.model.optimizer.learning_rate))


def assert_same(weights, others):
    for ours, theirs in zip(weights, others, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("given", [False, True])
def test_the_plain_model_under_another_name_is_the_plain_model(given):
    begins = Begins()
    model = compiled() if given else compiled
    found = compare(model, seeds=2, learning_rates=(1, 3), callbacks=[begins])
    by_key = {(r["variant"], r["learning_rate"], r["seed"]): r for r in found.runs}
    assert len(by_key) == 8
    for (name, rate, seed), run in by_key.items():
        if name == "alias":
            assert run["history"] == by_key["plain", rate, seed]["history"]
    for rate in (1, 3):
        one, other = (by_key["plain", rate, seed]["history"] for seed in (0, 1))
        assert one != other
    for weights in begins.weights[1:4]:  # of the first seed
        assert_same(weights, begins.weights[0])
    pairs = zip(begins.weights[0], begins.weights[4], strict=True)
    assert all((one == other).all() for one, other in pairs) == given
    assert begins.rates == pytest.approx([0.2, 0.6] * 4)
    for answer in found.answers:
        assert answer.effect("alias") == ""
        assert answer.differences["alias"].p == 1
    assert "no variant shows a difference" in found.verdict


def state_of(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(each) for each in variables]


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            raise KeyboardInterrupt


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_model_that_is_given_ends_as_it_began(interrupted):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.2, 2, 0.5)
    model = compiled(keras.optimizers.SGD(schedule, momentum=0.9))
    model.fit(*TRAIN, verbose=0)
    before, layers, history = state_of(model), [*model.layers], model.history
    callbacks = [Interrupt()] if interrupted else []
    given = {"learning_rates": [2], "callbacks": callbacks}
    if interrupted:
        with pytest.raises(KeyboardInterrupt):
            compare(model, {"ours": {}}, **given)
    else:
        compare(model, {"ours": {}}, **given)
    assert_same(state_of(model), before)
    assert model.layers == layers
    assert model.history is history
    assert model.optimizer._learning_rate is schedule
    assert not gaaf_keras.summary(model).accelerated
    again = keras.models.clone_model(model)
    again.compile(keras.optimizers.SGD(0.2), LOSS)
    again.set_weights(model.get_weights())
    model.compile(keras.optimizers.SGD(0.2), LOSS)
    for each in (model, again):
        keras.utils.set_random_seed(1)
        for layer in each.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign([1, 0])
        each.fit(*TRAIN, verbose=0)
    assert_same(model.get_weights(), again.get_weights())


if keras.backend.backend() == "jax":  # the tensors of others warn

    @pytest.mark.filterwarnings("error")
    def test_where_warnings_are_errors():
        assert compare(make(), learning_rates=[2], epochs=1).runs


@pytest.mark.once
def test_a_planted_improvement_is_found_and_scipy_agrees():
    """A network that learns too slowly, with a gradient ten times as large."""

    def slow():
        hidden = keras.layers.Dense(24, "tanh")
        out = keras.layers.Dense(3, trainable=False)
        model = keras.Sequential([keras.Input((8,)), hidden, out])
        optimizer = keras.optimizers.SGD(0.02)
        model.compile(optimizer, LOSS, metrics=["accuracy"], **EAGER)
        return model

    planted = {"shape_function": "constant(9)", "unit_gain": False}
    found = compare(slow, {"planted": planted, "alias": None}, seeds=5, epochs=3)
    values = {
        name: [r["value"] for r in found.runs if r["variant"] == name]
        for name in ("plain", "planted")
    }
    assert stats.ttest_rel(values["planted"], values["plain"]).pvalue < 0.025
    assert found.answers[0].effect("planted") == "helps"
    assert "planted helps (+" in found.verdict


class Own(keras.Model):
    """A custom class with two optimizers and its own training step."""

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(6, "relu")
        self.out = keras.layers.Dense(3)

    def call(self, x):
        return self.out(self.hidden(x))


def own():
    model = Own()
    model.compile("adam", LOSS, **EAGER)
    return model


@pytest.mark.once
def test_what_fit_takes_goes_to_fit():
    def batches():
        while True:
            yield from ((TRAIN[0][i : i + 8], TRAIN[1][i : i + 8]) for i in (0, 8, 16))

    by_generator = compare(own, data=(batches,), steps_per_epoch=3)
    assert by_generator.runs[0]["monitor"] == "val_loss"
    one, other = (run["history"] for run in by_generator.runs)
    assert one == other
    weighted = compare(own, class_weight={0: 3.0, 1: 1.0, 2: 1.0}).runs[0]
    assert weighted["history"]["loss"] != compare(own).runs[0]["history"]["loss"]
    made = []

    def callbacks():
        made.append(keras.callbacks.EarlyStopping("loss", min_delta=9, patience=1))
        return made[-1:]

    rarely = compare(make, epochs=4, validation_freq=2).runs[0]
    assert len(rarely["history"]["val_accuracy"]) == 2
    assert rarely["best_epoch"] in (2, 4)
    stopped = compare(make, callbacks=callbacks, epochs=4)
    assert [run["epochs"] for run in stopped.runs] == [2, 2]
    assert len(made) == 2


@pytest.mark.once
@pytest.mark.parametrize(
    ("monitor", "higher"),
    [(None, True), ("val_b_mae", False), ("val_a_loss", False)],
)
def test_any_metric_of_several_outputs(monitor, higher):
    def two_outputs():
        x = keras.Input((8,))
        hidden = keras.layers.Dense(6, "relu")(x)
        outputs = {n: keras.layers.Dense(3, name=n)(hidden) for n in ("a", "b")}
        model = keras.Model(x, outputs)
        losses = {"a": LOSS, "b": "mse"}
        f1 = keras.metrics.F1Score()  # a number a class
        metrics = {"a": ["accuracy"], "b": [f1, "mae"]}
        model.compile("adam", losses, metrics=metrics, **EAGER)
        return model

    x, y = TRAIN
    data = x, {"a": y, "b": x[:, :3]}
    given = {"validation_data": None, "validation_split": 0.25, "monitor": monitor}
    found = compare(two_outputs, {"ours": {}}, data=data, **given)
    for run in found.runs:
        assert run["monitor"] == (monitor or "val_a_accuracy")
        assert run["higher"] == higher
        best = (max if higher else min)(run["history"][run["monitor"]])
        assert run["value"] == pytest.approx(best)


@pytest.mark.once
def test_failed_runs_are_counted_and_not_compared():
    boom = {"strength": 1e30, "unit_gain": False}
    found = compare(make, {"boom": boom, "alias": None}, seeds=2)
    failed = [run for run in found.runs if run["failed"]]
    assert {run["variant"] for run in failed} == {"boom"}
    assert [run["value"] for run in failed] == [None, None]
    assert "boom failed in 2 of 2 runs; no other variant shows" in found.verdict
    assert list(found.answers[0].differences) == ["alias"]
    plain = compare(lambda: make(keras.optimizers.SGD(1e30)), {"ours": {}})
    assert "plain failed in 1 of 1 run, so no variant" in plain.verdict
    assert plain.answers[0].differences == {}


@pytest.mark.once
def test_test_data_are_of_the_best_epoch_and_the_chosen_rate():
    kept = []

    class Keep(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            score = self.model.evaluate(*TEST, verbose=0, return_dict=True)
            kept.append(score["accuracy"])

    given = {"test_data": TEST, "learning_rates": (0.1, 1), "seeds": 2}
    found = compare(make, **given, callbacks=[Keep()], epochs=3)
    own, best = found.answers
    assert (own.measured, best.measured) == ("val_accuracy", "test accuracy")
    # In the order in which they were trained.
    order = [(s, n, f) for s in (0, 1) for n in ("plain", "alias") for f in (1, 0.1)]
    scores = dict(zip(order, np.reshape(kept, (-1, 3)), strict=True))
    chosen = {name: best.learning_rate(name) for name in ("plain", "alias")}
    for run in found.runs:
        key = run["seed"], run["variant"], run["learning_rate"]
        if run["learning_rate"] == chosen[run["variant"]]:
            assert run["test"] == pytest.approx(scores[key][run["best_epoch"] - 1])
        else:
            assert run["test"] is None


@pytest.mark.once
def test_partial_functions_and_methods_are_told_apart():
    make = functools.partial(np.full, 3)
    texts = [
        as_text(functools.partial(make, 1.0)),
        as_text(functools.partial(make, 2.0)),
        as_text(functools.partial(np.zeros, 3)),
        as_text(Begins().on_epoch_begin),
        as_text(Begins().on_train_begin),
    ]
    assert len(set(texts)) == len(texts)
    assert as_text(functools.partial(make, 1.0)) == texts[0]


@pytest.mark.once
def test_finished_runs_are_not_trained_again(tmp_path):
    begins = Begins()
    given = {"folder": tmp_path / "runs", "callbacks": lambda: [begins]}
    first = compare(make, **given)
    assert len(begins.rates) == 2
    path = tmp_path / "runs" / "runs.jsonl"
    path.write_text(path.read_text() + '{"run": {"var')  # interrupted
    again = compare(make, {"alias": None, "ours": {}}, **given, seeds=2)
    assert len(begins.rates) == 6
    assert again.runs[0] == first.runs[0]
    assert len([json.loads(line) for line in path.open()]) == 6
    with pytest.raises(ValueError, match=r"other settings: .*epochs.*another folder"):
        compare(make, **given, epochs=3)
    with pytest.raises(ValueError, match=r"other settings: ours as .*strength"):
        compare(make, {"ours": {"strength": 0.3}}, **given)
    with pytest.raises(ValueError, match=r"other settings: .*array of"):
        compare(make, **given, data=(TRAIN[0] + 1, TRAIN[1]))
    with pytest.raises(ValueError, match="other settings: validation_data="):
        compare(make, **given, validation_data=TEST)

    def other_loss():
        model = make()
        model.compile(keras.optimizers.SGD(0.2), "mse", metrics=["accuracy"], **EAGER)
        return model

    def other_weights():
        model = make()
        model.set_weights([weight + 1 for weight in model.get_weights()])
        return model

    def other_dropout():
        model = keras.models.clone_model(
            make(),
            clone_function=lambda layer: (
                keras.layers.Dropout(0.5)
                if isinstance(layer, keras.layers.Dropout)
                else layer
            ),
        )
        model.compile(keras.optimizers.SGD(0.2), LOSS, metrics=["accuracy"], **EAGER)
        return model

    for other, name in (
        (other_loss, "configuration"),
        (other_weights, "weights"),
        (other_dropout, "configuration"),
    ):
        with pytest.raises(ValueError, match=f"other settings: {name}="):
            compare(other, **given)
    path.write_text("[]\n")
    with pytest.raises(ValueError, match="`compare` did not write"):
        compare(make, **given)


def functions():
    def closing(factor):
        return lambda z: factor * z

    return {
        "ops": lambda z: 1 + keras.ops.tanh(z),
        "other": lambda z: 1 + keras.ops.sin(z),
        "number": lambda z: 2 * z,
        "another number": lambda z: 3 * z,
        "closure": closing(0.5),
        "another closure": closing(0.25),
        "default": lambda z, k=4: k * z,
        "another default": lambda z, k=5: k * z,
    }


@pytest.mark.once
def test_functions_are_told_apart_by_what_they_do():
    texts = {name: as_text(each) for name, each in functions().items()}
    assert len({*texts.values()}) == len(texts)
    assert texts == {name: as_text(each) for name, each in functions().items()}


@pytest.mark.once
def test_the_time_limit_starts_nothing_that_takes_longer():
    found = compare(make, time_limit=1e-3, seeds=2)
    assert len(found.runs) <= 1
    assert any("of 4 runs did not start" in each for each in found.cautions)
    assert str(found)


@pytest.mark.once
def test_no_variants_given():
    found = compare(make, {**gaaf_keras.comparison.VARIANTS}, epochs=1)
    names = ["plain", "paper's form", "strength 0.3", "unit gain", "one-sided"]
    assert [run["variant"] for run in found.runs] == names
    text = str(found)
    assert "one run of each cannot show a difference" in text
    assert all(name in text for name in names)

    def tanh():
        layers = [keras.Input((8,)), keras.layers.Dense(4, "tanh")]
        model = keras.Sequential([*layers, keras.layers.Dense(3)])
        model.compile("sgd", LOSS, **EAGER)
        return model

    found = gaaf_keras.compare(tanh, *TRAIN, seeds=1, verbose=0)
    assert [run["variant"] for run in found.runs] == names[:4]
    assert any("one-sided" in each for each in found.cautions)
    assert any("no validation data" in each for each in found.cautions)


@pytest.mark.once
@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"seeds": 0}, ValueError, "`seeds` must be 1 or greater"),
        ({"learning_rates": ()}, ValueError, "must not be empty"),
        ({"learning_rates": (1, 0)}, ValueError, "`learning_rates` must be greater"),
        ({"mode": "up"}, ValueError, "mode='up'"),
        (
            {"monitor": "val_acc"},
            ValueError,
            r"monitor='val_acc'. The model reports: .*loss",
        ),
        ({"variants": {"plain": {}}}, ValueError, "None for the plain model"),
        (
            {"variants": {"a": {"stregth": 1}}},
            TypeError,
            "'a' must have arguments .*strength, .*Received: 'stregth'",
        ),
        ({"variants": {"a": {"layers": "no"}}}, ValueError, "Variant 'a': .*selects"),
        ({"model": 3}, TypeError, "a compiled Keras model, or a function"),
        ({"model": list}, TypeError, "a compiled Keras model, or a function"),
        ({"model": lambda: None}, TypeError, "It returned: None"),
        ({"model": keras.Sequential()}, ValueError, "must be a compiled model"),
        ({"model": own()}, ValueError, "must be built"),
        ({"data": (iter([]),)}, TypeError, "Give a function that"),
        ({"test_data": TEST[0]}, ValueError, r"`test_data` must be \(x, y\)"),
        ({"validation_data": 2 * TEST}, ValueError, "`validation_data` must be"),
        ({"learning_rates": "13"}, TypeError, "must be factors"),
        ({"folder": __file__}, ValueError, "`folder` must be a folder"),
        ({"folder": f"{__file__}/new"}, ValueError, "`folder` must be a folder"),
        ({"variants": {"a": 0.3}}, TypeError, "must map each name .*'a': 0.3"),
        ({"monitor": 3}, TypeError, "`monitor` must be a name"),
        (
            {"monitor": "val_loss", "validation_data": None},
            ValueError,
            "`monitor` needs validation data",
        ),
        ({"time_limit": 0}, ValueError, "`time_limit` must be greater than 0"),
    ],
)
def test_wrong_arguments(given, error, message):
    model = given.get("model", make)
    given = {key: value for key, value in given.items() if key != "model"}
    with pytest.raises(error, match=message):
        compare(model, **given)


@pytest.mark.once
@pytest.mark.parametrize(
    ("metrics", "monitor", "trained"),
    [("flat", None, False), ("flat", "val_error", False), ("by name", None, True)],
)
def test_a_metric_of_ones_own_needs_a_direction(metrics, monitor, trained):
    def error(y, predicted):
        return keras.ops.mean(predicted, axis=-1)

    def own_metric():
        layers = [keras.layers.Dense(4, "relu"), keras.layers.Dense(1, name="out")]
        model = keras.Sequential([keras.Input((8,)), *layers])
        given = {"flat": [error], "by name": {"out": [error]}}[metrics]
        model.compile("sgd", "mse", metrics=given, **EAGER)
        return model

    begins = Begins()
    given = {"callbacks": [begins], "monitor": monitor, "epochs": 1}
    message = "`mode` must be 'min' or 'max' for metric '.*error'.*mode='auto'"
    with pytest.raises(ValueError, match=message):
        compare(own_metric, **given)
    assert bool(begins.rates) == trained
    found = compare(own_metric, **given, mode="min")
    assert not found.runs[0]["higher"]
    assert compare(own_metric, **given | {"monitor": "loss"}).runs


@pytest.mark.once
def test_layers_that_keras_numbers_are_refused_before_training():
    begins = Begins()
    number = make().layers[0].name.removeprefix("dense").lstrip("_")
    following = f"dense_{int(number or 0) + 2}"
    variants = {"first": {"layers": following}}
    with pytest.raises(ValueError, match=r"next model does not have.*Give the layers"):
        compare(make, variants, callbacks=[begins])
    assert begins.rates == []

    def named():
        layers = [keras.Input((8,)), keras.layers.Dense(4, "relu", name="first")]
        model = keras.Sequential([*layers, keras.layers.Dense(3)])
        model.compile("sgd", LOSS, **EAGER)
        return model

    assert len(compare(named, {"first": {"layers": "first"}}, epochs=1).runs) == 2


@pytest.mark.once
def test_a_function_must_make_a_new_model():
    model = make()
    with pytest.raises(ValueError, match="returns a new model each time"):
        compare(lambda: model)


@pytest.mark.once
def test_a_picture():
    several = compare(make, seeds=2, epochs=1, learning_rates=(1, 2))
    assert len(several.plot().subfigs) == 3
    several.plot().canvas.draw()
