"""The page about a suite: its contents, their correctness, and that it is complete."""

import csv
import json
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import keras
import numpy as np
import pytest
from PIL import Image

from experiments import (
    TrainingConfig,
    UsageError,
    report,
    tables,
    train_and_evaluate,
)
from experiments.records import studies
from experiments.report import comparison, pictures
from experiments.report.__main__ import main
from experiments.report.analysis import analyse
from experiments.suites import plans, runs
from experiments.tables import Table
from gaaf_keras import GAAF
from gaaf_keras.analysis import curve, paired_difference
from tests.processes import python
from tests.small_suite import GIVEN, SEEDS

QUANTILE = 12.7062  # of Student's t at 0.975, with one degree of freedom


class Page(HTMLParser):
    """The contents of a page: tags with attributes, and tables as texts."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.tables, self.text, self._inside = [], [], "", []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" in self._inside:
            return
        self.text += data
        if self._inside and self._inside[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def table(self, first_columns):
        """Returns the rows below a header that begins with these columns."""
        for header, *rows in self.tables:
            if header[: len(first_columns)] == first_columns:
                return [dict(zip(header, row, strict=True)) for row in rows]
        raise AssertionError(first_columns)

    def ids(self):
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]


def number(text):
    return float(re.match(r"[-+−±]?[\d.]+", text)[0].replace("−", "-").lstrip("±"))


def numbers_of(folder, variant):
    return [
        json.loads((folder / variant / f"seed_{seed}" / "result.json").read_text())
        for seed in range(SEEDS)
    ]


def test_the_page_needs_nothing_else(suite):
    page = Page(suite / "report.html")
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "img", "iframe")
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith("#")
    style = (suite / "report.html").read_text()
    assert "@import" not in style
    assert not re.search(r"url\((?!#)", style)


def test_links_lead_somewhere_and_names_are_unique(suite):
    page = Page(suite / "report.html")
    ids = page.ids()
    assert len(ids) == len(set(ids))
    targets = [a["href"] for tag, a in page.tags if tag in ("a", "use") and "href" in a]
    targets += [a["xlink:href"] for _, a in page.tags if "xlink:href" in a]
    assert len(targets) > 50
    assert {target.removeprefix("#") for target in targets} <= set(ids)
    clips = re.findall(r"url\(#([^)]*)\)", (suite / "report.html").read_text())
    assert clips
    assert set(clips) <= set(ids)


def test_every_section_is_there(suite):
    ids = Page(suite / "report.html").ids()
    for section in (
        *(
            "results",
            "curves",
            "gradient_flow",
            "saturation",
            "pre_activation_variance",
        ),
        *("co_adaptation", "weights", "flatness", "functions", "made"),
    ):
        assert section in ids


def test_pictures_are_files_too(suite):
    on_page = [name for name in Page(suite / "report.html").ids() if "-" not in name]
    pngs = {path.stem for path in (suite / "figures").glob("*.png")}
    svgs = {path.stem for path in (suite / "figures").glob("*.svg")}
    assert pngs == svgs
    assert pngs <= set(on_page)
    assert len(pngs) > 15
    for path in (suite / "figures").glob("*.png"):
        with Image.open(path) as image:
            width, height = image.size
            assert width == 880
            assert 300 <= height < 800
    for path in (suite / "figures").glob("*.svg"):
        assert ET.parse(path).getroot().tag.endswith("svg")
        assert "prefers-color-scheme" in path.read_text()


def test_scores_are_those_of_the_runs(suite):
    for row in Page(suite / "report.html").table(["variant", "seeds"]):
        found = numbers_of(suite, row["variant"])
        accuracy = [100 * result["test_accuracy"] for result in found]
        epochs = [result["best_epoch"] for result in found]
        assert row["seeds"] == str(SEEDS)
        expected = f"{np.mean(accuracy):.2f} ({np.std(accuracy, ddof=1):.2f})"
        assert row["test accuracy %"] == expected
        expected = f"{np.mean(epochs):.1f} ({np.std(epochs, ddof=1):.1f})"
        assert row["best epoch"] == expected


def test_differences_are_of_pairs_and_claim_nothing_that_is_not_shown(suite):
    page = Page(suite / "report.html")
    rows = page.table(["difference", "pairs"])
    pairs = [row["difference"] for row in rows]
    assert pairs == ["dropout − plain", "GAAF − plain", "GAAF − dropout"]
    for header, *cells in [t for t in page.tables if t[0][0] == "difference"]:
        column = header.index("test accuracy, % points")
        for row in cells:
            variant, base = row[0].split(" − ")
            difference = 100 * np.subtract(
                *(
                    [result["test_accuracy"] for result in numbers_of(suite, name)]
                    for name in (variant, base)
                )
            )
            half = QUANTILE * difference.std(ddof=1) / np.sqrt(SEEDS)
            numbers = re.findall(r"[-+−±]?[\d.]+", row[column])
            if difference.std() == 0:
                assert row[column].endswith(f"in each of {SEEDS} pairs")
                numbers = numbers[:1] * 3
            mean, low, high = map(number, numbers)
            np.testing.assert_allclose(
                [mean, low, high],
                difference.mean() + np.array([0, -half, half]),
                atol=0.0051,
            )
            shown = difference.mean() - half > 0, difference.mean() + half < 0
            verdict = {
                (True, False): "better, with only two pairs",
                (False, True): "worse, with only two pairs",
            }
            if difference.std() == 0:
                shown = None
            assert row[column + 1] == verdict.get(shown, "no difference shown")


def test_epochs_to_reach_another_variant(suite):
    rows = Page(suite / "report.html").table(["variant", "reached plain’s best"])
    study = studies.read(suite)
    base = study.plain.runs
    for row, variant in zip(rows, study.chosen, strict=True):
        if variant is study.plain:
            assert row["reached plain’s best"] == "–"
            continue
        epochs, at_best = [], []
        for seed, run in variant.runs.items():
            accuracies = [r["val_accuracy"] for r in base[seed].history]
            there = [
                r["epoch"] for r in run.history if r["val_accuracy"] >= max(accuracies)
            ]
            epochs += there[:1]
            at_best += [1 + int(np.argmax(accuracies))] * bool(there)
        assert row["reached plain’s best"] == f"{len(epochs)} of {SEEDS}"
        if epochs:
            own, theirs = row["epochs to plain’s best"].split(" against ")
            assert number(own) == pytest.approx(np.mean(epochs), abs=0.051)
            assert number(theirs) == pytest.approx(np.mean(at_best), abs=0.051)


def test_gradients_are_means_over_the_whole_run(suite):
    rows = Page(suite / "report.html").table(["variant", "layer", "|∂L/∂z|"])
    assert len(rows) == 6
    row = next(
        r for r in rows if (r["variant"], r["layer"]) == ("GAAF", "activation_2")
    )
    means = []
    for seed in range(SEEDS):
        text = (suite / "GAAF" / f"seed_{seed}" / "gradient_flow.csv").read_text()
        lines = [line.split(",") for line in text.splitlines()[1:]]
        means.append(
            np.mean([float(line[2]) for line in lines if line[1] == "activation_2"])
        )
    mantissa, exponent = f"{np.mean(means):.2e}".split("e")
    text = row["|∂L/∂z|"]
    if "10" in text.split(")")[-1]:
        superscript = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
        assert int(text.split("10")[-1].translate(superscript)) == int(exponent)
        assert number(text) == pytest.approx(float(mantissa), abs=0.011)
    else:
        assert number(text) == pytest.approx(np.mean(means), rel=0.01)


def test_how_it_was_made(suite):
    page = Page(suite / "report.html")
    assert f"python -m experiments.report {suite}" in page.text
    assert "keras 3." in page.text
    assert "dropout = 0.2" in page.text


def test_the_suite_resumes_in_a_folder_with_a_report(suite, tmp_path):
    shutil.copytree(suite, tmp_path / "copy")  # the summary will have another command
    runs.run(plans.plan("digits", GIVEN, SEEDS), tmp_path / "copy")


@pytest.mark.slow
def test_learning_rates_are_compared_at_the_best(tmp_path):
    given = {**GIVEN, "epochs": 2, "learning_rate": (0.001, 0.3), "export": False}
    plan = plans.plan(None, {**given, "activation": "tanh", "dropout": 0.1}, 1)
    runs.run(plan, tmp_path / "new")
    page = Page(report.write(tmp_path / "new"))
    rows = {row["variant"]: row for row in page.table(["variant", "seeds"])}
    assert rows["tanh, learning rate 0.001"]["test accuracy %"] == "not chosen"
    assert number(rows["tanh, learning rate 0.3"]["test accuracy %"]) > 0
    assert "learning_rates" in page.ids()
    assert not list((tmp_path / "new").glob("*0.001/*/analysis.json"))


def test_one_run_that_diverges_of_a_convolutional_network_from_a_file(tmp_path):
    layers = [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(2, 3, activation="relu", name="convolution"),
        keras.layers.BatchNormalization(),
        keras.layers.Flatten(),
        keras.layers.Dense(10),
    ]
    keras.Sequential(layers).save(tmp_path / "own.keras")
    given = {"init_from": str(tmp_path / "own.keras"), "accelerate": True}
    given |= {"epochs": 2, "train_examples": 130, "learning_rate": 1e30}
    plan = plans.plan(None, {**given, "export": False}, 1)
    runs.run(plan, tmp_path / "new")
    page = Page(report.write(tmp_path / "new"))
    assert page.table(["variant", "seeds"])[0]["variant"].endswith(" (1 diverged)")
    assert "difference" not in [table[0][0] for table in page.tables]
    assert page.table(["variant", "layer", "saturated, %"])[0]["layer"] == "convolution"
    assert "pre_activation_convolution" in page.ids()


@pytest.mark.slow
def test_an_interrupted_suite_shows_what_is_finished(suite, tmp_path):
    folder = tmp_path / "part"
    shutil.copytree(suite, folder)
    (folder / "summary.json").unlink()
    (folder / "GAAF" / "seed_1" / "result.json").unlink()
    analyses = {p: p.stat().st_mtime_ns for p in folder.rglob("analysis.json")}
    assert len(analyses) == 3 * SEEDS
    printed = python("-m", "experiments.report", folder)
    assert printed.splitlines()[-1] == f"Report: {folder / 'report.html'}"
    assert analyses == {p: p.stat().st_mtime_ns for p in folder.rglob("analysis.json")}
    page = Page(folder / "report.html")
    rows = {row["variant"]: row["seeds"] for row in page.table(["variant", "seeds"])}
    assert rows == {"plain": "2", "dropout": "2", "GAAF": "1"}
    assert "1 more are not finished" in page.text
    pairs = page.table(["difference", "pairs"])
    assert [row["pairs"] for row in pairs if "GAAF" in row["difference"]] == ["1", "1"]
    assert (
        "One pair of GAAF and plain cannot show a difference: test accuracy"
        in page.text
    )


def test_errors(tmp_path, suite, monkeypatch):
    with pytest.raises(UsageError, match="is not a folder"):
        report.write(tmp_path / "none")
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match=r"experiments.report: .* is not a folder"):
        main()
    with pytest.raises(UsageError, match="holds no finished run"):
        report.write(tmp_path)
    folder = tmp_path / "broken"
    shutil.copytree(suite / "plain" / "seed_0", folder)
    (folder / "analysis.json").unlink()
    (folder / "model.keras").write_bytes(b"broken")
    with pytest.raises(UsageError, match=r"model in .* cannot be read"):
        report.write(folder)
    shutil.copytree(suite / "plain" / "seed_1", tmp_path / "mixed" / "a" / "seed_1")
    shutil.copytree(folder, tmp_path / "mixed" / "b" / "seed_0")
    config = tmp_path / "mixed" / "b" / "seed_0" / "config.json"
    config.write_text(
        config.read_text().replace('"digits"', '"mnist"').replace('"plain"', '"b"')
    )
    with pytest.raises(UsageError, match=r"different data \(digits, mnist\)"):
        report.write(tmp_path / "mixed")
    shutil.rmtree(tmp_path / "mixed" / "b")
    shutil.copytree(suite / "plain" / "seed_1", tmp_path / "mixed" / "a" / "again")
    with pytest.raises(UsageError, match="several runs of plain with seed 1"):
        report.write(tmp_path / "mixed")
    (folder / "history.csv").write_text("broken")
    with pytest.raises(UsageError, match="cannot be read"):
        report.write(folder)


@pytest.mark.parametrize("batch_norm", [(True, True, True), (True, False, True)])
def test_the_base_has_batch_normalisation_only_if_all_have(tmp_path, batch_norm):
    def variant(name, batch_norm, **settings):
        config = TrainingConfig(batch_norm=batch_norm, **settings)
        run = studies.Run(tmp_path, config, {}, {}, [], [])
        return studies.Variant(name, name, True, {0: run})

    first, second, third = batch_norm
    variants = [
        variant("GAAF", first, activation="gaaf_relu"),
        variant("plain", second, activation="relu"),
        variant("other", third, activation="silu"),
        variant("dropped", third, activation="relu", dropout=0.2),
    ]
    study = studies.Study(tmp_path, "", "", variants, 0)
    assert (study.plain.name, study.dropout.name) == ("plain", "dropped")
    study = studies.Study(tmp_path, "", "", [*variants[::-1]], 0)
    assert study.plain.name == ("other" if second else "plain")


def test_activations_that_differ_have_a_picture_each(tmp_path):
    def variant(shape):
        values = {k: v.tolist() for k, v in vars(curve(GAAF("tanh", shape))).items()}
        analysis = {"functions": {"accelerated tanh": values}}
        run = studies.Run(tmp_path, TrainingConfig(), {}, {}, [], [], analysis)
        return studies.Variant(shape, shape, True, {0: run})

    def titles(*shapes):
        study = studies.Study(tmp_path, "", "", [*map(variant, shapes)], 0)
        drawn = pictures.functions(study).items()
        return {name: figure.axes[0].get_title("left") for name, figure in drawn}

    name = "function_accelerated_tanh"
    assert titles("gaussian") == {name: "accelerated tanh"}
    assert titles("gaussian", "constant") == {
        f"{name}_1": "accelerated tanh, gaussian",
        f"{name}_2": "accelerated tanh, constant",
    }


def test_tables_are_files_too(suite):
    page = Page(suite / "report.html")
    with (suite / "tables" / "differences.csv").open(newline="") as file:
        titles, *rows = csv.reader(file)
    assert titles[2:4] == [
        "test accuracy, % points",
        "test accuracy, % points: verdict",
    ]
    assert rows in [
        [[cell.replace("−", "-") for cell in row] for row in found]
        for _, *found in page.tables
    ]
    for path in (suite / "tables").glob("*.csv"):
        titles, *_ = csv.reader(path.read_text().splitlines())
        assert len(set(titles)) == len(titles), path
    small = tables.spread([-1.3e-4, -1.5e-4], None)
    assert tables.as_csv(Table(["a"], [[small]])) == "a\n-1.40e-04 (0.14e-04)\n"
    latex = (suite / "tables" / "scores.tex").read_text()
    header = r"variant & seeds & validation accuracy \% & test accuracy \% &"
    assert latex.splitlines()[2].startswith(header)
    assert latex.count(r"\\") == 1 + 3
    assert all(p.read_text().isascii() for p in (suite / "tables").glob("*.tex"))
    text = Table(["a_b", "50 %"], [["x & y", "−1 ± 0 · 10⁻²"]], "it’s")
    assert tables.latex(text).splitlines()[2:5:2] == [
        r"a\_b & 50 \% \\",
        r"x \& y & $-$1 $\pm$ 0 $\cdot$ 10$^{-}$$^{2}$ \\",
    ]


def test_the_verdict_comes_first(suite):
    first, *_, caution = comparison.summary(studies.read(suite))
    assert re.match("dropout is |No difference between dropout and plain is", first)
    assert "test accuracy" in first
    assert "2 pairs of seeds" in first
    assert caution.startswith("Caution: Fewer than 3 pairs")


@pytest.mark.parametrize(
    ("values", "decimals", "text"),
    [
        ([0.28, 0.28], 2, "+0.28 in each of 2 pairs"),
        ([0.1, 0.2, 0.15], 2, "+0.15 [+0.03, +0.27]"),
        ([-0.13016, -0.12, -0.0698], 1, "−0.11 [−0.19, −0.03]"),
        ([0.5], 2, "+0.50 (one pair)"),
    ],
)
def test_as_many_digits_as_decide(values, decimals, text):
    difference = paired_difference(values, [0.0] * len(values))
    assert difference.with_decimals(decimals) == text


def test_what_was_accelerated_is_analysed_so(tmp_path):
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten()]
    layers += [keras.layers.Dense(6, "tanh"), keras.layers.Dense(10)]
    keras.Sequential(layers).save(tmp_path / "start.keras")
    config = TrainingConfig(
        init_from=str(tmp_path / "start.keras"),
        accelerate=True,
        epochs=1,
        export=False,
        output_dir=str(tmp_path / "run"),
    )
    train_and_evaluate(config)
    (run,) = studies.read(tmp_path / "run").runs
    analyse(run)
    (found,) = run.analysis["pre_activation_variance"].values()
    # With unit gain it is nowhere larger than 1, but larger than tanh's on average.
    assert found["derivative"] < found["derivative_in_training"] <= 1
