"""The flags of `train.py` for the settings of a run, made from `TrainingConfig`."""

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

from absl import flags

from experiments.config import TrainingConfig, UsageError, explained, settings

_NO_FLAGS = ("output_dir", "variant")  # train.py decides these for each run


def define() -> list["flags.FlagHolder[Any]"]:
    """Defines a flag for each setting, and returns them."""
    return [_define(field) for field in settings() if field.name not in _NO_FLAGS]


def given(holders: list["flags.FlagHolder[Any]"]) -> dict[str, Any]:
    """Returns the settings given on the command line.

    Raises:
        UsageError: If a list contains something that is not a number.
    """
    return {
        holder.name: _value(holder.name, holder.value)
        for holder in holders
        if holder.present
    }


def _define(field: "dataclasses.Field[Any]") -> "flags.FlagHolder[Any]":
    name, default, text = field.name, field.default, explained(field.name)
    if field.metadata["several"] and _type(field) is str:
        return flags.DEFINE_string(name, default, text)
    if _is_list(field):
        values = default if isinstance(default, tuple) else (default,)
        return flags.DEFINE_list(name, ",".join(map(str, values)), text)
    if field.metadata["choices"]:
        return flags.DEFINE_enum(name, default, field.metadata["choices"], text)
    define = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }[_type(field)]
    return define(name, default, text)


def _value(name: str, value: Any) -> Any:
    """Returns the value of a flag as `TrainingConfig` and plans take it."""
    (field,) = (field for field in settings() if field.name == name)
    if not _is_list(field):
        return value
    number = _type(field)
    if number is str:
        return tuple(_parts(value))
    try:
        return tuple(number(item) for item in value)
    except ValueError as error:
        kind = "whole numbers" if number is int else "numbers"
        raise UsageError(
            f"{name} must be {kind} separated by commas. Received: {','.join(value)}"
        ) from error


def _parts(text: str) -> Iterator[str]:
    """Yields the parts of a text between commas outside brackets."""
    part, depth = "", 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            yield part.strip()
            part = ""
        else:
            part += character
    yield part.strip()


def _is_list(field: "dataclasses.Field[Any]") -> bool:
    return field.metadata["several"] or isinstance(field.default, tuple)


def _type(field: "dataclasses.Field[Any]") -> type:
    """Returns the type of a setting, or of the items of a list."""
    hint = typing.get_type_hints(TrainingConfig)[field.name]
    return next(iter(typing.get_args(hint)), hint)
