"""The user's own shape functions in experiments."""

import dataclasses
import sys

import numpy as np
import pytest
from keras import ops

from experiments import TrainingConfig, UsageError, flags, own_shapes
from experiments.data import datasets
from experiments.networks import Network
from gaaf_keras import Gaussian
from gaaf_keras.layers import accelerated_layers
from gaaf_keras.shapes import OneSided, Shape
from tests.processes import train

MODULE = """
import dataclasses
from keras import ops
from gaaf_keras.shapes import Shape

def lorentzian(x):
    return 1 / (1 + x * x)

@dataclasses.dataclass(frozen=True)
class Lorentzian(Shape):
    width: float = 1.0

    def __call__(self, x):
        return 1 / (1 + ops.square(x / self.width))
"""


def half(x):
    return ops.ones_like(x) / 2


@dataclasses.dataclass(frozen=True)
class Level(Shape):
    height: float = 0.5

    def __call__(self, x):
        return self.height * ops.ones_like(x)


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (half, f"{__name__}:half"),
        (Level(0.25), f"{__name__}:Level(height=0.25)"),
        (Gaussian(3.0), "gaaf_keras.shapes:Gaussian(width=3.0)"),
        (
            OneSided(Gaussian(3.0)),
            "gaaf_keras.shapes:OneSided(shape_function=Gaussian(width=3.0), "
            "side='negative', at=0.0)",
        ),
        (
            0.5 * Level(0.25) + Gaussian(3.0),
            f"{__name__}:Sum(first=Scaled(shape_function=Level(height=0.25), "
            "factor=0.5), second=Gaussian(width=3.0))",
        ),
        ("leaky(0.3)", "leaky(0.3)"),
    ],
)
def test_functions_and_objects_become_texts_and_come_back(shape, text):
    config = TrainingConfig(activation="gaaf_tanh", shape_function=shape)
    assert config.shape_function == text
    model = Network(config, datasets.load("digits")).model()
    (layer, *_) = accelerated_layers(model)
    x = np.linspace(-2, 2, 5)
    expected = own_shapes.shape_of(text)
    if not isinstance(expected, str):
        np.testing.assert_array_equal(layer.shape_function(x), expected(x))


def test_a_text_may_combine_shapes_of_a_module():
    shape = own_shapes.shape_of(f"{__name__}:0.5 * Level(1) + Gaussian(width=3)")
    assert shape == 0.5 * Level(1) + Gaussian(3)


def test_what_cannot_be_found_again_is_refused():
    with pytest.raises(UsageError, match="function at the top level of a module"):
        TrainingConfig(shape_function=lambda x: x)
    with pytest.raises(UsageError, match=r"'nowhere:f' cannot be found or made"):
        Network(TrainingConfig(shape_function="nowhere:f"), datasets.load("digits"))


def test_lists_are_divided_outside_of_brackets():
    text = "gaussian,clipped(one_sided(b_silu), 0, 0.5), mine:f(a=1, b=2)"
    assert list(flags._parts(text)) == [
        *("gaussian", "clipped(one_sided(b_silu), 0, 0.5)", "mine:f(a=1, b=2)"),
    ]


def test_a_shape_in_a_file_beside_the_command(tmp_path):
    (tmp_path / "my_shapes.py").write_text(MODULE)
    done = train(
        *("--hidden_units=8", "--epochs=1", "--noexport", "--output_dir=new"),
        "--shape_function=my_shapes:Lorentzian(width=2),gaussian,my_shapes:lorentzian",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "my_shapes:Lorentzian(width=2), seed 0: test accuracy" in done.stdout
    assert len(list((tmp_path / "new").rglob("result.json"))) == 3
    sys.modules.pop("my_shapes", None)
