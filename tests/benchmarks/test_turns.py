import sys
import textwrap
import time
from pathlib import Path

import pytest
import turns
from turns import Arm, ArmError, take_turns

CHILD = """
import sys, time
sys.path.append({folder!r})
from turns import Gate
gate = Gate("cpu")
gate.answers["matmul"] = lambda message: {{"flops": 5.0}}
gate.answers["echo"] = lambda message: {{"said": message["word"]}}
print("what a library prints")
units = 0
while gate.passed(*((3, 100) if units else ())):
    units += 1
    {body}
"""


@pytest.fixture
def child(tmp_path: Path):  # type: ignore[no-untyped-def]
    def make(body: str) -> Arm:
        folder = str(Path(turns.__file__).parent)
        script = tmp_path / "child.py"
        script.write_text(textwrap.dedent(CHILD.format(folder=folder, body=body)))
        return Arm("child", [sys.executable, str(script)], tmp_path / "errors.txt")

    return make


def test_a_turn_ends_with_the_unit_that_reaches_what_was_asked(child) -> None:  # type: ignore[no-untyped-def]
    with child("time.sleep(0.01)") as arm:
        turn = arm.turn(judgments=7)
        assert (turn.units, turn.judgments, turn.tokens) == (3, 9, 300)
        assert 0.03 <= turn.seconds < 1.0
        assert 0.0 < turn.peak_gib < 0.2
        assert arm.turn().units == 1  # nothing of the turn before is counted again
        assert arm.turn(seconds=0.1).seconds >= 0.1


def test_waiting_for_a_turn_is_not_timed(child) -> None:  # type: ignore[no-untyped-def]
    with child("time.sleep(0.01)") as arm:
        arm.turn()
        time.sleep(0.3)
        assert arm.turn().seconds < 0.2


def test_other_messages_are_answered_between_turns(child) -> None:  # type: ignore[no-untyped-def]
    with child("pass") as arm:
        arm.turn()
        assert arm.ask(do="echo", word="blue") == {"said": "blue"}


def test_what_a_child_prints_is_no_answer(child) -> None:  # type: ignore[no-untyped-def]
    with child("print('noise')") as arm:
        assert arm.turn(judgments=6).units == 2
    assert arm.errors.read_text().count("noise") == 2


def test_a_child_that_fails_says_why(child) -> None:  # type: ignore[no-untyped-def]
    with child("raise RuntimeError('a broken arm')") as arm, pytest.raises(ArmError, match="a broken arm") as caught:
        arm.turn()
    assert "exit code 1" in str(caught.value)
    assert not caught.value.out_of_memory


def test_a_child_that_the_system_killed_was_out_of_memory(child) -> None:  # type: ignore[no-untyped-def]
    with child("import os; os.kill(os.getpid(), 9)") as arm, pytest.raises(ArmError) as caught:
        arm.turn()
    assert caught.value.out_of_memory


def test_a_child_that_never_answers_does_not_hang(child, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(turns, "LONGEST_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(turns, "PATIENCE_AT_END_SECONDS", 0.1)
    with child("time.sleep(60)") as arm, pytest.raises(ArmError, match="has not answered"):
        arm.turn()


def test_arms_take_turns_until_the_time_is_over(child, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with child("time.sleep(0.02)") as one, child("time.sleep(0.02)") as other:
        for arm in (one, other):
            arm.turn()
        began = time.perf_counter()
        done, product = take_turns({"one": one, "other": other}, seconds=0.6, least=3)
    assert time.perf_counter() - began >= 0.6
    assert len(done["one"]) == len(done["other"]) >= 3
    assert product == 5.0
