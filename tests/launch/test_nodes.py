"""Two machines, as two launchers on the loopback interface: one is lost and comes back."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bradley.launch.local import INIT_METHOD, LaunchJob, launch
from tests.launch.starts import Start, all_gone, environment, free_place, gone, starts, until

LITTLE = Path(__file__).with_name("little.py")
STEPS = 12
MACHINE = """
import sys
from pathlib import Path
from bradley.launch.local import LaunchJob, Nodes, launch
number, place, output, *command = sys.argv[1:]
ended = launch(LaunchJob(command, Path(output), 1, Nodes(2, int(number), place)), max_restarts=2)
print(ended, flush=True)
sys.exit(ended.code)
"""


def machine(number: int, place: str, output: Path, seconds: float) -> "subprocess.Popen[bytes]":
    command = [str(LITTLE), str(output), str(STEPS), str(seconds), "--resume"]
    loopback = {"GLOO_SOCKET_IFNAME": "lo"}
    program = [sys.executable, "-c", MACHINE, str(number), place, str(output), *command]
    return subprocess.Popen(program, env={**environment(), **loopback})


def alone(output: Path) -> bytes:
    """The weights of an undisturbed run of two processes on one machine."""
    output.mkdir()
    ended = launch(LaunchJob([str(LITTLE), str(output), str(STEPS), "0"], output, 2))
    assert ended.code == 0, ended
    return (output / "weights").read_bytes()


def listening(pids: set[int]) -> set[str]:
    """Addresses off the loopback interface on which processes accept connections, as Linux writes them."""
    sockets = {os.readlink(link) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    found = set()
    for table, local in (("tcp", "0100007F"), ("tcp6", "00000000000000000000000001000000")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets and not fields[1].startswith(local):
                found.add(fields[1])
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads the sockets that Linux lists")
def test_on_one_machine_nobody_listens_on_a_network(tmp_path):
    output = tmp_path / "run"
    output.mkdir()
    code = MACHINE.replace("1, Nodes(2, int(number), place)", "2")
    command = [str(LITTLE), str(output), "400", "0.1"]
    process = subprocess.Popen([sys.executable, "-c", code, "0", "", str(output), *command], env=environment())
    try:
        until(lambda: (output / "weights").exists())
        ranks = starts(output)
        pids = {process.pid, *(one.pid for one in ranks), *(one.agent for one in ranks)}
        assert len(pids) == 4 and listening(pids) == set()
    finally:
        process.kill()
        process.wait()
    until(lambda: all_gone(output), 10)


@pytest.mark.nightly
@pytest.mark.parametrize("lost", [1, 0])
def test_a_lost_machine_comes_back_and_nothing_differs(tmp_path, lost):
    """Machine 0 is the one where they meet; either may be lost with all its processes."""
    expected = alone(tmp_path / "alone")
    assert INIT_METHOD not in os.environ
    output, place = tmp_path / "run", free_place()
    output.mkdir()
    machines = [machine(number, place, output, 0.5) for number in (0, 1)]
    try:
        until(lambda: (output / "weights").exists())
        begun = starts(output)
        assert len(begun) == 2
        lose(machines[lost], begun)
        machines[lost] = machine(lost, place, output, 0.0)
        assert [one.wait(120) for one in machines] == [0, 0]
        assert (output / "weights").read_bytes() == expected
        assert len(starts(output)) >= 4 and all_gone(output)
    finally:
        for one in machines:
            one.kill()
            one.wait()
    until(lambda: all_gone(output), 10)


def lose(launcher: "subprocess.Popen[bytes]", begun: list[Start]) -> None:
    """Kill a launcher, its torchrun and its rank, as a loss of power would."""
    children = {int(pid) for pid in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()}
    ours = [one for one in begun if one.agent in children]
    assert len(ours) == 1
    for pid in (launcher.pid, ours[0].agent, ours[0].pid):
        if not gone(pid):
            os.kill(pid, signal.SIGKILL)
    launcher.wait()
