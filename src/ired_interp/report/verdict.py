"""The page's first answers, in sentences with numbers.

Did it learn, is it better than trivial, what do the landscapes look like, what drifted?
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from ired_interp.report.collect import Group, Section
from ired_interp.report.comparison import against_feed_forward, against_floors, lowest_floor
from ired_interp.report.figures.drift_values import compared, described, itself, labels


@dataclass(frozen=True)
class Answer:
    """A question, and one sentence for each group of runs."""

    question: str
    sentences: list[tuple[Group, str]]
    missing: str


def answers(groups: Sequence[Group], found: Sequence[Section]) -> list[Answer]:
    """Return the four answers; a question that nothing measured speaks of says what to run."""
    errors = _pick(found, "test_error") or _pick(found, "validation_error")
    hessian = _pick(found, "hessian_spectrum_y")
    drift = next(
        (s for s in found if s.probe.startswith("subspace_drift") and s.probe.endswith("training")),
        _pick(found, "subspace_drift"),
    )
    every = [
        Answer(
            "Did it learn?",
            [(g, s) for g in groups if (s := _learned(g))],
            "No validation error was logged; was the run trained with ired fit?",
        ),
        Answer(
            "Is it better than trivial?",
            [
                (g, f"{s}{against_feed_forward(g, errors)}{_untested(g, errors)}")
                for g, s in _each(errors, against_floors)
            ],
            "Not tested yet: ired test --ckpt RUN.",
        ),
        Answer(
            "What do the landscapes look like?",
            _each(hessian, _landscapes),
            "Not measured yet: ired probe --ckpt RUN --probes hessian_spectrum.",
        ),
        Answer(
            "What drifted?",
            _each(drift, _drifted),
            "Not measured: train with --config callbacks/subspace_drift.yaml.",
        ),
    ]
    ours = any(run.config for group in groups for run in group.runs)
    return [answer for answer in every if ours or answer.sentences]


def trivial_floors(found: Sequence[Section]) -> dict[str, dict[str, float]]:
    """Return the lowest error that needs no learning, by distribution: its name and value."""
    section = _pick(found, "test_error") or _pick(found, "validation_error")
    floors: dict[str, dict[str, float]] = {}
    for _, results in section.last() if section else []:
        for variant in results[0]["variant"].values:
            if best := lowest_floor(results[0], str(variant)):
                floors.setdefault(str(variant), dict([best]))
    return floors


def _pick(found: Sequence[Section], label: str) -> Section | None:
    return next((section for section in found if section.probe.startswith(label)), None)


def _each(
    section: Section | None, say: Callable[[Sequence[xr.Dataset]], str]
) -> list[tuple[Group, str]]:
    return (
        [(g, sentence) for g, results in section.last() if (sentence := say(results))]
        if section
        else []
    )


def _untested(group: Group, errors: Section | None) -> str:
    """Say which runs were not tested at the checkpoint that they mean."""
    missed = []
    for run in group.runs:
        tested = [s for s in run.series if errors is not None and s.probe == errors.probe]
        best = run.checkpoint.step if run.checkpoint else None
        if best is not None and tested and not any(best in s.files for s in tested):
            missed.append(
                f" {run.path.name} was tested at step {max(s.steps[-1] for s in tested)}, not at "
                f"its best validation, step {best}: ired test --ckpt {run.path}."
            )
    return "".join(missed)


def _collapsed(group: Group) -> list[str]:
    return [
        f"{run.path.name}: {sentence}" if len(group.runs) > 1 else sentence.capitalize()
        for run in group.runs
        for sentence in (run.validation.sentences() if run.validation else [])
    ]


def _learned(group: Group) -> str:
    sentences = _collapsed(group)
    for variant in ("same", "harder"):
        curves = [
            r.metrics[name] for r in group.runs if (name := f"val/error/{variant}") in r.metrics
        ]
        if curves:
            first, last = (float(np.mean([float(c[i]) for c in curves])) for i in (0, -1))
            begin, end = (_steps([int(c["step"][i]) for c in curves]) for i in (0, -1))
            change = (
                f"{_fell(first, last)}: {first:.3g} at step {begin}, {last:.3g} at step {end}"
                if begin != end
                else f"was {last:.3g} at step {end}"
            )
            sentences.append(f"Validation error ({variant}) {change}.")
    return " ".join(sentences)


def _steps(steps: Sequence[int]) -> str:
    return str(steps[0]) if len(set(steps)) == 1 else f"{min(steps)} to {max(steps)}"


def _fell(first: float, last: float) -> str:
    """Say by how much an error fell, so that the number says something."""
    if not last < first:
        return "did not fall"
    ratio = first / last
    return f"fell {ratio:.2g}-fold" if ratio >= 2 else f"fell by {1 - 1 / ratio:.1%}"


def _landscapes(results: Sequence[xr.Dataset]) -> str:
    def mean(name: str) -> xr.DataArray:
        return xr.concat([r[name] for r in results], "run", join="outer").mean("run")

    median, negative = mean("lambda_median"), float(mean("negative_share").mean())
    first, last = int(median["landscape"][0]), int(median["landscape"][-1])
    shape = (
        f"Median curvature {float(median[0]):.3g} in landscape {first} "
        f"and {float(median[-1]):.3g} in landscape {last}"
    )
    if "theory_median" in results[0]:
        exact = results[0]["theory_median"]
        shape += f", where a perfect model has {float(exact[0]):.3g} and {float(exact[-1]):.3g}"
    curved = (
        f"{negative:.1%} of all eigenvalues are negative"
        if negative
        else "no eigenvalue is negative"
    )
    if "deviation" in results[0]:
        deviation = mean("deviation")
        worst = int(deviation["landscape"][int(deviation.argmax("landscape"))])
        share = f"{float(deviation.mean()):.0%}"
        distance = f"{share} (RMS) from the exact ones, farthest in landscape {worst}"
        return f"{shape}; {curved}. Eigenvalues lie {distance} ({float(deviation.max()):.0%})."
    return f"{shape}; {curved}."


def _drifted(results: Sequence[xr.Dataset]) -> str:
    usable = [r for r in results if r.sizes.get("frame", 0) > 1]
    if not usable:
        return ""
    source, space, axis = described(str(usable[0].attrs["probe"]))
    names = labels(usable[0])
    told = np.mean([float(np.isfinite(compared(r, "overlap")[..., 0, -1]).mean()) for r in usable])
    over = {
        "training": f"Over training, from step {names[0]} to {names[-1]},",
        "landscapes": f"From landscape {names[0]} to {names[-1]}",
    }
    place = "θ" if space == "theta" else space
    what = f"the subspace of the {source.replace('hessian', 'Hessian')} in {place}"
    what = what.replace("  ", " ")  # of a source without a name
    when = over.get(axis, f"From frame {names[0]} to {names[-1]}")
    if not told:
        return (
            f"{when} it cannot be told: {what} is arbitrary, as its eigengap at the first or the "
            "last of them cannot be told from 0."
        )
    kept = float(np.nanmean([float(compared(r, "overlap")[..., 0, -1].mean()) for r in usable]))
    sentence = f"{when} {what} keeps an overlap of {kept:.2f}"
    if told < 1:
        sentence += f" (in the {told:.0%} of landscapes where it is not arbitrary)"
    marks = []
    noise = [float(found.mean()) for r in usable if (found := itself(r, "overlap")) is not None]
    if noise:
        marks.append(f"a subspace that stood still would show {np.nanmean(noise):.2f}")
    if "overlap_chance" in usable[0]:
        marks.append(f"chance is {float(usable[0]['overlap_chance'][..., 0].mean()):.2g}")
    return f"{sentence}; {', '.join(marks)}." if marks else f"{sentence}."
