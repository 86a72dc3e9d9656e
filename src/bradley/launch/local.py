"""`bradley launch local`: a run in several processes of this machine, or this machine's part of a larger run.

torchrun starts the processes and connects them. The launcher adds four features missing from torchrun:

- The exit code of the first cause. torchrun always exits with 1.
- A restart after the loss of a process, and only then. torchrun would also restart a stopped or misconfigured run.
- Delivery of signals to the ranks. torchrun kills the ranks 30 seconds after a signal, and SIGUSR1 kills torchrun.
- No process left behind.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..common import signals as stopping
from ..common.ownership import real_path
from ..common.processes import alive, child_command, child_environment, safe_python
from ..errors import Preempted, RankError, UserError
from ..runs.status import write_last
from .exit import CONSEQUENCES, GO_ON, Ending, Failure, first_cause, fresh_status, stamp
from .heartbeat import ENDED, RANK, START_SECONDS, Silence
from .rank import AGENT, resumed

POLL_SECONDS = 0.1
GRACE_SECONDS = 8.0
"""Seconds for the remaining ranks to end after the loss of a rank."""
REPORT_SECONDS = 5.0
"""Seconds for torchrun to report after the end of every rank."""
MEETING_SECONDS = 900
"""Seconds a machine waits for the other machines."""
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
INIT_METHOD = "BRADLEY_INIT_METHOD"
"""Environment variable with the `init_method` of the process group on a single machine.

The value names a file, so that no rank listens on a network.
"""


class Nodes(NamedTuple):
    """Machines of a run.

    Attributes:
        size: number of machines.
        rank: number of this machine, from 0.
        rendezvous: HOST:PORT at which the machines connect; "" on a single machine.
    """

    size: int = 1
    rank: int = 0
    rendezvous: str = ""


class LaunchJob(NamedTuple):
    """Command to launch, and the processes and machines to launch the command on.

    Attributes:
        command: arguments of Python, such as `-m bradley train ...`.
        output: run folder written by the command.
        processes: number of ranks on this machine.
        nodes: machines of the run.
    """

    command: list[str]
    output: Path
    processes: int
    nodes: Nodes = Nodes()


def launch(job: LaunchJob, max_restarts: int = 0, say: Callable[[str], object] = print) -> Ending:
    """Run a job to the end; after the loss of a process, and only then, resume from the last checkpoint.

    Args:
        max_restarts: maximum number of restarts.
        say: receives a line for each restart.
    """
    command, restarts = job.command, 0
    with caught(stopping.signals()) as signals:
        while True:
            ended = once_together(job, command, signals)
            # Any other exit code would repeat: a restart helps neither a misconfigured run nor a stopped run.
            if ended.code != RankError.exit_code or signals or restarts == max_restarts:
                if ended.code and job.nodes.rank == 0:
                    write_last(job.output, ended.code, ended.what, ended.fix)
                return ended
            restarts, command = restarts + 1, resumed(job.command)
            say(f"restart {restarts} of {max_restarts}: {ended.what}")


@contextlib.contextmanager
def caught(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Collect arriving signals in a list instead of ending the process."""
    # Handlers only append: the watch loop forwards signals between its checks, outside of handler context.
    arrived: list[int] = []
    old = {number: signal.signal(number, lambda got, _: arrived.append(got)) for number in numbers}
    try:
        yield arrived
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def once_together(job: LaunchJob, command: Sequence[str], signals: Sequence[int]) -> Ending:
    """Run an attempt; wait up to `MEETING_SECONDS` for all machines to connect, a returning machine included."""
    deadline = time.monotonic() + MEETING_SECONDS
    while True:
        ended, started = attempt(job, command, signals)
        if started or job.nodes.size == 1 or signals or time.monotonic() > deadline:
            return ended
        time.sleep(1)


def attempt(job: LaunchJob, command: Sequence[str], signals: Sequence[int]) -> tuple[Ending, bool]:
    """Start torchrun once.

    Returns:
        The end of the run, and True if any rank has started.
    """
    # A status left by an earlier attempt must not be taken for the cause of this attempt's end.
    before = stamp(job.output)
    with tempfile.TemporaryDirectory(prefix="bradley-launch-") as name:
        folder = Path(name)
        agent = start(job, command, folder)
        # The ranks of several machines start when all machines have met.
        limit = START_SECONDS + (MEETING_SECONDS if job.nodes.size > 1 else 0)
        group = RankWatcher(folder, agent, Silence(folder, job.processes, agent.pid, limit))
        try:
            group.watch(signals)
        finally:
            group.end()
        if not group.agent.returncode:
            return Ending(0), True
        if signals and not group.started():
            return Ending(Preempted.exit_code, "asked to stop before any process had begun"), False
        failures, error = read_report(folder)
        if error and not failures:
            return Ending(RankError.exit_code, f"the machines did not meet: {error}", "start all of them"), False
        status = fresh_status(job.output, before)
        if group.silent and status.get("code", 1) in (1, *CONSEQUENCES):
            return Ending(RankError.exit_code, group.silent, GO_ON), group.started()
        ended = first_cause(status, failures, group.killed)
        # A run writes its status as soon as there is something to lose. Before, a rank asked to stop ends at once, and
        # the others see a lost rank.
        if signals and ended.code in CONSEQUENCES and stamp(job.output) == before:
            return Ending(Preempted.exit_code, "asked to stop before the run had begun"), group.started()
        return ended, group.started()


def start(job: LaunchJob, command: Sequence[str], folder: Path) -> "subprocess.Popen[bytes]":
    """Start torchrun in a separate process group, so that Ctrl-C reaches the ranks through the launcher alone."""
    rank = safe_python("-m", "bradley.launch.rank", str(folder), *command)
    arguments = [*meeting(job, folder), "--max-restarts", "0", "--log-dir", str(folder / "logs"), "--no-python", *rank]
    agent = subprocess.Popen(
        child_command("bradley.training.distributed.torchrun", str(report_path(folder)), *arguments),
        env=child_environment(environment(job, folder)),
        process_group=0,
    )
    (folder / AGENT).write_text(str(agent.pid))
    return agent


def meeting(job: LaunchJob, folder: Path) -> list[str]:
    """Build torchrun's arguments for number of processes and rendezvous.

    On a single machine the rendezvous is a file and needs no port.
    """
    nodes, name = job.nodes, real_path(job.output).name
    if nodes.size == 1:
        address, conf, local = str(folder / "rendezvous"), "store_type=file", ["--local-addr", "127.0.0.1"]
    else:
        waiting = f"join_timeout={MEETING_SECONDS // 3},read_timeout={MEETING_SECONDS // 3}"
        address, conf, local = nodes.rendezvous, f"is_host={int(nodes.rank == 0)},{waiting}", []
    size = ["--nnodes", str(nodes.size), "--nproc-per-node", str(job.processes)]
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", address, "--rdzv-id", name, "--rdzv-conf", conf]
    return [*size, *rendezvous, *local]


def environment(job: LaunchJob, folder: Path) -> dict[str, str]:
    """Environment variables of the ranks; on a single machine, variables for keeping connections off the network."""
    if job.nodes.size > 1:
        return dict(os.environ)
    # The user's environment may override the interface names, but not the rendezvous inside the launcher's folder.
    interfaces = {"GLOO_SOCKET_IFNAME": LOOPBACK, "NCCL_SOCKET_IFNAME": LOOPBACK}
    rendezvous = {INIT_METHOD: f"file://{folder / 'store'}", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return {**interfaces, **os.environ, **rendezvous}


def report_path(folder: Path) -> Path:
    """Path of the report of torchrun's wrapper."""
    return folder / "report.json"


def read_report(folder: Path) -> tuple[list[Failure], str]:
    """Read the failed ranks, the first failure first, and the error of torchrun itself ("" without an error)."""
    path = report_path(folder)
    if not path.is_file():
        return [], ""
    report = json.loads(path.read_text(encoding="utf-8"))
    return [Failure(**one) for one in report["ranks"]], report["error"]


def training_job(arguments: Sequence[str], processes: int, nodes: Nodes) -> LaunchJob:
    """Build the job of a `bradley train` command line.

    Args:
        arguments: command line after `bradley`, starting with `train`.
        processes: number of ranks on this machine.

    Raises:
        UserError: another command, no `--output`, or machines without a way to connect.
    """
    if arguments[0] != "train":
        raise UserError(
            f"bradley launch runs `train`, got `{arguments[0]}`", "type `bradley launch local ... -- train CONFIG ...`"
        )
    check_nodes(nodes)
    return LaunchJob(["-m", "bradley", *arguments], output_of(arguments), processes, nodes)


def output_of(arguments: Sequence[str]) -> Path:
    """Find the run folder named by a command line.

    Raises:
        UserError: no run folder is named; each process would choose a different folder by the time of day.
    """
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        if name == "--output" and (value or following):
            return Path(value if equals else following)
    raise UserError("no --output is given, and all processes need the same run folder", "add --output DIR to `train`")


def check_nodes(nodes: Nodes) -> None:
    """Raise `UserError` for machines without a way to connect."""
    if nodes.rank >= nodes.size:
        raise UserError(
            f"--node-rank {nodes.rank} of {nodes.size} machines", "count them from 0, and say how many with --nodes"
        )
    host, _, port = nodes.rendezvous.rpartition(":")
    if nodes.size > 1 and not (host and port.isdecimal()):
        raise UserError(
            f"--nodes {nodes.size} needs a place to meet, got --rendezvous {nodes.rendezvous!r}",
            "give HOST:PORT, a free port of machine 0: --rendezvous 10.0.0.1:29500",
        )
    if nodes.size == 1 and nodes.rendezvous:
        raise UserError("--rendezvous has no effect on one machine", "leave it out, or add --nodes 2")


class RankWatcher:
    """Watcher of a running torchrun and the ranks below.

    Args:
        folder: folder in which the ranks register, see `rank`.
        agent: process of torchrun.
        silence: search for ranks that stand still.

    Attributes:
        killed: process ids of the ranks killed by this watcher.
        silent: first rank found to stand still, in words; '' without such a rank.
    """

    def __init__(self, folder: Path, agent: "subprocess.Popen[bytes]", silence: Silence) -> None:
        self.folder = folder
        self.agent = agent
        self.silence = silence
        self.killed: set[int] = set()
        self.silent = ""
        self._told: set[tuple[int, int]] = set()

    def ranks(self) -> list[int]:
        """Process ids of the ranks without an orderly end: running, or lost."""
        found = []
        for path in self.folder.glob(f"{RANK}*"):
            with contextlib.suppress(FileNotFoundError):  # ended as it should since the folder was listed
                found.append(int(path.read_text()))
        return found

    def started(self) -> bool:
        """Return True if any rank has ever started."""
        return any(self.folder.glob(f"{RANK}*")) or any(self.folder.glob(f"{ENDED}*"))

    def watch(self, signals: Sequence[int]) -> None:
        """Wait for the end of torchrun, forward new `signals`, and kill ranks left hanging by a lost rank.

        Args:
            signals: signal numbers in the order of arrival; a handler may append during the wait.
        """
        # A rank lost by SIGKILL tells nobody: the others would wait in a collective for the timeout of the backend.
        deadline = float("inf")
        while self.agent.poll() is None:
            time.sleep(POLL_SECONDS)
            self._pass_on(signals)
            now = time.monotonic()
            self._end_silent()
            all_alive = not self.silent and all(map(alive, self.ranks()))
            deadline = float("inf") if all_alive else min(deadline, now + GRACE_SECONDS)
            if now > deadline:
                self._kill_ranks()
            if now > deadline + REPORT_SECONDS:
                self.agent.kill()

    def end(self) -> None:
        """Kill all remaining processes."""
        self._kill_ranks()
        self.agent.kill()
        self.agent.wait()

    def _pass_on(self, signals: Sequence[int]) -> None:
        """Send every signal to every rank once; before the first rank has started, kill torchrun instead.

        No rank started means nothing to save.
        """
        # Ranks may register after a signal has arrived, so each pair of rank and signal is remembered separately.
        for place, number in enumerate(signals):
            for pid in self.ranks():
                if (pid, place) not in self._told:
                    self._told.add((pid, place))
                    send(pid, number)
        if signals and not self.started():
            self.agent.kill()

    def _end_silent(self) -> None:
        """Kill a rank that stands still; the run then ends as after the loss of a rank."""
        if self.silent:
            return
        self.silent, pids = self.silence.look()
        for pid in pids:
            self._kill(pid)

    def _kill_ranks(self) -> None:
        """Kill every remaining rank with all child processes."""
        for pid in filter(alive, self.ranks()):
            self._kill(pid)

    def _kill(self, pid: int) -> None:
        self.killed.add(pid)
        # torchrun makes each rank the leader of a process group, so killing the group ends child processes as well.
        send(-pid, signal.SIGKILL)


def send(pid: int, number: int) -> None:
    """Send a signal to a process, or to a process group by negative id; a process that is gone already is no error."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
