"""Exchange the contents of layers' attributes, and put them back."""

import contextlib
from collections.abc import Iterator
from typing import Any

_MISSING = object()


class Exchanges:
    """Values put in place of others, bypassing Keras's tracking of attributes.

    A place is a key of a dictionary, such as `vars(layer)`, or an index of a list.
    """

    def __init__(self) -> None:
        self._done: list[tuple[Any, Any, Any, Any]] = []

    def put(self, container: Any, key: Any, value: Any) -> None:
        """Puts a value in a place, which may be empty."""
        before = _get(container, key)
        # Note it first: an interrupt between the two must find it.
        self._done.append((container, key, before, value))
        _set(container, key, value)

    def undo(self) -> None:
        """Puts back what was there, except where the value has changed since."""
        while self._done:
            container, key, before, value = self._done[-1]
            key = _key_of(container, key, value)
            if key is not None:
                _set(container, key, before)
            self._done.pop()

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Temporarily restores everything to what it was before."""
        again = [
            (container, key, value)
            for container, key, _, value in self._done
            if _key_of(container, key, value) is not None
        ]
        self.undo()
        try:
            yield
        finally:
            for place in again:
                self.put(*place)


class TuplePlace:
    """A tuple in a dictionary or list, as a container whose items can be set."""

    def __init__(self, container: Any, key: Any) -> None:
        self._container, self._key = container, key

    def __getitem__(self, index: int) -> Any:
        return _get(self._container, self._key)[index]

    def __setitem__(self, index: int, value: Any) -> None:
        items = list(_get(self._container, self._key))
        items[index] = value
        kind = type(_get(self._container, self._key))
        make = getattr(kind, "_make", kind)  # named tuples have it
        _set(self._container, self._key, make(items))


def _key_of(container: Any, key: Any, value: Any) -> Any:
    """Returns where a value is now; None if it is gone."""
    if isinstance(container, list):  # whose items may have moved
        places = (index for index, item in enumerate(container) if item is value)
        return next(places, None)
    try:
        return key if _get(container, key) is value else None
    except (IndexError, TypeError):  # the tuple is another one now
        return None


def _get(container: Any, key: Any) -> Any:
    if isinstance(container, dict):
        return container.get(key, _MISSING)
    return container[key]


def _set(container: Any, key: Any, value: Any) -> None:
    if isinstance(container, TuplePlace):
        container[key] = value
    elif isinstance(container, list):
        list.__setitem__(container, key, value)
    elif value is _MISSING:
        dict.__delitem__(container, key)
    else:
        dict.__setitem__(container, key, value)
