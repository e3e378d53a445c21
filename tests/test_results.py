"""Statements about the records of runs: verdicts, and where there are none."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import pytest

from experiments import TrainingConfig, UsageError
from experiments.records import committed
from experiments.records.studies import Run, Study, Variant
from experiments.suites import plans
from gaaf_keras.analysis import LayerGradient

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"


@pytest.fixture
def write(monkeypatch):
    monkeypatch.syspath_prepend(str(RESULTS))
    import write as module

    yield module
    for name in ("write", "claims", "drop_in", "each_rate", "parts", "says", "search"):
        del sys.modules[name]


def test_pages_readme_and_landing_page_say_what_the_records_say(write):
    texts, drawn = write.pages()
    for path, text in texts.items():
        assert path.read_text() == text, path.name
    behind = write.DOCS / "results"
    above = {behind.with_suffix(".md"), write.DOCS / "which.md"}
    assert set(texts) == {*above, *behind.iterdir()}
    for path in write.FRONT:
        assert path.read_text() == write.with_verdict(path), path.name
    assert {path.name for path in write.IMAGES.iterdir()} == {f"{n}.svg" for n in drawn}


def test_results_are_read_in_two_minutes(write):
    overview = (write.DOCS / "results.md").read_text()
    assert len(overview.splitlines()) <= 150
    assert len(write.verdict().splitlines()) == 3
    for path in (write.DOCS / "results").iterdir():
        assert f"](results/{path.name})" in overview


def test_no_table_is_shown_twice(write):
    texts, _ = write.pages()
    tables = [
        table
        for text in texts.values()
        for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    ]
    assert len(set(tables)) == len(tables) > len(texts)
    for table in tables:
        lines = table.splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


@pytest.mark.parametrize(
    "path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem
)
def test_every_run_is_recorded_once(path):
    records = json.loads(path.read_text())
    runs = [(record["variant"], record["seed"]) for record in records]
    assert len(set(runs)) == len(runs)
    seeds = {}
    for variant, seed in runs:
        seeds.setdefault(variant, set()).add(seed)
    assert len(set(map(frozenset, seeds.values()))) == 1
    assert {type(record["seed"]) for record in records} == {int}


def run(seed, accuracy, epoch, gradient, diverged=None):
    result = {
        "test_accuracy": accuracy,
        "validation_accuracy": accuracy,
        "best_epoch": epoch,
        "epochs_run": epoch + 15,
        "diverged_at": diverged,
    }
    flow = [
        (step, {"layer": LayerGradient(gradient * 2 ** (step // 100), 1.0, 1.0, 1.0)})
        for step in range(0, 100 * epoch, 50)
    ]
    return Run(Path(), TrainingConfig(seed=seed), {}, result, [], flow)


def variant(name, rows, **settings):
    runs = {seed: run(seed, *row) for seed, row in enumerate(rows)}
    for seed, found in runs.items():
        config = dataclasses.replace(found.config, **settings)
        runs[seed] = dataclasses.replace(found, config=config)
    return Variant(name, name, True, runs)


def study():
    base = [(0.980, 10, 1e-4), (0.981, 11, 1e-4), (0.982, 12, 1e-4)]
    dropout = [(0.985, 20, 2e-4), (0.9861, 22, 2.1e-4), (0.987, 21, 2e-4)]
    gaaf = [(0.981, 4, 1e-4), (0.980, 5, 1e-4), (0.982, 4, 1e-4)]
    variants = [
        variant("plain", base, activation="tanh"),
        variant("dropout", dropout, activation="tanh", dropout=0.5),
        variant("GAAF", gaaf),
    ]
    for each in variants:
        for seed, share in enumerate(SHARES[each.name]):
            each.runs[seed].analysis = analysis(share, 0.1 + seed / 50)
    return Study(Path(), "", "", variants, 0)


SHARES = {
    "plain": (0.10, 0.11, 0.12),
    "dropout": (0.1, 0.12, 0.11),
    "GAAF": (0.20, 0.22, 0.26),
}


def analysis(share, fourth):
    edges = [-1.5, -0.5, 0.5, 1.5]
    density = [0.5 - fourth, 2 * fourth, 0.5 - fourth]
    return {
        "layers": ["layer"],
        "saturation": {"layer": {"share": share}},
        "correlations": {"layer": {"mean_absolute": share}},
        "weights": {"kernel": {"edges": edges, "density": density}},
        "hessian": {"eigenvalue": 0.01 / share},
        "weight_noise": {"sizes": [0, 0.4], "accuracies": [0.9, 0.9 - share]},
        "input_noise": {"sizes": [0, 0.8], "accuracies": [0.9, 0.9 + share]},
    }


def test_verdicts(write):
    table = write.claims.table(study())
    found = {claim.partition(" (")[0]: (text, it) for claim, text, it in table.rows}
    assert found["dropout is more accurate than plain"][1] == "holds"
    assert found["GAAF is more accurate than plain"][1] == "is not shown"
    assert found["GAAF needs fewer epochs than dropout"][1] == "holds"
    opposite = found["GAAF needs more epochs than plain"]
    assert opposite[0].startswith("−6.67")
    assert opposite[1] == "does not hold: the opposite"
    assert found["dropout drives layer 1 into saturation"][1] == "is not shown"
    # The gradients of the two grow alike, and only one trained on.
    factor, verdict = found["dropout enlarges the gradient in layer 1"]
    assert float(factor.split()[0]) == pytest.approx(2.03, abs=0.01)
    assert verdict == "holds"
    assert found["dropout finds a flatter solution"][1] == "is not shown"
    flatter = found["GAAF finds a flatter solution"]
    assert flatter == ("0.49 [0.43, 0.55]", "holds")
    by_weights, by_images = (
        (text, it)
        for claim, text, it in table.rows
        if "GAAF makes the network robust" in claim
    )
    assert by_weights == ("−11.67 [−16.84, −6.50]", "does not hold: the opposite")
    assert by_images == ("+11.67 [+6.50, +16.84]", "holds")
    assert "at a rate of 0.5" in table.caption


def test_diverged_runs_decide_no_epochs(write):
    trained = study()
    diverged = variant("GAAF", [(0.1, 0, 1e-4, (1, 1))] * 3)
    for run in diverged.runs.values():
        run.analysis = trained.variants[2].analyses[0]
    trained = dataclasses.replace(trained, variants=[*trained.variants[:2], diverged])
    rows = write.claims.table(trained).rows
    assert not [row for row in rows if "GAAF needs" in row[0]]
    assert write.parts.accuracy(diverged) == "3 of 3 diverged"


def test_missing_analyses_are_named(write):
    some = study()
    some.variants[1].runs[1].analysis = {}
    with pytest.raises(UsageError, match=r"of dropout with seeds \[1\] have not"):
        write.claims.table(some)


@pytest.mark.parametrize(("activation", "beside"), [("tanh", True), ("relu", False)])
def test_the_papers_gradients_stand_beside_its_own_network(write, activation, beside):
    rows = [(0.98, 10, 1e-4), (0.98, 11, 1e-4)]
    base = variant("plain", rows, dataset="mnist", activation=activation)
    table = write.measurements.gradients(Study(Path(), "", "", [base], 0))
    assert ("paper: gradient" in table.columns) is beside


def test_kurtosis(write):
    middle = {"edges": [0, 1, 2, 3], "density": [0.1, 0.8, 0.1]}
    assert write.claims.kurtosis(middle) == pytest.approx(5.0)


def test_words_that_the_records_do_not_bear_out_are_refused(write, monkeypatch):
    rows = {
        "plain": [0.980, 0.981, 0.982],
        "up": [0.990, 0.9911, 0.992],
        "down": [0.97, 0.9711, 0.972],
        "level": [0.97, 0.981, 0.992],
    }
    variants = [
        variant(
            name,
            [(accuracy, 3, 1e-4) for accuracy in accuracies],
            activation="tanh" if name == "plain" else "gaaf_tanh",
            learning_rate=0.2 if name == "plain" else 0.05,
        )
        for name, accuracies in rows.items()
    ]
    variants.append(variant("ruined", [(0.98, 3, 1e-4)] * 2 + [(0.1, 3, 1e-4, 7)]))
    records = Study(Path(), "", "", variants, 0)
    monkeypatch.setattr(write.says, "recorded", lambda _: records)
    says = write.says
    assert says.better("some", "up") == "+1.00 [+0.99, +1.02]"
    assert says.rise("some", "up") == "98.10 to 99.10 % (+1.00 [+0.99, +1.02])"
    assert says.part_of_rate("some", "up") == "1/4"
    assert says.worse("some", "down") == "−1.00 [−1.01, −0.98]"
    assert says.alike("some", "level").startswith("±0.00 [−")
    assert says.failed("some", "ruined") == "1 of 3"
    for word, group, found in (
        (says.better, "down", "worse"),
        (says.rise, "down", "worse"),
        (says.part_of_rate, "level", "no difference shown"),
        (says.better, "level", "no difference shown"),
        (says.worse, "up", "better"),
        (says.alike, "up", "better"),
        (says.alike, "ruined", "not compared"),
    ):
        with pytest.raises(UsageError, match=f"'{group}' against 'plain'.*'{found}'"):
            word("some", group)
    with pytest.raises(UsageError, match="0 runs of 'up' failed"):
        says.failed("some", "up")


def test_what_drop_in_has_recorded_is_compared_in_the_same_way(write):
    study = write.says.at_your_rate("cnn")
    assert study.plain.name == write.drop_in.PLAIN
    assert study.chosen_of("the paper's form").diverged == 10
    rows = write.drop_in.table(write.drop_in.read(RESULTS / "drop_in.json")).rows
    (row,) = (row for row in rows if row[0] == "CNN" and row[2] == "accelerate")
    assert write.says.better("drop_in/cnn", "accelerate") == row[7]
    assert write.says.rate_of("drop_in/cnn", "plain") == row[4]


def test_words_without_a_number_are_held_to_the_records(write):
    assert write.says.when(True, "Rarely") == "Rarely"
    with pytest.raises(UsageError, match="contradict 'Rarely'"):
        write.says.when(False, "Rarely")
    assert write.says.at_full_size("accelerate", "fails") == "one of five"


def test_records_that_come_back_from_a_gpu_are_on_the_page(write, monkeypatch):
    study = write.parts.recorded("cifar10_rates")
    found = {"full_svhn": study}
    monkeypatch.setattr(write.parts, "full_size", lambda: found)
    page, _ = write.pages()
    (text,) = (text for path, text in page.items() if path.name == "cifar10.md")
    lead = text.partition("## With")[0]
    silu = write.says.better("cifar10_rates", "SiLU")
    assert "**SVHN, without batch normalisation**, against plain: better: " in lead
    assert lead.count(f"SiLU ({silu})") == 2
    assert "### SVHN, without batch normalisation" in text
    assert "not run yet" not in text


def test_the_rates_of_all_were_chosen_for_plain_alone_with_other_seeds(write):
    """And the suites have them."""
    each_rate, recorded = write.each_rate, write.parts.recorded
    for name in each_rate.NETWORKS.values():
        chosen, judged = recorded(f"rate_{name}"), recorded(f"drop_in_{name}")
        assert not any(variant.config.accelerates for variant in chosen.variants)
        seeds = [{run.config.seed for run in s.runs} for s in (chosen, judged)]
        assert len(seeds[1]) == 10
        assert not set.intersection(*seeds)
        for epochs in each_rate.lengths(name):
            best = each_rate.best_rate(name, epochs)
            at = [v.config for v in judged.variants if v.config.epochs == epochs]
            rates = {config.learning_rate for config in at}
            assert rates == {best / 2, best, 2 * best}
            if epochs == each_rate.lengths(name)[0]:
                plan = plans.plan(f"drop_in_{name}", {"export": False}, runs=1)
                assert {str(settings_of(c)) for c in plan.variants.values()} == {
                    str(settings_of(config)) for config in at
                }
            plain = next(v.config for v in chosen.variants if v.config.epochs == epochs)
            same = {"learning_rate": best}
            plain = dataclasses.replace(plain, **same)
            assert settings_of(plain) in map(settings_of, at)


def settings_of(config):
    return dataclasses.replace(config, variant=None, seed=0)


def outcome_of(write, monkeypatch, *pairs):
    """What comes of accuracies in pairs, plain and accelerated."""
    config = TrainingConfig(activation="relu", epochs=5, learning_rate=0.2)
    forms = (("plain", "relu"), ("unit gain", "gaaf_relu"))

    def variants(name, activation, accuracies):
        found = {}
        for seed, accuracy in enumerate(accuracies):
            own = dataclasses.replace(config, activation=activation, seed=seed)
            found[seed] = dataclasses.replace(run(seed, accuracy, 3, 1e-4), config=own)
        return Variant(f"{name}, learning rate 0.2", name, True, found)

    both = [
        variants(*form, accuracies)
        for form, accuracies in zip(forms, zip(*pairs, strict=True), strict=True)
    ]
    tried = [
        variant(f"{rate}", [(accuracy, 3, 1e-4)], epochs=5, learning_rate=rate)
        for rate, accuracy in ((0.1, 0.9), (0.2, 0.95), (0.4, 0.9))
    ]
    records = {
        "drop_in_some": Study(Path(), "", "", both, 0),
        "rate_some": Study(Path(), "", "", tried, 0),
    }
    monkeypatch.setattr(write.each_rate, "recorded", records.__getitem__)
    write.each_rate.best_rate.cache_clear()
    return write.each_rate.outcome("some", 5, 1.0, "unit gain")


def test_outcomes_at_a_rate(write, monkeypatch):
    def outcome(*pairs):
        return outcome_of(write, monkeypatch, *pairs)

    better = outcome((0.90, 0.92), (0.91, 0.931), (0.92, 0.94))
    assert (better.verdict, str(better)) == ("better", "**+2.03 [+1.89, +2.18]**")
    said = write.each_rate.says
    assert said("better", "some", "unit gain", 5) == "+2.03 [+1.89, +2.18]"
    with pytest.raises(UsageError, match=r"said to be 'worse', and .* 'better'"):
        said("worse", "some", "unit gain", 5)
    worse = outcome((0.92, 0.90), (0.931, 0.91), (0.94, 0.92))
    assert worse.verdict == "worse"
    level = outcome((0.92, 0.90), (0.90, 0.92), (0.94, 0.95))
    assert level.verdict == "no difference shown"
    assert not str(level).startswith("**")
    fails = outcome((0.90, 0.92), (0.91, 0.93), (0.92, 0.10))
    assert fails.verdict == "fails"
    assert str(fails).endswith("(failed: 1, plain 0)")
    both = outcome((0.90, 0.92), (0.1, 0.1), (0.92, 0.9401), (0.9, 0.92))
    assert both.verdict == "better"
    assert outcome((0.1, 0.9), (0.9, 0.92)).verdict == "not compared"
    assert outcome((0.1, 0.1), (0.1, 0.1), (0.9, 0.1)).verdict == "plain fails"


def test_a_best_rate_at_the_edge_is_refused(write, monkeypatch):
    tried = [
        variant(f"{rate}", [(accuracy, 3, 1e-4)], epochs=5, learning_rate=rate)
        for rate, accuracy in ((0.1, 0.9), (0.2, 0.95))
    ]
    records = Study(Path(), "", "", tried, 0)
    monkeypatch.setattr(write.each_rate, "recorded", lambda _: records)
    with pytest.raises(UsageError, match=r"for 5 epochs, 0.2, is at the edge"):
        write.each_rate.best_rate("some", 5)


CONFIRMATIONS = [
    ("tanh", "search_tanh_mlp"),
    ("tanh", "search_tanh_deep"),
    ("relu", "search_relu_mlp"),
    ("relu", "search_relu_cnn"),
]


@pytest.mark.parametrize(("base", "searched_in"), CONFIRMATIONS)
def test_what_is_confirmed_is_what_the_searches_chose(write, base, searched_in):
    studies = {
        name: committed.read(RESULTS / f"{name}.json")
        for each, name in CONFIRMATIONS
        if each == base
    }
    study = studies[searched_in]
    groups = ["plain", "dropout", write.search.winner(studies)]
    chosen = [study.chosen_of(group).config for group in groups]
    given = {"export": False}
    plan = plans.plan(searched_in.replace("search", "confirm"), given, runs=1)
    configs = [
        dataclasses.replace(config, variant=None)
        for config in (*list(plan.variants.values())[: len(chosen)], *chosen)
    ]
    assert configs[: len(chosen)] == configs[len(chosen) :]


def test_the_search_is_decided_by_validation_over_all_networks(write):
    def searched(**accuracies):
        variants = [
            variant(name, [(accuracy, 3, 1e-4), (accuracy, 3, 1e-4)])
            for name, accuracy in accuracies.items()
        ]
        return Study(Path(), "", "", variants, 0)

    studies = {
        "mlp": searched(plain=0.96, dropout=0.98, wide=0.97, narrow=0.92),
        "cnn": searched(plain=0.60, dropout=0.60, wide=0.60, narrow=0.96),
    }
    scores = write.search.scores(studies)
    assert scores["plain"] == pytest.approx(1)
    assert scores["wide"] == pytest.approx((0.75 * 1) ** 0.5)
    assert scores["narrow"] == pytest.approx((2 * 0.1) ** 0.5)
    assert write.search.winner(studies) == "narrow"
    table = write.search.table(studies)
    assert [row[0] for row in table.rows] == ["narrow", "dropout", "wide", "plain"]
    assert table.rows[0][1:3] == ["92.00 (0.00) at 0.1", "2.000"]
