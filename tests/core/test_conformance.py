"""Keras's own test for layers, which every Keras layer passes."""

import keras
import numpy as np
import pytest
from keras.src import testing

from gaaf_keras import GAAF, GAAFReLU, GAAFTanh, Gaussian

CASES = {
    "GAAF": (GAAF, {"activation": "elu"}),
    "GAAF with parameters": (
        GAAF,
        {"activation": "tanh", "shape_function": Gaussian(3.0), "strength": 0.5},
    ),
    "GAAF with unit gain": (GAAF, {"activation": "relu", "unit_gain": True}),
    "GAAFTanh": (GAAFTanh, {}),
    "GAAFTanh with parameters": (GAAFTanh, {"strength": 2.0, "frequency": 1e3}),
    "GAAFReLU": (GAAFReLU, {}),
    "GAAFReLU with parameters": (
        GAAFReLU,
        {"shape_function": "b_silu", "unit_gain": True},
    ),
}


class Conformance(testing.TestCase):
    """What has `run_layer_test`."""


@pytest.mark.parametrize("name", CASES)
def test_layer(name):
    kind, arguments = CASES[name]
    # The sawtooth is lost in half precision, which such a layer refuses.
    half = "frequency" not in arguments
    x = np.linspace(-3, 3, 12, dtype="float32").reshape(2, 2, 3)
    Conformance().run_layer_test(
        kind,
        init_kwargs=arguments,
        input_data=x,
        expected_output_shape=(2, 2, 3),
        expected_num_trainable_weights=0,
        expected_num_non_trainable_weights=0,
        expected_num_seed_generators=0,
        expected_num_losses=0,
        supports_masking=True,
        run_mixed_precision_check=half,
    )
    assert keras.saving.get_registered_name(kind).startswith("gaaf_keras>")
