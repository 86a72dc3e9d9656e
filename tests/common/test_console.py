"""Talk on stderr: lines and a bar, JSON events, or nothing."""

import builtins
import importlib.util
import json
import os
import warnings

import pytest

from bradley.common.console import Console, Lasting, to_stderr, write_event
from bradley.errors import UserError


def work(console: Console, steps: int = 3) -> None:
    console.say("accuracy 71.3 % [68.0, 74.5] of [bold]all[/bold]")
    with console.progress(steps, "training") as bar:
        for step in range(steps):
            bar.advance(1, loss=0.5 / (step + 1))
        bar.update(loss=0.125)


def test_quiet_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    work(Console("quiet"))
    assert capfd.readouterr() == ("", "")


def test_bar_prints_text_as_it_is_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    work(Console("bar"))
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "accuracy 71.3 % [68.0, 74.5] of [bold]all[/bold]"
    assert "training" in err and "3/3" in err and "loss 0.125" in err
    assert "\x1b" not in err


def test_a_terminal_without_colour_gets_none(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    work(Console("bar"))
    plain = capfd.readouterr().err
    monkeypatch.delenv("NO_COLOR")
    work(Console("bar"))
    assert "\x1b[38;5" not in plain
    assert "\x1b[38;5" in capfd.readouterr().err


def test_json_is_one_object_per_line(capfd: pytest.CaptureFixture[str]) -> None:
    console = Console("json")
    work(console)
    out, err = capfd.readouterr()
    events = [json.loads(line) for line in err.splitlines()]
    assert out == ""
    assert events[0] == {"event": "message", "text": "accuracy 71.3 % [68.0, 74.5] of [bold]all[/bold]"}
    assert events[1] == {"event": "progress", "description": "training", "done": 1, "total": 3, "loss": 0.5}
    assert events[-1]["done"] == 3 and events[-1]["loss"] == 0.125


def test_json_events_are_at_most_one_a_second(capfd: pytest.CaptureFixture[str]) -> None:
    with Console("json").progress(10_000, "training") as bar:
        for _ in range(10_000):
            bar.advance()
    done = [json.loads(line)["done"] for line in capfd.readouterr().err.splitlines()]
    assert done[0] == 1 and done[-1] == 10_000 and len(done) < 20


def test_an_error_passes_through_the_bar() -> None:
    with pytest.raises(ZeroDivisionError), Console("bar").progress(2, "training"):
        _ = 1 / 0


class ZMQInteractiveShell:
    """Shell of a notebook, as Rich knows one."""


def test_a_notebook_without_widgets_gets_plain_lines(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        work(Console("bar"))
    out, err = capfd.readouterr()
    assert out == "" and err.splitlines()[0] == "accuracy 71.3 % [68.0, 74.5] of [bold]all[/bold]"
    assert "3/3" in err and "\x1b" not in err


def test_a_notebook_with_widgets_gets_lines_on_stderr_and_the_bar_of_the_notebook(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtins, "get_ipython", ZMQInteractiveShell, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    console = Console("bar")
    console.say("a line")
    assert capfd.readouterr().err == "a line\n"
    assert console._bar_screen().is_jupyter and not console._screen().is_jupyter


def test_unknown_mode() -> None:
    with pytest.raises(UserError, match="wanted bar, quiet or json"):
        Console("loud")


def test_a_warning_is_said_under_quiet_too(capsys):
    quiet = Console("quiet")
    quiet.say("talk")
    quiet.warn("the checkpoint of step 4 is not used")
    assert capsys.readouterr().err == "the checkpoint of step 4 is not used\n"


def test_a_stream_outlives_its_reader() -> None:
    reader, writer = os.pipe()
    stream = Lasting(os.fdopen(writer, "w"))
    os.close(reader)
    assert stream.write("nobody") == 6
    stream.flush()
    assert stream.write("is there\n") == 9
    stream.close()


@pytest.mark.parametrize("mode", ["bar", "quiet", "json"])
def test_a_value_is_never_a_line_of_its_own(mode: str, capfd: pytest.CaptureFixture[str]) -> None:
    console, value = Console(mode), "a\nerror: fake\r\x1b[2J\x9b\u2028\u202e\x7f\t"
    console.warn(f"the value {value}", "a second line")
    with console.progress(2, f"[red]{value}") as bar:
        bar.advance(2)
    write_event("x", text=value)
    to_stderr(value)
    out, err = capfd.readouterr()
    assert out == "" and "error: fake" in err
    assert all(line.isprintable() for line in err.split("\n"))
    assert not any(line.startswith("error: fake") for line in err.split("\n"))
    assert mode == "json" or "a second line" in err.split("\n")


def test_another_error_of_a_stream_is_one() -> None:
    with open(os.devnull) as readable, pytest.raises(OSError, match="not writable"):
        Lasting(readable).write("talk")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_message_stream_outlives_a_full_disk() -> None:
    with open("/dev/full", "w") as full:
        stream = Lasting(full)
        assert stream.write("talk") == 4
        stream.flush()
        assert stream.write("more") == 4


def test_a_short_count_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    for mode in ("bar", "json", "quiet"):
        with Console(mode).counting("reading", "rows") as count:
            assert list(count(range(1000))) == list(range(1000))
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on by what is put into the list."""
    seconds = [0.0]
    monkeypatch.setattr("bradley.common.console.time.monotonic", lambda: sum(seconds))
    return seconds


def test_a_count_in_a_log_is_a_line_a_minute(capfd: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with Console("bar").counting("reading train", "rows") as count:
        for number in count(range(3200)):
            clock.append(0.05)
            assert number >= 0
    lines = capfd.readouterr().err.splitlines()
    assert lines == ["reading train: 1,216 rows, 20 a second", "reading train: 2,416 rows, 20 a second"]


def test_a_count_on_a_terminal_is_a_bar_with_its_rate(
    capfd: pytest.CaptureFixture[str], clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Console, "on_terminal", True)
    with Console("bar").counting("reading train", "rows") as count:
        for _ in count(range(640)):
            clock.append(0.05)
    shown = capfd.readouterr().err
    assert "reading train, rows" in shown and "640/?" in shown and "/s" in shown


def test_a_count_for_programs_is_events(capfd: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with Console("json").counting("reading train", "rows") as count:
        for _ in count(range(640)):
            clock.append(0.05)
    events = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert {event["event"] for event in events} == {"progress"} and events[-1]["total"] is None
    done = [event["done"] for event in events]
    assert done == sorted(done) and 10 < len(done) < 40 and done[-1] == 640


@pytest.mark.parametrize("mode", ["bar", "json", "quiet"])
def test_a_log_gets_a_line_about_a_long_task_every_half_minute(mode, capfd, monkeypatch):
    now = 0.0
    monkeypatch.setattr("bradley.common.console.time.monotonic", lambda: now)
    tell = Console(mode).ticker()
    for now in range(0, 125, 5):
        tell(f"at {now}")
    said = capfd.readouterr().err
    if mode == "json":
        assert [json.loads(line)["text"] for line in said.splitlines()] == ["at 30", "at 60", "at 90", "at 120"]
    else:
        assert said.split("\n") == (["at 30", "at 60", "at 90", "at 120", ""] if mode == "bar" else [""])


def test_a_terminal_gets_no_such_lines(capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("bradley.common.console.SECONDS_BETWEEN_LINES", 0.0)
    Console("bar").ticker()("a line")
    assert capfd.readouterr() == ("", "")
