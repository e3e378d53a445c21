"""Tables, and numbers as their texts."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from gaaf_keras.analysis import Spread

T = TypeVar("T")
Column = tuple[str, Callable[[T], str]]  # its title, and the cell of an item


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts, the first column of which names the rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @classmethod
    def of(
        cls, items: Iterable[T], columns: Sequence[Column[T]], caption: str = ""
    ) -> "Table":
        """Returns a table with a row an item."""
        titles = [title for title, _ in columns]
        rows = [[cell(item) for _, cell in columns] for item in items]
        return cls(titles, rows, caption)


def markdown(table: Table) -> str:
    """Returns a table as Markdown, its caption below."""
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    escaped = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in escaped)
    return f"{rows}\n\n{table.caption}\n" if table.caption else f"{rows}\n"


def spread(values: Sequence[float], decimals: int | None) -> str:
    """Returns mean (standard deviation); without decimals, the mean's three digits.

    Of the values that are numbers; a dash if there are none.
    """
    values = [value for value in values if not math.isnan(value)]
    if not values:
        return "–"
    found = Spread.of(values)
    if not math.isfinite(found.mean):
        return "infinite"
    power = ""
    scale = 1.0
    if decimals is None:
        exponent = math.floor(math.log10(abs(found.mean))) if found.mean else 0
        decimals = 2 - exponent
        if not 0 <= decimals <= _MOST_DECIMALS:
            scale, decimals = 10.0**-exponent, 2
            power = " · 10" + str(exponent).translate(_SUPERSCRIPT)
    mean = round(scale * found.mean, decimals) + 0.0  # makes -0.0 a 0.0
    text = f"{mean:.{decimals}f}"
    if found.standard_deviation is not None:
        text += f" ({scale * found.standard_deviation:.{decimals}f})"
    return text.replace("-", "−") + power


_MOST_DECIMALS = 4
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def signed(value: float, decimals: int) -> str:
    """Returns a number with its sign, which is ± where it is rounded to 0."""
    if round(value, decimals) == 0:
        return f"±{0:.{decimals}f}"
    return f"{value:+.{decimals}f}".replace("-", "−")
