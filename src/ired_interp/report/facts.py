"""What was run: of every run what a reader asks for first, and the commands that made it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ired_interp.report.collect import Group
from ired_interp.results import OpenedRun
from ired_interp.results.names import TESTS
from ired_interp.results.state import state, trained
from ired_interp.terminal import duration


@dataclass(frozen=True)
class RunFacts:
    """A run in words.

    Attributes
    ----------
    name : str
        The run's.
    index : int
        Its group's.
    facts : dict[str, str]
        By heading, in order.
    commands : list[str]
        That made what the page shows, the oldest first.
    config : str
        The resolved configuration.
    """

    name: str
    index: int
    facts: dict[str, str]
    commands: list[str]
    config: str


def run_facts(groups: Sequence[Group]) -> list[RunFacts]:
    """Return the facts of every run, group by group."""
    return [_facts(run, group, len(groups) > 1) for group in groups for run in group.runs]


def versions(groups: Sequence[Group]) -> str:
    """Name the versions that measured the first run; "" where it has no result."""
    origins = _origins(groups[0].runs[0])
    return (
        ", ".join(f"{name} {v}" for name, v in origins[-1]["versions"].items()) if origins else ""
    )


def _facts(run: OpenedRun, group: Group, several: bool) -> RunFacts:
    config, origins = run.config, _origins(run)
    data, model = config.get("data") or {}, config.get("model") or {}
    trainer, task = config.get("trainer") or {}, data.get("task") or {}
    seconds, device = trained(run.run)
    size = ", ".join(f"{k}={v}" for k, v in (task.get("init_args") or {}).items() if v is not None)
    commits = dict.fromkeys(str(o["source"].get("commit", "–"))[:10] for o in origins)
    facts = {
        "task": f"{_short(task)}({size})" if task else "–",
        "model": _short((model.get("init_args") or {}).get("energy") or model) if model else "–",
        "steps": f"{run.step} of {trainer.get('max_steps', '?')}, {state(run.run)}"
        if config
        else str(max([run.step, *(step for series in run.series for step in series.steps)])),
        "batch": str(data.get("batch_size", "–")),
        "seed": str(config.get("seed_everything", "–")),
        "last validation": _validation(run),
        "device": device or str(trainer.get("accelerator", "–")),
        "duration": duration(seconds) if seconds else "–",
        "checkpoint": _checkpoint(run, origins),
        "commit": ", ".join(commits) or "–",
    }
    if several:
        facts["differs in"] = _differences(group)
    commands = list(dict.fromkeys(c for o in origins if (c := o["source"].get("command"))))
    if config and not any(command.startswith("ired fit") for command in commands):
        commands.insert(0, f"ired fit --config {run.run.config} --name {run.path.name}-again")
    text = run.run.config.read_text() if config else ""
    return RunFacts(run.path.name, group.index, facts, commands, text)


def _origins(run: OpenedRun) -> list[dict[str, Any]]:
    """Return what produced the run's results, in the order of their making."""
    files = [path for series in run.series for path in series.files.values()]
    made: list[dict[str, Any]] = []
    for path in sorted(files, key=lambda file: file.stat().st_mtime_ns):
        attributes = run.attributes(path)
        found = {
            name: json.loads(attributes.get(name, "{}"))
            for name in ("source", "versions", "settings")
        }
        found |= {"digest": json.loads(attributes.get("checkpoint", "null")), "path": path}
        made.append(found)
    return made


def _validation(run: OpenedRun) -> str:
    """Return the last errors of validation, and where they stand if not at the last step."""
    parts = []
    for name, curve in run.metrics.items():
        if name.startswith("val/error/"):
            step = int(curve["step"][-1])
            place = "" if step == run.step else f" at step {step}"
            parts.append(f"{name.removeprefix('val/error/')} {float(curve[-1]):.3g}{place}")
    return ", ".join(reversed(parts)) or "–"


def _checkpoint(run: OpenedRun, origins: Sequence[dict[str, Any]]) -> str:
    """Name the checkpoint that the run means, with its digest where something measured it."""
    choice = run.checkpoint
    if choice is None:
        place = "none kept"
    else:
        place = "last" if choice.step is None else f"best, step {choice.step}"
    digests = dict.fromkeys(
        str(digest)
        for o in origins
        if (digest := o["digest"] or (_tests(o) and o["settings"].get("checkpoint")))
    )
    return f"{place}; measured: {', '.join(digests)}" if digests else place


def _tests(origin: dict[str, Any]) -> bool:
    return origin["path"].parent.name in TESTS


def _differences(group: Group) -> str:
    if group.repeats:
        return f"nothing: same settings and seed as {group.repeats}, so no replicate"
    return ", ".join(f"{k.replace('init_args.', '')} = {v}" for k, v in group.differences.items())


def _short(spec: dict[str, Any]) -> str:
    return str(spec.get("class_path", "?")).rsplit(".", 1)[-1]
