"""Compact records: small, plain JSON, and enough for the tables of a report."""

import dataclasses
import json
import math
import sys

import pytest

from experiments import UsageError
from experiments.records import committed, studies
from experiments.report import comparison, measurements, pictures
from experiments.report.__main__ import main
from gaaf_keras.analysis import LayerGradient
from tests.small_suite import SEEDS, VARIANTS


@pytest.fixture
def written(suite, tmp_path, monkeypatch):
    path = tmp_path / "records.json"
    monkeypatch.setattr(sys, "argv", ["report", str(suite), f"--records={path}"])
    main()
    return path


def test_an_object_a_run(written):
    found = json.loads(written.read_text())
    runs = [(record["variant"], record["seed"]) for record in found]
    assert runs == [(name, seed) for name in VARIANTS for seed in range(SEEDS)]
    assert found[0]["settings"]["activation"] == "tanh"
    assert written.stat().st_size < 50_000 * len(found)
    assert "/" not in json.dumps([record["settings"] for record in found])


def test_the_tables_are_the_same(suite, written):
    whole = studies.read(suite)
    study = committed.read(written)
    assert comparison.scores(study) == comparison.scores(whole)
    assert comparison.differences(study) == comparison.differences(whole)
    assert comparison.reached(study) == comparison.reached(whole)
    for ours, theirs in zip(study.variants, whole.variants, strict=True):
        folder = ours.config.output_dir, theirs.config.output_dir
        assert folder == (None, str(theirs.runs[0].folder))
        same = dataclasses.replace(ours.config, output_dir=folder[1])
        assert same == theirs.config
    assert all(run.analysis for run in [*study.runs, *whole.runs])
    assert pictures.pre_activations(study)
    for measured in (measurements.saturation, measurements.gradients):
        table, expected = measured(study), measured(whole)
        assert table.caption == expected.caption
        for ours, theirs in zip(table.rows, expected.rows, strict=True):
            assert ours[:2] == theirs[:2]
            for texts in zip(ours[2:], theirs[2:], strict=True):
                one, other = (float(text.split()[0]) for text in texts)
                assert one == pytest.approx(other, 0.01)


def test_what_is_no_number_in_json(suite):
    study = studies.read(suite)
    run = study.variants[0].runs[0]
    run.history[-1]["loss"] = math.nan
    found = json.loads(json.dumps(committed.to_records(study), allow_nan=False))
    again = committed.from_records(found, suite)
    history = again.variants[0].runs[0].history
    assert math.isnan(history[-1]["loss"])
    assert history[0]["loss"] == pytest.approx(run.history[0]["loss"], rel=1e-5)


def test_gradients_up_to_the_step_that_all_reached():
    """Means over a group of steps are weighted by their measurements."""

    def flow(last):
        gradient = [LayerGradient(1e-3 * step, 1.0, 1.0, 1.0) for step in range(last)]
        return [(step, {"layer": each}) for step, each in enumerate(gradient)]

    for last in (140, 700, 1900):
        groups = json.loads(json.dumps(committed._by_steps(flow(last))))
        steps = [step for group, _ in groups for step in group]
        assert steps == list(range(last))
        whole = sum(len(group) * found["layer"][0] for group, found in groups)
        assert whole / last == pytest.approx(1e-3 * (last - 1) / 2)


OF_PAPER = {"dataset": "mnist", "train_examples": None, "hidden_units": [512, 256, 256]}


@pytest.mark.parametrize(
    ("network", "acceleration", "published"),
    [
        ({}, {}, ["98.23 (0.075)", "98.40 (0.034)", "98.35 (0.059)"]),
        ({}, {"unit_gain": True}, ["98.23 (0.075)", "98.40 (0.034)", ""]),
        ({}, {"shape_function": "b_silu"}, ["98.23 (0.075)", "98.40 (0.034)", ""]),
        ({"activation": "relu"}, {"activation": "gaaf_relu"}, None),
        ({"train_examples": 300}, {}, None),
        ({"hidden_units": [12, 8]}, {}, None),
    ],
)
def test_the_papers_numbers_stand_beside_the_papers_networks(
    network, acceleration, published, suite
):
    found = committed.to_records(studies.read(suite))
    for record in found:
        record["settings"] |= {**OF_PAPER, **network}
        if record["variant"] == "GAAF":
            record["settings"] |= {"activation": "gaaf_tanh", **acceleration}
    table = comparison.scores(committed.from_records(found, suite))
    if published is None:
        assert table.columns[-1] == "seconds"
    else:
        assert table.columns[-2] == "paper: test accuracy %"
        assert [row[-2] for row in table.rows] == published


def test_only_what_could_have_stopped_early_was_cut_short(suite):
    found = committed.to_records(studies.read(suite))
    for record in found:
        record["result"] |= {"epochs_run": 4, "best_epoch": 3}
        record["settings"] |= {"epochs": 4, "patience": 3}
    study = committed.from_records(found, suite)
    count = f"{len(found)} of {len(found)} runs ended at their last epoch"
    assert count in comparison.cut_short(study.variants)
    for record in found:
        record["settings"]["patience"] = 4
    study = committed.from_records(found, suite)
    assert comparison.cut_short(study.variants) == ""


def test_the_best_is_chosen_again(suite):
    found = committed.to_records(studies.read(suite))
    for record in found:
        record["group"] = "all"
    best = max(
        VARIANTS,
        key=lambda name: sum(
            r["result"]["validation_accuracy"] for r in found if r["variant"] == name
        ),
    )
    study = committed.from_records(found, suite)
    assert [variant.name for variant in study.chosen] == [best]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[{}]",
        '{"variant": 3}',
        "[3]",
        '[{"variant": "a", "seed": 1}]',
        json.dumps(
            [
                {
                    "variant": "a",
                    "group": "a",
                    "seed": 1,
                    "history": 5,
                    "settings": {},
                    "result": {},
                    "resolved": {},
                }
            ]
        ),
    ],
)
def test_other_files_are_refused(text, tmp_path):
    path = tmp_path / "records.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"records in .* cannot be read"):
        committed.read(path)
