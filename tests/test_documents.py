"""The documentation: its code runs, and its commands exist."""

import ast
import contextlib
import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
import shlex
import shutil
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
from absl.testing import flagsaver

import experiments
import gaaf_keras

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
PAGES = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if path.name not in ("changelog.md", "contributing.md")
] + [ROOT / "CONTRIBUTING.md"]
LANGUAGES = {"bash", "bibtex", "pycon", "python", "text"}
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def blocks(text, language):
    return [
        (text[: found.start()].count("\n") + 1, textwrap.dedent(found[3]))
        for found in BLOCK.finditer(text)
        if found[2] == language
    ]


def with_blocks(language):
    return [
        pytest.param(path, id=path.relative_to(ROOT).as_posix())
        for path in PAGES
        if blocks(path.read_text(), language)
    ]


@pytest.fixture
def session(tmp_path, monkeypatch):
    """The names that examples assume: a small model, and data for it."""
    monkeypatch.chdir(tmp_path)
    keras.utils.clear_session()  # and with it the names that Keras has given
    layers = [keras.Input((8,)), keras.layers.Dense(6, "tanh", name="dense_1")]
    for name in ("activation_1", "activation_2", "conv5_relu", "block_relu"):
        layers.append(keras.layers.Dense(6, name=f"{name}_input"))
        layers.append(keras.layers.Activation("relu", name=name))
    model = keras.Sequential([*layers, keras.layers.Dense(3, name="logits")])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    x = np.random.default_rng(0).random((3300, 8), "float32")
    y = np.arange(3300) % 3
    return {
        "model": model,
        "keras": keras,
        "gaaf_keras": gaaf_keras,
        **dict.fromkeys(("x", "x_test"), x[:200]),
        **dict.fromkeys(("y", "y_test"), y[:200]),
        "x_train": x,  # for more than 100 steps
        "y_train": y,
        "__name__": "documents",
    }


def run(path, code, line, session):
    code = compile("\n" * line + code, path, "exec")
    with contextlib.redirect_stdout(sys.stderr):
        exec(code, session)


@pytest.mark.parametrize("path", with_blocks("python"))
def test_pages_run(path, session):
    for line, code in blocks(path.read_text(), "python"):
        run(path, code, line, session)


@pytest.mark.parametrize("path", with_blocks("pycon"))
def test_sessions_print_what_they_show(path, session, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for line, code in blocks(path.read_text(), "pycon"):
        parsed = doctest.DocTestParser().get_doctest(
            code + "\n", session, path.name, str(path), line
        )
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        assert runner.run(parsed, clear_globs=False).failed == 0


def documented_objects():
    """Returns every module, class and function with a block of code."""
    found = []
    for info in (
        *pkgutil.walk_packages(gaaf_keras.__path__, "gaaf_keras."),
        *pkgutil.walk_packages(experiments.__path__, "experiments."),
    ):
        source = importlib.util.find_spec(info.name).origin
        tree = ast.parse(Path(source).read_text())
        for node in ast.walk(tree):
            kinds = ast.Module, ast.ClassDef, ast.FunctionDef
            text = ast.get_docstring(node) if isinstance(node, kinds) else None
            for _, code in blocks(text or "", "python"):
                name = getattr(node, "name", "")
                found.append(pytest.param(code, id=f"{info.name}.{name}".rstrip(".")))
    return found


@pytest.mark.parametrize("code", documented_objects())
def test_examples_in_docstrings_run(code, session, request):
    from gaaf_keras import GAAFTanh, analysis
    from gaaf_keras.analysis import figures

    if "runs/mnist" in code:  # a table that has been trained
        shutil.copytree(request.getfixturevalue("suite"), "runs/mnist")
    session |= {"analysis": analysis, "figures": figures, "GAAFTanh": GAAFTanh}
    run("docstring", code, 0, {**session, "dataclasses": dataclasses})


def commands(path):
    """Yields the commands of a page, without what surrounds them."""
    for line, code in blocks(path.read_text(), "bash"):
        for command in code.replace("\\\n", " ").splitlines():
            words = shlex.split(command, comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            if words:
                yield line, words


@pytest.mark.parametrize("path", with_blocks("bash"))
def test_commands_are_those_there_are(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _, words in commands(path):
        if words[0] == "make":
            assert re.search(
                f"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE
            )
        for index, word in enumerate(words):
            if word == "python":
                check_python(*words[index + 1 :])


def check_python(program, *words):
    """Checks that a program exists and, for our own, its flags."""
    end = next((i for i, word in enumerate(words) if word in ("&&", ";")), len(words))
    words = [word.rstrip(";") for word in words[:end]]
    if program == "-m" and words[0] == "experiments.report":
        from experiments.report.__main__ import parser

        assert parser().parse_args(words[1:]).folders
    elif program == "-m":
        assert importlib.util.find_spec(words[0]), words[0]
    elif program == "train.py":
        check_flags([word for word in words if word.startswith("--")])
    elif program != "my_training.py":
        assert (ROOT / program).is_file(), program


def check_flags(flags):
    import train as script

    with flagsaver.flagsaver():
        script.flags.FLAGS.unparse_flags()
        script.flags.FLAGS(["train.py", *flags])
        assert script.plan_of_flags().variants


def test_the_arrays_of_the_guide_to_backends_can_be_trained_on(session):
    from experiments import TrainingConfig
    from experiments.training import run as training

    page = ROOT / "docs" / "guides" / "backends.md"
    ((line, code),) = blocks(page.read_text(), "python")
    run(page, code, line, session)
    assert training.prepare(TrainingConfig(dataset="own.npz"))


def test_the_tables_of_flags_and_suites_are_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import write_settings

    written = write_settings.PAGE.read_text(encoding="utf-8")
    assert written == write_settings.page(), (
        "run `make lists` and commit what it changes"
    )


def test_what_is_written_is_documented(suite):
    table = (ROOT / "docs" / "training.md").read_text()
    written = {path.name for path in suite.iterdir() if path.suffix or path.is_file()}
    written |= {path.name for path in (suite / "plain" / "seed_0").iterdir()}
    folders = {"saved_model", "tensorboard"}
    for name in written:
        named = f"`{name}/`" if name in folders else f"`{name}`"
        assert named in table


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_block_is_of_a_known_kind(path):
    fences = re.findall(r"^ *```(.*)$", path.read_text(), re.MULTILINE)
    assert set(fences[::2]) <= LANGUAGES
    assert set(fences[1::2]) <= {""}


def test_requirements_are_those_of_the_package():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = {*project["dependencies"], *project["optional-dependencies"]["train"]}
    required = (ROOT / "requirements.txt").read_text().splitlines()
    required = {line.partition("  #")[0] for line in required if line[0] != "#"}
    assert required == {each for each in listed if not each.startswith("numpy")}


def test_the_readme_is_read_in_two_minutes():
    assert len((ROOT / "README.md").read_text().split()) <= 600


def test_version_title_and_address_are_the_same_everywhere():
    import tomllib

    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    address = project["urls"]["Repository"]
    elsewhere = [ROOT / "CITATION.cff", ROOT / "docs" / "citing.md"]
    for path in (*elsewhere, ROOT / "mkdocs.yml"):
        assert address in path.read_text(), path.name
    assert set(re.findall(r"[\w-]+/gaaf_keras(?=/)", text)) == {
        address.removeprefix("https://github.com/")
    }
    for path in (*elsewhere, ROOT / "CHANGELOG.md"):
        assert gaaf_keras.__version__ in path.read_text(), path.name
    citation = (ROOT / "CITATION.cff").read_text()
    assert f'title: "gaaf_keras: {project["description"]}"' in citation
    assert f"license: {project['license']}" in citation


def test_pypi_is_given_links_that_lead_somewhere():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = (ROOT / "README.md").read_text()
    for each in hook["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    links = re.findall(r"\]\(([^)]*)\)|(?:src|href|srcset)=\"([^\"]*)\"", text)
    assert len(links) > 10
    for link in map("".join, links):
        assert link.startswith("https://")
        _, inside, path = link.partition("/v$HFPR_VERSION/")
        assert not inside or (ROOT / path.partition("#")[0]).exists(), path


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_an_extra_brings_each_backend(backend):
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (required,) = project["optional-dependencies"][backend]
    assert required.startswith(f"{backend}>=")


def test_the_gallery_shows_every_shape_and_activation(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import draw_gallery

    command = "run `make lists` and commit what it changes"
    for path, text in draw_gallery.pages().items():
        assert path.read_text() == text, command
    for defined in draw_gallery.EXAMPLES.values():
        assert gaaf_keras.gaaf(defined.on, defined.example)
    text = (ROOT / "docs" / "gallery.md").read_text()
    pictures = set(re.findall(r"images/gallery/(\w+\.png)", text))
    assert pictures == {path.name for path in draw_gallery.GALLERY.iterdir()}, command


def test_everything_public_is_in_the_reference():
    import experiments
    from experiments import report
    from gaaf_keras import acceleration, analysis, comparison
    from gaaf_keras.analysis import figures

    pages = (ROOT / "docs" / "reference").glob("*.md")
    listed = re.findall(
        r"^::: (\S+)$", "\n".join(page.read_text() for page in pages), re.MULTILINE
    )
    assert len(set(listed)) == len(listed)
    shown = {id(pkgutil.resolve_name(name)) for name in listed}
    public = {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in (
            *(gaaf_keras, gaaf_keras.activations, gaaf_keras.layers),
            *(gaaf_keras.shapes, acceleration, analysis, comparison),
            *(experiments, report),
        )
        for name in module.__all__
    }
    public |= {
        f"{figures.__name__}.{name}": found
        for name, found in vars(figures).items()
        if getattr(found, "__module__", "") == figures.__name__
        and not name.startswith("_")
        and callable(found)
    }
    missing = [
        name
        for name, found in public.items()
        if not inspect.ismodule(found)
        and not isinstance(found, str)
        and id(found) not in shown
    ]
    assert not missing
