"""Files of a run: written whole or not at all."""

import contextlib
import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.config import UsageError

_UNFINISHED = ".unfinished"  # in the names of incomplete files


def writable_folder(path: str | os.PathLike[str]) -> Path:
    """Creates a folder if it does not exist, and returns its path.

    Raises:
        UsageError: If the folder cannot be created or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(
            f"output_dir '{folder}' cannot be written to ({error.strerror}). "
            "Give a folder that you can write to."
        ) from error
    return folder


def contents(folder: Path) -> list[Path]:
    """Returns the contents of a folder, without incomplete and hidden files."""
    if not folder.is_dir():
        return []
    return [
        path
        for path in folder.iterdir()
        if _UNFINISHED not in path.name and not path.name.startswith(".")
    ]


def remove_unfinished(folder: Path) -> None:
    """Removes the incomplete files of a killed process."""
    for path in folder.glob(f"*{_UNFINISHED}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def require_space(folder: Path, needed: int) -> None:
    """Raises a `UsageError` if a disk has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UsageError(
            f"output_dir '{folder}' is on a disk with {free / 1e6:,.0f} MB free; this "
            f"run needs about {needed / 1e6:,.0f} MB. Free space or give another "
            "folder."
        )


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yields a temporary name for a file, and renames the file when complete.

    Raises:
        UsageError: If it cannot be written, for example if the disk is full.
    """
    unfinished = path.with_name(f"{path.stem}{_UNFINISHED}{path.suffix}")
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())  # otherwise a power failure could leave it empty
        unfinished.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise cannot_be_written(path, error.strerror or str(error)) from error


def cannot_be_written(path: Path, reason: str) -> UsageError:
    """Returns the error about an incomplete file or folder."""
    return UsageError(
        f"'{path}' cannot be written ({reason}). Everything written before is "
        "complete. Free space, and resume with the same command."
    )


def read_json(path: Path) -> Any:
    """Returns the contents of a JSON file.

    Raises:
        UsageError: If it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"'{path}' cannot be read ({error}).") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name and renames it when complete."""
    with writing(path) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes a text file under a temporary name and renames it when complete."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file under a temporary name and renames it when complete.

    Arrays are written as lists, dataclasses as objects.
    """
    write_text(path, json.dumps(value, indent=2, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    return vars(value) if dataclasses.is_dataclass(value) else value.tolist()
