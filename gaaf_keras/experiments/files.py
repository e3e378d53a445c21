"""Files of a training: written whole or not at all."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from gaaf_keras.experiments.config import UsageError


def new_folder(path: str | os.PathLike[str]) -> Path:
    """Makes a folder and returns its path, or raises if it has contents already.

    Raises:
        UsageError: If the folder is not empty, or cannot be made or written to.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        empty = not any(folder.iterdir())
    except OSError as error:
        raise UsageError(
            f"output_dir '{folder}' cannot be written to ({error.strerror}). "
            "Give a folder that you may write to."
        ) from error
    if not empty:
        raise UsageError(
            f"output_dir '{folder}' is not empty. Give a new folder, so that nothing "
            "is overwritten."
        )
    return folder


def write_text(path: Path, text: str) -> None:
    """Writes a text file under a temporary name and renames it when complete."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file under a temporary name and renames it when complete."""
    write_text(path, json.dumps(value, indent=2) + "\n")
