"""Studies: a grid of trainings, what is measured of each, and the table that answers a question."""

from ired_interp.studies.arrays import Arrays, alone
from ired_interp.studies.cell import Cell, Step
from ired_interp.studies.job_states import Making, settle
from ired_interp.studies.record import Record
from ired_interp.studies.runner import Outcome, run_study
from ired_interp.studies.statements import findings
from ired_interp.studies.study import Study, read_study
from ired_interp.studies.table import study_page

__all__ = [
    "Arrays",
    "Cell",
    "Making",
    "Outcome",
    "Record",
    "Step",
    "Study",
    "alone",
    "findings",
    "read_study",
    "run_study",
    "settle",
    "study_page",
]
