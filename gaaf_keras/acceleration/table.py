"""The table of a model's activations."""

import dataclasses
from collections.abc import Sequence
from typing import Self

import rich.jupyter
import rich.table

from gaaf_keras._accelerated.activation import AcceleratedActivation
from gaaf_keras._accelerated.layer import AcceleratedLayer
from gaaf_keras._core.printing import rendered
from gaaf_keras._core.types import Function


@dataclasses.dataclass(frozen=True)
class Row:
    """An activation of a model.

    Attributes:
        layer: Names of the layers that hold it, without the outermost model.
        kind: The class of the innermost of them.
        argument: The attribute of the layer; None for activation layers and operations.
        activation: Name of the plain activation.
        shape_function: The shape function; None if the gradient is plain.
        strength: Factor on the shape; None if the gradient is plain.
        unit_gain: Whether the derivative is scaled to the plain one's maximum.
        left_alone: Why it was not accelerated; None if it was.
    """

    layer: str
    kind: str
    argument: str | None
    activation: str
    shape_function: Function | None = None
    strength: float | None = None
    unit_gain: bool = False
    left_alone: str | None = None

    def with_gradient_of(
        self, accelerated: AcceleratedActivation | AcceleratedLayer
    ) -> Self:
        """Returns the row with the gradient of a layer or function that accelerates."""
        return dataclasses.replace(
            self,
            shape_function=accelerated.shape_function,
            strength=accelerated.strength,
            unit_gain=accelerated.unit_gain,
        )

    @property
    def is_accelerated(self) -> bool:
        """Whether it was accelerated; in a summary, whether it is."""
        return self.shape_function is not None and self.left_alone is None

    @property
    def place(self) -> str:
        """The class of the layer, and the attribute if it is not `activation`."""
        if self.argument in (None, "activation"):
            return self.kind
        return f"{self.kind} {self.argument}"

    @property
    def gradient(self) -> str:
        """The shape added to the derivative, or why there is none."""
        if not self.is_accelerated:
            return self.left_alone or "plain"
        strength = "" if self.strength == 1 else f"{self.strength:g} * "
        shape = str(self.shape_function)
        if strength and any(sign in shape for sign in (" + ", " - ", " * ")):
            shape = f"({shape})"
        return f"{strength}{shape}" + (", unit gain" if self.unit_gain else "")


class ActivationTable(rich.jupyter.JupyterMixin):
    """The activations of a model, one line for each kind, without linear ones.

    `print` and notebooks show it as a table.

    Attributes:
        model: The model's name.
        notes: Sentences below the table.
    """

    def __init__(
        self, model: str, rows: Sequence[Row], notes: Sequence[str] = ()
    ) -> None:
        self.model = model
        self.notes = tuple(notes)
        self._rows = tuple(rows)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The activations, in the order in which Keras lists their layers."""
        return self._rows

    @property
    def title(self) -> str:
        """How many of the activations are accelerated."""
        count = len(self.accelerated)
        return f"{self.model}: {count} of {len(self.rows)} activations accelerated"

    @property
    def accelerated(self) -> tuple[Row, ...]:
        """The activations that were accelerated; in a summary, those that are."""
        return tuple(row for row in self.rows if row.is_accelerated)

    @property
    def left_alone(self) -> tuple[Row, ...]:
        """The activations that were not accelerated; in a summary, that are not."""
        return tuple(row for row in self.rows if not row.is_accelerated)

    def __rich__(self) -> rich.table.Table:
        table = rich.table.Table(
            title=self.title,
            title_justify="left",
            caption="\n".join(self.notes) or None,
            caption_justify="left",
        )
        table.add_column("activation")
        table.add_column("in")
        table.add_column("count", justify="right")
        table.add_column("layers", no_wrap=True, overflow="ellipsis", max_width=26)
        table.add_column("gradient")
        groups: dict[tuple[str, str, str], list[str]] = {}
        for row in self.rows:
            key = (row.activation, row.place, row.gradient)
            groups.setdefault(key, []).append(row.layer)
        for (activation, place, gradient), layers in groups.items():
            names = layers[0] if len(layers) == 1 else f"{layers[0]} … {layers[-1]}"
            table.add_row(activation, place, str(len(layers)), names, gradient)
        return table

    def __str__(self) -> str:
        return rendered(self)

    __repr__ = __str__
