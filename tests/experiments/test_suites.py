"""Plans and tables: the runs of a suite, and its summary."""

import contextlib
import io
import json
from pathlib import Path
from statistics import fmean, stdev

import pytest

from experiments import UsageError
from experiments.records import studies
from experiments.records.studies import Study
from experiments.report import comparison, pictures
from experiments.suites import catalogue, plans, runs
from experiments.suites.progress import ProgressView
from experiments.tables import markdown
from gaaf_keras import gaaf
from gaaf_keras.analysis import curve
from tests.small_suite import SEEDS, VARIANTS


def test_paper_tables():
    for name in ("digits", "mnist"):
        suite = catalogue.SUITES[name]
        found = [
            (suite.groups.get(variant, variant), v["activation"], v["dropout"] > 0)
            for variant, v in suite.variants.items()
        ]
        assert list(dict.fromkeys(found)) == [
            ("plain", "tanh", False),
            ("dropout", "tanh", True),
            ("GAAF", "gaaf_tanh", False),
        ]
    for name in ("cifar10", "cifar100", "svhn"):
        variants = catalogue.SUITES[name].variants
        assert [(v["activation"], v["batch_norm"]) for v in variants.values()] == [
            ("relu", False),
            ("relu", True),
            ("gaaf_relu", False),
            ("gaaf_relu", True),
        ]


def test_dropout_is_tuned_as_the_learning_rate_is():
    plan = plans.plan("mnist", {"learning_rate": (0.1, 0.3)}, runs=1)
    tuned = [name for name, group in plan.groups.items() if group == "dropout"]
    assert {plan.variants[name].dropout for name in tuned} == {0.1, 0.2, 0.3, 0.5}
    assert {plan.variants[name].learning_rate for name in tuned} == {0.1, 0.3}
    assert plan.groups["GAAF, learning rate 0.3"] == "GAAF"
    alone = plans.plan("mnist", {}, runs=1)
    assert set(alone.groups) == {f"dropout {rate}" for rate in (0.1, 0.2, 0.3, 0.5)}


RATES = [name for name in catalogue.SUITES if name.endswith("_rates")]


@pytest.mark.parametrize("suite", RATES)
def test_same_learning_rates_for_every_variant(suite):
    plan = plans.plan(suite, {}, runs=1)
    rates = {}
    for name, config in plan.variants.items():
        rates.setdefault(plan.groups[name], set()).add(config.learning_rate)
    assert list(rates)[:4] == ["plain", "dropout", "GAAF", "GAAF, unit gain"]
    assert len(set(map(frozenset, rates.values()))) == 1
    single = plans.plan(suite, {"learning_rate": (0.1,)}, runs=1)
    assert list(single.variants) == list(rates)
    plain = {c.activation.removeprefix("gaaf_") for c in single.variants.values()}
    assert plain - {"silu", "gelu"} == {single.variants["plain"].activation}


@pytest.mark.parametrize("suite", RATES)
def test_unit_scale_has_a_derivative_of_at_most_1(suite):
    variants = catalogue.SUITES[suite].variants
    unit_scale = {"GAAF, shape alone", "GAAF, one-sided"}
    (name,) = unit_scale.intersection(variants)
    config = variants[name]
    activation = gaaf(
        config["activation"].removeprefix("gaaf_"), config["shape_function"]
    )
    derivative = curve(activation).derivative_in_training
    assert derivative.max() == pytest.approx(1.0, abs=1e-3)


SEARCHES = [name for name in catalogue.SUITES if name.startswith("search_")]


@pytest.mark.parametrize("suite", SEARCHES)
def test_search_compares_candidates_of_one_activation(suite):
    base = suite.split("_")[1]
    plan = plans.plan(suite, {"learning_rate": (0.1,)}, runs=1)
    configs = plan.variants
    competing = {"silu", "gelu"} if base == "relu" else set()
    assert {c.activation for c in configs.values()} == {
        base,
        f"gaaf_{base}",
    } | competing
    assert {c.dropout for c in configs.values() if c.accelerates} == {0.0}
    settings = [
        (c.shape_function, c.strength, c.unit_gain, c.acceleration_schedule, c.dropout)
        for c in configs.values()
        if c.accelerates
    ]
    assert len(set(settings)) == len(settings) > 9
    for config in configs.values():
        if config.accelerates:  # every shape can be made
            gaaf(
                base, config.shape_function, config.strength, unit_gain=config.unit_gain
            )


@pytest.mark.parametrize("base", ["tanh", "relu"])
def test_searches_of_one_activation_try_the_same(base):
    suites_of_base = [
        suite.variants
        for name, suite in catalogue.SUITES.items()
        if name.startswith(f"search_{base}_")
    ]
    assert len(suites_of_base) == 2
    assert suites_of_base[0] == suites_of_base[1]


def test_given_fields_override_the_suite():
    plan = plans.plan("digits", {"epochs": 7, "seed": 3}, runs=2)
    assert {config.epochs for config in plan.variants.values()} == {7}
    runs = plan.all_runs(Path("out"))
    assert [(config.variant, config.seed) for config in runs] == [
        (name, seed) for seed in (3, 4) for name in ("plain", "dropout", "GAAF")
    ]
    assert runs[-1].output_dir == "out/GAAF/seed_4"


def test_folders():
    def folders(suite, given, runs):
        plan = plans.plan(suite, given, runs)
        return [config.output_dir for config in plan.all_runs(Path("out"))]

    assert folders(None, {}, 1) == ["out"]
    assert folders(None, {"seed": 5}, 2) == ["out/seed_5", "out/seed_6"]
    assert "out/batch_norm_GAAF/seed_0" in folders("svhn", {}, 1)
    many = ["+".join(["gaussian"] * 40 + [last]) for last in ("constant", "helu")]
    names = {
        Path(each).parent.name
        for each in folders(None, {"shape_function": tuple(many)}, 1)
    }
    assert len(names) == 2
    assert max(map(len, names)) < 255


@pytest.mark.parametrize(
    ("suite", "given", "runs", "message"),
    [
        ("minst", {}, 1, "suite must be one of digits.*'minst'"),
        ("digits", {"activation": "relu"}, 1, "'digits' sets activation itself"),
        (
            "digits",
            {"activation": "relu", "dropout": 0.1},
            1,
            "sets activation and dropout itself",
        ),
        ("digits", {}, 0, "runs must be 1 or greater. Received: 0"),
        (None, {"epochs": 0}, 1, "epochs must"),
        (None, {"logical_devices": 2}, 1, "strategy must be mirrored with logical"),
        (
            None,
            {"learning_rate": (0.1, 0.10000001)},
            1,
            "learning_rate must be different values in their first",
        ),
        (None, {"width": 8}, 1, "width has no effect on the mlp"),
        (None, {"activation": ("tanh", "tanh")}, 1, "activation must be different"),
        ("mnist", {"init_from": "a.keras"}, 1, "new models. .* --suite=compare"),
        ("compare", {"strength": 0.5}, 1, "'compare' sets strength itself"),
        (
            "compare",
            {"activation": ("tanh", "relu")},
            1,
            "one activation. Give only one",
        ),
        ("cifar10", {"hidden_units": (4,)}, 1, "hidden_units has no effect on the cnn"),
        (None, {"model": "lstm", "batch_norm": True}, 1, "no effect on the lstm"),
        ("cifar10", {"model": "lstm"}, 1, "sets batch_norm, which has no effect on"),
        (
            None,
            {"shape_function": ("1/6*gaussian", "1*6*gaussian")},
            1,
            "'1/6.gaussian' and '1.6.gaussian' would have the same folder",
        ),
        (None, {"init_from": "a.keras", "gates_alone": True}, 1, "gates_alone would"),
    ],
)
def test_wrong_plans_are_refused(suite, given, runs, message):
    with pytest.raises(UsageError, match=message):
        plans.plan(suite, given, runs)


def test_data_and_model_of_a_suite_can_be_others():
    plan = plans.plan("digits", {"dataset": "mnist", "model": "cnn", "width": 8}, 1)
    assert plan.title == "mnist, cnn: UCI digits, tanh MLP"
    assert {c.dataset for c in plan.variants.values()} == {"mnist"}
    assert {c.width for c in plan.variants.values()} == {8}


def test_compare_has_plain_and_accelerated_forms_of_anything():
    plan = plans.plan("compare", {"dataset": "mnist", "activation": ("tanh",)}, 2)
    assert list(plan.variants) == ["plain", "paper's form", "strength 0.3", "unit gain"]
    assert plan.variants["plain"].activation == "tanh"
    assert plan.variants["unit gain"].unit_gain
    assert "one-sided" in plans.plan("compare", {"model": "cnn"}, 1).variants
    found = plans.plan("compare", {"init_from": "mine.keras"}, 1).variants
    settings = [(c.accelerate, c.strength, c.unit_gain) for c in found.values()]
    assert settings == [
        (False, 1.0, False),
        (True, 1.0, False),
        (True, 0.3, False),
        (True, 1.0, True),
    ]
    rates = plans.plan("compare", {"learning_rate": (0.1, 0.2)}, 1)
    assert set(rates.groups.values()) == set(plans.plan("compare", {}, 1).variants)


DROP_INS = [name for name in catalogue.SUITES if name.startswith("drop_in_")]


@pytest.mark.parametrize("suite", DROP_INS)
def test_every_variant_is_judged_at_each_rate(suite):
    definition = catalogue.SUITES[suite]
    plan = plans.plan(suite, {}, runs=1)
    assert not plan.groups
    rates = {}
    for name, config in plan.variants.items():
        variant = name.partition(", learning rate ")[0]
        rates.setdefault(variant, set()).add(config.learning_rate)
        assert config.patience > config.epochs
    assert set(rates) == set(definition.variants)
    low, middle, high = definition.common["learning_rate"]
    assert (low, high) == pytest.approx((middle / 2, middle * 2))
    assert {frozenset(found) for found in rates.values()} == {
        frozenset((low, middle, high))
    }
    given = {"dataset": "mine.npz", "model": "resmlp", "learning_rate": (0.1, 0.3)}
    if suite != "drop_in_lstm":
        others = plans.plan(suite, given, runs=1).variants.values()
        assert {c.learning_rate for c in others} == {0.1, 0.3}
        assert {(c.dataset, c.model) for c in others} == {("mine.npz", "resmlp")}


def test_at_each_rate_the_plain_network_with_that_rate_is_compared():
    plan = plans.plan("drop_in_relu_mlp", {}, 2)
    found = study_of(plan, {n: [run(c, 0.5)] * 2 for n, c in plan.variants.items()})
    pairs = comparison.comparisons(found)
    assert len(pairs) == 12
    for variant, other in pairs:
        assert other.name == f"plain, learning rate {variant.config.learning_rate:g}"


def test_lists_are_compared():
    given = {"activation": ("tanh", "gaaf_tanh"), "strength": 0.5}
    found = plans.plan(None, given, 1)
    assert [(n, c.strength) for n, c in found.variants.items()] == [
        ("tanh", 1.0),
        ("gaaf_tanh", 0.5),
    ]
    assert not found.groups
    shapes = ("gaussian", "one_sided(shifted_sigmoid(slope=2, shift=1))")
    found = plans.plan(None, {**given, "shape_function": shapes}, 1)
    assert [(n, c.shape_function) for n, c in found.variants.items()] == [
        ("tanh", None),
        *((f"gaaf_tanh, {shape}", shape) for shape in shapes),
    ]
    found = plans.plan(None, {"shape_function": shapes, "learning_rate": (1, 2)}, 1)
    assert len(found.variants) == 4
    assert set(found.groups.values()) == set(shapes)


def test_every_run_and_the_summary_are_written(suite):
    summary = json.loads((suite / "summary.json").read_text())
    assert [v["name"] for v in summary["variants"]] == list(VARIANTS)
    for variant in summary["variants"]:
        folders = [suite / variant["name"] / f"seed_{s}" for s in variant["seeds"]]
        results = [json.loads((f / "result.json").read_text()) for f in folders]
        values = [result["test_accuracy"] for result in results]
        assert variant["test_accuracy"]["values"] == values
        assert variant["test_accuracy"]["mean"] == pytest.approx(fmean(values))
        deviation = variant["test_accuracy"]["standard_deviation"]
        assert deviation == pytest.approx(stdev(values))
        assert json.loads((folders[1] / "config.json").read_text())["seed"] == 1
    page = (suite / "summary.md").read_text()
    for name in VARIANTS:
        assert f"| {name} | {SEEDS} |" in page
    assert page.endswith(f"    {summary['command']}\n")


def run(config, validation_accuracy, test_accuracy=0.5, diverged_at=None):
    result = {
        "test_accuracy": test_accuracy,
        "validation_accuracy": validation_accuracy,
    }
    result |= {"best_epoch": 3, "epochs_run": 20, "seconds": 1.5, "parameters": 10}
    result |= {"test_examples": 360, "diverged_at": diverged_at}
    return studies.Run(Path("out"), config, {}, result, [], [])


def study_of(plan, runs):
    """The study of a plan, with the runs of each variant."""
    by_seed = {name: dict(enumerate(found)) for name, found in runs.items()}
    return Study(
        Path("out"), plan.title, "", studies.variants_of(plan.groups, by_seed), 0
    )


def test_one_run_has_no_standard_deviation():
    plan = plans.plan(None, {}, 1)
    (config,) = plan.variants.values()
    study = study_of(plan, {"gaaf_tanh": [run(config, 0.97, 0.9812)]})
    (variant,) = runs.summary(study)["variants"]
    assert variant["test_accuracy"]["standard_deviation"] is None
    table = markdown(comparison.scores(study))
    assert "| gaaf_tanh | 1 | 97.00 | 98.12 | 3.0 | 1.5 |" in table


def test_names_are_printed_as_they_are(tmp_path, capsys):
    plan = plans.plan(None, {"dataset": "digits [small].npz"}, 1)
    (config,) = plan.variants.values()
    study = study_of(plan, {"gaaf_tanh": [run(config, 0.97)]})
    runs.show(study, tmp_path, ProgressView(1, 1))
    assert "digits [small].npz, mlp" in capsys.readouterr().out


def test_the_table_in_ascii(tmp_path):
    plan = plans.plan(None, {"dataset": "größe.npz"}, 1)
    study = study_of(plan, {"tanh − b": [run(plan.variants["gaaf_tanh"], 0.97)]})
    file = io.TextIOWrapper(io.BytesIO(), "ascii")
    with contextlib.redirect_stdout(file):
        runs.show(study, tmp_path, ProgressView(1, 1))
    file.seek(0)
    printed = file.read()
    assert "gr??e.npz, mlp" in printed
    assert "tanh - b" in printed


def test_long_names_are_printed_whole(tmp_path, capsys):
    shapes = [f"one_sided(shifted_sigmoid(slope={slope}))" for slope in (1, 2)]
    plan = plans.plan(None, {"shape_function": tuple(shapes)}, 1)
    found = {name: [run(config, 0.5)] for name, config in plan.variants.items()}
    runs.show(study_of(plan, found), tmp_path, ProgressView(1, 1))
    printed = capsys.readouterr().out.splitlines()
    cells = [line.split("│")[1] for line in printed if line.startswith("│")]
    assert "".join("".join(cells).split()) == "".join(shapes)


def test_diverged_runs_are_marked():
    plan = plans.plan(None, {}, 2)
    (config,) = plan.variants.values()
    found = [run(config, 0.97, diverged_at=at) for at in (None, (3, 4))]
    table = markdown(comparison.scores(study_of(plan, {"gaaf_tanh": found})))
    assert "| gaaf_tanh (1 diverged) | 2 |" in table


def test_sweep_of_learning_rates():
    plan = plans.plan("digits", {"learning_rate": (0.1, 0.01)}, runs=2)
    names = [
        f"{name}, learning rate {rate}"
        for name in ("plain", "dropout", "GAAF")
        for rate in (0.1, 0.01)
    ]
    assert list(plan.variants) == names
    rates = [config.learning_rate for config in plan.variants.values()]
    assert rates == [0.1, 0.01] * 3
    folders = [config.output_dir for config in plan.all_runs(Path("out"))]
    assert folders[0] == "out/plain_learning_rate_0.1/seed_0"
    validation = dict(zip(names, [0.9, 0.8, 0.7, 0.8, 0.6, 0.6], strict=True))
    study = study_of(
        plan,
        {
            name: [run(plan.variants[name], accuracy)] * 2
            for name, accuracy in validation.items()
        },
    )
    chosen = [v["name"] for v in runs.summary(study)["variants"] if v["chosen"]]
    assert chosen == [names[0], names[3], names[4]]  # of equals the first
    table = markdown(comparison.scores(study))
    assert f"| {names[0]} | 2 | 90.00 (0.00) | 50.00 (0.00) |" in table
    assert f"| {names[1]} | 2 | 80.00 (0.00) | not chosen |" in table


def cautions(given, values, seeds=3):
    """The cautions about variants, from the validation accuracy of each."""
    plan = plans.plan(None, given, seeds)
    found = {
        name: [run(config, value)] * seeds
        for (name, config), value in zip(plan.variants.items(), values, strict=True)
    }
    lines = comparison.summary(study_of(plan, found))
    return [each for each in lines if each.startswith("Caution: ")]


def test_times_that_runs_share_are_not_compared():
    plan = plans.plan(None, {"activation": ("tanh", "gaaf_tanh")}, 3)

    def titles(at_once):
        found = {n: [run(config, 0.5)] * 3 for n, config in plan.variants.items()}
        study = study_of(plan, found)
        study.runs[0].result["runs_at_once"] = at_once
        tables = (comparison.scores(study), comparison.differences(study))
        return [
            *pictures.learning_curves(study),
            *(t for x in tables for t in x.columns),
        ]

    assert {"seconds", "validation_error_by_time"} <= {*titles(1)}
    assert not {"seconds", "validation_error_by_time"} & {*titles(2)}


def test_the_end_of_the_learning_rates_is_cautioned():
    given = {"activation": ("tanh", "gaaf_tanh"), "learning_rate": (0.1, 0.2, 0.4)}
    (caution,) = cautions(given, [0.8, 0.9, 0.7, 0.9, 0.8, 0.7])
    assert caution.startswith("Caution: Best at the lowest or highest learning rate")
    assert "tried: gaaf_tanh, learning rate 0.1. A better" in caution
    assert not cautions(given, [0.8, 0.9, 0.7] * 2)
    assert not cautions({**given, "learning_rate": 0.1}, [0.8, 0.9])


@pytest.mark.parametrize(
    ("settings", "ended"),
    [
        ({}, True),
        ({"epochs": 100, "patience": 18}, True),
        ({"patience": 1000}, False),
        ({"learning_rate_schedule": "cosine"}, False),
    ],
)
def test_runs_that_end_at_their_last_epoch_are_cautioned(settings, ended):
    given = {"activation": ("tanh", "gaaf_tanh"), "epochs": 5} | settings
    result = {"epochs_run": 5, "best_epoch": 5, "diverged_at": None}
    plan = plans.plan(None, given, 1)
    found = study_of(plan, {n: [run(c, 0.5)] for n, c in plan.variants.items()})
    for each in found.runs:
        each.result.update(result)
    text = "Caution: 2 of 2 runs ended at their last epoch"
    assert any(line.startswith(text) for line in comparison.summary(found)) == ended


def test_seeds_of_a_model_from_a_file_start_from_the_same_weights():
    plan = plans.plan("compare", {"init_from": "own.keras", "learning_rate": 0.1}, 3)
    found = {name: [run(config, 0.5)] * 3 for name, config in plan.variants.items()}
    lines = comparison.summary(study_of(plan, found))
    assert lines[-1].startswith("Caution: All runs start from the weights of the")


def test_without_a_plain_variant_the_summary_says_what_to_add():
    given = {"shape_function": ("gaussian", "constant")}

    def printed(**more):
        plan = plans.plan(None, given | more, 1)
        found = {n: [run(config, 0.5)] for n, config in plan.variants.items()}
        return " ".join(comparison.summary(study_of(plan, found)))

    assert "Add --activation=tanh,gaaf_tanh to compare" in printed()
    assert "Choose --suite=compare" in printed(init_from="own.keras", accelerate=True)
    assert "Add" not in printed(activation=("tanh", "gaaf_tanh"))


def test_the_best_error_of_each_variant_is_inside_the_picture():
    given = {"activation": ("tanh", "gaaf_tanh"), "learning_rate": (0.1, 0.2)}
    plan = plans.plan(None, given, 1)
    accuracies = zip(plan.variants.items(), [0.9, 0.8, 0.2, 0.6], strict=True)
    found = {name: [run(config, value)] for (name, config), value in accuracies}
    picture = pictures.learning_rates(study_of(plan, found))["learning_rates"]
    assert 40 < picture.axes[0].get_ylim()[1] < 80


def test_one_learning_rate_is_no_sweep():
    plan = plans.plan(None, {"learning_rate": (0.5,)}, 1)
    assert list(plan.variants) == ["gaaf_tanh"]
    assert plan.variants["gaaf_tanh"].learning_rate == 0.5
