"""Rows as a user has them, and the text that a model would read of them, by `bradley data`."""

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .conftest import Commands, Ended

TEMPLATES = Path(__file__).parents[1] / "data" / "templates"
OPEN = "{% if add_generation_prompt %}{{'<|im_start|>assistant\n'}}{% endif %}"
CHAT = "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n'}}{% endfor %}" + OPEN
"""ChatML, as many base models have it: tools, calls, reasoning and arguments are not written."""
FULL = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% if mood is defined %}[mood {{ mood }}]{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for call in m.tool_calls or [] %}"
    "{{ call.function | tojson }}{% endfor %}<|im_end|>\n{% endfor %}" + OPEN
)
"""A template that writes tools, calls and the argument `mood`."""
OWN: dict[str, Any] = {"model__vocab_size": None, "data__synthetic__comparisons": None}
"""Settings that a run on a file with a tokenizer of its own leaves out."""
TOKENIZER = ["--model.tokenizer", "./tok"]
PAIR = {"prompt": "Which number?", "chosen": "Seven of them.", "rejected": "Nine of them."}


def turn(content: str, role: str = "assistant", **fields: Any) -> dict[str, Any]:
    """Make a message."""
    return {"role": role, "content": content, **fields}


def call(name: str = "weather", **arguments: Any) -> dict[str, Any]:
    """Make a call of a tool."""
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name: str = "weather", **parameters: Any) -> dict[str, Any]:
    """Make the description of a tool."""
    properties = {"type": "object", "properties": parameters or {"city": {"type": "string"}}}
    return {"type": "function", "function": {"name": name, "description": "Looks up.", "parameters": properties}}


def with_call(number: int, **fields: Any) -> dict[str, Any]:
    """Make a row of which the better answer is a call of a tool."""
    chosen = turn("", tool_calls=[call(city=f"Rome {number}")])
    prompt = [turn(f"Is it raining? {number}", "user")]
    return {"prompt": prompt, "chosen": [chosen], "rejected": [turn(f"No {number}.")], "tools": [tool()], **fields}


def numbered(row: dict[str, Any], count: int = 30) -> list[dict[str, Any]]:
    """Make rows that differ in the number of their texts."""
    return [json.loads(json.dumps(row).replace("{n}", str(n))) for n in range(1, count + 1)]


def write(path: Path | str, rows: Iterable[Any]) -> Path:
    """Write JSON lines."""
    path = Path(path)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tokenizer(template: Any = CHAT, folder: str = "tok") -> None:
    """Save a byte-level tokenizer with chat templates in the current folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<pad>", "<s>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, show_progress=False, special_tokens=special, initial_alphabet=alphabet
    )
    made.train_from_iterator(["question yes it is no"] * 9, trainer)
    saved = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="<|im_end|>", pad_token="<pad>")
    saved.chat_template = template
    saved.save_pretrained(folder)


class Shown(NamedTuple):
    """Preview of a file: the end of the command, and the first rows as a model would read both sides."""

    ended: Ended
    sides: list[tuple[str, str]]
    train: dict[str, Any]

    def texts(self) -> list[str]:
        """Return the text of every side."""
        return [text for side in self.sides for text in side]


def show(bradley: Commands, source: Path | str, *options: object) -> Shown:
    """Preview a source; an error gives no rows."""
    ended = bradley("data", source, *options, "--json")
    assert "Traceback" not in ended.err, ended.err
    if ended.code:
        return Shown(bradley("data", source, *options), [], {})
    found = json.loads(ended.out)
    shown = found.get("samples") or found["rows"]
    sides = [(row["chosen"], row["rejected"]) for row in shown]
    return Shown(ended, sides, found["report"]["splits"]["train"])


def printed(bradley: Commands, source: Path | str, *options: object) -> str:
    """Preview a source on the screen, and return the lines with single blanks."""
    ended = bradley("data", source, *options)
    assert ended.code == 0, ended
    return re.sub(r"\s+", " ", ended.out)


def hinted(ended: Ended) -> list[str]:
    """Return the options that the hint of an error says to type; of several ways, the first."""
    (hint,) = ended.lines("hint")
    found = re.findall(r"--data\.[\w.]+ [^\s;,]+", hint.partition("; or")[0])
    return shlex.split(" ".join(found))


def followed(bradley: Commands, source: Path | str, *options: object) -> Shown:
    """Preview a source; after an error, type what its hint says, once."""
    shown = show(bradley, source, *options)
    if shown.ended.code and (more := hinted(shown.ended)):
        return show(bradley, source, *options, *more)
    return shown


def holds(texts: Sequence[str], parts: Iterable[str]) -> bool:
    """Tell if every text holds every part."""
    return bool(texts) and all(part in text for text in texts for part in parts)
