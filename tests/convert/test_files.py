"""Converted models and the plain ones: files of either."""

import keras
import numpy as np
import pytest

from gaaf_keras import accelerate
from tests.convert.zoo import (
    MODELS,
    architecture,
    outputs,
)

NAMES = ("dense", "operations", "recurrent", "regularised", "wide", "wrapped")


@pytest.mark.parametrize("name", [*NAMES, "prelu"])
def test_saved_and_loaded(name, tmp_path):
    accelerated = accelerate(MODELS[name][0](), verbose=False)
    accelerated.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert architecture(loaded) == architecture(accelerated)
    for ours, theirs in zip(outputs(loaded), outputs(accelerated), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
def test_weight_files_fit_both_ways(name, tmp_path):
    model = MODELS[name][0]()
    accelerated = accelerate(model, verbose=False)
    expected = outputs(model)
    for source, target in ((model, accelerated), (accelerated, model)):
        source.save_weights(tmp_path / "model.weights.h5")
        for weight in target.weights:
            weight.assign(np.zeros(weight.shape, "float32"))
        target.load_weights(tmp_path / "model.weights.h5")
        for ours, theirs in zip(outputs(target), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
