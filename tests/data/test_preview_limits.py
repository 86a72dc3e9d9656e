"""What `bradley data` says about limits, dropped parts and the kind of text, held to the data report of a run."""

import json

import pytest

import bradley
from bradley.cli.main import run
from bradley.data.load import load_splits
from bradley.data.preview import make_renderer
from bradley.data.tokenizer import PLAIN_CHAT_TEMPLATE
from bradley.training.checks import check_push
from tests.helpers import tiny_run
from tests.training.interrupted import quick_runs

CALL = {"tool_calls": [{"type": "function", "function": {"name": "look", "arguments": {"x": 1}}}]}
LEARNED = ("--model.tokenizer", "train", "--model.vocab_size", "320")


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path_factory):
    """Runs without figures and report, which take longer than the run."""
    quick_runs(monkeypatch, tmp_path_factory.getbasetemp())


def said(text, **more):
    return {"role": "assistant", "content": text, **more}


def asked(text):
    return {"role": "user", "content": text}


def words(count, step=3):
    """Words that no vocabulary of 320 tokens joins."""
    return " ".join(chr(97 + step * k % 26) + chr(97 + 5 * k % 26) for k in range(count))


def pair(n, chosen="yes", rejected="no", **more):
    return {"prompt": [asked(f"number {n}?")], "chosen": [said(chosen)], "rejected": [said(rejected)], **more}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def shown(capsys, *args):
    assert run(["data", *args]) == 0
    return capsys.readouterr().out


def found(capsys, *args):
    return json.loads(shown(capsys, *args, "--json"))


LIMITED = [pair(n) for n in range(30)] + [pair(words(n), words(n, 7), words(5)) for n in range(30, 60)]


@pytest.mark.parametrize(
    "settings",
    [
        {"max_tokens": 60},
        {"max_tokens": 60, "over_long": "drop"},
        {"max_tokens": 48, "over_long": "truncate_response"},
        {"max_tokens": 200, "max_prompt_tokens": 20, "min_response_tokens": 4},
        {"max_tokens": 200, "min_response_tokens": 4, "over_long": "drop"},
    ],
)
def test_the_preview_counts_what_a_run_with_these_limits_counts(tmp_path, capsys, settings):
    """Both learn the same tokenizer from the same training split."""
    file = write(tmp_path / "rows.jsonl", LIMITED)
    data = {"train": file, "valid_share": 0.2, "max_rejected_share": 0.99}
    settings["over_long"] = settings.get("over_long", "truncate_prompt")
    options = [
        f"--{room}.{key}={value}"
        for room, each in (("data", data), ("render", settings))
        for key, value in each.items()
    ]
    preview = found(capsys, file, *options[1:], *LEARNED)["limits"]
    made = tiny_run(data=data, render=settings)
    if preview["valid"]["stops"]:
        with pytest.raises(bradley.DataError, match="evaluation comparison"):
            bradley.train(made, output=tmp_path / "run")
        return
    bradley.train(made, output=tmp_path / "run")
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())["splits"]
    for split in ("train", "valid"):
        for key in ("ledger", "unread", "kinds"):
            assert preview[split][key] == report[split]["tokens"][key]
    assert preview["train"]["ledger"] and preview["train"]["stops"] == []


def test_the_ledger_is_on_the_screen(tmp_path, capsys):
    file = write(tmp_path / "rows.jsonl", LIMITED)
    options = ("--render.max_tokens", "60", "--data.valid_share", "0.2", *LEARNED)
    lines = [line for line in shown(capsys, file, *options).splitlines() if line.startswith("limits ")]
    ledger = found(capsys, file, *options)["limits"]["train"]["ledger"]
    cut = ledger["prompt_truncated"]
    lost = f"{cut['tokens']:,} tokens lost"
    assert f"limits       {cut['comparisons']} train comparisons prompt_truncated, {lost}" in lines
    assert any("train comparisons response_over_limit" in line and "dropped" in line for line in lines)


def test_reasons_for_which_training_would_stop_are_on_the_screen(tmp_path, capsys):
    file = write(tmp_path / "rows.jsonl", LIMITED)
    text = shown(capsys, file, "--render.max_tokens", "60", "--data.valid_share", "0.2", *LEARNED)
    assert "train: training stops here: rendering would drop" in text
    assert "valid: training stops here: " in text and "render.max_tokens = 60" in text
    easy = shown(capsys, file, "--render.max_tokens", "500", *LEARNED)
    assert "stops here" not in easy and "limits " not in easy


def test_a_split_with_nothing_left_is_a_reason_to_stop(tmp_path, capsys):
    file = write(tmp_path / "rows.jsonl", [pair(n) for n in range(4)])
    limits = found(capsys, file, "--render.min_response_tokens", "9", *LEARNED)["limits"]
    assert limits["train"]["stops"] == ["no comparison is left after rendering: 4 short_response"]


def test_without_a_tokenizer_no_limit_is_applied_or_accepted(tmp_path, capsys):
    file = write(tmp_path / "rows.jsonl", LIMITED)
    assert "limits" not in found(capsys, file)
    assert run(["data", file, "--render.max_tokens", "60"]) == 2


def test_dropped_parts_are_counted_by_split_and_stop_a_run(tmp_path, capsys):
    rows = [pair(n, tools=[{"type": "function", "function": {"name": "look"}}]) for n in range(20)]
    for row in rows[:10]:
        row["chosen"] = [said("", **CALL)]
    rows += [pair(n) for n in range(20, 40)]
    file = write(tmp_path / "rows.jsonl", rows)
    text = shown(capsys, file, "--data.valid_share", "0.25", *LEARNED)
    limits = found(capsys, file, "--data.valid_share", "0.25", *LEARNED)["limits"]
    assert sum(limits[split]["unread"]["parts"]["tools"]["unread"] for split in limits) == 20
    assert sum(limits[split]["unread"]["parts"]["tool_calls"]["unread"] for split in limits) == 10
    for split in ("train", "valid"):
        count = limits[split]["unread"]["parts"]["tools"]["unread"]
        assert f"{split}: training stops here: tools change nothing in {count} of the {count} comparisons" in text
    settings = tiny_run(data={"train": file, "valid_share": 0.25})
    with pytest.raises(bradley.DataError, match="train: tools change nothing in"):
        bradley.train(settings, output=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    allowed = {"max_unread": {"tools": 1.0, "tool_calls": 1.0}, "max_tokens": 128}
    bradley.train(tiny_run(data={"train": file, "valid_share": 0.25}, render=allowed), output=tmp_path / "run")
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())["splits"]
    for split in ("train", "valid"):
        assert report[split]["tokens"]["unread"] == limits[split]["unread"]


def test_data_of_which_no_model_can_be_exported_are_said_before_training(tmp_path, capfd):
    rows = [{**pair(n), "prompt": f"{n} " + "tall trees " * 100} for n in range(20)]
    settings = tiny_run(data={"valid_share": 0.25})
    bradley.train(settings, train=rows, output=tmp_path / "run", progress="bar")
    assert "no model of these data can be exported: every row looked at is above a limit" in capfd.readouterr().err
    settings["hub"] = {"push": "owner/name"}
    with pytest.raises(bradley.UserError, match=r"hub\.push = owner/name, and no model of these data") as caught:
        check_push(bradley.Config(**settings), *prepared(settings, rows))
    assert "leave hub.push out" in caught.value.hint
    check_push(bradley.Config(**settings), *prepared(settings, [pair(n) for n in range(20)]))


def prepared(settings, rows):
    """The splits and the renderer of a run."""
    config = bradley.Config(**settings)
    splits = load_splits(config.data, 0, train=rows)
    return splits, make_renderer(splits.train, config.render, config.model)


def test_reasoning_cut_by_a_template_is_said(tmp_path, capsys):
    template = tmp_path / "cut.jinja"
    template.write_text(PLAIN_CHAT_TEMPLATE.replace("message['content']", "message['content'].split('</think>')[-1]"))
    file = write(tmp_path / "rows.jsonl", [pair(n, "<think>hm</think>yes") for n in range(6)])
    text = shown(capsys, file, *LEARNED, "--render.template", str(template))
    assert "unread       train: the template leaves out contents of assistant turns in 6 of 6 comparisons" in text
    assert "stops here" not in text


@pytest.mark.parametrize(
    ("rows", "kind", "words"),
    [
        ([{"prompt": "a b?", "chosen": f"yes {n}", "rejected": "no"} for n in range(4)], "text", "plain text"),
        ([pair(n) for n in range(4)], "messages", "messages"),
        (
            [{side: f"\n\nHuman: {n}?\n\nAssistant: {side}" for side in ("chosen", "rejected")} for n in range(4)],
            "messages",
            "transcripts, as messages",
        ),
        (
            [{"prompt": f"\n\nHuman: {n}?\n\nAssistant:", "chosen": " yes", "rejected": " no"} for n in range(4)],
            "messages",
            "transcripts, as messages",
        ),
        ([{"chosen_ids": [5, n + 7], "rejected_ids": [5, 6]} for n in range(4)], "ids", "token ids"),
    ],
)
def test_the_kind_of_text_is_on_one_line(tmp_path, capsys, rows, kind, words):
    file = write(tmp_path / "rows.jsonl", rows)
    assert found(capsys, file)["kinds"] == {"train": {kind: 4}}
    assert f"read as      {words} (4 comparisons)" in shown(capsys, file).splitlines()


def test_a_prompt_that_looks_like_another_transcript_is_said(tmp_path, capsys):
    rows = [{"prompt": f"User: {n}?\nAssistant:", "chosen": "yes", "rejected": "no"} for n in range(4)]
    text = shown(capsys, write(tmp_path / "rows.jsonl", rows))
    assert "read as      plain text (4 comparisons)" in text
    assert "4 prompts look like transcripts of several turns, and are read as one text" in text


def test_two_kinds_are_named_by_split(tmp_path, capsys):
    texts = [{"prompt": "a b?", "chosen": f"yes {n}", "rejected": "no"} for n in range(4)]
    train, valid = write(tmp_path / "a.jsonl", texts), write(tmp_path / "b.jsonl", [pair(n) for n in range(3)])
    (line,) = [line for line in shown(capsys, train, "--data.valid", valid).splitlines() if line.startswith("read as")]
    assert line.startswith("read as      train plain text (4), valid messages (3): with raw")


def test_texts_glued_by_raw_are_said(tmp_path, capsys):
    file = write(tmp_path / "a.jsonl", [{"prompt": "a b?", "chosen": f"yes {n}", "rejected": "no"} for n in range(4)])
    assert "4 train comparisons glued" in shown(capsys, file, *LEARNED, "--render.template", "raw")
    assert "comparisons glued" not in shown(capsys, file, *LEARNED)


@pytest.mark.parametrize(
    ("answer", "empty"),
    [
        (said("", **CALL), 0),
        ({"role": "assistant", **CALL}, 0),
        (said("", reasoning_content="clouds"), 0),
        (said(" \n", thinking="clouds"), 0),
        (said(""), 1),
        (said("", name="Ann"), 1),
        (said("", reasoning_content=" "), 1),
    ],
)
def test_a_call_or_reasoning_alone_is_no_empty_response(answer, empty):
    rows = [{"prompt": [asked("Hi")], "chosen": [answer], "rejected": [said("no")]}]
    report = load_splits(bradley.Data(valid_share=0.0), 0, train=rows).report
    assert report["splits"]["train"]["findings"]["empty"]["count"] == empty
