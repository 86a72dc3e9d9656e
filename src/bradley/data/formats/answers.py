"""Answers: the columns, or the list in a column, that hold the two or K answers to a prompt."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..rows import Row, quoted
from .absent import text_in
from .labels import Answers, Label, Reader, Unknown, Verdict
from .layout import (
    SHORTEST,
    SPOKEN,
    Family,
    Layout,
    Path,
    at_path,
    branch_key,
    is_digest,
    is_spoken,
    kind_of,
    leaves,
    marks_of,
    named,
    texts_of,
    words,
)
from .messages import HOLDERS, holder, is_turns, normal
from .numbered import only_turns
from .ratings import is_known, is_missing, kind_of_numbers, missing_marks, numbered, span_of
from .words import BAD, CORRECT, DECISIVE, GOOD, LABEL, NOT, SCORE, WEAK, polarity

ANSWER = {
    *("response", "responses", "answer", "answers", "output", "outputs", "completion", "completions", "summary"),
    *("summaries", "conv", "conversation", "conversations", "reply", "replies", "candidate", "candidates", "resp"),
    *("generation", "generations", "text", "texts", "solution", "solutions", "sample", "samples", "message", "ref"),
    *(
        "messages",
        "option",
        "options",
        "continuation",
        "translation",
        "result",
        "ans",
        "assistant",
        "story",
        "dialogue",
    ),
}
"""Words in the name of a column with an answer."""
NAMES = {"id", "ids", "name", "names", "model", "models", "label", "labels", "number", "numbers", "index", "indices"}
NAMES |= {"key", "keys", "letter", "letters", "uid", "uuid", "hash"}
"""Words in the name of a list, or of a field, that holds the names of answers."""
CARRIERS = {*HOLDERS, "response", "resp", "conversation", "conversations"}
"""Words that say nothing more of an answer than that words are there."""
REMARK = {
    *("feedback", "critique", "rationale", "explanation", "reason", "review", "comment", "score", "rating", "rank"),
    *("model", "name", "id", "type", "author", "label", "source", "prompt", "question", "instruction", "context"),
    *("system", "judge", "justification", "analysis", "url", "date", "time", "language", "lang", "category", "winner"),
}
"""Words in the name of a column about an answer."""
WHOSE = {"model", "models", "system", "author", "assistant", "llm", "bot"}
"""Words for the author of an answer: model_a_text and answer_of_model_a are answers, and response_a_model is a name."""
OF = {"of", "from", "by"}


@dataclass(frozen=True)
class Given:
    """Answers of the rows of a file.

    Attributes:
        answers: names for the label.
        get: returns the answers of a row, in their order; None for a missing or empty answer.
        inner: labels inside the answers, such as the rank of each.
        shown: names of the columns, for the line about the reading.
        conversation: column with the earlier turns in front of answers that stand in place of a last turn.
        entries: returns the objects of a row that hold the answers; None for answers that are no objects in a list.
    """

    answers: Answers
    get: Callable[[Row], list[Any]]
    shown: str
    inner: tuple[Label, ...] = ()
    conversation: Path | None = None
    entries: Callable[[Row], list[Any]] | None = None


def of_paths(paths: tuple[Path, ...], names: tuple[Path, ...], family: Family | None) -> Given:
    """Return the answers of columns."""
    marks, stem = (family.marks, family.stem) if family else ((), ())
    shown = ", ".join(map(named, names)) if len(names) < 5 else f"{named(names[0])} ... {named(names[-1])}"
    return Given(
        Answers(names, marks, stem, len(paths), paths), lambda row: [at_path(row, path) for path in paths], shown
    )


def family_of(names: tuple[Path, ...]) -> Family | None:
    """Return the family of two names with a mark that differs; None for other names."""
    layout = Layout([_nested(names)])
    return next((family for family in layout.families if set(family.paths) == set(names)), None)


def _nested(names: tuple[Path, ...]) -> Row:
    """Return a row with a text under each path."""
    row: Row = {}
    for path in names:
        inner = row
        for name in path[:-1]:
            inner = inner.setdefault(name, {})
        inner[path[-1]] = "x"
    return row


def find_families(layout: Layout) -> list[Given]:
    """Return the columns that hold the answers, the likeliest first; several if nothing tells them apart."""
    rated = [(rating(layout, family), family) for family in layout.families]
    best = max((score for score, _ in rated), default=0)
    return [of_paths(family.paths, family.paths, family) for score, family in rated if score == best and best > 0]


def find_named(layout: Layout) -> list[Given]:
    """Return the columns that another column names as the better ones, such as output_1 in `better: "output_1"`."""
    texts = [path for path in layout.columns if layout.kinds[path] in ("text", "turns")]
    told = [path for path in texts if mostly_spoken(layout, path)]
    spoken = {named(path).lower(): path for path in told}
    # In an object with an answer of each model, the label holds the name of a model.
    last = Counter(path[-1].lower() for path in told)
    spoken |= {path[-1].lower(): path for path in told if len(path) > 1 and last[path[-1].lower()] == 1}
    found: dict[tuple[Path, ...], Given] = {}
    for path, column in layout.columns.items():
        values = {value.strip().lower() for value in column if isinstance(value, str)}
        paths = tuple(other for name, other in spoken.items() if name in values)
        if layout.kinds[path] == "text" and len(values) > 1 and len(paths) == len(values) and path not in paths:
            found[paths] = of_paths(paths, paths, family_of(paths) if len(paths) == 2 else None)
    return list(found.values())


def mostly_spoken(layout: Layout, path: Path) -> bool:
    """Return True if most values of a column are words of a conversation."""
    told = [is_spoken(value) for value in layout.columns[path] if value not in (None, "", [])]
    return bool(told) and sum(told) * 2 >= len(told)


def rating(layout: Layout, family: Family) -> int:
    """Rate columns as answers by names and contents; 0 or less for columns that hold none."""
    if only_turns(layout, family.paths):
        return 0
    kinds = {layout.kinds[path] for path in family.paths}
    values = [layout.columns[path] for path in family.paths]
    if not kinds <= {*SPOKEN, "null"} or "pairs" in kinds or all(column == values[0] for column in values[1:]):
        return 0
    parts = set(family.stem)
    answers = [value for column in values for value in column if value not in (None, "", [])]
    if answers and all(map(is_digest, answers)):
        return 0
    told = [is_spoken(value) for value in answers]
    named = bool(parts & ANSWER) or "content" in parts
    # Names of models are short: long texts under the names of the models alone are answers.
    long = bool(answers) and all(not isinstance(value, str) or len(value) >= SHORTEST for value in answers)
    about = parts & (REMARK - WHOSE) or (parts & REMARK and not long and not (named and _authored(family.paths[0])))
    score = 4 * named - 3 * bool(about)
    return score + (2 if sum(told) * 2 >= len(told) and told else -3)


def _authored(path: Path) -> bool:
    """Return True for the name of an answer that names the author too: the author stands first, or after `of`."""
    parts = [word for word in words(path) if not marks_of(word)]
    return not parts[-1:] or parts[-1] not in WHOSE or bool(OF & set(parts[:-1]))


PICKED = GOOD - WEAK - {"selected"} | {"correct"}
"""Words for a truth value inside answers that comes before ranks, scores and counts."""
NAMED = (("chosen",), ("rejected",))
"""Words of the names that hold answers of any length."""


def find_polar(layout: Layout) -> tuple[Path, Path] | None:
    """Return the columns of the better and the worse answer, named by a polar word; None for none or several."""
    found: list[tuple[int, Path, Path]] = []
    spoken = [
        path
        for path in layout.of_kind("text", "turns")
        # A label such as `winner` is named by a polar word as well, and holds no answers.
        if ANSWER & set(words(path)) or words(path) in NAMED or mostly_spoken(layout, path)
    ]
    by_rest: dict[tuple[str, ...], list[tuple[int | None, Path]]] = {}
    for path in spoken:
        parts = [word for word in words(path) if word not in CARRIERS]
        rest = tuple(word for word in parts if word not in GOOD | BAD | NOT)
        by_rest.setdefault(rest, []).append((polarity("_".join(parts)), path))
    for rest, entries in by_rest.items():
        sides = {side: [path for meant, path in entries if meant == side] for side in (1, 0, None)}
        better = sides[1] or sides[None]
        if len(better) == 1 and len(sides[0]) == 1:
            told = [is_spoken(value) for path in (better[0], sides[0][0]) for value in layout.columns[path] if value]
            by_name = all(ANSWER & set(words(path)) for path in (better[0], sides[0][0]))
            # Chosen and Rejected hold answers of any length; beside two other answers, short texts may be labels.
            by_name |= (words(better[0]), words(sides[0][0])) == NAMED and not layout.families
            if told and (by_name or sum(told) * 2 >= len(told)):
                found.append((len(rest), better[0], sides[0][0]))
    fewest = [entry for entry in found if entry[0] == min(one[0] for one in found)]
    return fewest[0][1:] if len(fewest) == 1 else None


def find_lists(layout: Layout) -> list[Given]:
    """Return the columns with a list of answers in each row."""
    found = []
    for path in layout.of_kind("objects", "texts", "branches"):
        values = [value for value in (at_path(row, path) for row in layout.rows) if value]
        if "system" in words(path):
            continue
        if layout.kinds[path] == "branches":
            found.append(_branched(path, values))
        elif layout.kinds[path] == "texts" and all(
            texts_of(value) is not None and not isinstance(value, str) for value in values
        ):
            if all(is_digest(text) for value in values for text in value):
                continue
            if set(words(path)) & ANSWER or any(is_spoken(text) for value in values for text in value):
                found.append(_listed(path, values, ""))
        elif layout.kinds[path] == "objects" and (key := _text_key(values)):
            found.append(_listed(path, values, key))
    named_so = [one for one in found if NAMES & set(words(one.answers.paths[0][-1:])) and not one.entries]
    # Names of the answers, such as response_ids, are no answers beside a list with other texts.
    return [one for one in found if one not in named_so] or found


def _text_key(values: list[list[Row]]) -> str:
    """Return the key that holds the answer in each object of a list; "" for none."""
    entries = [entry for value in values for entry in value if isinstance(entry, dict)]
    if not entries:
        return ""
    keys = list(dict.fromkeys(key for entry in entries for key in entry))
    columns = {key: [entry.get(key) for entry in entries] for key in keys}
    spoken = [key for key in keys if kind_of(columns[key]) in ("text", "turns", "texts")]
    known = [key for key in spoken if key in HOLDERS or set(words((key,))) & ANSWER]
    if len(known) == 1:
        return known[0]
    told = {key: sum(value is not None and is_spoken(value) for value in columns[key]) for key in spoken}
    long = [key for key in spoken if told[key] * 2 > len(entries)]
    both = [key for key in known if key in long]
    return both[0] if len(both) == 1 else long[0] if len(long) == 1 and not known else ""


def _branched(path: Path, values: list[Any]) -> Given:
    """Return the answers that stand in place of a conversation's last turn."""
    key = branch_key(values[0][-1])
    inside = [value[-1][key] for value in values]
    text = _text_key(inside)

    def entries(row: Row) -> list[Any]:
        value = at_path(row, path)
        last = value[-1] if isinstance(value, list) and value else {}
        return _list(last.get(key) if isinstance(last, dict) else None)

    shown = f"{named(path)}, last turn, {key}"
    return Given(
        _of_list(path, inside), _getter(entries, text), shown, _inner(entries, inside, text, path), path, entries
    )


def _listed(path: Path, values: list[list[Any]], text: str) -> Given:
    """Return the answers of a list."""

    def entries(row: Row) -> list[Any]:
        return _list(at_path(row, path))

    inner = _inner(entries, values, text, path) if text else ()
    held = entries if text else None
    return Given(_of_list(path, values), _getter(entries, text), named(path), inner, entries=held)


def _list(value: Any) -> list[Any]:
    """Return a list, and an empty list for any other value: a row without answers is counted."""
    return value if isinstance(value, list) else []


def _getter(entries: Callable[[Row], Any], text: str) -> Callable[[Row], list[Any]]:
    """Return the function that gets the answers of a row's list."""

    def get(row: Row) -> list[Any]:
        found = entries(row)
        return [text_in(entry, text) if text and isinstance(entry, dict) else entry for entry in found]

    return get


def _of_list(path: Path, values: list[list[Any]]) -> Answers:
    """Return the names of answers in a list."""
    lengths = {len(value) for value in values}
    count = lengths.pop() if len(lengths) == 1 else 0
    return Answers((), (), words(path), count, (path,))


def _inner(entries: Callable[[Row], Any], values: list[list[Any]], text: str, path: Path) -> tuple[Label, ...]:
    """Return the labels inside the objects of a list: a rank, a score, a truth value or a polar word of each answer."""
    found = []
    flat = [dict(leaves(entry)) for value in values for entry in value if isinstance(entry, dict)]
    for key in dict.fromkeys(key for entry in flat for key in entry):
        column = [entry[key] for entry in flat if entry.get(key) is not None]
        parts = set(words(key))
        if key == (text,) or not column:
            continue
        if all(isinstance(value, bool | int | float) for value in column):
            meant = kind_of_numbers(words(key), [value for value in column if is_known(value)])
            # A mark of a missing number is no number.
            meant = "" if missing_marks(key, column, meant) else meant
        elif all(isinstance(value, str) and polarity(value) is not None for value in column):
            clear = parts & (LABEL | CORRECT) or all(set(words((value,))) <= DECISIVE for value in column)
            meant = "polar" if clear and len(set(column)) > 1 else ""
        else:
            meant = ""
        if meant:
            # A word or truth value that names the better answers says more than any number beside.
            named_best = meant in ("truth", "polar") and parts & PICKED and len(set(map(str, column))) > 1
            tier = 0 if named_best else 1 + ("ranks", "scores", "votes", "truth", "polar").index(meant)
            aspects = len(parts - LABEL - SCORE - CORRECT - {"rank", "is"})
            kind = "truth" if meant == "polar" else "scores" if meant == "votes" else meant
            span = span_of(key, [value for value in column if is_known(value)], meant)
            found.append(Label(((*path, "*", *key),), kind, _inner_reader(entries, key, meant, span), tier, aspects))
    return tuple(found)


def _inner_reader(entries: Callable[[Row], Any], key: Path, meant: str, span: tuple[float, float]) -> Reader:
    """Return the function that reads a label inside the objects of a list.

    Args:
        span: lowest and highest number so far.
    """

    def read(row: Row) -> Verdict | Unknown | None:
        merits: list[float | None] = []
        inside = entries(row)
        for entry in inside:
            value = at_path(entry, key) if isinstance(entry, dict) else None
            if meant == "polar" and isinstance(value, str):
                value = polarity(value)
            # Of three or more answers one may be absent, with its number.
            if not is_known(value) and (len(inside) <= 2 or not isinstance(value, float | None)):
                return None
            if is_known(value) and is_missing([value], span):
                return Unknown(quoted(value), doubt=True)
            merits.append(-value if meant == "ranks" and is_known(value) else value)
        return numbered(merits)

    return read


def whole(value: Any) -> bool:
    """Return True for an answer that is a whole conversation, with a turn of the user."""
    turns = normal(value)
    return is_turns(turns) and any(turn.get("role") == "user" for turn in turns)


__all__ = ["Given", "find_families", "find_lists", "find_polar", "holder", "of_paths", "whole"]
