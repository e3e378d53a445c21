"""How accelerated activations are written into a graph that is being traced."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Literal

Form = Literal["custom gradient", "operations", "plain"]
_FORM: contextvars.ContextVar[Form] = contextvars.ContextVar(
    "form", default="custom gradient"
)


@contextlib.contextmanager
def written_as(form: Form) -> Iterator[None]:
    """Sets how accelerated activations appear in graphs that are traced meanwhile.

    `"operations"` have the same value and gradient (but not second derivative) without
    a custom one, and so survive in a file what a custom gradient does not, such as the
    body of a loop. `"plain"` is the base activation alone.
    """
    token = _FORM.set(form)
    try:
        yield
    finally:
        _FORM.reset(token)


def current_form() -> Form:
    """Returns what `written_as` has set."""
    return _FORM.get()
