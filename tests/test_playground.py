"""The page to play with, in headless Chromium: its numbers are those of the package."""

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from gaaf_keras import GAAF
from tests.gradients import value_and_gradient

pytestmark = [pytest.mark.slow, pytest.mark.once]

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "docs" / "javascripts" / "playground"
POINTS = np.concatenate([np.linspace(-12, 12, 150), [-1, -0.5, -0.0, 0.5, 1, 1e-9]])


def opened(page, milliseconds=2000):
    """The document that Chromium makes of a page, and what its console says."""
    assert shutil.which("chromium"), "Install Chromium: apt-get install chromium"
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={page.parent / 'profile'}",
        f"--virtual-time-budget={milliseconds}",
    ]
    command = ["chromium", *options, "--dump-dom", page.as_uri()]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120
    )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return done.stdout, console


def answer(document):
    """What `answer(...)` has left in a page."""
    found = re.search('<pre id="answer">(.*?)</pre>', document)
    return json.loads(html.unescape(found[1]))


LEAVE = """
function answer(value) {
  const pre = document.createElement("pre");
  pre.id = "answer";
  pre.textContent = JSON.stringify(value);
  document.body.append(pre);
}
"""


@pytest.fixture
def computed(tmp_path):
    """Runs code beside the page's own scripts, and returns what it answers."""

    def run(code, **names):
        scripts = "".join(
            f'<script src="{(SCRIPTS / name).as_uri()}"></script>'
            for name in ("derivatives.js", "network.js")
        )
        given = "".join(
            f"const {name} = {json.dumps(value)};" for name, value in names.items()
        )
        page = tmp_path / "page.html"
        page.write_text(f"<body>{scripts}<script>{LEAVE}{given}{code}</script>")
        document, console = opened(page)
        assert not console
        return answer(document)

    return run


CASES = """
const cases = [];
const add = (settings) => {
  const { value, plain, accelerated } = Derivatives.functionsOf(settings);
  cases.push({
    python: Derivatives.pythonOf(settings),
    value: points.map(value),
    plain: points.map(plain),
    accelerated: points.map(accelerated),
  });
};
for (const activation of Object.keys(Derivatives.activations)) {
  const start = Derivatives.startOf(activation);
  add(start);
  add({ ...start, unitGain: true });
  for (const [shape, { parameters }] of Object.entries(Derivatives.shapes)) {
    const settings = Derivatives.withShape(start, shape);
    const ranges = Object.entries(parameters);
    const another = Object.fromEntries(
      ranges.map(([name, [low, high]]) => [name, (low + 2 * high) / 3]),
    );
    add({ ...settings, strength: 0.35 });
    add({ ...settings, parameters: another, strength: 1 });
    if (activation === "tanh" || activation === "relu")
      add({ ...settings, parameters: another, strength: 0.8, unitGain: true });
  }
}
answer(cases);
"""


def test_derivatives_are_those_of_the_line_of_python_shown(computed):
    cases = computed(CASES, points=list(POINTS))
    assert len(cases) > 200
    assert len({case["python"] for case in cases}) == len(cases)
    for case in cases:
        activation = eval(case["python"], {"GAAF": GAAF})
        value, accelerated = value_and_gradient(activation, POINTS)
        plain = value_and_gradient(GAAF(activation.activation, strength=0.0), POINTS)[1]
        for name, expected, tolerance in (
            ("value", value, 1e-7),  # TensorFlow's leaky ReLU has a slope in float32
            ("plain", plain, 1e-12),
            ("accelerated", accelerated, 2e-6 if activation.unit_gain else 1e-12),
        ):
            np.testing.assert_allclose(
                case[name], expected, tolerance, atol=1e-12, err_msg=case["python"]
            )


BACKPROPAGATION = """
const random = Networks.randomFrom(3);
const batch = Networks.spirals(random).slice(0, 20);
const layers = Networks.layersOf([2, 5, 4, 1], 2, random);
for (const { biases } of layers) biases.forEach((_, k) => (biases[k] = random() - 0.5));
const { value, plain, accelerated } = Derivatives.functionsOf(settings);
const loss = () =>
  batch.reduce((sum, { x, label }) => {
    return sum + Networks.lossOf(Networks.forward(layers, x, value).logit, label);
  }, 0) / batch.length;
const lists = (parts) =>
  parts.map(({ weights, biases }) => [Array.from(weights), Array.from(biases)]);
const differences = layers.map((layer) =>
  [layer.weights, layer.biases].map((numbers) =>
    Array.from(numbers, (number, k) => {
      const [h, losses] = [1e-6, []];
      for (const moved of [number + h, number - h]) {
        numbers[k] = moved;
        losses.push(loss());
      }
      numbers[k] = number;
      return (losses[0] - losses[1]) / (2 * h);
    }),
  ),
);
answer({
  python: Derivatives.pythonOf(settings),
  batch,
  layers: lists(layers),
  differences,
  plain: lists(Networks.gradientsOf(layers, batch, value, plain)),
  accelerated: lists(Networks.gradientsOf(layers, batch, value, accelerated)),
});
"""


def flat(parts):
    return np.concatenate([numbers for part in parts for numbers in part])


@pytest.mark.parametrize(
    "settings",
    [
        {"activation": "tanh", "shape": "gaussian", "parameters": {"width": 3}},
        {"activation": "relu", "shape": "b_silu", "parameters": {"alpha": 1.67}},
    ],
    ids=["tanh", "relu"],
)
def test_backpropagation_is_that_of_differences_and_of_keras(computed, settings):
    found = computed(BACKPROPAGATION, settings={**settings, "strength": 0.7})
    np.testing.assert_allclose(flat(found["plain"]), flat(found["differences"]), 1e-6)

    x = np.array([each["x"] for each in found["batch"]])
    y = np.array([[float(each["label"])] for each in found["batch"]])
    parts = [keras.layers.Dense(size, dtype="float64") for size in (5, 4, 1)]
    activation = eval(found["python"], {"GAAF": GAAF})
    model = keras.Sequential(
        [
            keras.Input((2,), dtype=x.dtype),
            parts[0],
            activation,
            parts[1],
            activation,
            parts[2],
        ]
    )
    for part, (weights, biases) in zip(parts, found["layers"], strict=True):
        part.set_weights([np.reshape(weights, (len(biases), -1)).T, np.array(biases)])
    import tensorflow as tf

    loss = keras.losses.BinaryCrossentropy(from_logits=True, dtype="float64")
    with tf.GradientTape() as tape:
        mean = loss(y, model(x, training=True))
    gradients = tape.gradient(mean, model.trainable_weights)
    expected = np.concatenate([each.numpy().T.ravel() for each in gradients])
    np.testing.assert_allclose(flat(found["accelerated"]), expected, 1e-9, 1e-12)
    assert not np.allclose(expected, flat(found["plain"]))


CLAIM = """
answer([0.03, 0.1].map((rate) => {
  const functions = Derivatives.functionsOf(Derivatives.startOf("tanh"));
  const trial = Networks.start({ seed: 0, depth: 4, scale: 1, rate }, functions);
  for (let step = 0; step < 3000; step++) trial.step();
  return [trial.evaluate("plain"), trial.evaluate("accelerated")];
}));
"""


def test_what_the_page_says_to_look_for_happens(computed):
    (plain, accelerated), at_a_larger_rate = computed(CLAIM)
    assert accelerated["accuracy"] > plain["accuracy"] + 0.1
    assert np.all(np.array(accelerated["saturation"]) > plain["saturation"])
    assert at_a_larger_rate[0]["accuracy"] > 0.95  # where plain catches up


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The page built with the settings of the documentation."""
    folder = tmp_path_factory.mktemp("playground")
    for name in ("javascripts", "stylesheets", "theme"):
        shutil.copytree(ROOT / "docs" / name, folder / "docs" / name)
    page = ROOT / "docs" / "playground.md"
    text = re.sub(r"\]\([\w/]+\.md[^)]*\)", "]", page.read_text())  # no other pages
    (folder / "docs" / "playground.md").write_text(text)
    (folder / "mkdocs.yml").write_text(
        f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: docs\nsite_dir: site\n"
        "plugins: [search, offline]\nnav: [playground.md]\n"
    )
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet"]
    subprocess.run(command, check=True, cwd=folder, timeout=120)
    return folder / "site" / "playground.html"


USE = """
const find = (id) => document.getElementById(`playground-${id}`);
const all = (id, selector) => [...find(id).querySelectorAll(selector)];
const change = (id, value) => {
  if (typeof value === "boolean") find(id).checked = value;
  else find(id).value = value;
  find(id).dispatchEvent(new Event("change", { bubbles: true }));
};
const shown = () => ({
  step: Number(find("step").textContent.match(/\\d+/)[0]),
  button: find("train").textContent,
  loss: all("loss", ".playground-line").map((path) => path.getAttribute("d")),
  layers: find("saturation").children.length,
});
change("activation", "relu");
change("shape", "nelu");
const slider = find("sliders").querySelector("[name=strength]");
slider.value = 0.6;
slider.dispatchEvent(new Event("input", { bubbles: true }));
change("gain", true);
change("depth", 2);
const before = shown();
find("train").click();
new MutationObserver((_, observer) => {
  if (shown().step < 50) return;
  observer.disconnect();
  find("train").click();
  const after = shown();
  find("reset").click();
  answer({
    before,
    after,
    reset: shown(),
    python: find("python").querySelector("code").textContent,
    ticks: all("derivative", "[text-anchor=end]").map((tick) => tick.textContent),
    line: all("derivative", ".playground-accelerated")[0].getAttribute("d"),
    unlabelled: [...document.querySelectorAll(".playground :is(input, select)")].filter(
      (each) => !each.labels.length,
    ).length,
  });
}).observe(find("step"), { childList: true });
"""


# A request to a network is an error on the console.
ONLY_FILES = """<head><meta http-equiv="Content-Security-Policy"
content="default-src file: data: blob: 'unsafe-inline'">"""


def used(site, name, added):
    page = site.with_name(name)
    text = site.read_text().replace("<head>", ONLY_FILES, 1)
    page.write_text(text.replace("</body>", f"{added}</body>"))
    return opened(page, milliseconds=20_000)


def test_the_built_page_draws_and_trains_without_an_error_or_a_request(site):
    document, console = used(site, "used.html", f"<script>{LEAVE}{USE}</script>")
    assert not console
    found = answer(document)
    assert found["python"] == (
        'GAAF("relu", "nelu(alpha=0.1)", strength=0.6, unit_gain=True)'
    )
    points = np.array([each.split() for each in found["line"][1:].split("L")], float)
    low, high = float(found["ticks"][0]), float(found["ticks"][-1])
    drawn = low + (186 - points[:, 1]) / (186 - 10) * (high - low)
    x = np.linspace(-6, 6, 961)
    np.testing.assert_allclose(points[:, 0], 34 + (x + 6) / 12 * (348 - 34), atol=0.01)
    activation = eval(found["python"], {"GAAF": GAAF})
    np.testing.assert_allclose(drawn, value_and_gradient(activation, x)[1], atol=1e-4)

    assert found["before"] == found["reset"]
    assert found["before"]["step"] == 0
    assert found["after"]["step"] == 50
    assert [found["before"]["button"], found["after"]["button"]] == ["Train", "Train"]
    assert found["after"]["layers"] == 2
    plain, accelerated = found["after"]["loss"]
    assert plain.count("L") == accelerated.count("L") > 0
    assert plain != accelerated
    assert found["unlabelled"] == 0


@pytest.mark.parametrize(
    "slip", ['<img src="https://example.com/a.png">', "<script>slip()</script>"]
)
def test_an_error_or_a_request_would_be_seen(site, slip):
    assert used(site, "slip.html", slip)[1]
