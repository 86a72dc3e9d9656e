"""Nothing of the data or of a file name reaches the screen of `bradley data` unescaped, and one value is one line."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.cli.main import run

EVIL = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\u202eevil",
    "\u2066",
    "\r\nerror: forged",
    "\u2028",
    "\x7f",
    "\u200b",
]
TEXT = st.lists(st.sampled_from(EVIL) | st.text(max_size=6), min_size=1, max_size=4).map("x".join)
EXTRA = st.dictionaries(TEXT, TEXT, max_size=2)


def check(shown, most_lines):
    """Only our own line ends, and no more lines than our layout has."""
    assert all(line.isprintable() for line in shown.split("\n")), [ascii(line) for line in shown.split("\n")]
    assert len(shown.split("\n")) <= most_lines, shown


@given(st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT, EXTRA), min_size=1, max_size=5), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_control_character_of_a_row_reaches_the_screen(tmp_path, capsys, rows, tokens):
    path = tmp_path / "rows.jsonl"
    made = [
        {"id": id, "source": source, "prompt": prompt, "chosen": chosen + "1", "rejected": rejected + "2", **extra}
        for id, source, prompt, chosen, rejected, extra in rows
    ]
    usual = {"prompt": "one two", "chosen": "three", "rejected": "four"}
    path.write_text("".join(json.dumps(row) + "\n" for row in [usual, *made]))
    args = ["--tokens", "--model.tokenizer", "train", "--model.vocab_size", "300"] if tokens else []
    code = run(["data", str(path), "--data.limit", "2", *args])
    printed = capsys.readouterr()
    assert code in (0, 3) and "Traceback" not in printed.err
    if not tokens:
        check(printed.out, 40)
    else:
        assert "\x1b" not in printed.out and "\r" not in printed.out and "\x9b" not in printed.out


@pytest.mark.parametrize("evil", EVIL)
def test_no_control_character_of_a_file_name_reaches_the_screen(tmp_path, capsys, evil):
    place = tmp_path / f"a{evil}b"
    place.mkdir()
    path = place / f"rows{evil}.jsonl"
    path.write_text(
        '{"prompt": "a", "chosen": "b", "rejected": "c"}\n{"prompt": "d", "chosen": "e\\u0000", "rejected": "f"}\n'
    )
    assert run(["data", str(path)]) == 0
    check(capsys.readouterr().out, 30)


def test_a_file_name_that_is_not_utf8_is_shown(tmp_path, capsys):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/rows\xff.jsonl")
    with open(path, "w") as file:
        file.write('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    assert run(["data", path]) in (0, 2)
    check(capsys.readouterr().out, 30)
