"""The machine on which SLURM's commands run: this one, or a login node reached by ssh."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ired_interp.cluster.profile import Profile
from ired_interp.errors import RunError

_SECONDS = 120  # after which a command of the cluster counts as not answering
_FRAMED = (
    "printf '\\n%s\\n' {mark}; printf '\\n%s\\n' {mark} >&2; {command}; "
    "printf '\\n%s %s\\n' {mark} $?"
)


class NoAnswer(RunError):
    """Something could not be asked, or its answer was lost: what was asked for may have been done.

    It says nothing of what was asked about.
    """


@dataclass(frozen=True)
class Host:
    """Runs commands and reads and writes files, here or over ssh; the same calls in both cases.

    Attributes
    ----------
    address : str | None
        Of the login node; None for this machine.
    ssh : tuple[str, ...]
        The ssh command, with the options that let all calls share one connection.
    """

    address: str | None = None
    ssh: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.address or "this machine"

    def command(self, *arguments: str) -> list[str]:
        """Return the command to start here so that `arguments` run there.

        They run in a login shell, where modules and PATH are set up.
        """
        if self.address is None:
            return list(arguments)
        # 255 is ssh's own exit code.
        script = f"{shlex.join(arguments)}; code=$?; exit $((code == 255 ? 1 : code))"
        return [*self.ssh, self.address, shlex.join(["bash", "-lc", script])]

    def run(
        self, *arguments: str, stdin: str = "", seconds: float | None = _SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a command and return its exit code and output; as `run_raw`."""
        done = self.run_raw(*arguments, stdin=stdin.encode(), seconds=seconds)
        stdout, stderr = (output.decode(errors="replace") for output in (done.stdout, done.stderr))
        return subprocess.CompletedProcess(done.args, done.returncode, stdout, stderr)

    def run_raw(
        self, *arguments: str, stdin: bytes = b"", seconds: float | None = _SECONDS
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command and return its exit code and output, byte for byte.

        Raises
        ------
        RunError
            If it does not exist.
        NoAnswer
            If the host cannot be reached, the connection is lost, or it does not answer in time.
        """
        mark = f"ired-{secrets.token_hex(8)}"
        command = list(arguments)
        if self.address is not None:
            script = _FRAMED.format(mark=mark, command=shlex.join(arguments))
            command = [*self.ssh, self.address, shlex.join(["bash", "-lc", script])]
        try:
            done = subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                env=_clean_environment(),
                timeout=seconds,
            )
        except FileNotFoundError as error:
            raise RunError(
                f"{error.filename} does not exist on this machine; run this on a login node, or "
                "give the profile a host."
            ) from None
        except subprocess.TimeoutExpired:
            raise NoAnswer(
                f"{arguments[0]} on {self.name} gave no answer within {seconds:g} s; try again "
                "later."
            ) from None
        return done if self.address is None else self._unframed(mark, done)

    def _unframed(
        self, mark: str, done: subprocess.CompletedProcess[bytes]
    ) -> subprocess.CompletedProcess[bytes]:
        """Return what a command printed, without what the login shell prints around it.

        Raises
        ------
        NoAnswer
            If it is not whole.
        """
        whole = re.search(rf"\n{mark}\n(.*)\n{mark} (\d+)\n".encode(), done.stdout, re.DOTALL)
        stderr = done.stderr.rpartition(f"\n{mark}\n".encode())[2]
        if whole is None:
            said = last_line(without_credentials(stderr.decode(errors="replace")))
            raise NoAnswer(
                f"ssh to {self.address} failed ({said or 'the answer broke off'}); check host and "
                "ssh of the profile."
            )
        return subprocess.CompletedProcess(done.args, int(whole[2]), whole[1], stderr)

    def output(self, *arguments: str, stdin: str = "") -> str:
        """Return what a command prints.

        Raises
        ------
        RunError
            If it fails, with the last line it printed.
        """
        done = self.run(*arguments, stdin=stdin)
        if done.returncode:
            shown = (
                last_line(done.stderr) or last_line(done.stdout) or f"exit code {done.returncode}"
            )
            raise RunError(f"{arguments[0]} on {self.name} failed: {shown}")
        return done.stdout

    def expand(self, path: str) -> str:
        """Return a path with ~ and variables such as $USER filled in as on the host."""
        if not path.startswith("~") and "$" not in path:
            return path
        home = f"$HOME{path[1:]}" if path == "~" or path.startswith("~/") else path
        quoted = home.replace('"', '\\"')
        return self.output("bash", "-c", f'printf %s "{quoted}"')

    def exists(self, path: str) -> bool:
        """Whether a file or folder exists."""
        return self.run("test", "-e", path).returncode == 0

    def make_folder(self, path: str) -> None:
        """Make a folder and its parents."""
        self.output("mkdir", "-p", path)

    def write(self, path: str, text: str) -> None:
        """Write a file, whole or not at all."""
        # If the connection is lost, `cat` sees an early end.
        script = 'cat >"$1.new" && (($(wc -c <"$1.new") == $2)) && mv "$1.new" "$1"'
        size = str(len(text.encode()))
        self.output("bash", "-c", script, "write", path, size, stdin=text)

    def read(self, path: str) -> str | None:
        """Return a file's text; None if it cannot be read."""
        done = self.run("cat", path)
        return None if done.returncode else done.stdout

    def read_from(self, path: str, offset: int) -> bytes | None:
        """Return a file from a byte on; None if it cannot be read."""
        done = self.run_raw("tail", "-c", f"+{offset + 1}", path)
        return None if done.returncode else done.stdout

    def tail(self, path: str) -> str:
        """Return the last 64 KiB of a file; nothing if it cannot be read."""
        return self.run("tail", "-c", str(2**16), path).stdout


@contextmanager
def connect(profile: Profile) -> Iterator[Host]:
    """Yield the profile's host; over ssh, all calls within the block share one connection.

    That is the user's own where their ssh configuration shares connections; it outlasts the block.

    Raises
    ------
    RunError
        If there is no ssh.
    """
    if profile.host is None:
        yield Host()
        return
    ssh = (*shlex.split(profile.ssh), "-o", "ConnectTimeout=20")
    if shutil.which(ssh[0]) is None:
        raise RunError(f"{ssh[0]} does not exist on this machine; correct ssh in the profile.")
    if _shares_connections(ssh, profile.host):
        yield Host(profile.host, ssh)
        return
    # A socket's path has at most 104 characters, and TMPDIR may be long.
    with tempfile.TemporaryDirectory(prefix="ired-", dir="/tmp") as folder:
        options = ("ControlMaster=auto", f"ControlPath={folder}/ssh", "ControlPersist=60")
        own = (*ssh, *(word for option in options for word in ("-o", option)))
        host = Host(profile.host, own)
        try:
            host.run("true", seconds=None)  # whoever logs in may have to type a second factor
            yield host
        finally:
            subprocess.run([*own, "-O", "exit", profile.host], capture_output=True, check=False)


def _shares_connections(ssh: tuple[str, ...], address: str) -> bool:
    """Whether the user's ssh configuration keeps a connection to the host for several calls."""
    done = subprocess.run([*ssh, "-G", address], capture_output=True, text=True, check=False)
    settings = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    if settings.get("controlpath", "none") == "none":
        return False
    if settings.get("controlmaster") != "false" and settings.get("controlpersist") != "no":
        return True
    check = subprocess.run([*ssh, "-O", "check", address], capture_output=True, check=False)
    return check.returncode == 0


def last_line(text: str) -> str:
    """Return the last line of a text that is not empty."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def without_credentials(text: str) -> str:
    """Return a text without the names, passwords and tokens in its http addresses."""
    return re.sub(r"(https?://)[^/@\s]+@", r"\1", text)


def _clean_environment() -> dict[str, str]:
    """Within a job, sbatch would take over the job's own request from these variables."""
    return {
        name: value
        for name, value in os.environ.items()
        if name == "SLURM_CONF" or not name.startswith(("SLURM_", "SRUN_"))
    }
