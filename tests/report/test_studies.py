"""Reading folders in which runs are missing or differ."""

import json
import shutil

import pytest

from experiments import UsageError
from experiments.records import committed, studies
from experiments.report import comparison, pictures
from tests.small_suite import VARIANTS


@pytest.fixture
def part(suite, tmp_path):
    """A copy of the suite, to make incomplete."""
    folder = tmp_path / "part"
    shutil.copytree(suite, folder, ignore=shutil.ignore_patterns("saved_model"))
    (folder / "summary.json").unlink()
    return folder


def in_one_group(folder, *names):
    plan = json.loads((folder / "plan.json").read_text())
    for variant in plan["variants"]:
        if variant["name"] in names:
            variant["group"] = "tuned"
    (folder / "plan.json").write_text(json.dumps(plan))


def set_result(folder, **values):
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, **values}))


def test_runs_not_begun_are_known_to_be_missing(suite, part):
    shutil.rmtree(part / "plain" / "seed_1")
    (part / "GAAF" / "seed_1" / "result.json").unlink()
    study = studies.read(part)
    assert [variant.name for variant in study.variants] == list(VARIANTS)
    assert study.plain.name == "plain"
    assert study.unfinished == 2
    whole = studies.read(suite)
    assert (study.title, study.command) == (whole.title, whole.command)
    assert whole.unfinished == 0
    with pytest.raises(UsageError, match=r"2 runs .* not finished"):
        committed.write(study, part.parent / "records.json")


def test_a_variant_is_chosen_by_the_seeds_that_all_of_its_group_have(part):
    in_one_group(part, "plain", "dropout")
    set_result(part / "plain" / "seed_0", validation_accuracy=0.9)
    set_result(part / "plain" / "seed_1", validation_accuracy=0.5)
    set_result(part / "dropout" / "seed_0", validation_accuracy=0.8)
    set_result(part / "dropout" / "seed_1", validation_accuracy=1.0)
    assert [v.name for v in studies.read(part).chosen] == ["dropout", "GAAF"]
    (part / "dropout" / "seed_1" / "result.json").unlink()
    assert [v.name for v in studies.read(part).chosen] == ["plain", "GAAF"]
    shutil.rmtree(part / "dropout" / "seed_0")
    assert [v.name for v in studies.read(part).chosen] == ["GAAF"]
    in_one_group(part, *VARIANTS)
    with pytest.raises(UsageError, match="holds nothing to compare yet"):
        studies.read(part)


def test_runs_of_a_variant_differ_in_their_seed_only(part):
    config = part / "GAAF" / "seed_1" / "config.json"
    text = config.read_text()
    config.write_text(text.replace('"learning_rate": 0.1', '"learning_rate": 0.7'))
    assert config.read_text() != text
    with pytest.raises(UsageError, match="of GAAF that differ in learning_rate"):
        studies.read(part)
    config.write_text(text.replace('"data_dir": null', '"data_dir": "/moved"'))
    assert len(studies.read(part).variants) == len(VARIANTS)


def test_accuracies_are_not_compared_where_a_run_diverged(part):
    set_result(part / "GAAF" / "seed_1", diverged_at=[1, 1], test_accuracy=0.1)
    study = studies.read(part)
    base, dropout, gaaf = study.variants
    assert gaaf.diverged == 1
    assert comparison.paired(gaaf, base, "test_accuracy") is None
    assert comparison.paired(dropout, base, "test_accuracy") is not None
    table = comparison.differences(study)
    shown = {row[0]: row[2] for row in table.rows}
    assert shown["GAAF (1 diverged) − plain"] == "–"
    pairs = {"GAAF": (gaaf, base), "dropout": (dropout, base)}
    figure = pictures.differences_of(pairs, "title")["differences"]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert [name.partition("\n")[0] for name in names if name] == ["dropout"]


def test_an_analysis_is_of_the_model_beside_it(part):
    folder = part / "GAAF" / "seed_0"
    assert studies.read(folder).runs[0].analysis["layers"]
    shutil.copy(part / "plain" / "seed_0" / "model.keras", folder)
    assert studies.read(folder).runs[0].analysis == {}


def copy_of(suite, folder):
    ignored = shutil.ignore_patterns("saved_model", "figures", "tensorboard")
    shutil.copytree(suite, folder, ignore=ignored)
    return folder


def change(folder, **settings):
    for path in [folder / "config.json", *folder.rglob("seed_*/config.json")]:
        if path.is_file():
            config = json.loads(path.read_text())
            path.write_text(json.dumps({**config, **settings}))


def test_no_folder_is_dropped_whatever_its_depth(suite, tmp_path):
    """A parent with a suite, a single run and, deeper, another suite."""
    copy_of(suite, tmp_path / "suite")
    single = copy_of(suite / "GAAF" / "seed_0", tmp_path / "single")
    change(single, variant="mine", strength=0.3)
    other = copy_of(suite, tmp_path / "deep" / "er" / "other")
    change(other, hidden_units=[9])
    study = studies.read(tmp_path)
    twice = [
        f"{name} ({label})" for label in ("deep/er/other", "suite") for name in VARIANTS
    ]
    assert [variant.name for variant in study.variants] == [*twice, "mine"]
    assert len(study.runs) == 13
    assert study.unfinished == 0
    together = [tmp_path / "suite", other, single]
    again = studies.read(*together)
    assert {v.name for v in again.variants} == {v.name for v in study.variants}
    assert (again.folder, again.folders) == (tmp_path, tuple(together))
    (single / "result.json").unlink()
    assert studies.read(tmp_path).unfinished == 1
    with pytest.raises(UsageError, match=r"single' holds no finished run"):
        studies.read(*together)


def test_seeds_of_one_variant_may_lie_apart(suite, tmp_path):
    for seed in range(2):
        copy_of(suite / "GAAF" / f"seed_{seed}", tmp_path / f"run_{seed}")
    copy_of(suite / "plain", tmp_path / "plain")
    study = studies.read(*(tmp_path / f"run_{seed}" for seed in range(2)))
    (variant,) = study.variants
    assert (variant.name, list(variant.runs)) == ("GAAF", [0, 1])
    both = studies.read(tmp_path)
    assert {v.name: list(v.runs) for v in both.variants} == {
        "GAAF": [0, 1],
        "plain": [0, 1],
    }
    assert [len(d.rows) for d in [comparison.differences(both)]] == [1]


def test_a_group_is_chosen_of_within_its_output(suite, tmp_path):
    for name, size in (("one", [9]), ("two", [7])):
        folder = copy_of(suite, tmp_path / name)
        in_one_group(folder, "plain", "dropout")
        change(folder, hidden_units=size)
    study = studies.read(tmp_path)
    groups = {v.group for v in study.variants}
    assert groups == {
        *("tuned (one)", "tuned (two)", "GAAF (one)", "GAAF (two)"),
    }
    assert {v.group for v in study.chosen} == groups
