"""`bradley launch local`: a run in several processes of this machine, or this machine's share of a run on several.

torchrun brings the processes together. Around it stands what a run needs and torchrun does not give: the exit code of
the first cause (torchrun's is 1), a restart after the loss of a process and after nothing else (it would also restart
a run that was asked to stop, or that is misconfigured), signals that reach the ranks (it ends them after 30 seconds,
and dies of SIGUSR1), and no process left behind.
"""

import contextlib
import functools
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
from ..common.processes import alive, die_with_parent
from ..errors import Preempted, RankError, UserError
from ..runs.status import write_last
from .exit import Ending, Failure, first_cause, fresh_status, stamp
from .rank import AGENT, ENDED, RANK, resumed

POLL_SECONDS = 0.1
GRACE_SECONDS = 8.0
"""How long ranks may take to end by themselves after one of them is lost."""
REPORT_SECONDS = 5.0
"""How long torchrun may take to report once every rank is dead."""


class RankWatcher:
    """A running torchrun and its ranks.

    Args:
        folder: where the ranks register, see `rank`.
        agent: torchrun's process.

    Attributes:
        killed: ids of the ranks that were killed from here.
    """

    def __init__(self, folder: Path, agent: "subprocess.Popen[bytes]") -> None:
        self.folder = folder
        self.agent = agent
        self.killed: set[int] = set()
        self._told: set[tuple[int, int]] = set()

    def ranks(self) -> list[int]:
        """Process ids of the ranks that have not ended as they should: at work, or lost."""
        return [int(path.read_text()) for path in self.folder.glob(f"{RANK}*")]

    def started(self) -> bool:
        """Whether a rank has ever begun."""
        return any(self.folder.glob(f"{RANK}*")) or any(self.folder.glob(f"{ENDED}*"))

    def watch(self, signals: Sequence[int]) -> None:
        """Wait for the end of torchrun, pass on `signals` as they come, and end what a lost rank leaves hanging."""
        deadline = float("inf")
        while self.agent.poll() is None:
            time.sleep(POLL_SECONDS)
            self._pass_on(signals)
            now = time.monotonic()
            whole = all(map(alive, self.ranks()))
            deadline = float("inf") if whole else min(deadline, now + GRACE_SECONDS)
            if now > deadline:
                self._kill_ranks()
            if now > deadline + REPORT_SECONDS:
                self.agent.kill()

    def end(self) -> None:
        """Kill whatever is left."""
        self._kill_ranks()
        self.agent.kill()
        self.agent.wait()

    def _pass_on(self, signals: Sequence[int]) -> None:
        """Tell every rank every signal once; where none has begun yet, there is nothing to save, and torchrun ends."""
        for place, number in enumerate(signals):
            for pid in self.ranks():
                if (pid, place) not in self._told:
                    self._told.add((pid, place))
                    send(pid, number)
        if signals and not self.started():
            self.agent.kill()

    def _kill_ranks(self) -> None:
        for pid in filter(alive, self.ranks()):
            self.killed.add(pid)
            send(-pid, signal.SIGKILL)  # torchrun makes each rank the leader of a group: its children go with it


def send(pid: int, number: int) -> None:
    """Send a signal to a process, or to a group by its negative id; nothing happens where it has just gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


MEETING_SECONDS = 900
"""How long a machine waits for the others."""
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
INIT_METHOD = "BRADLEY_INIT_METHOD"
"""Variable that tells the ranks of one machine the `init_method` of their process group: a file, so that none of them
listens on a network."""


class Nodes(NamedTuple):
    """The machines of a run: how many, which of them this is, and HOST:PORT where they meet."""

    size: int = 1
    rank: int = 0
    rendezvous: str = ""


class LaunchJob(NamedTuple):
    """What to run.

    Attributes:
        command: arguments of Python, such as `-m bradley train ...`.
        output: the run folder that the command writes.
        processes: ranks on this machine.
        nodes: the machines that take part.
    """

    command: list[str]
    output: Path
    processes: int
    nodes: Nodes = Nodes()


def training_job(arguments: Sequence[str], processes: int, nodes: Nodes) -> LaunchJob:
    """The job of a `bradley train` command line.

    Raises:
        UserError: another command, no `--output`, or machines that cannot meet.
    """
    if arguments[0] != "train":
        raise UserError(
            f"bradley launch runs `train`, got `{arguments[0]}`", "type `bradley launch local ... -- train CONFIG ...`"
        )
    check_nodes(nodes)
    return LaunchJob(["-m", "bradley", *arguments], output_of(arguments), processes, nodes)


def output_of(arguments: Sequence[str]) -> Path:
    """The run folder that a command line names.

    Raises:
        UserError: it names none, so that each process would choose one by the time of day.
    """
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        if name == "--output" and (value or following):
            return Path(value if equals else following)
    raise UserError("no --output is given, and all processes need the same run folder", "add --output DIR to `train`")


def check_nodes(nodes: Nodes) -> None:
    """Raise `UserError` for machines that cannot meet."""
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


def launch(job: LaunchJob, max_restarts: int = 0, say: Callable[[str], object] = print) -> Ending:
    """Run a job to its end; after the loss of a process, and nothing else, go on from its last checkpoint.

    Args:
        max_restarts: how often to do that.
        say: takes one line for each restart.
    """
    command, restarts = job.command, 0
    with caught(stopping.signals()) as signals:
        while True:
            ended = once_together(job, command, signals)
            if ended.code != RankError.exit_code or signals or restarts == max_restarts:
                if ended.code and job.nodes.rank == 0:
                    write_last(job.output, ended.code, ended.what, ended.fix)
                return ended
            restarts, command = restarts + 1, resumed(job.command)
            say(f"restart {restarts} of {max_restarts}: {ended.what}")


@contextlib.contextmanager
def caught(numbers: Sequence[int]) -> Iterator[list[int]]:
    """A list that signals are added to as they arrive, instead of what they would do otherwise."""
    arrived: list[int] = []
    old = {number: signal.signal(number, lambda got, _: arrived.append(got)) for number in numbers}
    try:
        yield arrived
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def once_together(job: LaunchJob, command: Sequence[str], signals: Sequence[int]) -> Ending:
    """One attempt, which begins when all machines are there; one that comes back may take its time."""
    deadline = time.monotonic() + MEETING_SECONDS
    while True:
        ended, started = attempt(job, command, signals)
        if started or job.nodes.size == 1 or signals or time.monotonic() > deadline:
            return ended
        time.sleep(1)


def attempt(job: LaunchJob, command: Sequence[str], signals: Sequence[int]) -> tuple[Ending, bool]:
    """One start of torchrun: how it ended, and whether any rank began."""
    before = stamp(job.output)
    with tempfile.TemporaryDirectory(prefix="bradley-launch-") as name:
        folder = Path(name)
        group = RankWatcher(folder, start(job, command, folder))
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
        return first_cause(fresh_status(job.output, before), failures, group.killed), group.started()


def start(job: LaunchJob, command: Sequence[str], folder: Path) -> "subprocess.Popen[bytes]":
    """Start torchrun, in a process group of its own, so that a Ctrl-C reaches it through the launcher alone."""
    this_python = [sys.executable, "-P"]
    rank = [*this_python, "-m", "bradley.launch.rank", str(folder), *command]
    arguments = [*meeting(job, folder), "--max-restarts", "0", "--log-dir", str(folder / "logs"), "--no-python", *rank]
    agent = subprocess.Popen(
        [*this_python, "-m", "bradley.training.distributed.torchrun", str(report_path(folder)), *arguments],
        env=environment(job, folder),
        process_group=0,
        preexec_fn=functools.partial(die_with_parent, os.getpid()),
    )
    (folder / AGENT).write_text(str(agent.pid))
    return agent


def meeting(job: LaunchJob, folder: Path) -> list[str]:
    """torchrun's arguments about who takes part and where they meet: on one machine at a file, so without a port."""
    nodes, name = job.nodes, job.output.resolve().name
    if nodes.size == 1:
        place, conf, more = str(folder / "rendezvous"), "store_type=file", ["--local-addr", "127.0.0.1"]
    else:
        waiting = f"join_timeout={MEETING_SECONDS // 3},read_timeout={MEETING_SECONDS // 3}"
        place, conf, more = nodes.rendezvous, f"is_host={int(nodes.rank == 0)},{waiting}", []
    size = ["--nnodes", str(nodes.size), "--nproc-per-node", str(job.processes)]
    where = ["--rdzv-backend", "c10d", "--rdzv-endpoint", place, "--rdzv-id", name, "--rdzv-conf", conf]
    return [*size, *where, *more]


def environment(job: LaunchJob, folder: Path) -> dict[str, str]:
    """The variables of the ranks; on one machine those that keep their connections off the network."""
    if job.nodes.size > 1:
        return dict(os.environ)
    alone = {"GLOO_SOCKET_IFNAME": LOOPBACK, "NCCL_SOCKET_IFNAME": LOOPBACK}
    method = {INIT_METHOD: f"file://{folder / 'store'}", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return {**alone, **os.environ, **method}


def report_path(folder: Path) -> Path:
    """Where torchrun's wrapper reports to."""
    return folder / "report.json"


def read_report(folder: Path) -> tuple[list[Failure], str]:
    """The failed ranks, the first first, and what kept torchrun itself from its work."""
    path = report_path(folder)
    if not path.is_file():
        return [], ""
    report = json.loads(path.read_text(encoding="utf-8"))
    return [Failure(**one) for one in report["ranks"]], report["error"]
