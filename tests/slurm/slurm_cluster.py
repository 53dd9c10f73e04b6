"""A real SLURM cluster of two nodes on this machine, on loopback, without systemd, cgroups or a database."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NODES = ("127.0.0.1", "127.0.0.2")  # addresses, since rank 0 is looked for under its node's name
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged", "sshd", "rsync")
_PATH = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"  # where daemons are, which users' paths leave out

_CONFIG = """
ClusterName=ired
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/run/munge.socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
ReturnToService=2
JobRequeue=1
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1,requeue_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
InactiveLimit=0
KillWait=5
MinJobAge=3600
Waittime=0
FirstJobId={first_job}
SlurmdParameters=config_overrides
MailProg=/bin/true
NodeName={nodes[0]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8 RealMemory=4000 Gres=gpu:2 State=UNKNOWN
NodeName={nodes[1]} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=8 RealMemory=4000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=1 GraceTime=60
PartitionName=short Nodes=ALL MaxTime=30 State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9
"""

_GPUS = """
AutoDetect=off
Name=gpu File=/dev/zero
Name=gpu File=/dev/full
"""  # that SLURM gives to jobs, and no program can use


class Cluster:
    """A running cluster; `environment` is what its clients need."""

    config = _CONFIG

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PATH": _PATH,
            "SLURM_CONF": str(folder / "etc" / "slurm.conf"),
        }
        self._daemons: list[subprocess.Popen[bytes]] = []

    def run(self, *command: str) -> str:
        """What a SLURM command prints."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def start(self) -> None:
        """Start munged, the controller and both nodes, and wait until the nodes are idle."""
        folder = self.folder
        for name in ("etc", "state", "log", "run", *(f"spool/{node}" for node in NODES)):
            (folder / name).mkdir(parents=True)
        key = folder / "etc" / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        ports = free_ports(3)
        settings = {"host": socket.gethostname().split(".")[0], "user": getpass.getuser()}
        # Ranks of a job find each other at a port made of the job's number: several clusters on one machine must not share numbers.
        text = self.config.format(
            folder=folder, ports=ports, nodes=NODES, first_job=ports[0] % 9000 + 1, **settings
        )
        (folder / "etc" / "slurm.conf").write_text(text)
        (folder / "etc" / "gres.conf").write_text(_GPUS)
        places = (
            "--key-file",
            "etc/munge.key",
            "--log-file",
            "log/munged.log",
            "--pid-file",
            "run/munged.pid",
        )
        options = [
            str(folder / part) if "/" in part else part
            for part in (*places, "--seed-file", "run/munged.seed")
        ]
        self._daemon(
            "munged",
            "--foreground",
            "--force",
            "--socket",
            str(folder / "run" / "munge.socket"),
            *options,
        )
        wait_until(lambda: (folder / "run" / "munge.socket").exists(), "munged listens")
        self.before_controller()
        self._daemon("slurmctld", "-D")
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node)
        wait_until(lambda: self._node_states() == ["idle"] * len(NODES), "both nodes are idle")

    def before_controller(self) -> None:
        """Start what the controller needs beside munged; here nothing."""

    def empty(self) -> None:
        """End all jobs, and return the nodes to service."""
        subprocess.run(["scancel", "--user", self._user()], env=self.environment, check=False)
        wait_until(lambda: not self.run("squeue", "-h").strip(), "the queue is empty")
        for node in NODES:
            subprocess.run(
                ["scontrol", "update", f"nodename={node}", "state=resume"],
                env=self.environment,
                capture_output=True,
            )
        wait_until(lambda: self._node_states() == ["idle"] * len(NODES), "both nodes are idle")

    def jobs(self) -> list[str]:
        """Numbers of all jobs since the cluster was started, ended ones too."""
        return self.run("squeue", "-h", "-r", "-t", "all", "-o", "%i").split()

    def state(self, job: str) -> str:
        """The state of a job."""
        return self.run("squeue", "-h", "-r", "-t", "all", "-j", job, "-o", "%T").strip()

    def stop(self) -> None:
        """End all jobs, then the daemons by their own process numbers."""
        if any(daemon.args[0] == "slurmctld" for daemon in self._daemons):
            subprocess.run(["scancel", "--user", self._user()], env=self.environment, check=False)
            wait_until(lambda: not self.run("squeue", "-h").strip(), "the queue is empty")
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _user(self) -> str:
        return getpass.getuser()

    def _node_states(self) -> list[str]:
        found = subprocess.run(
            ["sinfo", "-h", "-N", "-p", "main", "-o", "%T"],
            env=self.environment,
            capture_output=True,
            text=True,
        )
        return found.stdout.split()

    def _daemon(self, *command: str) -> None:
        with (self.folder / "log" / f"{command[0]}.out").open("ab") as output:
            self._daemons.append(
                subprocess.Popen(
                    command,
                    env=self.environment,
                    stdout=output,
                    stderr=output,
                    stdin=subprocess.DEVNULL,
                )
            )


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """A cluster that is stopped when the block ends."""
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def missing_programs(*more: str) -> list[str]:
    """Programs that are needed, and `more` that are, and not installed."""
    return [program for program in (*PROGRAMS, *more) if shutil.which(program, path=_PATH) is None]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 900.0) -> None:
    """Wait for a condition; a generous limit, so that a busy machine does not fail a test."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds:g} s it is still not true that {what}")
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
