"""The command line against arguments, streams and signals of any kind: one line and an exit code, never a traceback."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.cli.errors import MOST_CHARACTERS, MOST_LINES, complain
from bradley.cli.main import cli, run
from bradley.cli.options import loose_settings
from bradley.common.console import ReaderGone, Results
from bradley.common.secrets import redact
from bradley.common.text import nearest
from bradley.config.fields import suggest
from bradley.errors import DiskError, UserError

COMMAND = [sys.executable, "-P", "-m", "bradley"]
LONG = "x" * 300
HOSTILE = ["\x1b]0;title\x07", "a\nerror: b", "a\rb", "\x9b2J", "\u202eabc", "\u2028x", "\x7f", "\x00", "\udce9"]


def refused(args: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """The message of a command line that is refused in one line, with a hint."""
    assert run(args) == code
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert captured.out == "" and first.startswith("error: ") and second.startswith("hint: ")
    assert first.isprintable() and second.isprintable()
    assert len(first) < MOST_CHARACTERS + 100
    return first


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "args",
    [
        ["train", "X"],
        ["train", "X", "--json=X"],
        ["plan", "X.toml", "--output", "X"],
        ["data", "X"],
        ["plot", "X"],
        ["verify", "X"],
        ["benchmark", "X", "--suite", "hhh=X"],
        ["benchmark", "m", "--suite", "X"],
        ["benchmark", "--scores", "X"],
        ["X"],
        ["plot", "a", "--x", "X"],
        ["plan", "absent.toml", "--processes", "X"],
    ],
)
def test_an_argument_is_shown_escaped(
    args: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = run([arg.replace("X", text) for arg in args])
    captured = capsys.readouterr()
    assert code in (2, 3, 4) and captured.out == ""
    assert all(line.isprintable() for line in captured.err.split("\n"))
    assert [line.partition(":")[0] for line in captured.err.splitlines()] == ["error", "hint"]


@given(arguments=st.lists(st.text(st.characters(), max_size=12) | st.sampled_from(HOSTILE), max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_command_line_is_refused_in_lines(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["plan", "absent.toml", *arguments])
    captured = capsys.readouterr()
    assert code == 2 or captured.out.startswith("Usage")
    assert all(line.isprintable() for line in captured.err.split("\n"))


@pytest.mark.parametrize("text", ["caf\udce9", "\udcff\udcfe", "a\0b"])
@pytest.mark.parametrize(
    "args",
    [
        ["train", "X.toml"],
        ["train", "x.toml", "--output", "X"],
        ["train", "x.toml", "--model.path=X"],
        ["data", "X.jsonl"],
        ["score", "X", "in.jsonl", "-o", "out.jsonl"],
        ["export", "run", "X"],
    ],
)
def test_an_argument_that_is_no_text_is_named(args: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = refused([arg.replace("X", text) for arg in args], capsys)
    assert "is not UTF-8: " in first or "holds a null character: " in first
    assert text.encode("unicode_escape").decode() in first


@pytest.mark.parametrize("name", ["", LONG, f"{LONG}/x"])
@pytest.mark.parametrize(
    "args",
    [
        ["train", "x.toml", "--output", "X"],
        ["train", "X"],
        ["plan", "X"],
        ["plot", "X"],
        ["export", "X", "out"],
        ["export", "run", "X"],
        ["verify", "X"],
        ["benchmark", "X"],
        ["benchmark", "--scores", "X"],
    ],
)
def test_a_name_that_no_file_can_have_is_a_usage_error(
    args: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = refused([arg.replace("X", name) for arg in args], capsys)
    assert ("File name too long" if name else "the name is empty") in first


def test_a_folder_that_is_gone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for args in (["configs"], ["train", "x.toml"], ["data", "x.jsonl"]):
        assert "the current folder cannot be used: No such file or directory" in refused(args, capsys)


def test_configurations_of_any_kind_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("configs")
    (folder / "c.toml").mkdir(parents=True)
    (folder / "a.toml").write_bytes(b"# caf\xe9\n")
    os.mkfifo(folder / "b.toml")
    (folder / "d.toml").write_text("# \x1b[2Jhello\n")
    (folder / "e.toml").symlink_to("nowhere")
    (folder / "f.toml").write_text(f"# {'long ' * 200}\n")
    (folder / "g\n\udce9.toml").write_text("# last\n")
    assert run(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and all(line.isprintable() and len(line) < 400 for line in lines)
    assert "(not UTF-8 at byte 5)" in lines[0] and "(is no file)" in lines[1] and r"\x1b[2Jhello" in lines[3]


def test_a_refusal_of_the_system_is_one_line_with_the_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", "a\nb")

    monkeypatch.setattr("bradley.cli.main.invoke", refuse)
    assert refused(["plot", "x"], capsys, 7) == r"error: a\nb: Permission denied"


def test_a_line_of_an_error_is_cut_and_so_are_many_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain(UserError("x" * 1_000_000, "y" * 1_000_000)) == 2
    err = capsys.readouterr().err
    assert len(err) < 2 * MOST_CHARACTERS + 200 and f"{1_000_000 - MOST_CHARACTERS:,} characters left out" in err
    complain(UserError([f"problem {n}\nerror: fake" for n in range(5000)], "hint"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == r"error: problem 0\nerror: fake" and len(lines) == MOST_LINES + 2
    assert lines[-2] == "error: and 4,900 more problems"
    complain(UserError("a\x7f\n\x1b" * 5000), ["--json"])
    event = capsys.readouterr().err
    assert event.count("\n") == 1 and event.strip().isprintable() and len(event) < 8 * MOST_CHARACTERS
    assert json.loads(event)["what"].startswith("a\x7f\n\x1b")


def test_a_long_command_line_takes_few_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    import difflib

    compared = []
    monkeypatch.setattr(difflib, "get_close_matches", lambda word, *_, **__: compared.append(word) or [])
    assert suggest("x" * 1000, ["optim.lr"]) == "" and nearest("x" * 1000, ["train"]) == ""
    assert compared == []
    assert nearest("trian", ["train"]) == "" and compared == ["trian"]


def test_the_settings_are_listed_once_however_many_are_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bradley.config import fields

    calls = []
    original = fields.settings_of
    monkeypatch.setattr(fields, "settings_of", lambda *args: calls.append(args) or original(*args))
    many = [arg for n in range(2000) for arg in (f"--optim.options.o{n}", "1")]
    assert len(loose_settings(many, set())[0]) == 2000
    assert run(["plan", "absent.toml", *many]) == 2
    assert len(calls) < 30


@pytest.mark.parametrize("text", ["eyJ-" * 20_000, "://a" * 20_000, "?token" * 20_000, "sk-" * 20_000])
def test_a_search_for_secrets_ends_on_hostile_text(text: str) -> None:
    assert redact(text, {})


class Refusing(io.StringIO):
    """Stream that fails with an error number."""

    def __init__(self, number: int, target: int) -> None:
        super().__init__()
        self.number, self.target = number, target

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))

    def fileno(self) -> int:
        return self.target


@pytest.mark.parametrize(("number", "kind"), [(28, DiskError), (122, DiskError), (5, DiskError), (32, ReaderGone)])
def test_results_that_cannot_be_written_are_an_error_at_every_call(number: int, kind: type[Exception]) -> None:
    target = os.open(os.devnull, os.O_WRONLY)
    results = Results(Refusing(number, target))
    for call in (lambda: results.write("x"), results.flush, lambda: results.write("y")):
        with pytest.raises(kind):
            call()
    os.close(target)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        ("> /dev/full", 7, "error: the output cannot be written to stdout: No space left on device"),
        (">&-", 0, ""),
        ("2>&- >&- <&-", 0, ""),
        ("2> /dev/full", 0, ""),
    ],
)
def test_a_stream_that_is_full_or_closed(redirection: str, code: int, said: str) -> None:
    done = subprocess.run(["sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND, "--help"], capture_output=True)
    assert done.returncode == code
    assert done.stderr.decode().splitlines()[:1] == ([said] if said else [])


def test_a_file_never_gets_the_number_of_a_closed_stream() -> None:
    code = (
        "import os, sys; from bradley.common.console import open_closed_streams as o; o(); "
        "f = open(os.devnull); print('x'); print('y', file=sys.stderr); os._exit(f.fileno())"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(command).returncode == 3


WAITING = """
import sys, time
import bradley.cli.main, bradley.__main__
def invoke(args):
    print("here", flush=True)
    while True:
        time.sleep(0.01)
bradley.cli.main.invoke = invoke
bradley.__main__.main()
"""
STOPPED_AT_IMPORT = """
import os, signal, sys
class Stop:
    def find_spec(self, name, *_):
        if name == "click":
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Stop())
import bradley.__main__
bradley.__main__.main()
"""
"""Program that gets a stop signal in the middle of the imports of the command line."""


@pytest.mark.parametrize(
    ("command", "numbers", "code", "said"),
    [
        ("train", [signal.SIGTERM], 75, "error: stopped by SIGTERM before the run had begun\n"),
        ("train", [signal.SIGTERM] * 5, 75, "error: stopped by SIGTERM before the run had begun\n"),
        ("launch", [signal.SIGHUP], 75, "error: stopped by SIGHUP before the run had begun\n"),
        ("data", [signal.SIGTERM], 143, "error: stopped by SIGTERM\n"),
        ("score", [signal.SIGTERM] * 5, 143, "error: stopped by SIGTERM\n"),
        ("plan", [signal.SIGINT], 130, "error: interrupted\n"),
    ],
)
def test_a_signal_to_a_command(command: str, numbers: list[int], code: int, said: str) -> None:
    # A signal ignored since the start of the process, as SIGHUP under `nohup`, would be ignored by the command too.
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, command, "x"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in numbers],
    )
    assert process.stdout and process.stdout.readline() == b"here\n"
    for number in numbers:
        process.send_signal(number)
    assert process.communicate(timeout=60)[1].decode() == said
    assert process.returncode == code


@pytest.mark.parametrize(("command", "code"), [(["train", "x"], 75), (["--json", "verify"], 143), ([], 143)])
def test_a_signal_during_the_imports(command: list[str], code: int) -> None:
    assert subprocess.run([sys.executable, "-c", STOPPED_AT_IMPORT, *command], capture_output=True).returncode == code


def test_a_signal_after_the_end_of_a_run_changes_nothing() -> None:
    code = (
        "import os, signal; from bradley.common import signals; signals.leave_when_asked('train')\n"
        "with signals.listening(): pass\n"
        "os.kill(os.getpid(), signal.SIGTERM); print('summary')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "summary\n", "")


def numbers(command: click.Command, name: str = "bradley") -> Iterator[tuple[str, click.ParamType]]:
    """Options of a command and its commands with a number as value."""
    for param in command.params:
        if isinstance(param.type, click.types.IntParamType | click.types.FloatParamType):
            yield f"{name} {param.name}", param.type
    for word, inner in getattr(command, "commands", {}).items():
        yield from numbers(inner, f"{name} {word}")


def test_every_number_of_an_option_has_both_bounds() -> None:
    found = dict(numbers(cli))
    bounds = {name: (getattr(kind, "min", None), getattr(kind, "max", None)) for name, kind in found.items()}
    assert len(found) >= 5 and [name for name, both in bounds.items() if None in both] == []
