"""The answers and the table of a study, printed and kept, with a picture of the answers."""

from ired_interp.files import atomic
from ired_interp.studies import Study, findings, study_page
from ired_interp.terminal import log


def write_page(study: Study, command: str) -> None:
    """Print a study's answers and table, and write them and their picture beside the runs."""
    from ired_interp.report.figures.answers import picture

    page = study.folder / ("study.md" if study.name == study.folder.name else f"{study.name}.md")
    found = findings(study)
    found.write(study.folder)
    drawn = picture(found)
    if drawn is not None:
        with atomic(page.with_suffix(".png")) as temporary:
            temporary.write_bytes(drawn.png(colours=128))
    text = study_page(study, command, found, page.with_suffix(".png").name if drawn else "")
    page.write_text(text)
    print(text)
    log(f"written to {page}")
