"""The form in which accelerated activations are traced into a graph."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Literal

Form = Literal["custom gradient", "operations", "plain"]


class _Form(threading.local):  # `torch.compile` cannot trace a context variable
    form: Form = "custom gradient"


_CURRENT = _Form()


@contextlib.contextmanager
def written_as(form: Form) -> Iterator[None]:
    """Sets how accelerated activations appear in graphs traced inside the block.

    `"operations"` have the same value and gradient (but not second derivative) without
    a custom gradient, and so survive in a file where a custom gradient does not, such
    as in the body of a loop. `"plain"` is the plain activation alone.
    """
    before, _CURRENT.form = _CURRENT.form, form
    try:
        yield
    finally:
        _CURRENT.form = before


def current_form() -> Form:
    """Returns the form set by `written_as`."""
    return _CURRENT.form
