"""Whether all that the job needs is committed, and whether the cluster can clone it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ired_interp.cluster.host import last_line, without_credentials
from ired_interp.cluster.preflight.check import Check
from ired_interp.cluster.site import Site
from ired_interp.cluster.tasks import JobTask
from ired_interp.errors import InputError

CLONE_SECONDS = 600  # after which a clone counts as not answering
_SHOWN = 8  # files named
_UNKNOWN_COMMIT = (  # what git says of a commit that a remote does not have
    "not our ref",
    "remote ref",
    "unable to read tree",
    "did not match any",
    "pathspec",
)


def source_checks(site: Site, tasks: Sequence[JobTask]) -> Iterator[Check]:
    """Check that the commit holds all files of the tasks, and that the host can clone it."""
    missed = site.repository.uncommitted([word for task in tasks for word in task.arguments])
    if missed:
        more = f" and {len(missed) - _SHOWN} more" if len(missed) > _SHOWN else ""
        found = f"the job needs files that are not committed: {', '.join(missed[:_SHOWN])}{more}"
        yield Check("committed", False, found, "git add, git commit, git push")
    try:
        commit = site.repository.commit
    except InputError as error:
        yield Check("committed", False, str(error))
        return
    if not missed:
        yield Check("committed", True, f"all that the job needs is in commit {commit[:10]}")
    try:
        yield _remote_check(site, commit)
    except InputError as error:
        yield Check("on the remote", False, str(error))


def _remote_check(site: Site, commit: str) -> Check:
    host, remote = site.host, without_credentials(site.remote)
    done = host.run(
        *site.prepare_command("source", "-", commit, site.source),
        stdin=f"{site.remote}\n",
        seconds=CLONE_SECONDS,
    )
    if done.returncode == 0:
        found, remedy = f"{host.name} cloned commit {commit[:10]} from {remote}", ""
    elif any(text in done.stderr for text in _UNKNOWN_COMMIT):
        found, remedy = f"commit {commit[:10]} is not on {remote}", "git push, then submit again"
    else:
        found = f"{host.name} cannot clone {remote}: {_reason(done.stderr)}"
        remedy = "give it access, or set remote in the profile to a URL that the cluster reaches"
    return Check("on the remote", done.returncode == 0, found, remedy)


def _reason(stderr: str) -> str:
    """Return git's reason: the first line that names one; the last is often general advice."""
    lines = without_credentials(stderr).splitlines()
    return next(
        (line for line in lines if line.startswith(("fatal:", "ERROR:"))), last_line(stderr)
    )
