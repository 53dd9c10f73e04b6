"""How errors stand to those of simpler answers: trivial ones, and one feed-forward pass."""

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from ired_interp.report.collect import Group, Section
from ired_interp.report.figures.shares import right_answers
from ired_interp.results.names import AS_GOOD, FEED_FORWARD, PERFECT


def against_floors(results: Sequence[xr.Dataset]) -> str:
    """Say how a group's errors stand to the best answer that needs no learning."""
    sentences = []
    for variant in map(str, results[0]["variant"].values):
        best = lowest_floor(results[0], variant)
        if best is None:
            continue
        errors = _errors(results, variant)
        error, (name, floor) = float(np.mean(errors)), best
        spread = (
            f" (lowest {min(errors):.3g}, highest {max(errors):.3g})"
            if len(set(errors)) > 1
            else ""
        )
        ratio = floor / error
        verdict = (
            f"{ratio:.2g} times lower than"
            if ratio >= 1.5
            else f"{1 - 1 / ratio:.0%} lower than"
            if ratio > 1 / AS_GOOD
            else "no better than"
        )
        sentence = (
            f"{variant.capitalize()}: error {error:.3g}{spread}, {verdict} “{name}” ({floor:.3g})"
        )
        perfect = (
            results[0]["floor"].sel(variant=variant, predictor=PERFECT).item()
            if PERFECT in results[0]["predictor"]
            else np.nan
        )
        sentences.append(
            sentence
            + (f"; a perfect energy scores {perfect:.2g}." if np.isfinite(perfect) else ".")
            + right_answers(results, variant)
        )
    return " ".join(sentences)


def _errors(results: Sequence[xr.Dataset], variant: str) -> list[float]:
    """Lowest error over numbers of inner steps, of each run that was tested on a distribution."""
    return [
        float(r["error"].sel(variant=variant).min()) for r in results if variant in r["variant"]
    ]


def against_feed_forward(group: Group, errors: Section | None) -> str:
    """Say what one feed-forward pass scores that learned the same, and where that is as good."""
    tested = dict(errors.last()) if errors else {}
    learned = _learned_from(group, tested[group])
    if learned is None or _is_feed_forward(group):
        return ""
    others = [
        (g, results)
        for g, results in tested.items()
        if _is_feed_forward(g) and _learned_from(g, results) == learned
    ]
    sentences = ""
    for variant in map(str, tested[group][0]["variant"].values):
        error = float(np.mean(_errors(tested[group], variant)))
        scores = [
            (float(np.mean(found)), g.name)
            for g, results in others
            if (found := _errors(results, variant))
        ]
        if scores:
            score, name = min(scores)
            verdict = f"is as good: {score:.3g} against {error:.3g}"
            if error < AS_GOOD * score:
                verdict = f"scores {score:.3g}"
            sentences += f" {variant.capitalize()}: one feed-forward pass ({name}) {verdict}."
    return sentences


def _is_feed_forward(group: Group) -> bool:
    return str(group.settings.get("model.class_path")).rpartition(".")[2] == FEED_FORWARD


def _learned_from(group: Group, results: Sequence[xr.Dataset]) -> tuple[str, ...] | None:
    """Task, its settings and the distribution of training; None where they are not known."""
    task = {k: v for k, v in group.settings.items() if k.startswith("data.task.")}
    if not task:
        return None
    kind = str(task.pop("data.task.class_path", "")).rpartition(".")[2]
    return kind, json.dumps(task, sort_keys=True), str(results[0].attrs.get("trained_on"))


def lowest_floor(result: xr.Dataset, variant: str) -> tuple[str, float] | None:
    """Return the lowest error that needs no learning on a distribution: its name and value."""
    floor = result["floor"].sel(variant=variant)
    named = {
        str(n): float(v) for n, v in zip(result["predictor"].values, floor.values, strict=True)
    }
    named = {
        n: v
        for n, v in named.items()
        if np.isfinite(v) and "perfect" not in n.lower() and "optimum" not in n.lower()
    }
    return min(named.items(), key=lambda item: item[1]) if named else None
