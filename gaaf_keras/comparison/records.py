"""The runs of a comparison, and the file that keeps them."""

import dataclasses
import functools
import json
import os
import types
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

_FILE = "runs.jsonl"
Key = tuple[str, float, int]


@dataclasses.dataclass(frozen=True)
class Run:
    """A run and its outcome.

    Attributes:
        variant: The name of its variant.
        learning_rate: The factor on the model's own rate.
        seed: Its seed.
        monitor: The name of `value`, such as `"val_accuracy"`.
        higher: Whether a higher value is better.
        value: The best value over its epochs; None if it failed.
        best_epoch: The epoch of that value, counted from 1; None if it failed.
        failed: Whether its loss or value became non-finite, which ended it.
        test: The same on test data, at the best epoch; None without test data.
        epochs: The number of epochs trained.
        seconds: Its duration.
        history: What `fit` reported, one value per epoch; None where not finite.
    """

    variant: str
    learning_rate: float
    seed: int
    monitor: str = ""
    higher: bool = True
    value: float | None = None
    best_epoch: int | None = None
    failed: bool = False
    test: float | None = None
    epochs: int = 0
    seconds: float = 0.0
    history: dict[str, list[Any]] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What identifies the run."""
        return self.variant, self.learning_rate, self.seed


class Records:
    """Finished runs, one line each in a file, if there is a folder.

    Args:
        folder: The folder of the file; None to keep nothing.
        settings: The settings that the runs share.
        variants: The arguments of each variant.

    Raises:
        ValueError: If the file has runs with other settings, or is not such a file.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        settings: Mapping[str, Any],
        variants: Mapping[str, Mapping[str, Any] | None],
    ) -> None:
        self.runs: dict[Key, Run] = {}
        self._settings = json.loads(json.dumps(dict(settings)))
        self._variants = {name: as_text(given) for name, given in variants.items()}
        self._path = None if folder is None else Path(folder).expanduser() / _FILE
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._read(self._path)

    def add(self, run: Run) -> None:
        """Keeps a run."""
        if self._path is None:
            return
        line = {
            "settings": self._settings,
            "arguments": self._variants[run.variant],
            "run": dataclasses.asdict(run),
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _read(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:  # interrupted while it was written
            path.write_text(whole, encoding="utf-8")
        for line in whole.splitlines():
            try:
                found = json.loads(line)
                run = Run(**found["run"])
                settings, arguments = found["settings"], found["arguments"]
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"Argument `folder` has a file {_FILE} that `compare` did not "
                    f"write: {error}. Received: folder={str(path.parent)!r}"
                ) from error
            different = {
                name: f"{name}={settings.get(name)!r}, now {value!r}"
                for name, value in self._settings.items()
                if settings.get(name) != value
            }
            if self._variants.get(run.variant, arguments) != arguments:
                now = self._variants[run.variant]
                different["variant"] = f"{run.variant} as {arguments}, now {now}"
            if different:
                raise ValueError(
                    "Argument `folder` has runs with other settings: "
                    f"{'; '.join(different.values())}. Give another folder. "
                    f"Received: folder={str(path.parent)!r}"
                )
            self.runs[run.key] = run


def require_folder(folder: str | os.PathLike[str] | None) -> None:
    """Raises if the path of the folder is a file."""
    if folder is None:
        return
    path = Path(folder).expanduser()
    if any(each.is_file() for each in (path, *path.parents)):
        raise ValueError(
            "Argument `folder` must be a folder or the path of a new one, not a file. "
            f"Received: folder={str(folder)!r}"
        )


def as_text(value: Any) -> str:
    """Returns a text for an argument that is the same in every process.

    Arrays are told apart by their contents, functions by their code and the numbers and
    texts that they close over.
    """
    if isinstance(value, Mapping):
        items = ", ".join(f"{as_text(k)}: {as_text(v)}" for k, v in value.items())
        return f"{{{items}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(as_text, value))}]"
    if getattr(value, "shape", ()):
        return f"array of {tuple(value.shape)}{_contents(value)}"
    if isinstance(value, functools.partial):
        return as_text([value.func, value.args, value.keywords])
    function = getattr(value, "__func__", value)  # of a method
    if isinstance(function, types.FunctionType):
        return f"{function.__name__} {_code(function)}"
    name = getattr(value, "__name__", None) or getattr(value, "name", None)
    text = str(value)
    return str(name or type(value).__name__) if " at 0x" in text else text


def _contents(value: Any) -> str:
    """Returns a checksum of an array; empty for one without numbers or texts."""
    is_tensor = keras.ops.is_tensor(value)
    array = np.asarray(keras.ops.convert_to_numpy(value) if is_tensor else value)
    if array.dtype.hasobject:
        return ""
    return f", {zlib.crc32(np.ascontiguousarray(array).tobytes())}"


def _code(function: types.FunctionType) -> int:
    """Returns a checksum of a function's code, wherever it is written."""
    inside: list[Any] = [function.__code__]
    inside += [function.__defaults__, function.__kwdefaults__]
    for cell in function.__closure__ or ():
        try:
            inside.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            continue
    return zlib.crc32(repr(list(map(_constant, inside))).encode())


def _constant(value: Any) -> Any:
    """Returns a constant of a function as plain data, or else its type."""
    if isinstance(value, types.CodeType):
        inside = list(map(_constant, value.co_consts))
        return value.co_code, value.co_names, inside
    if isinstance(value, (tuple, frozenset)):
        found = [repr(_constant(each)) for each in value]
        return found if isinstance(value, tuple) else sorted(found)
    plain = (bool, int, float, complex, str, bytes, type(None))
    return value if isinstance(value, plain) else type(value).__name__
