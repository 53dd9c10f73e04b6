"""The files that ship to be read, copied, edited: configs/, callbacks/, loggers/, slurm/.

They lie at the top of the repository; a wheel carries a copy of them inside the package.
"""

from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from ired_interp.errors import InputError

_OF_CONFIGURATIONS = ("configs", "callbacks", "loggers")


def shipped(name: str | PurePosixPath) -> Path:
    """Return the path of a shipped file.

    Parameters
    ----------
    name : str or PurePosixPath
        Its path from the top of the repository, as in ``slurm/job.sbatch``.

    Returns
    -------
    Path
        The file in the installed package, or in the checkout that the package is imported from.
    """
    installed = Path(__file__).with_name("share")
    return (installed if installed.is_dir() else Path(__file__).parents[2]) / name


def configurations() -> list[PurePosixPath]:
    """Return all shipped configurations and fragments, as paths from the top of the repository."""
    top = shipped("")
    files = [file for folder in _OF_CONFIGURATIONS for file in (top / folder).rglob("*.yaml")]
    return sorted(
        (PurePosixPath(file.relative_to(top).as_posix()) for file in files),
        key=lambda path: (_OF_CONFIGURATIONS.index(path.parts[0]), len(path.parts), path),
    )


def shipped_configuration(name: str | Path) -> PurePosixPath:
    """Return the shipped configuration of a name, as its path from the top of the repository.

    Parameters
    ----------
    name : str or Path
        That path or the end of it, with or without ``.yaml``: ``configs/ablation/one_step.yaml``,
        ``ablation/one_step``, ``one_step``. Where several end so, the one nearest the top is
        meant: ``inverse`` is ``configs/inverse.yaml``, not ``configs/published/inverse.yaml``.

    Raises
    ------
    InputError
        If none has the name, or several equally near the top.
    """
    known = configurations()
    wanted = _without_suffix(PurePosixPath(name)).parts
    found = [path for path in known if _without_suffix(path).parts[-len(wanted) :] == wanted]
    found = [path for path in found if len(path.parts) == min(len(p.parts) for p in found)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{name} could be {' or '.join(map(str, found))}; write the one that is meant."
        )
    names = {path.stem: str(path) for path in known}
    near = [names[stem] for stem in get_close_matches(PurePosixPath(name).stem, names)]
    raise InputError(
        f"{name} is no file here and none of the configurations that come with ired-interp"
        + (f"; near it are {', '.join(near)}." if near else "; `ired configs` lists those.")
    )


def find_configuration(name: str | Path) -> Path:
    """Return the file that the name of a configuration means.

    Parameters
    ----------
    name : str or Path
        Path of a file, which comes first; else a shipped configuration's name. Of the latter, a
        copy at the same path below the current folder is preferred: ``quickstart`` means
        ``configs/quickstart.yaml`` here if there is one, and otherwise the shipped file.

    Raises
    ------
    InputError
        If there is no such file, or the name fits several shipped ones.
    """
    if Path(name).is_file():
        return Path(name)
    path = shipped_configuration(name)
    return Path(path) if Path(path).is_file() else shipped(path)


def _without_suffix(path: PurePosixPath) -> PurePosixPath:
    return path.with_suffix("") if path.suffix in (".yaml", ".yml") else path
