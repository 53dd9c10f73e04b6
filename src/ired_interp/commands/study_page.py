"""The table of a study, printed and kept."""

from ired_interp.studies import Study, findings, study_page
from ired_interp.terminal import log


def write_page(study: Study, command: str) -> None:
    """Print a study's table, and write it beside the runs."""
    page = study.folder / ("study.md" if study.name == study.folder.name else f"{study.name}.md")
    found = findings(study)
    text = study_page(study, command, found)
    found.write(study.folder, study.name)
    page.write_text(text)
    print(text)
    log(f"written to {page}")
