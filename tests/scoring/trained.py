"""Runs of a few steps on rows of each kind, over generated conversations, for tests that ask for the scores again."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

import bradley
from tests.helpers import LLAMA, comparisons, tiny_run, tokenizer_for

CHAT = (
    "{% if tools %}<|system|>{{ tools | tojson }}<|end|>{% endif %}{% if terse %}(terse){% endif %}"
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' }}"
    "{% if message.reasoning_content %}({{ message.reasoning_content }}){% endif %}{{ message['content'] }}"
    "{% if message.tool_calls %}{{ message.tool_calls | tojson }}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Chat template that writes tools, an argument, calls and reasoning."""
PIECES = [
    "the river",
    " runs",
    "\n",
    "\n\n",
    "  ",
    "naïve",
    "你好。",
    "👍🏽",
    "def f(x):\n\treturn x",
    "1 + 1 = 2",
    "“so”",
    ".",
]
TOKENIZER = tokenizer_for(comparisons(20))
Row = dict[str, Any]


class Kind(NamedTuple):
    """Rows of one kind, with the template of their training.

    Attributes:
        make: row of a kind by number, from a prompt and two responses.
        template: value of `render.template`, or `chat` for `CHAT`.
        render: further settings of `render`.
    """

    make: Any
    template: str
    render: Mapping[str, str] = MappingProxyType({})


def text(number: int, prompt: str, responses: list[str]) -> Row:
    return {"prompt": prompt, "chosen": responses[0], "rejected": responses[1]}


def messages(number: int, prompt: str, responses: list[str]) -> Row:
    """A conversation of one turn, of three turns, or with a system turn."""
    asked = [{"role": "user", "content": prompt}]
    if number % 3 == 1:
        asked = [asked[0], {"role": "assistant", "content": "Yes."}, {"role": "user", "content": f"And {number}?"}]
    if number % 3 == 2:
        asked.insert(0, {"role": "system", "content": "Be brief."})
    sides = [[{"role": "assistant", "content": response}] for response in responses]
    return {"prompt": asked, "chosen": sides[0], "rejected": sides[1]}


def tools(number: int, prompt: str, responses: list[str]) -> Row:
    """A conversation with tools, a call, reasoning, and an argument of the template."""
    row = messages(number, prompt, responses)
    call = {"type": "function", "function": {"name": "add", "arguments": {"n": number}}}
    row["prompt"] += [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": f"result {number}"},
    ]
    for side in (row["chosen"], row["rejected"]):
        side[0]["reasoning_content"] = f"thought {number}"
    schema = {"type": "function", "function": {"name": "add", "description": "adds", "parameters": {}}}
    return {**row, "tools": [schema], "chat_template_kwargs": {"terse": bool(number % 2)}}


def ids(number: int, prompt: str, responses: list[str]) -> Row:
    encoded = [TOKENIZER(part, add_special_tokens=False)["input_ids"] for part in (prompt, *responses)]
    return {"prompt_ids": encoded[0], "chosen_ids": encoded[1], "rejected_ids": encoded[2]}


KINDS = {
    "text": Kind(text, "raw"),
    "text in a chat template": Kind(text, "chat"),
    "messages": Kind(messages, "raw", {"system_prompt": "Be kind."}),
    "messages in a chat template": Kind(messages, "chat"),
    "tools": Kind(tools, "chat"),
    "ids": Kind(ids, "raw"),
}


class Trained(NamedTuple):
    """A finished run.

    Attributes:
        kind: name of the kind of its rows.
        run: the run.
        rows: rows of the validation set.
        scores: scores of both responses of each row in training, chosen first.
        whole: True for each response scored without a cut.
    """

    kind: str
    run: bradley.Run
    rows: list[Row]
    scores: list[float]
    whole: list[bool]

    @property
    def model(self) -> Path:
        return self.run.model


def generated(kind: Kind, count: int, seed: int) -> list[Row]:
    """Rows of generated texts, all different."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        words = ["".join(rng.choice(PIECES, int(rng.integers(1, 6)))) for _ in range(3)]
        rows.append(kind.make(number, f"{number} {words[0]}?", [f"{words[1]} good{number}", f"{words[2]} bad"]))
    return rows


def trained(place: Path, name: str, **limits: Any) -> Trained:
    """Train on generated rows of a kind, and read the scores of the validation rows.

    Args:
        limits: settings of `render` about lengths.
    """
    kind = KINDS[name]
    (place / "chat.jinja").write_text(CHAT)
    TOKENIZER.save_pretrained(place / "tokenizer")
    template = str(place / "chat.jinja") if kind.template == "chat" else kind.template
    settings = tiny_run(
        model={"config": LLAMA, "tokenizer": str(place / "tokenizer"), "vocab_size": 4096},
        render={"max_tokens": 400, "template": template, **kind.render, **limits},
        optim={"lr": 1e-2},
        train={"max_steps": 2, "micro_batch_tokens": 4096},
        log={"samples": 0},
    )
    del settings["model"]["vocab_size"]
    rows = generated(kind, 40, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRADLEY_CACHE", str(place / "cache"))
        patch.setattr("bradley.training.run.write_pages", lambda folder, console: None)
        run = bradley.train(settings, train=rows[:24], valid=rows[24:], output=place / "run")
    found = list(run.rows())
    whole = [not cut for row in found for cut in row.truncated]
    return Trained(name, run, rows[24:], [score for row in found for score in row.scores], whole)


def singles(rows: list[Row]) -> Iterator[Row]:
    """Rows of a single response, as `bradley score` and `RewardModel.score` take them."""
    for row in rows:
        for side in ("chosen", "rejected"):
            also = {key: row[key] for key in ("tools", "chat_template_kwargs") if key in row}
            if "chosen_ids" in row:
                yield {"prompt_ids": row["prompt_ids"], "response_ids": row[f"{side}_ids"]}
            else:
                yield {"prompt": row["prompt"], "response": row[side], **also}


def write(path: Path, rows: list[Row]) -> Path:
    """Rows as a .jsonl file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
