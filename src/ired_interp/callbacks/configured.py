"""The measurements that a configuration names, in its list `probes` and by its callbacks."""

from collections.abc import Collection
from pkgutil import resolve_name
from typing import Any

from lightning.pytorch import Callback

from ired_interp.callbacks.probe import ProbeCallback
from ired_interp.class_paths import is_registered
from ired_interp.config import SentenceParser
from ired_interp.measure import Measurement
from ired_interp.probes.base import Probe


def configured_measurements(config: dict[str, Any]) -> list[Measurement]:
    """List the measurements that a configuration names, its callbacks' first.

    Its classes are found and imported as `ired fit` does it, callbacks that measure nothing
    included.

    Parameters
    ----------
    config : dict
        A configuration, or a fragment of one.

    Returns
    -------
    list of Measurement
        What each `ProbeCallback` measures, and each probe with the settings of measurements that
        are usual.

    Raises
    ------
    InputError
        If a class cannot be imported, or a setting is not accepted.
    """
    trainer = config.get("trainer") or {}
    named = trainer.get("callbacks+", trainer.get("callbacks")) or []
    parser = SentenceParser()
    parser.add_argument("--callbacks", type=list[Callback], default=[])
    parser.add_argument("--probes", type=list[Probe], default=[])
    parsed = parser.parse_object(
        {
            "callbacks": named if isinstance(named, list) else [named],
            "probes": config.get("probes") or [],
        }
    )
    parsed.callbacks = [entry for entry in parsed.callbacks if _measures(entry.class_path)]
    built = parser.instantiate(parsed)
    measured = [callback.measurement for callback in built.callbacks]
    return measured + [Measurement(probe) for probe in built.probes]


def measuring(callbacks: list[Any], named: Collection[str]) -> list[Any]:
    """Choose among a checkpoint's callbacks those that measure; no other is imported.

    Parameters
    ----------
    callbacks : list
        As in a configuration.
    named : collection of str
        Modules that the user names, besides those of this package.

    Returns
    -------
    list
        Those of a `ProbeCallback` of this package or of those modules.
    """
    paths = [entry.get("class_path") if isinstance(entry, dict) else None for entry in callbacks]
    return [
        entry
        for entry, path in zip(callbacks, paths, strict=True)
        if isinstance(path, str)
        and "." in path
        and (
            is_registered(path, ProbeCallback)
            or (path.rpartition(".")[0] in named and _measures(path, unknown=True))
        )
    ]


def _measures(class_path: str, unknown: bool = False) -> bool:
    """Whether a class is a `ProbeCallback`; `unknown` if it cannot be imported."""
    try:
        found = resolve_name(class_path)
    except (ImportError, AttributeError):
        return unknown
    return isinstance(found, type) and issubclass(found, ProbeCallback)
