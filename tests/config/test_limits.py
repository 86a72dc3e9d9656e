"""Settings and configuration files out of reason: refused in a line per problem, in bounded time, without a crash."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.cli.main import run
from bradley.config import Config
from bradley.config import load as loading
from bradley.config.fields import settings_of
from bradley.config.load import load_config, read_config
from bradley.config.toml import MOST_BYTES, read_source, read_toml
from bradley.errors import UserError

SETTINGS = settings_of(Config)
MODEL: dict[str, Any] = {"model": {"path": "some/model"}}
DEEP: list[Any] = []
for _ in range(400):
    DEEP = [DEEP]
EXTREME = [
    *(2**63, 2**64, 10**5000, -1, -(2**63), 1e308, -1e308, 1e-320, float("nan"), float("inf"), True, None),
    *("", "x" * 200_000, "\0", "\udcff", "[" * 20_000, "9" * 5_000, "nan", "-1", "1e999", "\x1b[2J\nhint: no"),
    *([[]], DEEP, [1] * 3, {"a": {"b": [2**70]}}, {"\udc00": 1}, {"": ""}, object(), {1: 2}, b"bytes"),
]
"""Values for every setting: each is out of reason for most of the settings."""
TOO_MUCH = {
    "train.threads": 1_000_000,
    "train.batch_size": 2**40,
    "train.max_steps": 10**12,
    "train.epochs": 1e300,
    "optim.lr": 1e308,
    "render.max_tokens": 2**40,
    "data.synthetic.comparisons": 2**40,
    "model.vocab_size": 2**31,
    "model.adapter.rank": 2**31,
    "parallel.parts": 2**31,
    "parallel.timeout_seconds": 2**60,
    "log.window": 2**60,
    "log.gpu_seconds": 1e300,
    "checkpoint.minutes": 1e300,
    "seed": 2**63,
    "data.mix.a": 1e300,
}


def message_of(given: dict[str, Any], overrides: dict[str, Any] | None = None) -> str:
    """The message of a refused configuration; '' if the configuration is accepted."""
    try:
        read_config(given, overrides)
    except UserError as error:
        assert all(len(line) < 1000 for line in error.lines)
        return error.message
    return ""


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.nightly, id="all")])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_takes_or_refuses_any_value(name: str, step: int) -> None:
    """By day each setting meets one value in four, another four for the next setting."""
    for value in EXTREME[list(SETTINGS).index(name) % step :: step]:
        message_of(MODEL, {name: value})
        nested: Any = value
        for key in reversed(name.split(".")):
            nested = {key: nested}
        message_of(nested)
        if SETTINGS[name].table:
            message_of(MODEL, {f"{name}.entry": value})


def test_every_number_has_bounds() -> None:
    from pydantic import TypeAdapter, ValidationError

    for name, setting in SETTINGS.items():
        if setting.kind in (int, float):
            found = message_of(MODEL, {name: 10**30}) + message_of(MODEL, {name: 1e300})
            assert f"{name}: wanted" in found and ("at most" in found or "below" in found), name
    # Without the loader, as in `bradley.Config(...)`, infinity is refused by the type.
    with pytest.raises(ValidationError):
        TypeAdapter(Config).validate_python({"optim": {"max_grad_norm": float("inf")}})


@pytest.mark.parametrize(("name", "value"), TOO_MUCH.items())
def test_a_number_out_of_reason_is_refused_with_its_bound(name: str, value: float) -> None:
    found = message_of({**MODEL, "data": {"train": ["a"]}} if "mix" in name else MODEL, {name: value})
    assert f"command line: {name}: wanted" in found
    assert "at most" in found or "below" in found


def test_a_bound_far_off_is_named_only_to_a_value_far_off() -> None:
    assert message_of(MODEL, {"train.threads": -1}).endswith("wanted a whole number of at least 0, got -1")
    assert message_of(MODEL, {"train.threads": 10**6}).endswith("of at least 0 and of at most 1,024, got 1000000")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.sampled_from([*SETTINGS, "model.config.a.b", "nothing", "model", "data"]), values, max_size=4)
)
def test_any_settings_are_accepted_or_refused(given: dict[str, Any]) -> None:
    message_of(MODEL, given)


@pytest.mark.parametrize("text", ["\0", "a\udcffb", "\ud800", "x\0y"])
@pytest.mark.parametrize("name", ["model.path", "data.train", "model.config.a", "data.eval_sets.b", "render.template"])
def test_text_that_no_file_can_hold_is_refused_and_shown_escaped(name: str, text: str) -> None:
    found = message_of({}, {name: text})
    assert f"command line: {name}: " in found and ("null character" in found or "not UTF-8" in found)
    assert found.isprintable()


def test_a_name_or_a_value_is_quoted_in_part() -> None:
    found = message_of(MODEL, {"optim.lr": "7" * 100 + "x" * 200_000, f"optim.{'y' * 100_000}": "1"})
    assert len(found) < 1000
    assert "(200,022 characters left out)" in found and "(99,906 characters left out)" in found


def test_an_entry_on_the_command_line_leaves_the_given_tables_alone() -> None:
    given = {"model": {"config": {"model_type": "llama", "rope": {"theta": 1}}, "tokenizer": "train"}}
    before = json.dumps(given)
    config = read_config(given, {"model.config.rope.theta": "2", "model.config.a.b": "3"})
    assert config.model.config == {"model_type": "llama", "rope": {"theta": 2}, "a": {"b": 3}}
    assert json.dumps(given) == before


@pytest.mark.parametrize("count", [30, 3000])
def test_suggestions_are_few_however_many_names_are_wrong(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(loading, "suggest", lambda name, known: asked.append(name) or "")
    assert len(message_of(MODEL, {f"optim.lr{n}": "1" for n in range(count)}).splitlines()) == count
    assert len(asked) == loading.MOST_GUESSES


FILES = {
    "deep list": b"x = " + b"[" * 20_000,
    "deep table": b"x = " + b"{a = " * 20_000,
    "deep header": b"[" + b"a." * 20_000 + b"a]",
    "deep arrays of tables": b"[[" * 20_000,
    "deep key": b"a" + b".'a'" * 20_000 + b" = 1",
    "deep key in a table": b"[model]\nconfig = {" + b"a . " * 20_000 + b"a = 1}",
    "deep but whole": b"[model]\nconfig.a = " + b"[" * 100 + b"]" * 100,
    "huge number": b"seed = " + b"9" * 10_000,
    "huge hexadecimal number": b"seed = 0x" + b"f" * 10_000,
    "large": b"# " + b"x" * MOST_BYTES,
    "latin-1": "a = '\xe9'".encode("latin-1"),
    "null": b"a = 1\0",
    "escaped null": b'[model]\npath = "a\\u0000"',
    "unterminated": b'"""' + b'\\"""' * 20_000 + b"\\",
    "UTF-16": "seed = 1".encode("utf-16"),
    "many strings": b'"' * 50_001,
    "date": b"seed = 0000-00-00",
    "JSON": b'{"model": ' + b"[" * 20_000,
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(FILES[name])
    assert run(["plan", str(path), "--no-timing"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("error: ") and str(path) in first and len(first) < 1000
    assert second.startswith("hint: ")


@given(st.binary(max_size=40) | st.text("[]{}\"'=.#\n\\a1 ", max_size=40).map(str.encode))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_configuration_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    try:
        load_config(path, {})
    except UserError as error:
        assert str(path) in error.message


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    for name in ("pipe.toml", "folder.toml", "loop.toml", "x" * 300, "y" * 300 + "/x.toml", "a\0b"):
        with pytest.raises(UserError, match=r"cannot be read|is no file") as caught:
            read_source(tmp_path / name)
        assert caught.value.hint


def test_lines_inside_values_are_no_keys(tmp_path: Path) -> None:
    text = '''seed = 1
[data]
train = [
  "a",
["b"]
]
[render]
system_prompt = """
[optim]
lr = 7
""\\"
[[x]] """""
template = 'raw' # """
[optim] # '''
    text += """'''
lr = -1
"a=b" = 2
options.x = '''
[train]
epochs = 1'''
[train]
epochs = -1
"""
    path = tmp_path / "run.toml"
    path.write_text(text)
    lines = text.split("\n")
    source = read_toml(path)
    names = ("seed", "data.train", "render.system_prompt", "render.template", "optim.lr", "optim.a=b", "train.epochs")
    for name in names:
        assert lines[source.line(name) - 1].replace('"', "").startswith(name.rpartition(".")[2]), name
    assert lines[source.line("optim.lr") - 1] == "lr = -1" and lines[source.line("train.epochs") - 1] == "epochs = -1"
    assert lines[source.line("optim") - 1].startswith("[optim] #")
