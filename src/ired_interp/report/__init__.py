"""The report of one or more runs: figures for a paper, and a page for the browser."""

from ired_interp.report.collect import Section
from ired_interp.report.drawing import Drawing
from ired_interp.report.figure import Figure, Panel
from ired_interp.report.page import Report, gather, save_figures, write_page
from ired_interp.report.smooth_to_sharp import emergence

__all__ = [
    "Drawing",
    "Figure",
    "Panel",
    "Report",
    "Section",
    "emergence",
    "gather",
    "save_figures",
    "write_page",
]
