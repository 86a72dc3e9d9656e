"""A rank without PyTorch that does what a test asks of it: `toy.py OUTPUT SCENARIO [--resume]`."""

import atexit
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bradley.launch.heartbeat import Heartbeat

OUTPUT, SCENARIO = Path(sys.argv[1]), sys.argv[2]
RANK = int(os.environ["RANK"])
RESUMED = "--resume" in sys.argv


def say(state: str, code: int, what: str = "as asked") -> None:
    """What the trainer does at its end: its status, whole or not at all."""
    draft = OUTPUT / f".status-{RANK}"
    draft.write_text(json.dumps({"state": state, "code": code, "what": what, "fix": "type this", "step": 3}))
    draft.replace(OUTPUT / "status.json")


def leave(state: str, code: int, what: str = "as asked") -> None:
    say(state, code, what)
    sys.exit(code)


def wait() -> None:
    time.sleep(120)


def stop_when_asked() -> None:
    """The handler only makes a note, as the trainer's does; the rank ends a moment later."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, lambda got, _: asked.append(got))
    (OUTPUT / f"ready-{RANK}").touch()
    while not asked:
        time.sleep(0.02)
    time.sleep(0.3)
    (OUTPUT / f"asked-{RANK}").write_text(" ".join(signal.Signals(number).name for number in asked))
    leave("preempted", 75, "saved at step 3")


def die(number: int) -> None:
    """Rank 1 is killed, and the others would wait for it."""
    if RANK == 1:
        os.kill(os.getpid(), number)
    wait()


def die_once() -> None:
    """Rank 1 is killed at the first start; the next one finds a checkpoint, so to say, and ends well."""
    if RESUMED:
        say("done", 0)
    else:
        die(signal.SIGKILL)


def die_among_the_deaf() -> None:
    """As `die`, but the others do not hear what torchrun asks of them."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    die(signal.SIGKILL)


def refuse(code: int) -> None:
    """Rank 1 finds something wrong, says so and ends; rank 0 hears of it as the loss of a rank."""
    if RANK == 1:
        leave("failed", code, f"wrong in a way that has the code {code}")
    time.sleep(0.5)
    sys.exit(8)


def speak_late() -> None:
    """Something is wrong that every rank finds, and that the first one tells, a little later than the others end."""
    if RANK == 0:
        time.sleep(1.5)
        print("this is wrong", flush=True)
    sys.exit(2)


def lose_and_tell() -> None:
    """Rank 1 falls silent, and rank 0 ends because of that."""
    if RANK == 0:
        time.sleep(0.5)
        leave("failed", 8, "no progress for 10 seconds")
    os.kill(os.getpid(), signal.SIGSTOP)


def beat() -> None:
    """Let three seconds of silence be too long. Whole or not at all: the launcher reads at any moment."""
    draft = OUTPUT / f".beat-{RANK}"
    draft.write_text("3")
    draft.replace(Heartbeat.current.path)


def suspend() -> None:
    """Stand still as a whole, with every thread."""
    os.kill(os.getpid(), signal.SIGSTOP)


def stand_still(*ranks: int) -> None:
    """Some ranks are suspended, and the other one waits without end."""
    beat()
    if RANK in ranks:
        suspend()
    wait()


def hang_at_exit(rank: int, how: Callable[[], object] = wait) -> None:
    """A rank ends as it should, and hangs in what Python does at its exit."""
    beat()
    if rank == RANK:
        atexit.register(how)
    say("done", 0)


def be_killed_when_asked() -> None:
    """Rank 1 does not hear of a stop, as in a call outside of Python, and is killed when the other one has ended."""
    if RANK == 1:
        signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    (OUTPUT / f"ready-{RANK}").touch()
    wait()


SCENARIOS = {
    "killed when asked": be_killed_when_asked,
    "stands still": lambda: stand_still(1),
    "the first stands still": lambda: stand_still(0),
    "both stand still": lambda: stand_still(0, 1),
    "hangs at its exit": lambda: hang_at_exit(1),
    "the first hangs at its exit": lambda: hang_at_exit(0),
    "is suspended at its exit": lambda: hang_at_exit(1, suspend),
    "well": lambda: say("done", 0),
    "stop": stop_when_asked,
    "die": lambda: die(signal.SIGKILL),
    "crash": lambda: die(signal.SIGSEGV),
    "die once": die_once,
    "die among the deaf": die_among_the_deaf,
    "wrong data": lambda: refuse(3),
    "diverged": lambda: refuse(5),
    "silent": lose_and_tell,
    "late": speak_late,
    "bug": lambda: 1 / 0 if RANK == 1 else wait(),
    "unheard": wait,
}


def start_together() -> None:
    """Note that this rank has begun, and wait for the other one."""
    with (OUTPUT / "starts").open("a") as file:
        file.write(f"{os.getpid()} {os.getppid()} {RANK} {int(RESUMED)}\n")
    while len((OUTPUT / "starts").read_text().splitlines()) % 2:
        time.sleep(0.02)


if __name__ == "__main__":
    start_together()
    SCENARIOS[SCENARIO]()
