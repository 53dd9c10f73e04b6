"""The cluster of the tests with accounts: a private MariaDB and slurmdbd, on loopback."""

import getpass
import os
import socket
import subprocess
from pathlib import Path

from slurm_cluster import Cluster, free_ports, wait_until

ACCOUNTING_PROGRAMS = ("mariadbd", "mariadb-install-db", "mariadb", "slurmdbd", "sacctmgr", "sacct")
_PASSWORD = os.urandom(12).hex()
_CHANGES = {
    "JobAcctGatherType=jobacct_gather/none": "JobAcctGatherType=jobacct_gather/linux\nJobAcctGatherFrequency=1",
    "AccountingStorageType=accounting_storage/none": "AccountingStorageType=accounting_storage/slurmdbd\n"
    "AccountingStorageHost=127.0.0.1\nAccountingStoragePort=DBD_PORT\n"
    "AccountingStoragePass={folder}/run/munge.socket\n"
    "AccountingStorageEnforce=associations,limits,qos",
    "MinJobAge=3600": "MinJobAge=5",  # so that the queue forgets, and accounts are asked
}
_DBD = """AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
"""
_ACCOUNTS = (
    "add cluster ired",
    "add account lab cluster=ired",
    "add qos long",
    "add qos tiny set MaxWall=00:01:00 Flags=DenyOnLimit",
    "add user {user} account=lab cluster=ired qos=normal,long,tiny defaultaccount=lab",
)


class AccountedCluster(Cluster):
    """The cluster of the tests, with slurmdbd and its database."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._ports = free_ports(2)
        for old, new in _CHANGES.items():
            assert old in self.config, old
            self.config = self.config.replace(old, new.replace("DBD_PORT", str(self._ports[0])))

    def before_controller(self) -> None:
        """Start the database and slurmdbd, and register cluster, account, user and QOS."""
        folder, user, (port, database) = self.folder, getpass.getuser(), self._ports
        data, told = folder / "database", folder / "run" / "database.socket"
        self.run(
            "mariadb-install-db",
            "--no-defaults",
            f"--user={user}",
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        )
        self._daemon(
            "mariadbd",
            "--no-defaults",
            f"--user={user}",
            f"--datadir={data}",
            f"--socket={told}",
            f"--pid-file={folder}/run/mariadbd.pid",
            "--bind-address=127.0.0.1",
            f"--port={database}",
        )
        wait_until(told.exists, "the database listens", 120)
        self.run(
            "mariadb",
            "--no-defaults",
            f"--socket={told}",
            "--user=root",
            "--execute",
            f"create user slurm@'127.0.0.1' identified by '{_PASSWORD}', slurm@localhost identified by '{_PASSWORD}'; "
            "create database slurm; grant all on slurm.* to slurm@'127.0.0.1', slurm@localhost",
        )
        file = folder / "etc" / "slurmdbd.conf"
        file.touch(mode=0o600)
        file.write_text(
            _DBD.format(
                folder=folder,
                host=socket.gethostname().split(".")[0],
                user=user,
                port=port,
                database=database,
                password=_PASSWORD,
            )
        )
        self._daemon("slurmdbd", "-D")
        wait_until(self._answers, "slurmdbd answers", 120)
        for line in _ACCOUNTS:
            self.run("sacctmgr", "--immediate", *line.format(user=user).split())

    def _answers(self) -> bool:
        done = subprocess.run(
            ["sacctmgr", "-n", "list", "cluster"], env=self.environment, capture_output=True
        )
        return done.returncode == 0

    def ended(self, job: str) -> str:
        """Wait for the end of a job in its accounts, and return its state."""

        def word() -> str:
            return self.run("sacct", "-n", "-P", "-X", "-j", job, "-o", "State").strip()

        wait_until(lambda: word() not in ("", "PENDING", "RUNNING"), f"job {job} has ended", 300)
        return word()

    def forgets(self, job: str) -> None:
        """Wait until the queue has forgotten a job."""

        def listed() -> str:
            return self.run("squeue", "-h", "-t", "all", "-o", "%A")

        wait_until(lambda: job not in listed().split(), f"the queue has forgotten {job}", 300)
