"""The table of a study, printed and kept."""

from ired_interp.studies import Study, findings, study_page
from ired_interp.terminal import log


def write_page(study: Study, command: str) -> None:
    """Print a study's table, and write it beside the runs."""
    page = study.cells[0].run.path.parent / "study.md"
    found = findings(study)
    text = study_page(study, command, found)
    found.write(page.parent)
    page.write_text(text)
    print(text)
    log(f"written to {page}")
