"""`ired submit` and `ired check`: queue an `ired` command on a cluster, after every check."""

import argparse
import subprocess
from dataclasses import fields, replace
from pathlib import Path

from ired_interp.cluster.follow import follow
from ired_interp.cluster.host import connect
from ired_interp.cluster.job import Job, project_profile
from ired_interp.cluster.preflight import Check, Preflight
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.queueing import job_folder, queue
from ired_interp.cluster.repository import find_repository
from ired_interp.cluster.site import Site
from ired_interp.cluster.submission import folder_on
from ired_interp.cluster.tasks import make_tasks
from ired_interp.cluster.trial import try_node
from ired_interp.commands.options import CommandParser
from ired_interp.errors import RunError
from ired_interp.terminal import log

_SETTINGS = [field.name for field in fields(Profile) if field.name not in ("name", "options")]


def main(command: str, arguments: list[str]) -> int:
    """Run the command."""
    own, job_arguments = _split(arguments)
    options = _parser(command).parse_args(own)
    if command == "check" and options.here:
        from ired_interp.commands.here import check_here

        folder, scratch = options.here
        return check_here(folder, scratch, job_arguments)
    repository = find_repository(Path.cwd())
    overrides = {name: value for name in _SETTINGS if (value := getattr(options, name)) is not None}
    profile = project_profile(repository, options.profile, overrides)
    with connect(profile) as host:
        folder = folder_on(host, profile, str(Path.cwd()))
        tasks = make_tasks(job_arguments, options.array, folder)
        site = Site(host, profile, repository, folder)
        preflight = Preflight(site, tasks, thorough=command == "check")
        shown = [_show(check) for check in preflight.checks()]
        if not all(shown):
            log("nothing was queued")
            return 2
        job = preflight.job()
        if command == "submit" and options.dry_run:
            print(job.script(repository), end="")
            return 0
        if command == "submit" or options.try_node:
            _prepare(site)
        if options.try_node and not try_node(site, job, _show):
            log("nothing was queued")
            return 2
        return _submit(site, job, options.detach) if command == "submit" else 0


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    position = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:position], arguments[position + 1 :]


def _parser(command: str) -> argparse.ArgumentParser:
    checks = (
        "Check what could fail in a job: what is committed, the remote, the configuration, a dry "
        "run of the very job, the request"
    )
    then = {
        "submit": "then queue it and follow it until it works",
        "check": "and measure memory and GPU use",
    }
    parser = CommandParser(
        prog=f"ired {command}",
        usage=f"ired {command} [options] -- fit|probe|test|validate …",
        description=f"{checks}; {then[command]}.",
    )
    parser.add_argument(
        "--profile",
        default="default",
        metavar="NAME",
        help="file of slurm/profiles/ (default: default)",
    )
    parser.add_argument(
        "--array",
        action="append",
        default=[],
        metavar="KEY=V1,V2",
        help=(
            "one task for each value of an option of the command, as in data.task.rank=1,2,5 or "
            "config=a.yaml,b.yaml; again: every combination"
        ),
    )
    if command == "submit":
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="check, and print the job script instead of queueing it",
        )
        parser.add_argument(
            "--detach", action="store_true", help="return as soon as the job is queued"
        )
    else:
        parser.add_argument("--here", nargs=2, help=argparse.SUPPRESS)  # what that job runs
    parser.add_argument(
        "--try-node" if command == "submit" else "--on-node",
        dest="try_node",
        action="store_true",
        help=(
            "queue a job of a minute with the same request, which looks whether a node has what "
            "the job needs"
        ),
    )
    settings = parser.add_argument_group("settings of the profile, for this job alone")
    for name in _SETTINGS:
        settings.add_argument(f"--{name}", metavar="VALUE")
    return parser


def _show(check: Check) -> bool:
    log(
        f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.found}"
        + (f"\n     → {check.remedy}" if check.remedy and not check.ok else "")
    )
    return check.ok


def _prepare(site: Site) -> None:
    """Make the job's environment, if it is made by this program.

    Raises
    ------
    RunError
        If it cannot be made.
    """
    if site.profile.environment is not None:
        return
    log(f"preparing {site.environment}")
    arguments = ("environment", site.project, site.environment, site.profile.python)
    command = site.host.command(*site.prepare_command(*arguments))
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        raise RunError(
            "the environment could not be made (see above); correct the lock file, python or "
            "modules of the profile."
        )


def _submit(site: Site, job: Job, detach: bool) -> int:
    host = site.host
    job = replace(job, folder=job_folder(host, site.folder, job.name))
    submission = queue(host, job, site.repository)
    log(
        f"queued job {submission.job} {submission.name}; its script and logs are in "
        f"{submission.folder}"
    )
    if detach:
        return 0
    try:
        return 0 if follow(host, submission) else 1
    except KeyboardInterrupt:
        log(
            f"no longer watching; job {submission.job} goes on: ired status {submission.job}, "
            f"ired cancel {submission.job}"
        )
        return 0
