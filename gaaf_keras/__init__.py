"""Keras activations with the same value and a different gradient."""

import importlib
from typing import TYPE_CHECKING, Any

try:  # before anything else imports it
    import keras as _keras  # noqa: F401
except (ImportError, ValueError) as _error:
    from gaaf_keras._core.backends import advice

    _advice = advice(_error)
    if _advice is None:
        raise
    raise ImportError(_advice, name="keras") from None

# These register the objects in saved models; the rest is imported on first use.
from gaaf_keras import activations, layers, shapes
from gaaf_keras._core.sawtooth import gradient_acceleration
from gaaf_keras._version import __version__
from gaaf_keras.activations import gaaf, gaaf_relu, gaaf_tanh
from gaaf_keras.layers import GAAF, GAAFReLU, GAAFTanh
from gaaf_keras.shapes import Gaussian, ShiftedSigmoid

if TYPE_CHECKING:
    from gaaf_keras import acceleration, analysis, callbacks, comparison
    from gaaf_keras.acceleration import accelerate, restore, summary
    from gaaf_keras.callbacks import AccelerationSchedule
    from gaaf_keras.comparison import compare
    from gaaf_keras.dropout_matching import match_dropout
    from gaaf_keras.exporting import export

__all__ = [
    "GAAF",
    "AccelerationSchedule",
    "GAAFReLU",
    "GAAFTanh",
    "Gaussian",
    "ShiftedSigmoid",
    "__version__",
    "accelerate",
    "acceleration",
    "activations",
    "analysis",
    "callbacks",
    "compare",
    "comparison",
    "export",
    "gaaf",
    "gaaf_relu",
    "gaaf_tanh",
    "gradient_acceleration",
    "layers",
    "match_dropout",
    "restore",
    "shapes",
    "summary",
]

_MODULES = ("acceleration", "analysis", "callbacks", "comparison")
_MODULE_OF = {
    "AccelerationSchedule": "callbacks",
    "accelerate": "acceleration",
    "compare": "comparison",
    "export": "exporting",
    "match_dropout": "dropout_matching",
    "restore": "acceleration",
    "summary": "acceleration",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"gaaf_keras.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'gaaf_keras' has no attribute {name!r}")
    module = importlib.import_module(f"gaaf_keras.{_MODULE_OF[name]}")
    globals()[name] = getattr(module, name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
