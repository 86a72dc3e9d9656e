"""Real training by `bradley launch local`: whatever happens to it on the way, it ends with the bytes of one process."""

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.results import record
from tests.helpers import LLAMA
from tests.launch.starts import environment, free_place, gone, until
from tests.security.canaries import CANARIES, VARIABLES, found_in, refused
from tests.training.interrupted import TIMES, fingerprint

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes as Linux lists them")
WITHOUT_FIGURES = Path(__file__).with_name("without_figures")
STEPS, HANG = 16, 3.0
SETTINGS = {
    "data.synthetic.comparisons": 120,
    "data.valid_share": 0.1,
    "model.tokenizer": "train",
    "model.vocab_size": 320,
    "model.dropout": True,
    **{f"model.config.{name}": value for name, value in LLAMA.items()},
    "render.max_tokens": 256,
    "train.batch_size": 8,
    "train.max_steps": STEPS,
    "train.micro_batch_tokens": 512,
    "train.threads": 1,
    "eval.every": 8,
    "checkpoint.every": 1,
    "log.every": 1,
    "log.samples": 0,
    "parallel.hang_seconds": HANG,
}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "run.toml"
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in SETTINGS.items()))
    return path


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start(config, cache):
    """A function that starts `bradley` with a command line, TRAIN standing for that of the training."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, output: Path, options: Sequence[str] = (), **variables: str) -> "subprocess.Popen[str]":
        training = ["train", str(config), "--output", str(output), "--quiet", *options]
        words = [word for argument in arguments for word in (training if argument == "TRAIN" else [argument])]
        places = {**surroundings(cache), **variables}
        command = [sys.executable, "-P", "-m", "bradley", *words]
        process = subprocess.Popen(command, env=places, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        started.append(process)
        return process

    yield run
    for process in started:
        pids = below(process.pid)
        process.kill()
        process.communicate()
        until(lambda known=pids: all(map(gone, known)), 10)


@pytest.fixture(scope="module")
def expected(config, cache, tmp_path_factory):
    """The fingerprint of the run of one process that nobody disturbs."""
    output = tmp_path_factory.mktemp("whole") / "run"
    command = [sys.executable, "-m", "bradley", "train", str(config), "--output", str(output), "--quiet"]
    subprocess.run(command, env=surroundings(cache), check=True, stdout=subprocess.DEVNULL)
    return trained(output)


def surroundings(cache: Path) -> dict[str, str]:
    """Variables of a run without figures, which take longer than it does."""
    places = {**environment(), "BRADLEY_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    return {**places, "PYTHONPATH": f"{WITHOUT_FIGURES}{os.pathsep}{places['PYTHONPATH']}"}


def trained(output: Path) -> dict[str, str]:
    """Every file of a run by its hash, but for those that say how many processes there were."""
    found = fingerprint(output, {*TIMES, "environment.json"})
    return {name: value for name, value in found.items() if not name.startswith("logs/")}


def below(pid: int) -> list[int]:
    """The processes below a process."""
    try:
        children = [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [one for child in children for one in (child, *below(child))]


def ranks(launcher: "subprocess.Popen[str]") -> list[int]:
    """The ranks of this machine, the first first."""
    found = {}
    for pid in below(launcher.pid):
        try:
            variables = dict(one.partition("=")[::2] for one in Path(f"/proc/{pid}/environ").read_text().split("\0"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        if "LOCAL_RANK" in variables:
            found.setdefault(int(variables["LOCAL_RANK"]), pid)
    return [found[number] for number in sorted(found)]


def steps(output: Path) -> int:
    """Optimizer steps that are logged."""
    path = output / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)


def status(output: Path) -> dict[str, object]:
    return dict(json.loads((output / "status.json").read_text()))


def ended(process: "subprocess.Popen[str]", seconds: float = 120.0) -> tuple[int, str]:
    _, said = process.communicate(timeout=seconds)
    return process.returncode, said


LOCAL = ("launch", "local", "--processes", "2")


@pytest.mark.nightly
def test_a_run_that_is_asked_to_stop_goes_on_to_the_same_bytes(start, expected, tmp_path):
    output = tmp_path / "run"
    process = start(*LOCAL, "--max-restarts", "3", "--", "TRAIN", output=output)
    until(lambda: steps(output) >= 5)
    pids = below(process.pid)
    process.send_signal(signal.SIGUSR1)
    code, said = ended(process)
    assert code == 75 and status(output)["state"] == "preempted", said
    assert all(map(gone, pids)) and 5 <= steps(output) < STEPS
    code, said = ended(start(*LOCAL, "--", "TRAIN", output=output, options=["--resume"]))
    assert code == 0, said
    assert trained(output) == expected


@pytest.mark.nightly
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_rank_costs_a_restart_and_no_bit(start, expected, tmp_path, number):
    output = tmp_path / "run"
    process = start(*LOCAL, "--max-restarts", "1", "--", "TRAIN", output=output)
    until(lambda: steps(output) >= 6)
    first = ranks(process)
    os.kill(first[1], number)
    began = time.monotonic()
    until(lambda: all(map(gone, first)), 60)
    took = time.monotonic() - began
    code, said = ended(process)
    assert code == 0 and "restart 1 of 1" in said, said
    assert took < (15 if number == signal.SIGKILL else 15 + 10 * HANG), "a checkpoint may take ten times as long"
    assert trained(output) == expected
    if number == signal.SIGKILL:
        assert f"rank 1 (process {first[1]}) was killed by SIGKILL" in said
    else:
        # While a checkpoint is written, the watchdog of training and the launcher have the same limit.
        log = output / "logs" / "rank-0.log"
        stopped = f"rank 1 of this machine (process {first[1]}) stands still for"
        assert stopped in said or "no progress for" in log.read_text(), said


def test_a_run_that_cannot_be_is_started_once(start, tmp_path):
    process = start(*LOCAL, "--max-restarts", "3", "--", "TRAIN", output=tmp_path / "run", options=["--optim.lrr", "1"])
    code, said = ended(process)
    assert code == 2 and "did you mean optim.lr?" in said and "restart" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.nightly
def test_a_rank_lost_at_any_time_costs_no_bit(start, expected, tmp_path):
    """A rank is killed at a random time of its life."""
    took, killed, trials = [], 0, 20
    for number in range(trials):
        drawn, output = random.Random(number), tmp_path / str(number)
        process = start(*LOCAL, "--max-restarts", "3", "--", "TRAIN", output=output, options=["--resume"])
        until(lambda launcher=process: len(ranks(launcher)) == 2)
        time.sleep(drawn.uniform(0, 12))
        if victims := ranks(process):
            killed += 1
            os.kill(drawn.choice(victims), signal.SIGKILL)
            began = time.monotonic()
            until(lambda pids=victims: all(map(gone, pids)), 60)
            took.append(time.monotonic() - began)
        code, said = ended(process, 240)
        assert code == 0, said
        assert trained(output) == expected, number
    assert killed >= trials // 2 and max(took) <= 15
    times = f"{statistics.median(took):.1f} s (median), {max(took):.1f} s (most)"
    seen = f"{times}; {trials} of {trials}, {killed} of them hit"
    record("G14", "kill -9 of one of two ranks: until all are gone; the same bytes after", "15 s; 20 of 20", seen)


@pytest.mark.nightly
@pytest.mark.parametrize("lost", [1, 0])
def test_a_lost_machine_comes_back_and_costs_no_bit(start, expected, tmp_path, lost):
    """Two machines on the loopback interface, one of which loses its power."""
    output, place = tmp_path / "run", free_place()

    def machine(number: int) -> "subprocess.Popen[str]":
        where = ("--nodes", "2", "--node-rank", str(number), "--rendezvous", place, "--processes", "1")
        arguments = ("launch", "local", *where, "--max-restarts", "3", "--", "TRAIN")
        return start(*arguments, output=output, options=["--resume"], GLOO_SOCKET_IFNAME="lo")

    machines = [machine(0), machine(1)]
    until(lambda: steps(output) >= 6, 120)
    pids = below(machines[lost].pid)
    for pid in (machines[lost].pid, *pids):
        os.kill(pid, signal.SIGKILL)
    machines[lost].wait()
    machines[lost] = machine(lost)
    for process in machines:
        code, said = ended(process, 240)
        assert code == 0, said
    assert trained(output) == expected


FAILING = """
import os
if os.environ.get("RANK") == "1":
    from bradley.training.evaluation import Evaluator
    def refused(*_):
        raise RuntimeError({message!r})
    Evaluator.run = refused
"""
"""What Python imports by itself where it lies on the path."""


@pytest.mark.nightly
def test_a_rank_that_fails_with_secrets_in_its_error_leaves_none_in_the_run(start, cache, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        refused()
    (tmp_path / "sitecustomize.py").write_text(FAILING.format(message=str(caught.value)))
    path = f"{tmp_path}{os.pathsep}{surroundings(cache)['PYTHONPATH']}"
    output = tmp_path / "run"
    code, said = ended(start(*LOCAL, "--", "TRAIN", output=output, PYTHONPATH=path, **VARIABLES))
    log = (output / "logs" / "rank-1.log").read_text()
    assert code == 1 and "RuntimeError: 401 for https://***@host" in log and "in refused" in log, said
    assert found_in(output) == []
    assert "process 1 of 2: RuntimeError: 401" in said and not [canary for canary in CANARIES if canary in said]
