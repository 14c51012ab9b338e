"""What the options of a model may be: rules, and one way of refusing what breaks them.

From: a model's options as given. To: the same options, or a SpecError that names the
option, its value and what was expected. No torch: nothing is known of the shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from eegfm_bench.errors import SpecError


@dataclass(frozen=True, slots=True)
class Rule:
    """What a value may be, as a test and in words that follow "expected"."""

    expected: str
    fits: Callable[[Any], bool]


def whole(at_least: int = 1) -> Rule:
    """Ask for a whole number from a least one on; true and false are none.

    Examples
    --------
    >>> [whole().fits(value) for value in (1, 0, 1.0, True)]
    [True, False, False, False]
    """
    return Rule(
        f"a whole number, {at_least} or more",
        lambda value: _is_whole(value) and value >= at_least,
    )


def odd() -> Rule:
    """Ask for an odd number, for what is centred on something."""
    return Rule(
        "an odd number, 1 or more, to be centred",
        lambda value: _is_whole(value) and value >= 1 and value % 2 == 1,
    )


def share() -> Rule:
    """Ask for a part of a whole, such as a chance, that is never all of it."""
    return Rule(
        "a number from 0 to below 1", lambda value: _is_number(value) and 0 <= value < 1
    )


def positive(up_to: float = inf, unit: str = "") -> Rule:
    """Ask for a finite number above 0, up to a largest one if there is one.

    Examples
    --------
    >>> [positive(100).fits(value) for value in (0.1, 100, 101, 0)]
    [True, True, False, False]
    """
    most = "" if up_to == inf else f", up to {up_to:g}"
    return Rule(
        f"a number above 0{most}{f', in {unit}' if unit else ''}",
        lambda value: _is_number(value) and 0 < value <= up_to and value < inf,
    )


def one_of(*words: str) -> Rule:
    """Ask for one of some words."""
    return Rule(" or ".join(words), lambda value: value in words)


def flag() -> Rule:
    """Ask for true or false; 0 and 1 are neither."""
    return Rule("true or false", lambda value: isinstance(value, bool))


def or_none(rule: Rule) -> Rule:
    """Allow nothing beside what another rule allows."""
    return Rule(
        f"{rule.expected}, or none", lambda value: value is None or rule.fits(value)
    )


def checked_options(
    model: str, options: Mapping[str, Any], rules: Mapping[str, Rule]
) -> dict[str, Any]:
    """Return all options of a model, or refuse one that its rule does not allow.

    Parameters
    ----------
    model : str
        Whose options they are, for the message.
    options : mapping
        All options with their values.
    rules : mapping of option to Rule
        An option without one is a count: a whole number, 1 or more.

    Raises
    ------
    SpecError
        Names the option, its value, and what was expected.
    """
    count = whole()
    for key, value in options.items():
        rule = rules.get(key, count)
        if not rule.fits(value):
            raise SpecError(f"{key} of {model} is {value!r}; expected {rule.expected}.")
    return dict(options)


def refuse_uneven(model: str, what: str, whole: int, parts: int, among: str) -> None:
    """Refuse what cannot be shared among so many.

    ``what`` says what the whole is, with its number, and ``among`` what the parts are,
    each with the options that decide it.

    Raises
    ------
    SpecError
        Names both numbers.
    """
    if whole % parts:
        raise SpecError(
            f"{model}: {what} cannot be shared among {parts} {among}. Choose a number "
            f"that divides."
        )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
