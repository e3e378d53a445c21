"""The paper's literal gradient acceleration function, a sawtooth."""

import keras
from keras import ops

from gaaf_keras._core.checks import positive_number
from gaaf_keras._core.compiling import is_of_torch
from gaaf_keras._core.types import Tensor

# In float16, teeth must be 8 bits above the smallest number. In other dtypes, teeth
# finer than the spacing of the numbers around 1 would be lost in any x of interest.
_LARGEST_FREQUENCY = {
    "float16": 2.0**16,
    "bfloat16": 2.0**24,
    "float32": 2.0**24,
    "float64": 2.0**53,
}
_HALF_PRECISION = ("float16", "bfloat16")


def gradient_acceleration(x: Tensor, frequency: float = 10_000.0) -> Tensor:
    """Returns the paper's sawtooth g, whose value is tiny and whose derivative is 1.

    - Forward: `g(x) = (x K - floor(x K) - 0.5) / K`, so that `|g(x)| <= 1 / (2 K)`
    - Backward: `upstream`

    It is computed from the distance of x to the nearest whole number, which loses no
    digits; in half precision `x K` itself overflows from x = 6.5 on. Teeth finer than
    the spacing of the floating-point numbers around x (for float32 and K = 10,000 from
    |x| = 1,677 on) cannot be told apart; the value is exact for the given x.

    Args:
        x: Floating-point tensor of any shape.
        frequency: K, teeth per unit of x. Greater than 0; at most 2^16 in float16,
            2^24 in bfloat16 and float32 and 2^53 in float64, whose numbers are too
            coarse for finer teeth. Defaults to 10,000, as in the paper.

    Raises:
        TypeError: If `x` is not floating-point or `frequency` is not a number.
        ValueError: If `frequency` is not greater than 0, or too large for the dtype.

    Examples:
        >>> from gaaf_keras import gradient_acceleration
        >>> round(float(gradient_acceleration(0.33, frequency=2.0)), 6)
        0.08

    Reference:
        Hahn and Choi, "Gradient Acceleration in Activation Functions"
        (arXiv 1806.09783), section 3.
    """
    frequency = positive_number("frequency", frequency)
    x = require_floating_point(ops.convert_to_tensor(x))
    dtype = keras.backend.standardize_dtype(x.dtype)
    largest = _LARGEST_FREQUENCY[dtype]
    if frequency > largest:
        raise ValueError(
            f"Argument `frequency` must be at most {largest:g} in {dtype}, whose "
            "numbers are too coarse for finer teeth. "
            f"Received: frequency={frequency!r}"
        )
    if dtype in _HALF_PRECISION:
        return ops.cast(_sawtooth(ops.cast(x, "float32"), frequency), dtype)
    return _sawtooth(x, frequency)


def _sawtooth(x: Tensor, frequency: float) -> Tensor:
    # x K modulo 1, from x = whole + rest: whole K modulo 1 is that of K's fraction.
    # Rounding and flooring have the derivative 0 on all backends.
    whole = ops.round(x)
    phase = (x - whole) * frequency + whole * (frequency % 1.0)
    return (phase - ops.floor(phase) - 0.5) / frequency


def require_floating_point(x: Tensor) -> Tensor:
    """Returns a tensor, or raises a `TypeError` if it has no gradient."""
    if is_of_torch(x):
        return x
    dtype = keras.backend.standardize_dtype(x.dtype)
    if not keras.backend.is_float_dtype(dtype):
        raise TypeError(
            "An accelerated activation needs a floating-point tensor; other tensors "
            "have no gradient. Cast it first, for example with "
            f"`keras.ops.cast(x, 'float32')`. Received: x of dtype {dtype}"
        )
    return x
