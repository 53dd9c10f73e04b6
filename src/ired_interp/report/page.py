"""The report: one HTML page that holds everything, for any browser, without network."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import pandas as pd
from jinja2 import Environment
from markupsafe import Markup

from ired_interp.errors import InputError
from ired_interp.files import atomic
from ired_interp.report.collect import Group, group_runs, sections
from ired_interp.report.facts import run_facts, versions
from ired_interp.report.figure import Figure, Plot
from ired_interp.report.figures import figures_of, rank, smooth_to_sharp, training
from ired_interp.report.figures.answers import picture as answers_figure
from ired_interp.report.style import on_dark, series_colour
from ired_interp.report.verdict import Answer, answers, trivial_floors
from ired_interp.results import OpenedRun
from ired_interp.results.statement import Findings
from ired_interp.terminal import track


@dataclass(frozen=True)
class Report:
    """What a page shows: groups of runs, answers in words, figures, and what had to be left out.

    `studies` are what the studies found that the runs are of.
    """

    groups: list[Group]
    answers: list[Answer]
    figures: list[Figure]
    skipped: list[str]
    studies: Sequence[Findings] = ()


def gather(runs: Sequence[OpenedRun], studies: Sequence[Findings] = ()) -> Report:
    """Read runs and make their figures.

    Parameters
    ----------
    runs : Sequence[OpenedRun]
        Opened runs; those that differ in their seed alone become one group.
    studies : Sequence[Findings]
        What was found by studies that the runs are of.

    Raises
    ------
    InputError
        If there is no run.
    """
    if not runs:
        raise InputError("a report needs at least one run; `ired runs` lists what there is.")
    notes: list[str] = []
    groups = group_runs(runs)
    found = sorted(sections(groups, notes), key=lambda section: rank(section.probe))
    made = training.figures(groups, trivial_floors(found)) + smooth_to_sharp.figures(found)
    for section in track(found, "figures"):
        made += figures_of(section)
    tested = [f for f in made if f.name.startswith("test_error")]
    drawn = [figure for study in studies if (figure := answers_figure(study))]
    ordered = [*drawn, *tested, *(f for f in made if f not in tested)]
    skipped = [sentence for run in runs for sentence in run.skipped] + notes
    return Report(
        groups, answers(groups, found), _distinct(ordered), list(dict.fromkeys(skipped)), studies
    )


def write_page(report: Report, path: Path) -> Path:
    """Write the page.

    Returns
    -------
    Path
        Its path.
    """
    drawn = [
        (figure, figure.plots(), _html(figure.table)) for figure in track(report.figures, "page")
    ]
    colours = on_dark(
        "".join(plot.svg for _, plots, _ in drawn for plot in plots)
        + "".join(series_colour(g.index) for g in report.groups)
    )
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    resources = files(__package__)
    template = environment.from_string(resources.joinpath("page.html").read_text(encoding="utf-8"))
    text = template.render(
        title=" · ".join(group.name for group in report.groups),
        report=report,
        figures=[
            (figure, [_element(plot, colours) for plot in plots], table)
            for figure, plots, table in drawn
        ],
        colours=colours,
        swatch={group.index: series_colour(group.index) for group in report.groups},
        runs=run_facts(report.groups),
        landscapes=any(run.config for group in report.groups for run in group.runs),
        versions=versions(report.groups),
        script=Markup(resources.joinpath("page.js").read_text(encoding="utf-8")),
        style=Markup(resources.joinpath("page.css").read_text(encoding="utf-8")),
        written=time.strftime("%Y-%m-%d %H:%M"),
    )
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def save_figures(report: Report, folder: Path) -> list[Path]:
    """Write every figure for a paper (PNG, SVG, PDF, CSV), with captions.md beside them."""
    paths = [path for figure in track(report.figures, "figures") for path in figure.save(folder)]
    captions = folder / "captions.md"
    with atomic(captions) as temporary:
        temporary.write_text(
            "\n".join(f"**{f.title}** (`{f.name}`). {f.caption}\n" for f in report.figures),
            encoding="utf-8",
        )
    return [*paths, captions]


def _distinct(figures: Sequence[Figure]) -> list[Figure]:
    """Put a number behind names that come again, as of a probe with several settings."""
    seen: dict[str, int] = {}
    distinct = []
    for figure in figures:
        seen[figure.name] = seen.get(figure.name, 0) + 1
        number = seen[figure.name]
        name = figure.name if number == 1 else f"{figure.name}-{number}"
        distinct.append(replace(figure, name=name))
    return distinct


def _element(plot: Plot, colours: dict[str, str]) -> tuple[str, Markup, Markup]:
    """Return a plot's title, its SVG in colours that follow the ground, and its marks as JSON."""
    svg = plot.svg
    for colour in colours:
        svg = svg.replace(colour, f"var(--c{colour[1:]})")
    marks = json.dumps(plot.marks, ensure_ascii=False, separators=(",", ":"))
    return plot.title, Markup(svg), Markup(marks.replace("<", "\\u003c"))


def _html(table: pd.DataFrame | None) -> str | None:
    if table is None:
        return None
    html: str = table.to_html(
        index=False, border=0, na_rep="–", float_format=lambda value: f"{value:.4g}"
    )
    return html
