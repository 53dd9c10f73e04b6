"""Where a user's own modules are imported from.

A configuration names classes by ``class_path: my_energy.MyEnergy``. Besides what is installed or
on PYTHONPATH, which comes first, `my_energy` is looked for

1. in the folder of each --config file, and in the current folder;
2. for a checkpoint in a run's folder, in the folders from which that run's training imported its
   classes: the run keeps them in its file modules.txt.

A checkpoint alone names classes, never folders. Of a run's folder that was handed over, only
folders that exist on this machine count, and none inside of it: it brings no code along.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from ired_interp.results import Run


def look_beside(configurations: Iterable[str | Path]) -> list[Path]:
    """Import modules from the folders of configurations and from the current folder, too.

    Parameters
    ----------
    configurations : paths
        Files. For the configuration that a run keeps, its folders are those of the run.

    Returns
    -------
    list of Path
        The folders.
    """
    folders: list[Path] = []
    for file in configurations:
        path = Path(file).resolve()
        run = Run(path.parent)
        kept = path == run.config and (run.begun or run.modules.is_file())
        folders += run.module_folders() if kept else [path.parent]
    folders = list(dict.fromkeys([*folders, Path.cwd()]))
    look_in(folders)
    return folders


def look_in(folders: Iterable[Path]) -> None:
    """Import modules from these folders, too, where nothing installed has their name."""
    for folder in map(str, folders):
        if folder not in sys.path:
            sys.path.append(folder)


def imported_from(folders: Iterable[Path]) -> list[Path]:
    """Return those of the folders from which a module or package was imported."""
    used = set()
    for name, module in list(sys.modules.items()):
        if "." not in name and (file := getattr(module, "__file__", None)):
            path = Path(file).resolve()
            used.add(path.parents[1] if path.name == "__init__.py" else path.parent)
    return [folder for folder in folders if folder in used]
