"""Flat arrays about comparisons, read by policies and samples: 120 bytes for a pair, for texts of any length.

Texts are compared by 64-bit hashes. Among ten million different texts, two share a hash with a probability of 3e-6.

Legend: G comparisons, R responses, J judgments.
"""

import hashlib
import json
import re
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..records import Comparison, Message, prompt_key
from .formats.base import shared
from .formats.names import names_judge

Array = np.ndarray
BIDIRECTIONAL = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")
"""Marks and controls of Unicode's bidirectional algorithm. Text with such a mark is shown in another order than stored.
"""
HASHES = ("topic", "prompt", "alike", "near_prompt", "near", "response", "judge", "own")
"""Columns of hashes."""
KEY = re.compile("[0-9a-f]{16}")
SAID = ("tool_calls", "reasoning_content", "reasoning", "thinking", "tool_plan")
"""Keys of a turn that say something in place of content."""
# ASCII alone: bytes above 127 are fragments of other characters, and cannot be judged byte by byte.
NO_WORD = bytes(byte for byte in range(128) if not chr(byte).isalnum())


@dataclass(frozen=True)
class Columns:
    """Comparisons as arrays.

    Attributes:
        topic: [G] uint64, `topic` of the comparison.
        prompt: [G] uint64, the prompt's key combined with the arguments of the chat template.
        alike: [G] uint64, equal for comparisons allowed to merge: same topic, roles of the prompt and template
            arguments.
        near_prompt, near: [G] uint64, hash of the words of the prompt; hash of the words of the prompt and all
            responses. Case, blanks and punctuation do not count.
        source, part: [G] int64, number of the source named by the row, and of the part named by the settings.
        judge, own: [G] uint64, hash of the annotator named by the row, and of the row's own id; 0 for none.
        blank, marked: [G] bool, True if a response has neither content nor a call; True if a text holds bidirectional
            marks.
        first_response, first_judgment: [G + 1] offsets.
        response: [R] uint64, hash of the response's messages.
        better, worse: [J] places in `response`.
        probability, weight: [J] float64.
        sources: names of the sources, by number.
    """

    topic: Array
    prompt: Array
    alike: Array
    near_prompt: Array
    near: Array
    source: Array
    part: Array
    judge: Array
    own: Array
    blank: Array
    marked: Array
    first_response: Array
    first_judgment: Array
    response: Array
    better: Array
    worse: Array
    probability: Array
    weight: Array
    sources: list[str]

    def of_judgments(self, values: Array) -> Array:
        """Repeat `values` [G] for each judgment of a comparison: [J]."""
        return np.repeat(values, np.diff(self.first_judgment))


class ColumnsBuilder:
    """Builder of `Columns`, fed comparison by comparison."""

    def __init__(self) -> None:
        # Arrays of 8 bytes a number: lists of Python integers would take several times the memory for a million rows.
        self.hashes = {name: array("Q") for name in HASHES}
        self.numbers = {name: array("q") for name in ("source", "part", "better", "worse")}
        self.flags = {name: array("b") for name in ("blank", "marked")}
        self.probability, self.weight = array("d"), array("d")
        self.first_response, self.first_judgment = array("q", [0]), array("q", [0])
        self.sources: dict[str, int] = {}

    def add(self, comparison: Comparison, part: int, own: str = "") -> None:
        """Append a comparison from part number `part` of its split; `own` is the id that the row came with."""
        texts = [response.messages for response in comparison.responses]
        key, about = comparison.prompt_key, topic(comparison)
        number = number_of(key)
        # Nearly every prompt asks something, and is its own topic.
        topic_number = number if about == key else number_of(about)
        roles = [message.role for message in comparison.prompt]
        args = repr(sorted(comparison.template_args.items())) if comparison.template_args else "[]"
        asked, *words = [_words(turns) for turns in (comparison.prompt, *texts)]
        hashes = self.hashes
        hashes["topic"].append(topic_number)
        hashes["prompt"].append(number ^ hash64(args.encode()) if comparison.template_args else number)
        hashes["alike"].append(hash64(f"{topic_number} {roles} {args}".encode()))
        # Without words in the prompt, the responses stand in for it: otherwise all such comparisons would count as
        # having the same prompt.
        hashes["near_prompt"].append(hash64(asked or b"\x1e".join(sorted([asked, *words]))))
        # Sorted and counted once: order and repetition of responses are no difference.
        hashes["near"].append(hash64(b"\x1e".join([asked, *sorted(set(words))])))
        hashes["judge"].append(_judge(comparison.tags) if comparison.tags else 0)
        hashes["own"].append(hash64(own.encode("utf-8", "surrogatepass")) if own else 0)
        hashes["response"].extend([text_hash(turns) for turns in texts])
        self._add_facts(comparison, part, texts)

    def _add_facts(self, comparison: Comparison, part: int, texts: list[tuple[Message, ...]]) -> None:
        """Append everything but the hashes."""
        numbers, flags = self.numbers, self.flags
        numbers["source"].append(self.sources.setdefault(comparison.source, len(self.sources)))
        numbers["part"].append(part)
        blank = marked = False
        # Plain loops: generators inside `any` take twice the time, for every row of a file.
        for turns in texts:
            blank = blank or _says_nothing(turns[-1])
        for turns in (comparison.prompt, *texts):
            for turn in turns:
                # The test for ASCII is far cheaper than the search, and no mark is ASCII.
                if not turn.content.isascii() and BIDIRECTIONAL.search(turn.content):
                    marked = True
        flags["blank"].append(blank)
        flags["marked"].append(marked)
        start = self.first_response[-1]
        for judgment in comparison.judgments:
            numbers["better"].append(start + judgment.better)
            numbers["worse"].append(start + judgment.worse)
            self.probability.append(judgment.probability)
            self.weight.append(judgment.weight)
        self.first_response.append(start + len(texts))
        self.first_judgment.append(len(self.probability))

    def columns(self) -> Columns:
        """Return everything added until now as arrays."""
        parts: dict[str, Any] = {name: np.array(values, dtype=np.uint64) for name, values in self.hashes.items()}
        parts |= {name: np.array(values, dtype=np.int64) for name, values in self.numbers.items()}
        parts |= {name: np.array(values, dtype=bool) for name, values in self.flags.items()}
        return Columns(
            **parts,
            first_response=np.array(self.first_response, dtype=np.int64),
            first_judgment=np.array(self.first_judgment, dtype=np.int64),
            probability=np.array(self.probability, dtype=np.float64),
            weight=np.array(self.weight, dtype=np.float64),
            sources=list(self.sources),
        )


def topic(comparison: Comparison) -> str:
    """Return the key of comparisons kept together: the prompt's key, or a key of the responses without a prompt.

    Comparisons with the same topic go to one side of a split, and the same topic in training and evaluation is a leak.
    A prompt of blank and system turns alone asks nothing, and counts as absent. If all responses then begin with the
    same question of the user, these turns are the prompt; otherwise only the same responses make the same topic.
    """
    # All blank prompts have one key, and one system turn may stand before every question of a data set: keyed by
    # either, all such comparisons would move between splits as a block.
    if _asks(comparison.prompt):
        return comparison.prompt_key
    first, *others = (response.messages for response in comparison.responses)
    # The last turn is the judged one, even if all responses share it.
    begin = first[: min(shared(first[:-1], other[:-1]) for other in others or [first])]
    if _asks(begin):
        return prompt_key((*(turn for turn in comparison.prompt if turn.content.strip()), *begin))
    texts = sorted(repr([(m.role, m.content) for m in response.messages]) for response in comparison.responses)
    return hashlib.sha256("\x1e".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def is_blank(text: str) -> bool:
    """Return True for a text of nothing but white space."""
    # `strip` would copy the text.
    return not text or text.isspace()


def _asks(turns: Iterable[Message]) -> bool:
    """Return True if a turn other than the system's has text."""
    # A plain loop: a generator inside `any` takes twice the time, for every row of a file.
    for turn in turns:  # noqa: SIM110
        if turn.role != "system" and not is_blank(turn.content):
            return True
    return False


def number_of(key: str) -> int:
    """Return the number spelled by a key of 16 hex digits; hash any other key."""
    # `surrogatepass`: JSON may hold lone surrogates, on which plain UTF-8 raises an error.
    return int(key, 16) if KEY.fullmatch(key) else hash64(key.encode("utf-8", "surrogatepass"))


def hash64(text: bytes) -> int:
    """Hash bytes to 64 bits (BLAKE2b)."""
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def text_hash(turns: Iterable[Message]) -> int:
    """Hash messages to 64 bits: equal hashes mean equal roles, contents and extras, to the byte."""
    # Separators that text rarely holds keep ["ab", "c"] and ["a", "bc"] apart.
    text = "\x1e".join([f"{turn.role}\x1f{turn.content}\x1f{turn.extra}" for turn in turns])
    return hash64(text.encode("utf-8", "surrogatepass"))


def mixed(*columns: Array) -> Array:
    """Hash tuples given as columns of uint64 of the same shape: SplitMix64 of each column in turn.

    The order of the columns counts.
    """
    state = np.zeros(columns[0].shape, dtype=np.uint64)
    for column in columns:
        state = _scattered(state ^ column.astype(np.uint64))
    return state


def _scattered(values: Array) -> Array:
    """Finalise SplitMix64 (Steele, Lea and Flood, 2014), with the wraparound of unsigned integers."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))


def _judge(tags: Mapping[str, str]) -> int:
    """Hash the annotator named by the tags of a row; 0 for none."""
    named = [f"{key}\x1f{tags[key]}" for key in sorted(tags) if names_judge(key)]
    return hash64("\x1e".join(named).encode("utf-8", "surrogatepass")) if named else 0


def _words(turns: Iterable[Message]) -> bytes:
    """Return the letters and digits of all turns except the system's, without the markers of a transcript."""
    contents = [turn.content for turn in turns if turn.role != "system"]
    text = contents[0] if len(contents) == 1 else " ".join(contents)
    if "\n\n" in text:
        for marker in ("\n\nHuman:", "\n\nAssistant:"):
            text = text.replace(marker, " ")
    return text.casefold().encode("utf-8", "surrogatepass").translate(None, NO_WORD)


def _says_nothing(message: Message) -> bool:
    """Return True for a turn without content, tool call or reasoning."""
    if not is_blank(message.content):
        return False
    extra = json.loads(message.extra) if message.extra else {}
    return not any(value.strip() if isinstance(value, str) else value for key, value in extra.items() if key in SAID)
