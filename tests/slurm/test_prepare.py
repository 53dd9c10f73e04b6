"""slurm/prepare.sh: sources cached per commit, environments made once per lock file, whoever else is at it."""

import shutil
import subprocess
import sys
import threading
from base64 import b64encode
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from conftest import ROOT

pytestmark = pytest.mark.timeout(1800)  # jobs start slowly where others work, too

PREPARE = ROOT / "slurm" / "prepare.sh"


def prepare(*arguments: object, stdin: str = "") -> subprocess.Popen[str]:
    command = ["bash", str(PREPARE), *map(str, arguments)]
    pipe, both = subprocess.PIPE, subprocess.STDOUT
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=both, text=True)
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.flush()
    return process


def finished(process: subprocess.Popen[str], well: bool = True) -> str:
    output, _ = process.communicate(timeout=900)
    assert (process.returncode == 0) == well, output
    return output


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A package with a program `ired`, in a git repository with two commits."""
    root = tmp_path / "package"
    (root / "src" / "nothing").mkdir(parents=True)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "nothing"\nversion = "1"\nscripts = {ired = "nothing:main"}\n'
    )
    (root / "constraints.txt").write_text("")
    (root / "src" / "nothing" / "__init__.py").write_text("value = 1\n")
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "init", "--quiet", str(root)], check=True)
    for message in ("first", "second"):
        (root / "message").write_text(message)
        subprocess.run(["git", "add", "--all"], cwd=root, check=True)
        subprocess.run(["git", *identity, "commit", "--quiet", "-m", message], cwd=root, check=True)
    return root


def commit(remote: Path, revision: str) -> str:
    return subprocess.run(
        ["git", "rev-parse", revision], cwd=remote, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_tasks_that_start_together_share_one_clone(remote: Path, tmp_path: Path):
    wanted = commit(remote, "HEAD~1")
    source = tmp_path / "cache" / "sources" / wanted
    for process in [prepare("source", remote, wanted, source) for _ in range(6)]:
        finished(process)
    assert (source / "message").read_text() == "first"
    assert commit(source, "HEAD") == wanted
    stamp = (source / "message").stat().st_mtime_ns
    finished(prepare("source", "/nowhere", wanted, source))  # what is there is not asked for again
    assert (source / "message").stat().st_mtime_ns == stamp
    assert sorted(p.name for p in source.parent.iterdir()) == [wanted, f"{wanted}.lock"]


def test_a_clone_of_which_files_were_purged_is_mended_under_the_jobs_that_use_it(
    remote: Path, tmp_path: Path
):
    wanted = commit(remote, "HEAD")
    source = tmp_path / wanted
    finished(prepare("source", remote, wanted, source))
    used = [source, source / "pyproject.toml", source / "src" / "nothing" / "__init__.py"]
    before = [path.stat().st_ino for path in used]
    for purged in ("message", ".git/HEAD", ".git"):
        finished(prepare("source", remote, wanted, source))
        path = source / purged
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (source / "message").write_text("edited")
    finished(prepare("source", remote, wanted, source))
    assert (source / "message").read_text() == "second"
    assert [path.stat().st_ino for path in used] == before
    assert sorted(p.name for p in source.parent.glob(f"{wanted}*")) == [wanted, f"{wanted}.lock"]


@pytest.fixture
def guarded(remote: Path):
    """Serve the repository to whoever has a token, and note it where other users could read it."""
    seen: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self):
            for arguments in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    if b"SECRET" in (told := arguments.read_bytes()):
                        seen.append(told.decode())
            if self.headers.get("Authorization") == f"Basic {b64encode(b'me:a/SECRET').decode()}":
                super().do_GET()
            else:
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic realm=git")
                self.end_headers()

        def log_message(self, *_):
            pass

    subprocess.run(["git", "update-server-info"], cwd=remote, check=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(remote)))
    threading.Thread(target=server.serve_forever).start()
    yield server.server_port, seen
    server.shutdown()
    server.server_close()


def test_a_token_in_an_address_is_used_and_neither_shown_nor_kept(
    remote: Path, tmp_path: Path, guarded
):
    """The server is one that hands out no single commits, either."""
    port, seen = guarded
    source, wanted = tmp_path / "source", commit(remote, "HEAD~1")
    address = f"http://me:a%2FSECRET@127.0.0.1:{port}/.git"
    output = finished(prepare("source", "-", wanted, source, stdin=f"{address}\n"))
    assert (source / "message").read_text() == "first"
    assert (seen, "SECRET" in output) == ([], False)
    kept = subprocess.run(["grep", "-r", "SECRET", str(source)], capture_output=True, text=True)
    assert kept.stdout == ""


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A stand-in for an environment: an ired_interp of its own, and an `ired` that says what it got."""
    folder = tmp_path / "environment"
    (folder / "bin").mkdir(parents=True)
    installed = folder / "lib" / "ired_interp"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    (folder / "bin" / "ired").write_text('#!/bin/sh\necho "ired got $*"\n')
    # After PYTHONPATH, as a site's packages are.
    (folder / "bin" / "python").write_text(
        f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{folder}/lib" exec {sys.executable} -S "$@"\n'
    )
    for name in ("ired", "python"):
        (folder / "bin" / name).chmod(0o755)
    return folder


def test_a_job_runs_the_code_of_its_commit_or_nothing(
    environment: Path, tmp_path: Path, monkeypatch
):
    project, record = tmp_path / "clone" / "projects" / "mine", tmp_path / "code-0"
    run = ["run", "0123", project, environment, record, "fit", "--name", "a b"]
    project.mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", f"{project}/src:{project}")
    assert finished(prepare(*run)).endswith("ired got fit --name a b\n")
    assert f"ired_interp of {environment}/lib/ired_interp" in record.read_text()

    own = project / "src" / "ired_interp"
    own.mkdir(parents=True)
    (own / "__init__.py").write_text("raise RuntimeError('it is found, not imported')\n")
    finished(prepare(*run))
    assert record.read_text() == f"commit 0123 in {project}\nired_interp of {own}\n"

    record.unlink()
    monkeypatch.setenv("PYTHONPATH", "")  # as in steps that get no variables
    output = finished(prepare(*run), well=False)
    assert f"ired: the job would run {environment}/lib/ired_interp/__init__.py, not" in output
    assert "ired got" not in output
    assert not record.exists()


def test_a_clone_that_was_broken_off_is_made_again(remote: Path, tmp_path: Path):
    wanted = commit(remote, "HEAD")
    source = tmp_path / wanted
    (tmp_path / f"{wanted}.new" / ".git").mkdir(parents=True)
    finished(prepare("source", remote, wanted, source))
    assert (source / "message").read_text() == "second"


def test_a_commit_that_does_not_exist_leaves_nothing_behind(remote: Path, tmp_path: Path):
    assert "not our ref" in finished(
        prepare("source", remote, "0" * 40, tmp_path / "source"), well=False
    )
    assert not (tmp_path / "source").exists()


def test_an_environment_is_made_once_and_none_is_taken_from_a_job(remote: Path, tmp_path: Path):
    """Purges remove the mark first, which no process reads: what it marked may still be in use."""
    environment = tmp_path / "environments" / "digest"
    used = environment / "bin" / "used-by-a-running-job"
    used.parent.mkdir(parents=True)
    used.touch()
    outputs = [
        finished(process)
        for process in [prepare("environment", remote, environment, "python3") for _ in range(3)]
    ]
    made = f"{environment}.2"
    assert [output.splitlines()[0] for output in outputs] == [made] * 3
    assert sum("making the environment" in output for output in outputs) == 1
    assert used.exists()
    value = subprocess.run(
        [f"{made}/bin/python", "-c", "import nothing; print(nothing.value)"],
        capture_output=True,
        text=True,
    )
    assert value.stdout == "1\n", value.stderr
    assert finished(prepare("environment", remote, environment, "/no/python")) == f"{made}\n"


def test_an_environment_that_cannot_be_made_is_not_taken_for_ready(remote: Path, tmp_path: Path):
    (remote / "constraints.txt").write_text("hatchling==0.0.0.0\nnothing==2\n")
    finished(prepare("environment", remote, tmp_path / "environment", "python3"), well=False)
    assert not (tmp_path / "environment").exists()


def test_requirements_are_installed_instead_of_the_project_where_it_names_them(
    remote: Path, tmp_path: Path
):
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text("[tool.ruff]\nline-length = 100\n")
    (project / "requirements.txt").write_text(f"nothing @ file://{remote}\n")
    environment = tmp_path / "environment"
    finished(prepare("environment", project, environment, "python3"))
    assert (environment / "ready").exists()
    assert (environment / "bin" / "ired").exists()


def test_an_environment_without_ired_is_refused_with_what_to_write(remote: Path, tmp_path: Path):
    (remote / "requirements.txt").write_text("")
    environment = tmp_path / "environment"
    output = finished(prepare("environment", remote, environment, "python3"), well=False)
    assert output.endswith(
        "the environment has no ired: add ired-interp to requirements.txt, or to the dependencies in "
        "pyproject.toml\n"
    )
    assert not environment.exists()
