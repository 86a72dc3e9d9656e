"""What `bradley data` shows: lengths by hand, histograms per split, samples and tokens of the first comparisons."""

import json
from dataclasses import replace

import pytest

from bradley.cli.main import run
from bradley.config import Render
from bradley.data.preview import rendered_row
from bradley.data.render import Renderer
from tests.helpers import comparisons, tokenizer_for

TRAIN = [
    {"prompt": "one two three", "chosen": " yes indeed", "rejected": " no"},
    {"prompt": "one two", "chosen": " a b c", "rejected": " d\x1b[2J"},
]
VALID = [{"prompt": "five", "chosen": " six", "rejected": " seven eight"}]
TOKENIZER = ["--model.tokenizer", "train", "--model.vocab_size", "300"]


@pytest.fixture
def files(tmp_path):
    paths = []
    for name, rows in (("train", TRAIN), ("valid", VALID)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        paths.append(str(path))
    return paths


def found(capsys, *args):
    assert run(["data", *args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_split_has_its_lengths_and_histograms(files, capsys):
    shown = found(capsys, files[0], "--data.valid", files[1])
    assert list(shown["lengths"]) == ["train", "valid"] and "samples" not in shown
    valid = shown["lengths"]["valid"]["words"]
    assert {part: row["max"] for part, row in valid.items()} == {
        "prompt": 1.0,
        "response": 2.0,
        "chosen": 1.0,
        "rejected": 2.0,
    }
    assert shown["histograms"]["train"]["words"] == {
        "prompt": {"edges": [2, 3, 4], "counts": [1, 1]},
        "chosen": {"edges": [2, 3, 4], "counts": [1, 1]},
        "rejected": {"edges": [1, 2], "counts": [2]},
    }


def test_with_a_tokenizer_tokens_are_counted_and_the_first_rows_decoded(files, capsys):
    """The words of so few texts are tokens of their own, as is the end token that `raw` adds."""
    shown = found(capsys, files[0], *TOKENIZER, "--render.template", "raw")
    tokens = shown["lengths"]["train"]["tokens"]
    assert {part: row["max"] for part, row in tokens.items() if part in ("prompt", "chosen", "total")} == {
        "prompt": 3.0,
        "chosen": 4.0,
        "total": 7.0,
    }
    assert shown["histograms"]["train"]["tokens"]["prompt"] == {"edges": [2, 3, 4], "counts": [1, 1]}
    first = shown["samples"][0]
    assert first["chosen"] == "one two three yes indeed<|end|>" and first["chosen_tokens"] == 6
    assert first["check"]["contents_found"] and first["check"]["template"] == "raw"


def test_the_screen_shows_a_table_per_split_and_bars(files, capsys):
    assert run(["data", files[0], "--data.valid", files[1]]) == 0
    shown = capsys.readouterr().out.splitlines()
    heads = [line.split()[0] for line in shown if "median" in line]
    assert heads == ["train,", "valid,"]
    prompt = next(line for line in shown if line.startswith("prompt, words"))
    assert prompt.split() == ["prompt,", "words", "2", "2", "3", "3", "2", "██", "4"]


def test_tokens_without_a_terminal_have_no_colour_and_no_control_characters(files, capsys):
    assert run(["data", files[0], "--tokens", *TOKENIZER, "--render.template", "raw"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b[" not in shown and r"\x1b[|2|J|[[<|end|>]]" in shown
    assert "scored at token 6 of 6: <|end|> (id 1)" in shown


@pytest.mark.parametrize("no_color", ["", "1"])
def test_tokens_are_coloured_on_a_terminal_unless_that_is_not_wanted(files, capsys, monkeypatch, no_color):
    import bradley.data.preview as module

    asked = []
    monkeypatch.setattr(module, "token_views", lambda rows, renderer, color: asked.append(color) or "")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", no_color)
    assert run(["data", files[0], "--tokens", *TOKENIZER]) == 0
    assert asked == [not no_color]


def test_tokens_need_a_tokenizer_and_a_screen(files, capsys):
    assert run(["data", files[0], "--tokens"]) == 2
    assert "--model.tokenizer" in capsys.readouterr().err
    assert run(["data", files[0], "--tokens", "--json", *TOKENIZER]) == 2
    assert "samples" in capsys.readouterr().err


def test_ties_have_no_sides(tmp_path, capsys):
    path = tmp_path / "ties.jsonl"
    row = {"prompt": "p", "completions": [{"content": "a", "score": 1}, {"content": "b", "score": 1}]}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    shown = found(capsys, str(path), "--data.equal_scores", "tie")
    assert set(shown["lengths"]["train"]["words"]) == {"prompt", "response"}
    assert set(shown["histograms"]["train"]["words"]) == {"prompt"}


def test_rows_are_shown_with_their_tools(tmp_path):
    template = tmp_path / "tools.jinja"
    body = "{% for m in messages %} {{ m.content }}{% endfor %}"
    template.write_text("{{ tools | length if tools else 'no' }} tools:" + body)
    (row,) = comparisons(1)
    renderer = Renderer(tokenizer_for([row]), Render(template=str(template), max_tokens=200), causal=True)
    shown = rendered_row(replace(row, template_args={"tools": [{"name": "depth"}]}), renderer)
    assert shown["chosen"].startswith("1 tools:") and shown["rejected"].startswith("1 tools:")
    assert rendered_row(row, renderer)["chosen"].startswith("no tools:")


def test_the_output_is_bounded_for_rows_of_any_length(tmp_path, capsys):
    path = tmp_path / "long.jsonl"
    row = {"prompt": "one two three " * 30_000, "chosen": " yes indeed", "rejected": " no"}
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    for args in (["--json"], ["--json", *TOKENIZER], ["--tokens", *TOKENIZER], []):
        assert run(["data", str(path), *args, *(["--render.template", "raw"] if TOKENIZER[0] in args else [])]) == 0
        shown = capsys.readouterr().out
        assert len(shown) < 64_000 and "yes" in shown, args
    samples = found(capsys, str(path), *TOKENIZER, "--render.template", "raw")["samples"]
    assert samples[0]["chosen"].startswith("one two three one") and samples[0]["chosen_tokens"] > 90_000
    assert samples[0]["check"]["contents_found"]
