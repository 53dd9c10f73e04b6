"""Whether the container or conda environment of a profile is there, and has the program."""

from __future__ import annotations

from ired_interp.cluster.host import last_line
from ired_interp.cluster.preflight.check import Check
from ired_interp.cluster.preflight.source import CLONE_SECONDS
from ired_interp.cluster.site import Site

_NAME = "environment"


def launcher_check(site: Site) -> Check:
    """Check that what starts a job's processes exists, and that `ired` runs in it."""
    host, profile, program = site.host, site.profile, site.launcher[0]
    setting = "container" if profile.container else "conda"
    if host.run(*site.shell_command('command -v "$1"'), "which", program).returncode:
        found = f"{host.name} has no {program}, which {setting} of the profile needs"
        remedy = f"add its module to modules, or leave {setting} out"
        return Check(_NAME, False, found, remedy)
    image = site.launcher[-1]
    if profile.container and "://" not in image and not host.exists(image):
        found = f"image {image} does not exist on {host.name}"
        return Check(_NAME, False, found, "correct container in the profile, or build the image")
    version = (*site.launcher, f"{site.programs}ired", "--version")
    shell = site.shell_command('"$@"')
    done = host.run(*shell, "version", *version, seconds=CLONE_SECONDS)
    if done.returncode:
        found = f"ired does not run in {image}: {last_line(done.stderr) or 'no reason'}"
        return Check(_NAME, False, found, f"install ired-interp in it, or correct {setting}")
    return Check(_NAME, True, f"{image}, by {program}, has {last_line(done.stdout)}")
