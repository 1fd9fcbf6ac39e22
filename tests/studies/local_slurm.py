"""A SLURM of one node, made from the installed Debian packages in a folder of its own, for tests.

It has no accounting database and no cgroups, and two GPUs that are only counted: nothing behind them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo", "scontrol", "scancel")
SECONDS = 60
GPUS = 2  # as many as the files in gres.conf below
_CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
MinJobAge=86400
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=5
KillWait=30
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:{gpus}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class LocalSlurm:
    """A running SLURM.

    Attributes:
        folder: Its configuration, state and logs.
        environment: Variables with which its commands find it.
    """

    folder: Path
    environment: dict[str, str]

    def ask(self, *words: str) -> str:
        """What a command such as `squeue` prints."""
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=True, timeout=SECONDS
        )
        return done.stdout.strip()

    def field(self, job: str, name: str) -> str:
        """One field of `scontrol show job`, such as JobState; "" if there is none."""
        words = self.ask("scontrol", "show", "job", job).split()
        return next((word.partition("=")[2] for word in words if word.startswith(f"{name}=")), "")


def missing() -> str:
    """Why no SLURM can be started here; "" if one can."""
    if absent := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"{absent[0]} is not installed (Debian: slurmctld, slurmd, slurm-client, munge)"
    return "" if os.geteuid() == 0 else "slurmd needs root"


@contextlib.contextmanager
def local_slurm(folder: Path, cpus: int = 2) -> Iterator[LocalSlurm]:
    """Start a SLURM of one node; stop it, and all its jobs, at the end.

    Args:
        folder: Empty folder for its files.
        cpus: CPUs that it gives to jobs.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir()
    _configure(folder, cpus)
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    slurm = LocalSlurm(folder, environment)
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(_start(folder, environment, "munged", *_munge(folder)))
        _wait(lambda: (folder / "munge.socket").exists(), folder, "munged")
        started.append(_start(folder, environment, "slurmctld", "-D", "-i"))
        # Snakemake's plugin hides SLURM_CONF from srun, so that jobs must find the configuration in its usual
        # place: they see our folder there, and nobody else does.
        inside = f"mount --bind {folder} /etc/slurm && exec slurmd -D"
        started.append(_start(folder, environment, "unshare", "--mount", "sh", "-c", inside))
        _wait(lambda: "idle" in _node_state(slurm), folder, "slurmd")
        yield slurm
    finally:
        with contextlib.suppress(subprocess.SubprocessError, TimeoutError):
            slurm.ask("scancel", "--full", "--signal=KILL", "--user=root")
            _wait(lambda: not slurm.ask("squeue", "--noheader"), folder, "scancel")
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            process.wait(SECONDS)


def _configure(folder: Path, cpus: int) -> None:
    controller, daemon = _free_ports(2)
    content = _CONFIG.format(
        folder=folder, host=socket.gethostname().partition(".")[0], controller=controller, daemon=daemon,
        cpus=cpus, memory=cpus * 3000, gpus=GPUS,
    )  # fmt: skip
    (folder / "slurm.conf").write_text(content, encoding="utf-8")
    # SLURM wants a device file per GPU; it opens none of them.
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n", encoding="utf-8")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)


def _munge(folder: Path) -> list[str]:
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    # --force: the folders of pytest are closed to other users, which munged would refuse.
    return ["--foreground", "--force", *(f"--{option}={folder}/munge.{end}" for option, end in files.items())]


def _start(folder: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    with open(folder / f"{words[0]}.out", "wb") as out:
        return subprocess.Popen(words, env=environment, stdout=out, stderr=subprocess.STDOUT)


def _node_state(slurm: LocalSlurm) -> str:
    try:
        return slurm.ask("sinfo", "--noheader", "--format=%T")
    except subprocess.CalledProcessError:  # the controller is not there yet
        return ""


def _wait(condition: Callable[[], bool], folder: Path, name: str) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > until:
            said = "\n".join(path.read_text()[-2000:] for path in sorted(folder.glob("*.out")))
            raise TimeoutError(f"{name} was not ready after {SECONDS} s:\n{said}")
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
