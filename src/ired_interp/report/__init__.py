"""The report of one or more runs: figures for a paper, and a page for the browser."""

from ired_interp.report.page import Report, gather, save_figures, write_page

__all__ = ["Report", "gather", "save_figures", "write_page"]
