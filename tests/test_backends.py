"""The layers on the other backends: the same tests, without TensorFlow."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LAYERS = sorted((TESTS / "core").glob("test_*.py"))
ANALYSES = [
    TESTS / "analysis" / f"test_{name}.py"
    for name in ("accuracy", "against_numpy", "gradient_flow_callback", "names")
]
COMPARISON = [TESTS / "comparison" / "test_compare.py"]
# What Keras does the same for all backends; JAX compiles for minutes. PyTorch runs it.
LEFT_OUT_ON_JAX = [
    *(
        TESTS / "core" / f"test_{name}.py"
        for name in ("dropout_matched", "saving", "sawtooth", "schedule", "unit_gain")
    ),
    TESTS / "analysis" / "test_accuracy.py",
]

ALL_BACKENDS = [
    "jax",
    pytest.param(
        "torch",
        marks=pytest.mark.skipif(
            not importlib.util.find_spec("torch")
            and not os.environ.get("GAAF_KERAS_TEST_ALL_BACKENDS"),
            reason="PyTorch is not installed; `pip install torch` to test with it",
        ),
    ),
]

on_all_backends = pytest.mark.parametrize("backend", ALL_BACKENDS)


def run(backend, *arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            # JAX compiles every operation again; that need not take twice as long.
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        },
    )


PYTEST = ("-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider")


def assert_pass(backend, paths):
    """Runs tests on a backend, except those that are the same on all."""
    done = run(backend, *PYTEST, "-m", "not slow and not once", *map(str, paths))
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


@on_all_backends
def test_layers_and_analyses(backend):
    left_out = LEFT_OUT_ON_JAX if backend == "jax" else []
    paths = [*LAYERS, *ANALYSES, *COMPARISON]
    assert_pass(backend, [path for path in paths if path not in left_out])


@pytest.mark.slow
def test_layers_left_out_on_jax():
    assert_pass("jax", LEFT_OUT_ON_JAX)


@on_all_backends
def test_tensorflow_is_not_needed(backend, tmp_path):
    program = f"""
import sys
sys.modules["tensorflow"] = None  # as if it were not installed
import keras, gaaf_keras, numpy
model = keras.Sequential([keras.Input((3,)), gaaf_keras.GAAFTanh()])
print(model.predict(numpy.ones((2, 3)), verbose=0))
assert not [name for name in sys.modules if name.startswith("experiments")]
print("imported")
gaaf_keras.export(model, {str(tmp_path / "m")!r})
"""
    done = run(backend, "-c", program)
    assert "imported" in done.stdout, done.stderr
    assert (
        "RuntimeError: Format 'tf_saved_model' can only be written with the Ten"
        in done.stderr
    )
