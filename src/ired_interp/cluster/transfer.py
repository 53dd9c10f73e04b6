"""Bring runs home from the cluster."""

from __future__ import annotations

import posixpath
import secrets
import shlex
import subprocess
from pathlib import Path

from ired_interp.cluster.host import Host, last_line
from ired_interp.errors import InputError, RunError

# What a shell's start-up files print comes before what rsync says.
_BEHIND_MARK = '"$@" | while IFS= read -r line; do [ "$line" = {mark} ] && exec cat; done'


def fetch(host: Host, run: str, folder: Path, experiment_below: str) -> Path:
    """Copy a run's folder from the host, as it is now; again, and only what is new comes.

    Parameters
    ----------
    run : str
        Absolute path on the host.
    folder : Path
        Here; the run comes to the same place below it as on the host below `experiment_below`.

    Returns
    -------
    Path
        The run's folder here.

    Raises
    ------
    InputError
        If the run does not exist there, or another run lies here at its place.
    RunError
        If copying fails.
    """
    config = host.read(f"{run}/config.yaml")
    if config is None:
        raise InputError(
            f"{run} on {host.name} is no run (it has no config.yaml yet); `ired status` shows what "
            "there is."
        )
    place = folder / posixpath.relpath(run, experiment_below)
    own = place / "config.yaml"
    if host.address is None and place.resolve() == Path(run).resolve():
        return place
    if place.exists() and (not own.is_file() or own.read_text() != config):
        raise InputError(
            f"{place} holds another run than {run} on {host.name}; results are never overwritten: "
            "give another --to."
        )
    place.mkdir(parents=True, exist_ok=True)
    # Files under a temporary name are still being written.
    copy(host, "--exclude=.*", f"{host.address}:{run}/" if host.address else f"{run}/", f"{place}/")
    return place


def copy(host: Host, *arguments: str) -> None:
    """Copy with rsync, over the host's connection.

    Raises
    ------
    RunError
        If it fails.
    """
    command = ["rsync", "--archive", "--partial", "--protect-args", *arguments]
    if host.address:
        mark = f"ired-{secrets.token_hex(8)}"
        shell = shlex.join(["sh", "-c", _BEHIND_MARK.format(mark=mark), "rsh", *host.ssh])
        marked = f"echo; echo {mark}; rsync"
        command[1:1] = ["--rsh", shell, "--blocking-io", "--rsync-path", marked]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RunError("rsync was not found; install it here and on the login node.") from None
    if done.returncode:
        raise RunError(
            f"copying from {host.name} failed: {last_line(done.stderr)}; run it again, it goes on "
            "where it was."
        )
