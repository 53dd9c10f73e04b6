"""Jobs on a cluster with accounts: run by hand, since its database is not worth a minute of every run of the tests.

    python tests/slurm/with_accounting.py

It starts a private MariaDB, slurmdbd and the cluster of the tests on loopback, below a folder of
its own, prints a line for each thing that it shows, and ends what it has started.
"""

import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from accounted_cluster import ACCOUNTING_PROGRAMS, AccountedCluster
from project import Project, empty_project, git_settings, no_dry_run
from slurm_cluster import missing_programs, wait_until
from stand_in import stand_in

from ired_interp.cluster.preflight import Check, Preflight

# A training takes 300 MiB for a few seconds; that of the name "bad" fails until it is mended.
_IRED = """#!/bin/bash
[[ $1 == fit ]] || exit 0
python3 -c 'import time; held = b"x" * (300 * 2**20); time.sleep(4)'
[[ $* == *bad* && ! -e MENDED ]] && exit 1
exit 0
"""


class Printed:
    """What is printed between two readings."""

    def __init__(self) -> None:
        self.readouterr()

    def readouterr(self) -> SimpleNamespace:
        """As pytest's capsys does."""
        found = [
            stream.getvalue() if isinstance(stream, io.StringIO) else ""
            for stream in (sys.stdout, sys.stderr)
        ]
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        return SimpleNamespace(out=found[0], err=found[1])


class Shown:
    """Lines on what was shown; `failures` counts what was not as it should be."""

    failures = 0

    def __call__(self, what: str, text: str, *patterns: str) -> None:
        """Say whether a text says all of this, and where it does."""
        missing = [pattern for pattern in patterns if not re.search(pattern, text)]
        self.failures += bool(missing)
        if missing:
            line = f"FAILED: {what}: no {missing!r} in {text!r}"
        else:
            found = [line.strip() for line in text.splitlines() if re.search(patterns[0], line)]
            line = f"ok: {what}: {found[0] if found else patterns[0]}"
        print(line, file=sys.__stdout__, flush=True)


def queued(project: Project, *arguments: object) -> tuple[str, str]:
    """Submit; the job's number (empty if it was refused), and what was said."""
    _, _, err = project.ired("submit", "--detach", *arguments)
    found = re.search(r"queued job (\d+)", err)
    return found[1] if found else "", err


def show(cluster: AccountedCluster, project: Project) -> int:
    """Show everything; how many things were not as they should be."""
    shown = Shown()
    fit = ("--", "fit", "--name")
    job, err = queued(project, "--qos", "long", *fit, "good")
    shown("--qos that is known", err, r"queued job \d+")
    for option, value in (("--qos", "none"), ("--account", "nobodys")):
        number, err = queued(project, option, value, *fit, "refused")
        shown(f"{option} that is unknown", number or err, r"refuses the request: .*[Ii]nvalid")
    both = r"QOSMaxWallDurationPerJobLimit.*Job violates accounting/QOS policy|Job violates accounting/QOS policy.*QOSMaxWallDurationPerJobLimit"
    number, err = queued(project, "--qos", "tiny", *fit, "refused")
    shown("both lines of a refusal, before", number or err, both)
    with mock.patch.object(Preflight, "checks", unchecked):
        number, err = queued(project, "--qos", "tiny", *fit, "refused")
    shown("both lines of a refusal, of sbatch", number or err, both)

    there, err = queued(project, "--profile", "named", *fit, "there")
    record = (project.jobs()[-1] / "submission.json").read_text()
    shown("the record names the cluster", record, r'"cluster": "ired"')
    held = ("--hold", "--output=/dev/null", "--wrap=true")
    answer = cluster.run("sbatch", "--parsable", "--clusters=ired", *held).strip()
    shown("sbatch answers NUMBER;CLUSTER where one is named", answer, r"^\d+;ired$")
    answer = cluster.run("sbatch", "--parsable", *held).strip()
    shown("and NUMBER where none is", answer, r"^\d+$")
    bad, _ = queued(project, *fit, "bad")
    after, _ = queued(project, "--after", bad, *fit, "after")
    taken, _ = queued(project, "--after", bad, *fit, "taken")
    shown("what waits is cancelled", project.ired("cancel", taken)[1], f"cancelled {taken}")
    many, _ = queued(project, "--after", bad, "--array", "seed_everything=1,2", *fit, "many")
    shown("a training ends", cluster.ended(job), "COMPLETED")
    counted = cluster.run("sacct", "-n", "-P", "-X", "-j", job, "-o", "QOS,Account")
    shown("and is counted for QOS and account", counted, r"^long\|lab$")
    shown("a training of that cluster ends", cluster.ended(there), "COMPLETED")
    shown("a training fails", cluster.ended(bad), "FAILED")
    shown("what waits for it is cancelled", cluster.ended(after), "CANCELLED")
    never = r"never started \(DependencyNeverSatisfied\)"
    shown("and why is said", project.ired("status", after)[1], never)
    used = (
        r"used 0\.\d\d of 0\.03 h asked, [1-9]\d? %; largest process 0\.(29|3\d) GiB of 500M, 6\d %"
    )
    for which, name in ((job, "of a job"), (there, "of a named cluster's job")):
        shown(f"efficiency {name}", project.ired("status", which)[1], used)
    for one in (job, there, bad, after, taken, many):
        cluster.forgets(one)
    cancelled = rf"{taken}: likely cause: the job was cancelled"
    shown(
        "that it was cancelled, once the queue has forgotten it",
        project.ired("status", taken)[1],
        cancelled,
    )
    for which, word in ((job, "completed"), (there, "completed"), (bad, "failed")):
        shown(
            f"{word}, once the queue has forgotten it",
            project.ired("status", which)[1],
            rf"\b{word}\b",
        )
    shown("why, once the queue has forgotten it", project.ired("status", after)[1], never)
    shown(
        "why of an array, once the queue has forgotten it",
        project.ired("status", many)[1],
        rf"{many}_1: .*{never}",
    )
    (project.root.parent / "mended").touch()
    again, err = queued(project, "--failed", bad)
    shown("--failed, once the queue has forgotten it", f"{again} {err}", r"queued job \d+")
    shown("and it goes on", cluster.ended(again) if again else err, "COMPLETED")
    number, err = queued(project, "--failed", again or bad)
    shown("--failed of what has not", number or err, r"no task of \d+ has failed \(1 completed\)")

    cluster.run("sacctmgr", "--immediate", "add", "federation", "all", "clusters=ired")
    wait_until(lambda: "all" in cluster.run("scontrol", "show", "federation"), "it is federated")
    job, err = queued(project, *fit, "federated")
    shown("a federation's job, whose number has the cluster in it", err, r"queued job \d{8,}")
    answer = cluster.run("sbatch", "--parsable", *held).strip()
    shown("a federation's sbatch answers", answer, r"^\d{8,}(;ired)?$")
    shown("a training of the federation ends", cluster.ended(job) if job else err, "COMPLETED")
    shown("efficiency of a federation's job", project.ired("status", job)[1], used)
    return shown.failures


def unchecked(preflight: Preflight) -> Iterator[Check]:
    """No checks, so that sbatch itself refuses."""
    for task in preflight.tasks:
        preflight.facts[task.index] = {"name": task.option("--name")}
    return iter(())


@contextmanager
def small_project(folder: Path) -> Iterator[Project]:
    """A project whose trainings are stand-ins."""
    project = empty_project(folder, Printed())  # type: ignore[arg-type]
    own = {
        "environment": str(stand_in(folder, _IRED, mended=folder / "mended")),
        "memory": "500M",
        "time": "00:02:00",
        "signal": 30,
    }
    project.add("configs/a.yaml", "")
    project.profile(**own)
    project.profile("named", **own, options=["--clusters=ired"])
    os.chdir(project.root)
    with no_dry_run():
        yield project


def main() -> int:
    """Start, show, stop; 1 if something was not as it should be."""
    if missing := missing_programs(*ACCOUNTING_PROGRAMS):
        print(
            f"not installed: {', '.join(missing)} (Debian: slurmctld slurmd slurm-client slurmdbd "
            "munge openssh-server rsync mariadb-server)"
        )
        return 1
    os.environ.update(git_settings(), OMP_NUM_THREADS="1")
    with tempfile.TemporaryDirectory(prefix="ired-accounts-") as name:
        folder = Path(name)
        cluster = AccountedCluster(folder / "slurm")
        try:
            cluster.start()
            os.environ["SLURM_CONF"] = cluster.environment["SLURM_CONF"]
            with small_project(folder) as project:
                failures = show(cluster, project)
        except BaseException:
            for log in sorted((folder / "slurm" / "log").glob("*")):
                print(
                    f"== {log.name}\n{log.read_text(errors='replace')[-1500:]}", file=sys.__stderr__
                )
            raise
        finally:
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
            os.chdir("/")
            cluster.stop()
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
