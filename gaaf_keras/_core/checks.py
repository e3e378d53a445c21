"""Argument checks whose messages name the argument and echo the value."""

import math
import numbers
from typing import Any


def finite_number(argument: str, value: Any) -> float:
    """Returns `value` as a float, or raises if it is not a finite real number."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"Argument `{argument}` must be a number. "
            f"Received: {argument}={value!r} (of type {type(value).__name__})"
        )
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(
            f"Argument `{argument}` must be finite. Received: {argument}={value!r}"
        )
    return number


def positive_number(argument: str, value: Any) -> float:
    """Returns `value` as a float, or raises if it is not a finite number above 0."""
    number = finite_number(argument, value)
    if number <= 0:
        raise ValueError(
            f"Argument `{argument}` must be greater than 0. "
            f"Received: {argument}={value!r}"
        )
    return number


def non_negative_number(argument: str, value: Any) -> float:
    """Returns `value` as a float, or raises if it is not finite and 0 or greater."""
    number = finite_number(argument, value)
    if number < 0:
        raise ValueError(
            f"Argument `{argument}` must be 0 or greater. "
            f"Received: {argument}={value!r}"
        )
    return number


def positive_integer(argument: str, value: Any, least: int = 1) -> int:
    """Returns `value`, or raises if it is not a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(
            f"Argument `{argument}` must be a whole number. "
            f"Received: {argument}={value!r} (of type {type(value).__name__})"
        )
    if value < least:
        raise ValueError(
            f"Argument `{argument}` must be {least} or greater. "
            f"Received: {argument}={value!r}"
        )
    return int(value)
