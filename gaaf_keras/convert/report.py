"""What was done with the activations of a model, as data and as a table."""

import collections
import dataclasses
from typing import Any

import rich.console
import rich.table


@dataclasses.dataclass(frozen=True)
class Conversion:
    """One activation of a model, and what was done with it.

    Attributes:
        layer: The layer that applies it: names from the model downwards, joined by
            slashes.
        kind: The class of that layer.
        argument: The layer's argument that it is, such as `"activation"`; None if the
            layer is an activation layer itself.
        activation: Its name, such as `"relu"`.
        shape: The shape function it was given, None if it was left alone.
        left_alone: Why it was left alone, None if it was accelerated.
    """

    layer: str
    kind: str
    argument: str | None
    activation: str
    shape: Any = None
    left_alone: str | None = None


@dataclasses.dataclass(frozen=True)
class ConversionReport:
    """What `gaaf_keras.accelerate` did with the activations of a model.

    Printed, it is a small table with a line for each kind of activation. Linear
    activations are left out.

    Attributes:
        model: The model's name.
        accelerated: The activations that were accelerated.
        left_alone: The others, but for linear ones.
    """

    model: str
    accelerated: tuple[Conversion, ...]
    left_alone: tuple[Conversion, ...]

    def __rich__(self) -> rich.table.Table:
        """Returns the table, for `rich.print`."""
        total = len(self.accelerated) + len(self.left_alone)
        table = rich.table.Table(
            title=f"{self.model}: {len(self.accelerated)} of {total} activations "
            "accelerated",
            title_justify="left",
        )
        for header in ("activation", "in", "count", "shape"):
            table.add_column(header, justify="right" if header == "count" else "left")
        counts = collections.Counter(
            (
                row.activation,
                row.kind if row.argument is None else f"{row.kind} {row.argument}",
                row.left_alone or str(row.shape),
            )
            for row in (*self.accelerated, *self.left_alone)
        )
        for (activation, place, outcome), count in counts.items():
            table.add_row(activation, place, str(count), outcome)
        return table

    def __str__(self) -> str:
        console = rich.console.Console(width=100)
        with console.capture() as capture:
            console.print(self)
        return capture.get()
