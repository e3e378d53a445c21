"""benchmarks/drop_in.py: networks accelerated at the plain networks' rate."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def drop_in(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("drop_in")
    del sys.modules["drop_in"]


def test_pairs_are_trained_once_at_the_rate_of_the_plain_network(
    drop_in, digits_as_mnist, tmp_path, capsys, monkeypatch
):
    output = tmp_path / "drop_in.json"
    command = [
        *("--networks=mlp", f"--data_dir={digits_as_mnist.parent}"),
        *("--epochs=2", "--seeds=2"),
        f"--output={output}",
    ]
    drop_in.main(command)
    printed = capsys.readouterr().out
    records = json.loads(output.read_text())
    assert [(record["variant"], record["seed"]) for record in records] == [
        (f"mlp, {variant}", seed)
        for variant in ("plain", "accelerate", "the paper's form")
        for seed in (0, 1)
    ]
    rates = json.loads((tmp_path / "drop_in_rates.json").read_text())
    scores = {
        record["settings"]["learning_rate"]: record["result"]["validation_accuracy"]
        for record in rates
    }
    (rate,) = {record["settings"]["learning_rate"] for record in records}
    assert scores[rate] == max(scores.values())
    assert {rate / 2, rate * 2} <= set(scores)
    assert {record["settings"]["accelerate"] is None for record in rates} == {True}
    assert [r["result"]["accelerated_activations"] for r in records] == 2 * [0] + 4 * [
        3
    ]
    accuracies = [record["result"]["test_accuracy"] for record in records]
    assert min(accuracies[:4]) > 0.3
    assert accuracies[:2] != accuracies[2:4]
    (row,) = (line for line in printed.splitlines() if "| accelerate |" in line)
    assert row.startswith("| MLP | mnist, 1,080 | accelerate | 3 |")
    assert row.endswith("| 0 / 0 of 2 |")

    def no_training(*arguments, **settings):
        raise AssertionError

    monkeypatch.setattr(drop_in, "train", no_training)
    drop_in.main(command)
    assert capsys.readouterr().out == printed[printed.index("| network") :]
    drop_in.main(["--table", str(output)])
    assert capsys.readouterr().out == printed[printed.index("| network") :]
    with pytest.raises(SystemExit, match="other settings"):
        drop_in.main([*command, "--epochs=3"])


def test_the_same_seed_trains_the_same_again(drop_in, digits_as_mnist):
    network = drop_in.dataclasses.replace(drop_in.NETWORKS["mlp"], epochs=1)
    options = drop_in.parsed([f"--data_dir={digits_as_mnist.parent}"])
    data = drop_in.load(network, options)
    first, _, again = (
        drop_in.train(network, data, {}, rate=0.1, seed=seed, scored="validation")
        for seed in (3, 4, 3)
    )
    assert again["losses"] == pytest.approx(first["losses"], rel=1e-5)


def test_failed_trainings_are_counted_and_not_compared(drop_in):
    def record(variant, seed, accuracy, failed=False):
        settings = {"dataset": "mnist", "train_examples": 9, "learning_rate": 0.1}
        result = {"test_accuracy": accuracy, "failed": failed}
        result |= {"accelerated_activations": 3, "examples": 9}
        return {
            "variant": f"mlp, {variant}",
            "seed": seed,
            "settings": settings,
            "result": result,
        }

    records = [record("plain", seed, 0.5 + seed / 100) for seed in range(3)]
    records += [record("accelerate", seed, 0.51 + seed / 100) for seed in range(2)]
    records.append(record("accelerate", 2, 0.1, failed=True))
    (row,) = drop_in.table(records).rows
    assert row[5:] == [
        *("50.50 (0.71)", "51.50 (0.71)", "+1.00 in each of 2 pairs"),
        "fails",
        "0 / 1 of 3",
    ]


@pytest.mark.parametrize(("first", "tried"), [(1.0, 4), (0.25, 3), (0.125, 4)])
def test_the_rate_is_searched_until_its_neighbours_are_not_better(
    drop_in, first, tried
):
    scored = []

    def score(rate):
        scored.append(rate)
        return -abs(np.log2(rate) + 2)

    assert drop_in.best_rate(score, first) == 0.25
    assert len(scored) == tried == len(set(scored))
