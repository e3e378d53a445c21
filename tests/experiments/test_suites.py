"""Plans and tables: which runs a suite means, and what its summary says."""

import json
import statistics
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from experiments import UsageError
from experiments.suites import catalogue, plans, runs
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
            ("base", "tanh", False),
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
    assert list(rates)[:4] == ["base", "dropout", "GAAF", "GAAF, unit gain"]
    assert len(set(map(frozenset, rates.values()))) == 1
    single = plans.plan(suite, {"learning_rate": (0.1,)}, runs=1)
    assert list(single.variants) == list(rates)
    plain = {c.activation.removeprefix("gaaf_") for c in single.variants.values()}
    assert plain - {"silu", "gelu"} == {single.variants["base"].activation}


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
        (name, seed) for seed in (3, 4) for name in ("base", "dropout", "GAAF")
    ]
    assert runs[-1].output_dir == "out/GAAF/seed_4"


def test_folders():
    def folders(suite, given, runs):
        plan = plans.plan(suite, given, runs)
        return [config.output_dir for config in plan.all_runs(Path("out"))]

    assert folders(None, {}, 1) == ["out"]
    assert folders(None, {"seed": 5}, 2) == ["out/seed_5", "out/seed_6"]
    assert "out/batch_norm_GAAF/seed_0" in folders("svhn", {}, 1)


@pytest.mark.parametrize(
    ("suite", "given", "runs", "message"),
    [
        ("minst", {}, 1, "suite must be one of digits.*'minst'"),
        ("digits", {"activation": "relu"}, 1, "'digits' sets activation itself"),
        (
            "digits",
            {"model": "cnn", "dropout": 0.1},
            1,
            "sets dropout and model itself",
        ),
        ("digits", {}, 0, "runs must be 1 or greater. Received: 0"),
        (None, {"epochs": 0}, 1, "epochs must"),
        (None, {"logical_devices": 2}, 1, "strategy must be mirrored with logical"),
        (None, {"learning_rate": (0.1, 0.10000001)}, 1, "learning_rate must be numbe"),
        (None, {"width": 8}, 1, "width has no effect on the mlp"),
        ("cifar10", {"hidden_units": (4,)}, 1, "hidden_units has no effect on the cnn"),
    ],
)
def test_wrong_plans_are_refused(suite, given, runs, message):
    with pytest.raises(UsageError, match=message):
        plans.plan(suite, given, runs)


def test_every_training_and_the_summary_are_written(suite):
    summary = json.loads((suite / "summary.json").read_text())
    assert [v["name"] for v in summary["variants"]] == list(VARIANTS)
    for variant in summary["variants"]:
        folders = [suite / variant["name"] / f"seed_{s}" for s in variant["seeds"]]
        results = [json.loads((f / "result.json").read_text()) for f in folders]
        values = [result["test_accuracy"] for result in results]
        assert variant["test_accuracy"] == {
            "mean": statistics.fmean(values),
            "standard_deviation": statistics.stdev(values),
            "values": values,
        }
        assert json.loads((folders[1] / "config.json").read_text())["seed"] == 1
    page = (suite / "summary.md").read_text()
    for name in VARIANTS:
        assert f"| {name} | {SEEDS} |" in page
    assert page.endswith(f"    {summary['command']}\n")


def scored(test_accuracy, validation_accuracy, diverged=False):
    """What a summary reads of the result of a run."""
    return SimpleNamespace(
        test_accuracy=test_accuracy,
        validation_accuracy=validation_accuracy,
        diverged=diverged,
        best_epoch=3,
        epochs_run=4,
        seconds=1.5,
        parameters=10,
        test_examples=360,
    )


def test_one_run_has_no_standard_deviation():
    config = plans.plan(None, {}, 1)
    summary = runs.summarise(config, {"gaaf_tanh": [scored(0.9812, 0.97)]})
    assert summary["variants"][0]["test_accuracy"]["standard_deviation"] is None
    assert "| gaaf_tanh | 1 | 97.00 | 98.12 | 3.0 | 1.5 |" in runs.markdown(summary)


def test_names_are_printed_as_they_are(capsys):
    plan = plans.plan(None, {"dataset": "digits [small].npz"}, 1)
    summary = runs.summarise(plan, {"gaaf_tanh": [scored(0.98, 0.97)]})
    Console(width=100).print(runs.table(summary))
    assert "digits [small].npz, mlp" in capsys.readouterr().out


def test_diverged_trainings_are_marked():
    plan = plans.plan(None, {}, 2)
    results = [scored(0.98, 0.97, diverged) for diverged in (False, True)]
    summary = runs.summarise(plan, {"gaaf_tanh": results})
    assert "| gaaf_tanh (1 diverged) | 2 |" in runs.markdown(summary)


def test_sweep_of_learning_rates():
    plan = plans.plan("digits", {"learning_rate": (0.1, 0.01)}, runs=2)
    names = [
        f"{name}, learning rate {rate}"
        for name in ("base", "dropout", "GAAF")
        for rate in (0.1, 0.01)
    ]
    assert list(plan.variants) == names
    assert [config.learning_rate for config in plan.variants.values()] == [
        0.1,
        0.01,
    ] * 3
    folders = [config.output_dir for config in plan.all_runs(Path("out"))]
    assert folders[0] == "out/base_learning_rate_0.1/seed_0"
    validation = dict(zip(names, [0.9, 0.8, 0.7, 0.8, 0.6, 0.6], strict=True))
    results = {
        name: [scored(0.5, accuracy)] * 2 for name, accuracy in validation.items()
    }
    summary = runs.summarise(plan, results)
    chosen = [v["name"] for v in summary["variants"] if v["chosen"]]
    assert chosen == [names[0], names[3], names[4]]  # of equals the first
    page = runs.markdown(summary)
    assert f"| {names[0]} | 2 | 90.00 (0.00) | 50.00 (0.00) |" in page
    assert f"| {names[1]} | 2 | 80.00 (0.00) |  |" in page


def test_one_learning_rate_is_no_sweep():
    plan = plans.plan(None, {"learning_rate": (0.5,)}, 1)
    assert list(plan.variants) == ["gaaf_tanh"]
    assert plan.variants["gaaf_tanh"].learning_rate == 0.5
