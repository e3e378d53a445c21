"""The shape whose total derivative is the mean derivative under dropout."""

from gaaf_keras._core.checks import positive_number
from gaaf_keras._core.kinds import derivative_of, function_of, name_of
from gaaf_keras._core.known_activations import ACTIVATIONS, BY_NAME
from gaaf_keras._core.types import Activation, Tensor
from gaaf_keras.shapes.base import Shape, shape_function

MATCHED_ACTIVATIONS = tuple(known.name for known in ACTIVATIONS if known.under_noise)


@shape_function(
    "dropout_matched", example="dropout_matched('tanh', noise_std=1.5)", on="tanh"
)
class DropoutMatched(Shape):
    """The shape whose total derivative is the mean derivative under dropout.

    `s(x) = E[phi'(x + noise_std * e)] - phi'(x)`, e standard normal

    The expectation has a closed form: exact for ReLU, to 7e-7 for tanh and to 2e-7 for
    the sigmoid. The shape is negative where noise lowers the derivative (at 0 for tanh,
    just above 0 for ReLU). The noise of a real, finite layer is not quite Gaussian;
    docs/shapes.md reports how much difference that makes.

    Args:
        activation: `"tanh"`, `"relu"` or `"sigmoid"`: the only activation that can use
            the shape.
        noise_std: Standard deviation of the pre-activation under dropout, in units of
            pre-activation. Greater than 0. `gaaf_keras.match_dropout` measures it.

    Raises:
        TypeError: If `noise_std` is not a number.
        ValueError: If `noise_std` is not finite and greater than 0, or `activation` is
            none of these.

    Examples:
        >>> from gaaf_keras import GAAFTanh
        >>> from gaaf_keras.shapes import DropoutMatched
        >>> layer = GAAFTanh(shape_function=DropoutMatched("tanh", noise_std=0.8))

    Reference:
        The paper, section 3, asks for a shape that follows the dropout rate, without a
        formula; this derivation is ours.
    """

    activation: str
    noise_std: float

    def __post_init__(self) -> None:
        if self.activation not in MATCHED_ACTIVATIONS:
            raise ValueError(
                "Argument `activation` must be one of "
                f"{', '.join(MATCHED_ACTIVATIONS)}. "
                f"Received: activation={self.activation!r}"
            )
        self._set(noise_std=positive_number("noise_std", self.noise_std))

    def bound_to(self, activation: Activation) -> "DropoutMatched":
        if function_of(activation) is not function_of(self.activation):
            name = name_of(activation)
            raise ValueError(
                f"This shape is matched to activation {self.activation!r} and works "
                f"with no other. Received: activation={name!r}"
            )
        return self

    def __call__(self, x: Tensor) -> Tensor:
        plain = derivative_of(self.activation)
        on_average = BY_NAME[self.activation].under_noise
        assert plain is not None
        assert on_average is not None
        return on_average(x, self.noise_std) - plain(x)
