"""A study's runs as they are published, with what is done of them."""

import math
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from ired_interp.errors import InputError
from ired_interp.files import atomic
from ired_interp.results.publication import Places, check_place, publish_run
from ired_interp.results.run import Run, find_runs
from ired_interp.terminal import track

_RUNS = 4  # for which it is worth to start a process


def publish_study(study: Path, folder: Path) -> Places:
    """Copy all runs of a folder without checkpoints and logs, and what a study has noted of them.

    `ired study` then answers from the copy as from the runs.

    Parameters
    ----------
    study : Path
        The folder that a study's runs lie in.
    folder : Path
        Where to, where nothing is yet.

    Returns
    -------
    Places
        Which were left out, or could not be.

    Raises
    ------
    InputError
        If something is there, there are no runs, or one is running.
    """
    check_place(folder)
    runs = find_runs(study)
    if not runs:
        raise InputError(f"{study} holds no runs; name a run, or a folder of a study's runs.")
    places = Places(runs)
    workers = min(os.cpu_count() or 1, math.ceil(len(runs) / _RUNS))
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        copies = [folder / run.path.relative_to(study) for run in runs]
        made = [pool.submit(_published, *one, places) for one in zip(runs, copies, strict=True)]
        for future in track(made, "publish"):
            places.left |= future.result()
    for record in sorted((study / ".study").glob("*.json")):
        with atomic(folder / ".study" / record.name) as temporary:
            temporary.write_text(places.removed(record.read_text()))
    return places


def _published(run: Run, folder: Path, places: Places) -> set[str]:
    publish_run(run, folder, places)
    return places.left
