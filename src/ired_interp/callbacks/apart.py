"""Copies that can be worked with while the original is in use elsewhere."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from types import FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

Value = TypeVar("Value")
Replacement = Callable[[object], object | None]


def copier(value: Value, replacement: Replacement) -> Callable[[], Value]:
    """Prepare copies of a value with all that it holds, but what is heavy or cannot be copied.

    Parameters
    ----------
    value : object
        Any.
    replacement : callable
        An object that is found in it → what copies hold in its place (the object itself, to share
        it), or None to copy that, too.

    Returns
    -------
    callable
        Makes a copy at every call. What cannot be copied (a lock, an open file) is shared.

    Examples
    --------
    >>> class Net: ...
    >>> net = Net()
    >>> net.seen, net.weights = [1], (heavy := [2.0])
    >>> copy = copier(net, lambda part: part if part is heavy else None)()
    >>> copy.seen is net.seen, copy.weights is net.weights
    (False, True)
    """
    memo: dict[int, Any] = {}
    found = _collect(value, replacement, memo)
    try:
        deepcopy(value, dict(memo))
    except Exception:  # whatever a class raises that cannot be copied
        for part in reversed(found):  # what an object holds comes before the object
            try:
                deepcopy(part, dict(memo))
            except Exception:
                memo[id(part)] = part
    return lambda: deepcopy(value, dict(memo))


def _collect(value: object, replacement: Replacement, memo: dict[int, Any]) -> list[object]:
    """Fill in the replacements, and list the other objects that are no containers."""
    seen: set[int] = set()
    found: list[object] = []
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if id(here) in seen or isinstance(here, type | FunctionType | ModuleType | str | int):
            continue
        seen.add(id(here))
        if (other := replacement(here)) is not None:
            memo[id(here)] = other
        elif isinstance(here, Mapping):
            waiting += here.values()
        elif isinstance(here, list | tuple | set):
            waiting += here
        elif isinstance(here, MethodType):
            waiting.append(here.__self__)
        else:
            found.append(here)
            waiting += getattr(here, "__dict__", {}).values()
    return found
