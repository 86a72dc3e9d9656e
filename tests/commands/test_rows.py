"""From a row to what the model reads, by whole commands: every part of a row stands in the text, or is named."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bradley import Data, load_splits

from .conftest import Commands
from .rows import (
    CHAT,
    FULL,
    OWN,
    PAIR,
    TEMPLATES,
    TOKENIZER,
    followed,
    hinted,
    holds,
    numbered,
    printed,
    show,
    tokenizer,
    tool,
    turn,
    with_call,
    write,
)

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.transformers]
SIDES = {"chosen": "Seven it is, {n}.", "rejected": "Nine it is, {n}."}


PARTS: dict[str, dict[str, Any]] = {
    "system and prompt": {"system": "Be a pirate.", "prompt": "What is 1 + {n}?"},
    "system and question": {"system": "Be a pirate.", "question": "What is 1 + {n}?"},
    "instruction and input": {"instruction": "Translate to French.", "input": "The number is {n}."},
    "instruction, input and history": {
        "instruction": "Translate to French.", "input": "The number is {n}.", "history": [["Who are you?", "A model."]],
    },
    "context and question": {"context": "The sky is blue above {n}.", "question": "Which colour has it?"},
}  # fmt: skip


def leaves(value: Any) -> list[str]:
    """Return every text inside a value."""
    return [value] if isinstance(value, str) else [text for inner in value for text in leaves(inner)]


@pytest.mark.parametrize("row", PARTS.values(), ids=PARTS)
def test_every_part_of_a_prompt_is_read(reader: Commands, row: dict[str, Any]) -> None:
    rows = numbered({**row, **SIDES})
    shown = followed(reader, write("a.jsonl", rows))
    assert shown.ended.code == 0, shown.ended
    assert shown.train["prompts"] == 30
    for given, (chosen, rejected) in zip(rows, shown.sides, strict=False):
        parts = [text for key in row for text in leaves(given[key])]
        assert holds([chosen, rejected], parts), (chosen, parts)
        assert given["chosen"] in chosen and given["rejected"] in rejected


UNREAD: dict[str, dict[str, Any]] = {
    "images": {"images": ["cat.png"], "prompt": "<image> What is it? {n}"},
    "tutor": {"tutor_notes": "A long passage of notes that no format reads, about the question {n}. " * 3},
    "earlier": {"earlier": [turn("Who are you?", "user"), turn("A model.")]},
}


@pytest.mark.parametrize("row", UNREAD.values(), ids=UNREAD)
def test_a_part_that_is_not_read_is_named(reader: Commands, row: dict[str, Any]) -> None:
    name = next(iter(row))
    rows = write("a.jsonl", numbered({"prompt": "Which is it? {n}", **row, **SIDES}))
    error = reader.refused(3, "data", rows, says=name)
    assert "not be read" in error
    assert hinted(reader("data", rows)) == ["--data.ignore", name]
    assert reader("data", rows, "--data.ignore", name).code == 0


def spoken(reader: Commands, rows: list[dict[str, Any]], template: str, *options: str) -> str:
    """Preview rows with a chat template."""
    tokenizer(template)
    return printed(reader, write("a.jsonl", rows), *TOKENIZER, *options)


PHI = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}" + CHAT.partition("{% endfor %}")[2]
)
NAMES = {"ChatML": CHAT, "Phi-3": PHI, "Llama 3": "llama3.jinja", "Gemma": "gemma.jinja", "Zephyr": "zephyr.jinja"}


def template(name: str) -> str:
    """Return a chat template by the name of its family."""
    text = NAMES[name]
    return (TEMPLATES / text).read_text() if text.endswith(".jinja") else text


@pytest.mark.parametrize("name", NAMES)
def test_tools_and_calls_that_the_template_drops_stop_the_run(reader: Commands, name: str) -> None:
    screen = spoken(reader, [with_call(n) for n in range(8)], template(name))
    for part in ("tools", "tool_calls"):
        assert f"{part} change nothing in 8 of the 8 comparisons with them" in screen
    assert "training stops here: tool_calls change nothing" in screen
    assert "empty" not in screen


def test_calls_that_the_template_drops_end_training(reader: Commands) -> None:
    write("a.jsonl", [with_call(n) for n in range(40)])
    tokenizer(CHAT)
    config = reader.settings(data__train="a.jsonl", model__tokenizer="./tok", **OWN)
    error = reader.refused(3, "train", config, "--output", "run", "--quiet", says="tool")
    assert "change nothing" in error


def test_the_plain_template_of_an_own_tokenizer_drops_calls(reader: Commands) -> None:
    rows = write("a.jsonl", [with_call(n) for n in range(8)])
    screen = printed(reader, rows, "--model.tokenizer", "train", "--model.vocab_size", "320")
    assert "tool_calls change nothing in 8 of the 8 comparisons with them" in screen


@pytest.mark.parametrize("name", ["ChatML", "Gemma"])
def test_reasoning_that_the_template_drops_is_counted(reader: Commands, name: str) -> None:
    chosen = [turn("Seven.", reasoning_content="Count them one by one.")]
    rows = [
        {"prompt": [turn(f"How many? {n}", "user")], "chosen": chosen, "rejected": [turn("Nine.")]} for n in range(8)
    ]
    screen = spoken(reader, rows, template(name))
    assert re.search("reasoning changes? nothing in 8 of the 8", screen)


def test_an_argument_of_a_row_that_the_template_drops_is_counted(reader: Commands) -> None:
    rows = numbered({**PAIR, "prompt": "Which? {n}", "chat_template_kwargs": {"enable_thinking": False}}, 8)
    for row in rows:
        row |= {side: [turn(row[side])] for side in ("chosen", "rejected")} | {"prompt": [turn(row["prompt"], "user")]}
    screen = spoken(reader, rows, CHAT)
    assert "enable_thinking" in screen and "in 8 of the 8" in screen


def test_words_that_a_template_cuts_are_counted(reader: Commands) -> None:
    cut = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    )
    chosen = [turn("<think>Count them one by one.</think>Seven.")]
    rows = [
        {"prompt": [turn(f"How many? {n}", "user")], "chosen": chosen, "rejected": [turn("Nine.")]} for n in range(8)
    ]
    screen = spoken(reader, rows, cut + CHAT.partition("{% endfor %}")[2])
    assert "leaves out contents of assistant turns in 8 of 8 comparisons" in screen


EMPTY: dict[str, Any] = {"list": [], "text": "", "blank": "  ", "null": None}


@pytest.mark.parametrize("prompt", EMPTY.values(), ids=EMPTY)
def test_an_empty_prompt_is_no_prompt_and_no_question_leaks(reader: Commands, prompt: Any) -> None:
    rows = [
        {"prompt": prompt, **{side: [turn(f"question {n}?", "user"), turn(f"{side} {n} {k}")] for side in SIDES}}
        for n in range(50)
        for k in range(4)
    ]
    path = write("a.jsonl", rows)
    splits = load_splits(Data(train=str(path), valid_share=0.2), 0)
    train, valid = ({turns(comparison)[0] for comparison in found} for found in (splits.train, splits.evals["valid"]))
    assert train | valid == {f"question {n}?" for n in range(50)} and not train & valid and valid
    assert show(reader, path).train["prompts"] == 50


def turns(comparison: Any) -> list[str]:
    """Return the contents of the turns of a comparison's first conversation."""
    return [message.content for message in (*comparison.prompt, *comparison.responses[0].messages)]


TEXTS: dict[str, dict[str, Any]] = {
    "messages as JSON": {side: json.dumps([turn("question {n}?", "user"), turn(text)]) for side, text in SIDES.items()},
    "messages as a repr": {side: str([turn("question {n}?", "user"), turn(text)]) for side, text in SIDES.items()},
    "an object of messages and tools": {
        side: json.dumps({"messages": [turn("question {n}?", "user"), turn(text)], "tools": []})
        for side, text in SIDES.items()
    },
    "a prompt in a list": {"prompt": json.dumps(["question {n}?"]), **SIDES},
    "a prompt of messages": {
        "prompt": json.dumps([turn("question {n}?", "user")]),
        **{side: json.dumps([turn(text)]) for side, text in SIDES.items()},
    },
}


@pytest.mark.parametrize("container", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize("row", TEXTS.values(), ids=TEXTS)
def test_messages_in_a_text_are_read_as_messages_or_refused(
    reader: Commands, row: dict[str, Any], container: str
) -> None:
    rows = [{key: text.replace("{n}", str(n)) for key, text in row.items()} for n in range(8)]
    if container == "a.parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), container)
    else:
        write(container, rows)
    shown = show(reader, container)
    if shown.ended.code:
        assert shown.ended.code == 3 and "message" in shown.ended.lines("error")[0]
        return
    for text in shown.texts():
        assert "question" in text and "it is" in text and not set("[]{}") & set(text), text


@pytest.mark.parametrize("library", ["datasets", "pandas"])
def test_messages_in_a_csv_of_other_libraries_are_read(reader: Commands, library: str) -> None:
    sides = [{side: [turn(f'it\'s "{n}"?', "user"), turn(f"{side} {n}")] for side in SIDES} for n in range(8)]
    if library == "datasets":
        from datasets import Dataset

        Dataset.from_list(sides).to_csv("a.csv")
    else:
        import pandas

        pandas.DataFrame(sides).to_csv("a.csv", index=False)
    shown = show(reader, "a.csv")
    assert shown.ended.code == 0, shown.ended
    assert shown.sides[0] == ('user: it\'s "0"?\nassistant: chosen 0', 'user: it\'s "0"?\nassistant: rejected 0')


NAMED = {"default": CHAT, "tool_use": FULL.replace("{% if tools %}", "{% if tools %}<tools>")}


@pytest.mark.parametrize("place", ["a folder", "the config"])
def test_rows_with_tools_get_the_template_for_tools(reader: Commands, place: str) -> None:
    tokenizer(NAMED)
    assert Path("tok/additional_chat_templates/tool_use.jinja").exists()
    if place == "the config":
        for path in ("tok/additional_chat_templates/tool_use.jinja", "tok/chat_template.jinja"):
            Path(path).unlink()
        config = json.loads(Path("tok/tokenizer_config.json").read_text())
        config["chat_template"] = [{"name": name, "template": text} for name, text in NAMED.items()]
        Path("tok/tokenizer_config.json").write_text(json.dumps(config))
    shown = show(reader, write("a.jsonl", [with_call(n) for n in range(8)]), *TOKENIZER)
    assert holds(shown.texts(), ["<tools>", "Looks up."])
    assert '"Rome 0"' in shown.sides[0][0]


def test_training_and_scores_use_the_template_for_tools(reader: Commands) -> None:
    tokenizer(NAMED)
    write("a.jsonl", [with_call(n) for n in range(40)])
    config = reader.settings(data__train="a.jsonl", model__tokenizer="./tok", render__max_tokens=400, **OWN)
    ended = reader("train", config, "--output", "run", "--quiet")
    assert ended.code == 0, ended
    samples = (reader.folder / "run/samples.json").read_text()
    assert "<tools>" in samples and "Rome" in samples
    row = {"prompt": [turn("Is it raining?", "user")], "response": [turn("No.")]}
    write("in.jsonl", [row, {**row, "tools": [tool()]}, {**row, "tools": [tool("stocks")]}])
    assert reader("score", "--quiet", "run/model", "in.jsonl", "-o", "out.jsonl").code == 0
    scored = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert len({one["score"] for one in scored}) == 3


CALLS: dict[str, dict[str, Any]] = {
    "empty content": turn("", tool_calls=[call_ := {"type": "function", "function": {"name": "f", "arguments": {}}}]),
    "null content": {"role": "assistant", "content": None, "tool_calls": [call_]},
    "no content": {"role": "assistant", "tool_calls": [call_]},
    "reasoning alone": turn("", reasoning_content="Count them one by one."),
}


@pytest.mark.parametrize("chosen", CALLS.values(), ids=CALLS)
def test_a_call_is_no_empty_response(reader: Commands, chosen: dict[str, Any]) -> None:
    rows = [
        {"prompt": [turn(f"question {n}?", "user")], "chosen": [chosen], "rejected": [turn(f"No {n}.")]}
        for n in range(8)
    ]
    shown = show(reader, write("a.jsonl", rows), "--data.empty", "drop")
    assert shown.ended.code == 0, shown.ended
    assert shown.train["findings"]["empty"]["count"] == 0 and shown.train["comparisons"] == 8


ANSWERS = {"response_a": "Put it on a shelf, {n}.", "response_b": "Nobody can really say, {n}."}


@pytest.mark.parametrize(
    ("labels", "more"),
    [
        (("a", "b"), {}),
        (("response_a", "response_b"), {}),
        (("gpt-4", "llama"), {"model_a": "gpt-4", "model_b": "llama"}),
        (("A", "B"), {}),
    ],
)
def test_labels_under_the_names_of_answers_are_no_answers(
    reader: Commands, labels: tuple[str, str], more: dict[str, str]
) -> None:
    rows = numbered({"prompt": "Where? {n}", **ANSWERS, **more}, 8)
    for number, row in enumerate(rows):
        row["chosen"], row["rejected"] = labels if number % 2 else labels[::-1]
    path = write("a.jsonl", rows)
    error = reader.refused(3, "data", path, says="chosen")
    assert "label" in error or "names" in error
    for number, (chosen, rejected) in enumerate(followed(reader, path).sides):
        better, worse = ("shelf", "Nobody") if number % 2 else ("Nobody", "shelf")
        assert better in chosen and worse in rejected


def test_a_transcript_as_prompt_becomes_turns(reader: Commands) -> None:
    tokenizer(CHAT)
    prompt = "\n\nHuman: hi {n}\n\nAssistant: Hello.\n\nHuman: And then?\n\nAssistant:"
    rows = numbered({"prompt": prompt, "chosen": " This.", "rejected": " That."}, 8)
    shown = show(reader, write("a.jsonl", rows), *TOKENIZER)
    asked = ("user", "hi 1"), ("assistant", "Hello."), ("user", "And then?")
    for text, answer in zip(shown.sides[0], ("This.", "That."), strict=True):
        turns = [*asked, ("assistant", answer)]
        assert text == "".join(f"<|im_start|>{role}\n{said}<|im_end|>\n" for role, said in turns)


@pytest.mark.parametrize(
    "prompt",
    [
        "User: hi {n}\nAssistant: Hello.\nUser: And then?\nAssistant:",
        "### Instruction:\nhi {n}\n\n### Response:\n",
        "Human: hi {n}\nAI:",
        "<|user|>\nhi {n}\n<|assistant|>\n",
        "<s>[INST] hi {n} [/INST]",
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nhi {n}<|im_end|>\n<|im_start|>assistant\n",
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi {n}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        "<bos><start_of_turn>user\nhi {n}<end_of_turn>\n<start_of_turn>model\n",
    ],
)
def test_another_transcript_as_prompt_is_said(reader: Commands, prompt: str) -> None:
    rows = numbered({"prompt": prompt, "chosen": " This.", "rejected": " That."}, 8)
    assert "8 prompts look like transcripts" in printed(reader, write("a.jsonl", rows))
