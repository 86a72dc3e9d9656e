"""Parts shared by the row layouts of benchmarks."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ....records import Comparison, Judgment, Message, Rejected, Response
from ....records import replaced as replace
from ... import rows as fields
from ...rows import Row, RowFault, RowPlace, keys_of, on_one_line, quoted
from ..base import comparison, texts_as_turns
from ..pairs import convert_preference

TAG = "benchmark"
"""Tag of every comparison of a benchmark: the name of the suite."""
SPEAKERS = ("system", "user", "assistant")
MESSAGES = 'a list of {"role": ..., "content": ...}'
PAIR = ("prompt", "chosen", "rejected", "subset")
"""Fields of a pair of messages with a subset, the form in which small benchmarks are passed on."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Row layout of a benchmark, as the authors publish the rows.

    Attributes:
        name: name of the suite.
        title: name in print.
        fields: needed keys of a row, by published layout.
        convert: returns the comparison of a row, with tags and without the tag `benchmark`.
        files: patterns of the data files in a folder, of which the first with a match counts; empty for all data files.
        document: returns the rows of a JSON document that is an object; None if such a document is no layout.
    """

    name: str
    title: str
    fields: tuple[tuple[str, ...], ...]
    convert: Callable[[Row, RowPlace], Comparison | Rejected]
    files: tuple[str, ...] = ()
    document: Callable[[Mapping[str, Any]], list[Any] | None] | None = None


def convert_row(benchmark: Benchmark, row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a published row to a comparison with the tags `benchmark`, `subset` and others.

    Raises:
        RowFault: a row of another layout, or of another version of the benchmark.
    """
    hint = f"give the file of {benchmark.title} as its authors publish it"
    if not any(all(key in row for key in keys) for keys in benchmark.fields):
        wanted = " or ".join(", ".join(keys) for keys in benchmark.fields)
        raise at.fault(keys_of(row), f"the keys {wanted}", hint)
    try:
        found = benchmark.convert(row, at)
    except RowFault as error:
        raise at.fault(error.found, error.wanted, hint) from error
    if isinstance(found, Rejected):
        return found
    return replace(found, source=at.stem, tags={TAG: benchmark.name, **found.tags})


def two_texts(
    prompt: str, first: str, second: str, better: int, at: RowPlace, id: object, tags: Mapping[str, str]
) -> Comparison | Rejected:
    """Return the comparison of two texts in the order of the row.

    Args:
        better: place of the better text, 0 or 1.
        id: id of the row; None for a row without an id.
        tags: labels; empty labels are left out.
    """
    turns, sides = texts_as_turns(prompt, first, second)
    found = comparison(turns, [Response(side) for side in sides], [Judgment(better, 1 - better)], at)
    return labelled(found, id, tags)


def message_pair(row: Row, at: RowPlace, subset: str) -> Comparison | Rejected:
    """Return the comparison of a row of `PAIR`, messages or texts, with the tag `subset`."""
    if isinstance(row["prompt"], str):
        texts = [fields.text(row, key, at) for key in PAIR[:3]]
        return two_texts(texts[0], texts[1], texts[2], 0, at, row.get("id"), {"subset": subset})
    known = {key: row[key] for key in PAIR[:3]}
    return labelled(convert_preference(known, at), row.get("id"), {"subset": subset})


def labelled(found: Comparison | Rejected, id: object, tags: Mapping[str, str]) -> Comparison | Rejected:
    """Give a comparison its id and tags; a rejection passes."""
    if isinstance(found, Rejected):
        return found
    known = isinstance(id, str | int) and not isinstance(id, bool)
    return replace(
        found, id=on_one_line(id) if known else "", tags={key: value for key, value in tags.items() if value}
    )


def turns_of(row: Row, key: str, at: RowPlace) -> tuple[Message, ...]:
    """Return the turns of a list of messages.

    Raises:
        RowFault: no such list, or another role.
    """
    return tuple(_turn(turn, at) for turn in fields.objects(row, key, MESSAGES, at))


def _turn(turn: Row, at: RowPlace) -> Message:
    role = fields.text(turn, "role", at)
    if role not in SPEAKERS:
        raise at.fault(f"the role {quoted(role)}", f"one of {', '.join(SPEAKERS)}")
    return Message(role, fields.text(turn, "content", at))


def side(row: Row, key: str, at: RowPlace) -> int:
    """Return the place of the better answer, 0 or 1, from a label 1 or 2.

    Raises:
        RowFault: another label.
    """
    label = row[key]
    if isinstance(label, bool) or not isinstance(label, int) or label not in (1, 2):
        raise at.fault(f"{quoted(label)} in {key}", "1 or 2")
    return label - 1


def writer(row: Row, key: str) -> str:
    """Return the name of a response's writer; "" for none."""
    name = row.get(key)
    return name if isinstance(name, str) else ""


def last_word(text: str, words: Iterable[str]) -> str:
    """Return the one of `words` that stands last in a path or name, as a whole word in any case; "" for none."""
    spelled = {word.lower(): word for word in words}
    either = "|".join(sorted(map(re.escape, spelled), key=len, reverse=True))
    found = re.findall(rf"(?<![a-z])(?:{either})(?![a-z])", text.lower())
    return spelled[found[-1]] if found else ""
