"""Tasks of an array that a dry run of one of them speaks for: theirs would find the same."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

_NAMES = ("name", "seed_everything")  # whose values no check depends on


class Alike:
    """The configurations that were rehearsed, by what a rehearsal could find in them.

    Two of them are alike if they differ in seeds and in positive numbers that are no counts (such
    as learning rates): their models, data, sizes and callbacks are the same.
    """

    def __init__(self) -> None:
        self._rehearsed: list[tuple[int, dict[str, Any]]] = []

    def to(self, configuration: str) -> str | None:
        """Say which rehearsed task one is like, and in what it differs; None if it is like none."""
        settings = _settings(configuration)
        for number, other in self._rehearsed:
            differing = [
                name
                for name in dict.fromkeys([*settings, *other])
                if settings.get(name) != other.get(name)
            ]
            if all(_free(name, settings.get(name), other.get(name)) for name in differing):
                shown = [name for name in differing if name != "name"]
                return f"that of task {number}" + (
                    f", from which it differs only in {', '.join(shown)}" if shown else ""
                )
        return None

    def add(self, number: int, configuration: str) -> None:
        """Remember that a task was rehearsed, and nothing was found."""
        self._rehearsed.append((number, _settings(configuration)))


def _free(name: str, one: Any, other: Any) -> bool:
    if name in _NAMES:
        return True
    return all(isinstance(value, float) and value > 0 for value in (one, other))


def _settings(configuration: str) -> dict[str, Any]:
    return dict(_flat("", yaml.safe_load(configuration)))


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the single values of a configuration, by their dotted names."""
    if isinstance(value, Mapping | list) and value:
        entries = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in entries:
            yield from _flat(f"{name}.{key}".lstrip("."), inner)
    else:
        yield name, value
