"""`ired submit` and `ired check`: queue an `ired` command on a cluster, after every check."""

import argparse
import subprocess
from dataclasses import fields, replace
from pathlib import Path

from ired_interp.cluster.chain import find_chain, runs_to_come
from ired_interp.cluster.failed import failed_tasks
from ired_interp.cluster.follow import follow
from ired_interp.cluster.host import Host, connect
from ired_interp.cluster.job import Job, project_profile
from ired_interp.cluster.preflight import Check, Preflight
from ired_interp.cluster.profile import Profile
from ired_interp.cluster.queueing import job_folder, queue
from ired_interp.cluster.repository import find_repository
from ired_interp.cluster.site import Site
from ired_interp.cluster.submission import folder_on
from ired_interp.cluster.tasks import JobTask, make_tasks
from ired_interp.cluster.trial import try_node
from ired_interp.commands.options import CommandParser
from ired_interp.errors import InputError, RunError
from ired_interp.terminal import log

_SETTINGS = [field.name for field in fields(Profile) if field.name not in ("name", "options")]


def main(command: str, arguments: list[str]) -> int:
    """Run the command.

    Raises
    ------
    InputError
        If the options or the command of the job are not valid.
    """
    own, job_arguments = _split(arguments)
    options = _parser(command).parse_args(own)
    if command == "check" and options.here:
        from ired_interp.commands.here import check_here

        folder, scratch = options.here
        return check_here(folder, scratch, job_arguments)
    if options.failed and (job_arguments or options.array):
        raise InputError(
            "--failed goes on with commands that were submitted before; leave out --array and what "
            "stands after --."
        )
    repository = find_repository(Path.cwd())
    overrides = {name: value for name in _SETTINGS if (value := getattr(options, name)) is not None}
    profile = project_profile(repository, options.profile or "default", overrides)
    with connect(profile) as host:
        folder = folder_on(host, profile, str(Path.cwd()))
        if options.failed:
            tasks = _failed(host, folder, options)
        else:
            tasks = make_tasks(job_arguments, options.array, folder)
        chain = find_chain(host, folder, options.after)
        site = Site(host, profile, repository, folder)
        to_come = runs_to_come(host, folder, chain)
        preflight = Preflight(
            site, tasks, thorough=command == "check", after=chain, to_come=to_come
        )
        if chain.jobs:
            show_check(Check("after", True, f"it begins once {chain} has ended well"))
        shown = [show_check(check) for check in preflight.checks()]
        if not all(shown):
            log("nothing was queued")
            return 2
        job = preflight.job()
        if command == "submit" and options.dry_run:
            print(job.script(repository), end="")
            return 0
        if command == "submit" or options.try_node:
            prepare_environment(site)
        if options.try_node and not try_node(site, job, show_check):
            log("nothing was queued")
            return 2
        return _submit(site, job, options.detach) if command == "submit" else 0


def _failed(host: Host, folder: str, options: argparse.Namespace) -> list[JobTask]:
    """Return the failed tasks of a job.

    Raises
    ------
    InputError
        If they were submitted with another profile, and none is named.
    """
    before, tasks = failed_tasks(host, folder, options.failed)
    if options.profile is None and before.profile != "default":
        raise InputError(
            f"job {before.job} was submitted with --profile {before.profile}; give that one again, "
            "or another."
        )
    return tasks


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
    parser.add_argument(
        "--after",
        action="extend",
        nargs="+",
        default=[],
        metavar="JOB|RUN",
        help="wait until these jobs, or the jobs of these runs, have ended well",
    )
    parser.add_argument(
        "--failed",
        metavar="JOB|RUN",
        help="instead of a command: go on with all tasks of that job that have failed",
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


def show_check(check: Check) -> bool:
    """Say how a check went; whether it went well."""
    log(
        f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.found}"
        + (f"\n     → {check.remedy}" if check.remedy and not check.ok else "")
    )
    return check.ok


def prepare_environment(site: Site) -> None:
    """Make the environment of a site's jobs, unless it is there or the profile names one.

    Raises
    ------
    RunError
        If it could not be made.
    """
    profile = site.profile
    if not profile.makes_environment:
        return
    log(f"preparing {site.environment}")
    arguments = ("environment", site.project, site.environment, profile.python, profile.installer)
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
        f"{submission.folder}" + (f"; it waits for {job.after}" if job.after.jobs else "")
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
