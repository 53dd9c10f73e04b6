"""The machine on which SLURM's commands run: this one, or a login node reached by ssh."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ired_interp.cluster.profile import Profile
from ired_interp.errors import RunError

_SECONDS = 120  # after which a command of the cluster counts as not answering


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
            If it does not exist, the host cannot be reached, or it does not answer in time.
        """
        try:
            done = subprocess.run(
                self.command(*arguments),
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
            raise RunError(
                f"{arguments[0]} on {self.name} gave no answer within {seconds:g} s; try again "
                "later."
            ) from None
        if self.address is not None and done.returncode == 255:
            said = last_line(done.stderr.decode(errors="replace"))
            raise RunError(
                f"ssh to {self.address} failed ({said}); check host and ssh of the profile."
            )
        return done

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
        script = 'cat > "$1.new" && mv "$1.new" "$1"'
        self.output("bash", "-c", script, "write", path, stdin=text)

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
    """Yield the profile's host; over ssh, all calls within the block share one connection."""
    if profile.host is None:
        yield Host()
        return
    with tempfile.TemporaryDirectory(prefix="ired-ssh-") as folder:
        control = (
            "-o",
            "ControlMaster=auto",
            "-o",
            f"ControlPath={folder}/%C",
            "-o",
            "ControlPersist=60",
        )
        ssh = (*shlex.split(profile.ssh), *control, "-o", "ConnectTimeout=20")
        try:
            yield Host(profile.host, ssh)
        finally:
            subprocess.run([*ssh, "-O", "exit", profile.host], capture_output=True, check=False)


def last_line(text: str) -> str:
    """Return the last line of a text that is not empty."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _clean_environment() -> dict[str, str]:
    """Within a job, sbatch would take over the job's own request from these variables."""
    return {
        name: value
        for name, value in os.environ.items()
        if name == "SLURM_CONF" or not name.startswith(("SLURM_", "SBATCH_", "SRUN_"))
    }
