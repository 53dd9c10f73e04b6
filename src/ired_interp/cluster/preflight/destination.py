"""Whether the cluster takes the job: its folder, its runs, its environment, and SLURM itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ired_interp.cluster.host import last_line
from ired_interp.cluster.job import REQUIREMENTS, Job, requirements
from ired_interp.cluster.preflight.check import Check, check_name
from ired_interp.cluster.preflight.launcher import launcher_check
from ired_interp.cluster.queueing import busy
from ired_interp.cluster.site import Site
from ired_interp.cluster.slurm import partition_limit, test_request
from ired_interp.cluster.submission import Submission, submissions
from ired_interp.cluster.symptoms import NO_MODULE
from ired_interp.cluster.tasks import JobTask

# As prepare.sh looks for it.
_READY = 'for made in "$1" "$1".[0-9]*; do [[ -f $made/ready ]] && exit; done; exit 1'
_FREE = '[[ ! -f $1 ]] || flock --nonblock "$1" true'  # which a process that trains it locks
_NO_MODULES = 9
_LOAD = f"""type module >/dev/null 2>&1 || exit {_NO_MODULES}
for one; do module load "$one" || exit 1; done"""
_PYTHON_TEST = "import ensurepip, sys; sys.exit(sys.version_info < (3, 10))"


def folder_check(site: Site) -> Check:
    """Check that scripts, logs and runs can be written to where they stay."""
    script = 'mkdir -p "$1" && test -w "$1"'
    done = site.host.run("bash", "-c", script, "make", site.jobs)
    if done.returncode:
        found = f"{site.jobs} cannot be written on {site.host.name} {last_line(done.stderr)}"
        remedy = "set folder in the profile to an absolute path that can"
        return Check("folder", False, found.strip(), remedy)
    found = f"script and log will be in {site.jobs}, runs stay in {site.folder}"
    return Check("folder", True, found)


def module_check(site: Site) -> Iterator[Check]:
    """Check that the profile's modules can be loaded, where the host has modules."""
    modules = site.profile.modules
    if not modules:
        return
    done = site.host.run("bash", "-lc", _LOAD, "load", *modules)
    said = [line.strip() for line in done.stderr.splitlines() if NO_MODULE.search(line)]
    if done.returncode == _NO_MODULES:
        found = f"{site.host.name} has no modules, so that only a node can tell: see --try-node"
        yield Check("modules", True, found)
    elif done.returncode or said:
        found = (said or [last_line(done.stderr)])[0]
        remedy = "correct modules in the profile; `module avail` lists them"
        yield Check("modules", False, f"{site.host.name} cannot load them: {found}", remedy)
    else:
        yield Check("modules", True, f"{site.host.name} can load {', '.join(modules)}")


def run_checks(site: Site, tasks: Sequence[JobTask], before: Sequence[str] = ()) -> Iterator[Check]:
    """Check that every training can write its run without touching others.

    Jobs of the folders `before` are waited for, and may write it until then.
    """
    found = submissions(site.host, site.folder)
    recorded = [one for one in found if one.folder not in before]
    waited_for = {task.run for one in found if one.folder in before for task in one.tasks}
    for task in tasks:
        if task.command == "fit" and task.run is not None:
            yield _run_check(site, recorded, task, task.run, task.run in waited_for)


def _run_check(
    site: Site, recorded: list[Submission], task: JobTask, run: str, waits: bool
) -> Check:
    name, taken = check_name("run", task), site.host.exists(run)
    if task.option("--resume") is None and taken:
        found = f"{run} exists, and results are never overwritten"
        remedy = f"choose another --name, or go on with it: ired submit -- fit --resume {run}"
        return Check(name, False, found, remedy)
    if other := busy(site.host, recorded, run):
        return Check(name, False, *other)
    free = site.host.run("bash", "-c", _FREE, "free", f"{run}/config.yaml").returncode != 1
    if not free and not waits:
        found = f"a process that was started by hand trains {run}"
        return Check(name, False, found, "wait for it, or stop it; then submit again")
    return Check(name, True, f"{'goes on in' if taken else 'results will be in'} {run}")


def environment_check(site: Site) -> Check:
    """Check that the job's environment is there or can be made."""
    host, profile = site.host, site.profile
    if site.launcher:
        return launcher_check(site)
    if profile.environment is not None:
        program = f"{site.environment}/bin/ired"
        done = host.run(program, "--version") if host.exists(program) else None
        if done is None or done.returncode:
            found = "does not exist" if done is None else f"does not run: {last_line(done.stderr)}"
            remedy = "correct environment in the profile, or leave it out to have one made"
            return Check("environment", False, f"{program} {found}", remedy)
        return Check("environment", True, f"{site.environment} has {done.stdout.strip()}")
    if host.run("bash", "-c", _READY, "ready", site.environment).returncode == 0:
        return Check("environment", True, f"{site.environment} is ready for this lock file")
    root = site.repository.project
    source = requirements(root)
    if source is None:
        found = f"{root} has neither {' nor '.join(REQUIREMENTS)} to make one from"
        remedy = (
            "write requirements.txt with the line that installs ired-interp, or set environment in "
            "the profile"
        )
        return Check("environment", False, found, remedy)
    uses_uv = profile.installer == "uv"
    test = "uv --version" if uses_uv else f'{profile.python} -c "{_PYTHON_TEST}"'
    done = host.run(*site.shell_command(test))
    if done.returncode:
        found = last_line(done.stderr) or f"{profile.python} is older than Python 3.10"
        what = "installer" if uses_uv else "python"
        remedy = f"correct {what} or modules in the profile"
        return Check("environment", False, f"no environment can be made: {found}", remedy)
    found = f"{site.environment} will be made of {source}, once for this lock"
    return Check("environment", True, found)


def slurm_check(site: Site, job: Job) -> Check:
    """Check that SLURM would take the request."""
    profile = site.profile
    if refused := test_request(site.host, job.script(site.repository), profile):
        found = f"it refuses the request: {refused}"
        return Check("SLURM", False, found, f"correct profile {profile.name}")
    limit = partition_limit(site.host, profile)
    if limit is not None and profile.seconds > limit:
        found = (
            f"the time limit {profile.time} is above the partition's, {limit // 60} min; "
            "the job would wait for ever"
        )
        remedy = "lower time in the profile, or take another partition"
        return Check("SLURM", False, found, remedy)
    partition = f"partition {profile.partition}" if profile.partition else "the default partition"
    return Check("SLURM", True, f"it would take the request in {partition}")
