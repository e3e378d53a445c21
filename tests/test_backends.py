"""The layers on the other backends: the same tests, and no TensorFlow needed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

CORE = Path(__file__).parent / "core"

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

pytestmark = pytest.mark.parametrize("backend", ALL_BACKENDS)


def run(backend, *arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            # JAX compiles every operation anew; that need not take twice as long.
            "XLA_FLAGS": "--xla_backend_optimization_level=0",
        },
    )


def test_core_tests_pass(backend):
    plain = ["-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider"]
    done = run(backend, *plain, "-m", "not slow and not once", str(CORE))
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_analyses(backend):
    folder = Path(__file__).parent / "analysis"
    names = ("test_against_numpy.py", "test_gradient_flow_callback.py")
    analyses = [str(folder / name) for name in names]
    plain = ["-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider"]
    done = run(backend, *plain, "-m", "not slow and not once", *analyses)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


def test_tensorflow_is_not_needed(backend):
    program = """
import sys
sys.modules["tensorflow"] = None  # as if it were not installed
import keras, gaaf_keras, numpy
model = keras.Sequential([keras.Input((3,)), gaaf_keras.GAAFTanh()])
print(model.predict(numpy.ones((2, 3)), verbose=0))
assert not [name for name in sys.modules if name.startswith("gaaf_keras.experiments")]
"""
    done = run(backend, "-c", program)
    assert done.returncode == 0, done.stderr


def test_saved_model_export_says_what_it_needs(backend, tmp_path):
    program = f"import gaaf_keras; gaaf_keras.export(None, {str(tmp_path / 'm')!r})"
    done = run(backend, "-c", program)
    assert (
        "RuntimeError: Format 'saved_model' can be written with the Tensor"
        in done.stderr
    )
