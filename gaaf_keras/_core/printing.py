"""Texts that any terminal or file can show."""

from typing import Any

import rich.console

_WIDTH = 100
# One sign for one, so that tables keep their columns.
_ASCII = str.maketrans("−–…’±", "--~'~")


def rendered(shown: Any) -> str:
    """Returns what `print` shows of an object that Rich can render."""
    console = rich.console.Console(width=_WIDTH)
    with console.capture() as capture:
        console.print(shown)
    return printable("\n".join(map(str.rstrip, capture.get().splitlines())))


def printable(text: str) -> str:
    """Returns a text in signs that the encoding of the standard output has."""
    encoding = rich.console.Console().encoding
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_ASCII).encode(encoding, "replace").decode(encoding)
    return text
