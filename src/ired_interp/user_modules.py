"""Where a user's own modules are imported from.

A configuration names classes by ``class_path: my_energy.MyEnergy``. Besides what is installed or
on PYTHONPATH, which comes first, `my_energy` is looked for

1. in the folder of each --config file, and in the current folder;
2. for a checkpoint in a run's folder, in the folders from which that run's training imported its
   classes: the run keeps them in its file modules.txt. `ired report` looks there, too, and imports
   the classes of the user's own that the run's configuration names, so that figures are known.

The second holds for runs of the user's own alone (see `class_paths.is_own`): a run that was handed
over could name a folder that was handed over with it. A checkpoint alone names classes, never
folders, and `class_paths` says which of these count. No folder inside of a run counts.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from pkgutil import resolve_name

from ired_interp.class_paths import class_paths, is_own, is_registered
from ired_interp.errors import one_line
from ired_interp.results import OpenedRun, Run

_OURS = ("ired_interp", "lightning", "torch")  # whose classes bring no names of the user's own


def look_beside(configurations: Iterable[str | Path]) -> list[Path]:
    """Import modules from the folders of configurations and from the current folder, too.

    Parameters
    ----------
    configurations : paths
        Files. For the configuration that a run keeps, its folders are those of the run, if that is
        the user's own.

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
        if not kept:
            folders.append(path.parent)
        elif is_own(run):
            folders += run.module_folders()
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


def import_configured(run: OpenedRun) -> list[str]:
    """Import the user's own classes that a run's configuration names; what they register is known.

    Parameters
    ----------
    run : OpenedRun
        The run. One of shipped classes alone imports nothing, nor does one that lies elsewhere
        than in the user's project.

    Returns
    -------
    list of str
        A sentence for every module that is not imported.
    """
    own = is_own(run.run)
    if own:
        look_in(run.run.module_folders())
    failed = {}
    for class_path in class_paths(run.config):
        module = class_path.rpartition(".")[0]
        if module.split(".")[0] in _OURS or is_registered(class_path):
            continue
        if not own:
            failed[module] = (
                f"figures that {module} may bring, as the run lies outside of the current folder"
            )
            continue
        try:
            resolve_name(class_path)
        except Exception as error:  # of any kind: the code is not ours, and results need none of it
            reason = one_line(f"{type(error).__name__}: {error}")
            failed[module] = f"figures that {module} may bring, as it was not imported ({reason})"
    return list(failed.values())
