"""A figure: panels with a title and a caption, drawn for the page and for a paper."""

import io
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure as Canvas
from PIL import Image

from ired_interp.files import atomic
from ired_interp.report.marks import panel_marks
from ired_interp.report.style import HEIGHT, RC, WIDTH

FORMATS = ("png", "svg", "pdf")

_LETTERS = 41  # of a title, in a line as wide as a panel
_HANDLE = 8  # letters that the line before a name in a legend is wide
_LEGEND_LETTERS = 62  # of a legend, in a line as wide as a panel
_LEGEND_LINE = 0.19  # inches


@dataclass(frozen=True)
class Panel:
    """One plot.

    Attributes
    ----------
    title : str
        A few words.
    draw : Callable[[Axes], None]
        Draws it into axes.
    height : float
        In units of the usual height.
    """

    title: str
    draw: Callable[[Axes], None]
    height: float = 1.0


@dataclass(frozen=True)
class Figure:
    """What a reader sees under one heading.

    Attributes
    ----------
    name : str
        File name.
    title : str
        What it shows.
    caption : str
        On what, with units, and how to read it.
    panels : Sequence[Panel]
        Its plots.
    table : pd.DataFrame | None
        The numbers behind it, if they are few.
    legend : bool
        Whether one legend below stands for all panels, which then have none of their own.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel] = ()
    table: pd.DataFrame | None = None
    legend: bool = False

    def plots(self) -> list["Plot"]:
        """Each panel by itself, for the page."""
        return [
            _plot(panel, f"{self.name}-{number}", self.legend)
            for number, panel in enumerate(self.panels)
        ]

    def save(self, folder: Path) -> list[Path]:
        """All panels side by side as PNG (300 dpi), SVG and PDF, and the numbers as CSV."""
        paths = []
        if self.panels:
            with matplotlib.rc_context(RC):
                canvas = _draw(self.panels, self.legend)
                for kind in FORMATS:
                    path = folder / f"{self.name}.{kind}"
                    with atomic(path) as temporary:
                        canvas.savefig(temporary, format=kind, dpi=300, metadata=_undated(kind))
                    paths.append(path)
        if self.table is not None:
            path = folder / f"{self.name}.csv"
            with atomic(path) as temporary:
                self.table.to_csv(temporary, index=False)
            paths.append(path)
        return paths

    def png(self, colours: int | None = None) -> bytes:
        """All panels side by side, at screen resolution; in a few colours the file is small."""
        buffer = io.BytesIO()
        with matplotlib.rc_context(RC):
            _draw(self.panels, self.legend).savefig(buffer, format="png", dpi=110)
        if colours is None:
            return buffer.getvalue()
        small = io.BytesIO()
        Image.open(buffer).convert("RGB").quantize(colours).save(small, "PNG", optimize=True)
        return small.getvalue()


@dataclass(frozen=True)
class Plot:
    """A drawn panel.

    Attributes
    ----------
    title : str
        As the panel's.
    svg : str
        An SVG element without the title, sized by its container.
    marks : dict
        What it shows, for JSON; see `panel_marks`.
    """

    title: str
    svg: str
    marks: dict[str, Any]


def _plot(panel: Panel, name: str, legend: bool) -> Plot:
    canvas = _draw([panel], legend, titled=False)
    svg = _as_element(canvas, name, panel.title)
    return Plot(panel.title, svg, panel_marks(canvas.axes[0]))


def _draw(panels: Sequence[Panel], legend: bool, titled: bool = True) -> Canvas:
    with matplotlib.rc_context(RC):
        columns = min(len(panels), 3) if len(panels) != 4 else 2
        rows = ceil(len(panels) / columns)
        heights = [
            max(panel.height for panel in panels[columns * row : columns * (row + 1)])
            for row in range(rows)
        ]
        canvas = Canvas(figsize=(WIDTH * columns, HEIGHT * sum(heights)))
        grid = canvas.add_gridspec(rows, columns, height_ratios=heights)
        for index, panel in enumerate(panels):
            axes = canvas.add_subplot(grid[divmod(index, columns)])
            if titled:
                axes.set_title(textwrap.fill(panel.title, _LETTERS))
            panel.draw(axes)
        if legend:
            _legend_below(canvas, columns)
    return canvas


def _legend_below(canvas: Canvas, columns: int) -> None:
    """Name what any panel names, once, what was measured first, and make room for that."""
    named: dict[str, Any] = {}
    for axes in canvas.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    if len(named) > 1:
        width = max(map(len, named))
        beside = max(1, min(len(named), columns * _LEGEND_LETTERS // (width + _HANDLE)))
        height = canvas.get_figheight() + _LEGEND_LINE * ceil(len(named) / beside)
        canvas.set_figheight(height)
        names = sorted(named, key=lambda name: not isinstance(named[name], ErrorbarContainer))
        handles = [named[name] for name in names]
        canvas.legend(handles, names, loc="outside lower center", ncols=beside)


def _as_element(canvas: Canvas, name: str, title: str) -> str:
    buffer = io.StringIO()
    with matplotlib.rc_context({**RC, "svg.hashsalt": name, "savefig.transparent": True}):
        canvas.savefig(buffer, format="svg", metadata=_undated("svg"))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'\bid="(?!DejaVu)([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{_quoted(title)}" ', 1)


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


def _undated(kind: str) -> dict[str, None]:
    return {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
