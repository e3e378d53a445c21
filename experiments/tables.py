"""Tables, and numbers formatted for them."""

import csv
import dataclasses
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from gaaf_keras.analysis import Spread

T = TypeVar("T")
Column = tuple[str, Callable[[T], str]]  # its title, and the function for its cells


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of texts, whose first column names the rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @classmethod
    def of(
        cls, items: Iterable[T], columns: Sequence[Column[T]], caption: str = ""
    ) -> "Table":
        """Returns a table with one row per item."""
        titles = [title for title, _ in columns]
        rows = [[cell(item) for _, cell in columns] for item in items]
        return cls(titles, rows, caption)


def markdown(table: Table) -> str:
    """Returns a table as Markdown, with its caption below."""
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    escaped = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    rows = "\n".join(f"| {' | '.join(line)} |" for line in escaped)
    return f"{rows}\n\n{table.caption}\n" if table.caption else f"{rows}\n"


def as_csv(table: Table) -> str:
    """Returns a table as CSV, without its caption, and with numbers as in programs.

    A title that occurs several times begins with the title before it.
    """
    titles = [
        f"{before}: {title}" if table.columns.count(title) > 1 else title
        for before, title in zip(["", *table.columns], table.columns, strict=False)
    ]
    rows = [[_as_in_programs(cell) for cell in row] for row in table.rows]
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([titles, *rows])
    return file.getvalue()


def _as_in_programs(cell: str) -> str:
    """Returns a cell with ASCII signs and exponents, such as 1.30e-04 (0.20e-04)."""
    numbers, _, power = cell.replace("−", "-").partition(_TIMES_10)
    if power:
        exponent = int(power.translate(_FROM_SUPERSCRIPT))
        numbers = re.sub(r"[\d.]+", rf"\g<0>e{exponent:+03d}", numbers)
    return numbers


def latex(table: Table) -> str:
    """Returns a table as a plain LaTeX `tabular`, with its caption below."""
    lines = [" & ".join(map(_escaped, row)) for row in (table.columns, *table.rows)]
    columns, *rows = [rf"{line} \\" for line in lines]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
            *(r"\hline", columns, r"\hline", *rows, r"\hline"),
            r"\end{tabular}",
            *([rf"\par {_escaped(table.caption)}"] if table.caption else []),
            "",
        ]
    )


_IN_LATEX = {
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "±": r"$\pm$",
    "–": "--",
    "’": "'",
    "′": "$'$",
    "“": "``",
    "”": "''",
    "·": r"$\cdot$",
    "∂": r"$\partial$",
    "φ": r"$\varphi$",
    "λ": r"$\lambda$",
    "<": "$<$",
    ">": "$>$",
    "≤": r"$\leq$",
    "|": r"$|$",
} | {
    sign: f"$^{{{digit}}}$"
    for sign, digit in zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True)
}


def _escaped(text: str) -> str:
    return "".join(_IN_LATEX.get(sign, sign) for sign in text)


def spread(values: Sequence[float], decimals: int | None) -> str:
    """Returns mean (standard deviation); without decimals, three digits of the mean.

    NaN values are left out; without any values, returns a dash.
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
            power = _TIMES_10 + str(exponent).translate(_SUPERSCRIPT)
    mean = round(scale * found.mean, decimals) + 0.0  # turns -0.0 into 0.0
    text = f"{mean:.{decimals}f}"
    if found.standard_deviation is not None:
        text += f" ({scale * found.standard_deviation:.{decimals}f})"
    return text.replace("-", "−") + power


_MOST_DECIMALS = 4
_TIMES_10 = " · 10"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_FROM_SUPERSCRIPT = {high: low for low, high in _SUPERSCRIPT.items()}
