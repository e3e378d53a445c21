"""Advice when Keras finds no backend. Imports neither Keras nor a backend."""

import difflib
from importlib.util import find_spec

_BACKENDS = ("tensorflow", "jax", "torch")


def advice(error: Exception) -> str | None:
    """Returns what to do about a backend error of `import keras`, else None."""
    name = getattr(error, "name", None)
    if name in _BACKENDS:
        installed = [each for each in _BACKENDS if find_spec(each)]
        others = installed or [each for each in _BACKENDS if each != name]
        another = "set" if installed else "install another and set"
        return (
            f"Keras is set to run on {name}, which is not installed. Install it "
            f"(pip install {name}), or {another} KERAS_BACKEND to "
            f"{' or '.join(others)}."
        )
    if "Unable to import backend" in str(error):
        name = str(error).rpartition(" ")[2]
        close = difflib.get_close_matches(name.lower(), _BACKENDS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        return (
            f"KERAS_BACKEND must be one of {', '.join(_BACKENDS)}. "
            f"Received: {name}.{hint}"
        )
    return None
