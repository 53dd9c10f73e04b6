"""Callbacks of a probe's own settings, without writing these down a second time."""

import inspect
from typing import Any

from ired_interp.callbacks.probe import ProbeCallback
from ired_interp.errors import InputError
from ired_interp.probes.base import Probe

_SCHEDULE = list(inspect.signature(ProbeCallback).parameters.values())[1:]  # without the probe


class BoundProbeCallback(ProbeCallback):
    """A `ProbeCallback` of one class of probe, which takes the settings of both side by side.

    Derive from it with the probe's class, and with other defaults of the schedule, if any.
    Configurations then accept, check and explain all settings of both.

    Parameters
    ----------
    settings
        Those of `ProbeCallback` but the probe, and those of the probe.

    Raises
    ------
    InputError
        If a setting does not exist, or its value is refused.

    Examples
    --------
    >>> from ired_interp.probes import InferenceTrajectory
    >>> class Trajectory(BoundProbeCallback, of=InferenceTrajectory, every_n_steps=2000):
    ...     "Trajectories at chosen steps."
    >>> callback = Trajectory(problems=8, steps=12)
    >>> callback.every_n_steps, callback.measurement.problems, callback.probe.steps
    (2000, 8, 12)
    """

    _of: type[Probe]

    def __init_subclass__(cls, of: type[Probe] | None = None, **defaults: Any) -> None:
        super().__init_subclass__()
        if of is None:
            return
        schedule = [p.replace(default=defaults.get(p.name, p.default)) for p in _SCHEDULE]
        own = list(inspect.signature(of).parameters.values())
        parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in [*schedule, *own]]

        def __init__(self: BoundProbeCallback, **settings: Any) -> None:
            BoundProbeCallback.__init__(self, **(defaults | settings))

        this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        signature = inspect.Signature([this, *parameters])
        __init__.__signature__ = signature  # type: ignore[attr-defined]
        cls._of = of
        setattr(cls, "__init__", __init__)  # noqa: B010  (a method is assigned)

    def __init__(self, **settings: Any) -> None:
        own = inspect.signature(self._of).parameters
        schedule = [p.name for p in _SCHEDULE]
        unknown = [name for name in settings if name not in own and name not in schedule]
        if unknown:
            raise InputError(
                f"callback {type(self).__name__} has no setting {unknown[0]!r}; choose from "
                f"{', '.join([*schedule, *own])}."
            )
        probe = self._of(**{name: value for name, value in settings.items() if name in own})
        rest = {name: value for name, value in settings.items() if name not in own}
        super().__init__(probe, **rest)
