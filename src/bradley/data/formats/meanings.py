"""Meaning of a cell beside the judgment of a row: the answer that the cell calls the better one, in each way to read.

A cell may be a word, a number, a truth value, a list of these for annotators or answers, or a list of objects.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..rows import Row
from .judges import UNCLEAR, spoken_side, verdict_in
from .labels import ABOUT, DETAILS, Answers, said_of
from .layout import LONG, Path, leaves, words
from .ties import is_tie_name
from .words import (
    AGREES,
    DISAGREES,
    FILLER,
    LABEL,
    LOSER,
    LOST,
    MEASURES,
    NOT,
    RANK,
    REMARKS,
    SCORE,
    STRENGTH,
    TIE,
    WON,
    WORSE,
    sense,
)

SIDES = ("chosen", "rejected")
"""Words for the two answers of a pair of which one is the better by its name."""
PAIRED = Answers((("chosen",), ("rejected",)), SIDES, (), 2, (), 0)
"""Names of a chosen and a rejected answer."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"
LISTED = Answers(tuple((letter,) for letter in LETTERS), tuple(LETTERS), (), 0, ())
"""Names of answers in a list."""
SIGNED = {
    *("preference", "preferred", "prefer", "prefers", "pref", "judgment", "judgement", "verdict", "label", "overall"),
}
"""Words in the name of a number that may be below zero for one answer, and above zero for the other."""
ABOUT_THE_ROW = (MEASURES | ABOUT) - {"index", "idx", "position"}
"""Words in the name of a number about the row, which may be called after the label all the same."""
SHARED = {"preference", "pref", "probability", "prob", "share", "fraction"}
"""Words in the name of a share, which may be a bare 0 or 1."""
COUNTED = {"votes", "vote", "win", "wins", "won", "preferred", "preference", "preferences", "better", "winner"}
"""Words for a number of each side of which the higher is better."""
PLURAL = {"votes", "wins", "annotations", "judgments", "judgements", "labels"}
"""Words for a count."""
REFERENCE = {"gold", "target", "result"}
"""Words of a label that name the answer to a question as well, such as gold_answer."""
CONTENT = {"answer", "answers", "solution", "solutions", "value"}
"""Words in the name of the answer to a question."""
OTHERS = {"than", "over", "against", "vs", "versus", "to", "beats"}
"""Words in front of the side that a truth value compares with."""
NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
CHOOSES = {"longer", "shorter", "model", "models", "shown", "order", "position", "prediction", "arm"}
"""Words in the name of a number that may be the place of an answer, though the name says of no judgment."""
PARTITION = {
    *("split", "fold", "subset", "set", "group", "batch", "version", "round", "language", "lang", "source"),
    *("id", "ids", "uid", "uuid", "key", "row", "line"),
}
"""Words in the name of a column that divides the rows, in which a letter is no answer."""
NO_CHOICE = (MEASURES | DETAILS | {"annotator", "worker", "rater"}) - {"order", "position"}
"""Words that make of such a name the name of a measure, such as model_size."""
PLACED = {"winner", "winning", "best", "better", "choice", "pick", "index", "idx", "position"}
"""Words in the name of a number that asks which of the answers is meant, so that 0 is the first one."""
BARE_WORSE = {"worse", "lose", "loses", "lost", "loss", "inferior"}
"""Words that say of the better answer by name, under any name, that the answer is the worse one."""
SHORTEST_END = 16
"""Most characters of a text that may end a transcript by chance."""

WORST = "worst"
"""Last word of a way to read a cell as the worst of three or more answers."""
Meanings = dict[str, int]
"""Way to read a cell -> place of the better answer, of the worst one for `WORST`, or `TIE`.

A cell without any way contradicts every judgment.
"""


def may_mean(path: Path, answers: Answers) -> bool:
    """Return True for the name of a column that may judge the answers."""
    parts = _beside_sides(path, answers)
    if parts & DETAILS or is_tie_name(path, answers.stem):
        return False
    return bool(parts & (LABEL | AGREES | DISAGREES | RANK | SCORE))


def is_label_name(path: Path, answers: Answers) -> bool:
    """Return True for the name of a label, and False for a score or a rank."""
    return bool(_beside_sides(path, answers) & (LABEL | AGREES | DISAGREES))


def meanings_of(path: Path, value: Any, row: Row, answers: Answers, count: int) -> tuple[str, Meanings] | None:
    """Return the kind of a cell, and the answers that the cell calls better; None for a cell that says nothing.

    Args:
        count: number of answers of the row.
    """
    parts = set(words(path))
    weak = answers.better is not None and parts & LABEL and parts & LABEL <= REFERENCE
    spoken = isinstance(value, str) and set(words((value,))) & set(SIDES)
    # The answer to a question of several choices is a letter or a number too.
    if weak and not spoken and (parts & CONTENT or (type(value) in (int, float) and value not in (0, 1, 2))):
        return None
    if isinstance(value, list):
        return _of_list(path, value, row, answers, count)
    if not is_label_name(path, answers):
        # A score may contradict a label as raters do, but a number below zero is a verdict.
        signed = "overall" in words(path) and isinstance(value, int | float) and value < 0
        return ("number", {}) if signed and answers.better is not None else None
    if isinstance(value, bool):
        return _of_truth(path, value, answers, count)
    if isinstance(value, int | float):
        return _of_number(path, value, answers, count)
    return _of_text(path, value, row, answers, count) if isinstance(value, str) else None


def _of_text(path: Path, text: str, row: Row, answers: Answers, count: int) -> tuple[str, Meanings] | None:
    """Return what a word says."""
    low = text.strip().lower()
    if set(words(path)) & REMARKS:
        return None
    # A letter such as x may be the mark of an answer.
    if low in WON | LOST and low not in {*SIDES, *answers.marks} and not low[:1].isdecimal():
        return _of_truth(path, low in WON, answers, count)
    place = place_of(text, answers, count) if len(text) <= LONG else None
    if place is None:
        place = _same_as(path, text, row, answers)
    if place is not None:
        return _turned("word", path, place, count)
    if len(text) > LONG:
        return None
    if (number := _number(low)) is not None:
        return meanings_of(path, number, row, answers, count)
    spoken = spoken_side(text, answers) if count == 2 else None
    if spoken is not None and spoken != UNCLEAR:
        return _turned("word", path, spoken, count)
    unclear = spoken == UNCLEAR or (answers.better is not None and set(SIDES) & set(words((text,))))
    return ("word", {}) if unclear else None


def _beside_sides(path: Path, answers: Answers) -> set[str]:
    """Return the words of a name without the words of the two sides, as in chosen_rank; the words alone stay."""
    parts = set(words(path))
    return parts if answers.better is None else parts - {*SIDES, *answers.marks} or parts


def hidden_meanings(path: Path, value: Any, answers: Answers, count: int, strict: bool) -> tuple[str, Meanings] | None:
    """Return what a cell says under a name that judges nothing: the verdict of a judge, and a word for a side.

    Args:
        strict: True if nothing but the user says which answer is better, so that words under every name count, and
            numbers under names such as longer and model_prediction.
    """
    if isinstance(value, str):
        if (place := verdict_in(value, answers)) is not None and place < count:
            return "verdict", {"better": place}
        named_side = answers.better is not None and set(SIDES) & set(words((value,)))
        spoken = (strict or named_side) and len(value) <= LONG and not PARTITION & set(words(path))
        if answers.better is not None and value.strip().lower() in BARE_WORSE and not PARTITION & set(words(path)):
            return "word", {}
        place = place_of(value, answers, count) if spoken else None
        return None if place is None or place == TIE else _turned("word", path, place, count)
    parts = set(words(path))
    if not strict or not parts & CHOOSES or parts & NO_CHOICE or not isinstance(value, int | float):
        return None
    if value not in (0, 1, 2):
        return None
    found = {f"from {base}": int(value) - base for base in (0, 1) if 0 <= value - base < count}
    return "number", found | {f"{way}, turned": 1 - place for way, place in found.items()}


def place_of(text: str, answers: Answers, count: int) -> int | None:
    """Return the place that a word names, or `TIE`; None for numbers and other words."""
    said = said_of(text, answers)
    if said is not None and said.side is not None and said.side < count:
        return said.side
    parts = set(words((text,)))
    if answers.better is None or len(parts & set(SIDES)) != 1:
        return None
    rest = parts - FILLER - set(SIDES)
    if rest - (WORSE - LOSER | LOSER - {"rejected"}):
        return None
    # The words of a worse answer turn the side round, as in "rejected is worse".
    return answers.better if bool(rest) == ("rejected" in parts) else 1 - answers.better


def _same_as(path: Path, text: str, row: Row, answers: Answers) -> int | None:
    """Return the place of the only side with a column, or an entry, of the same text, such as the name of a model."""
    places = set()
    for key, value in row.items():
        if isinstance(value, str) and key != path[0] and (value == text or _ends_with(value, text)):
            places |= set(_sides_in(words((str(key),)), answers))
        elif isinstance(value, list) and answers is LISTED:
            entries = enumerate(value)
            places |= {n for n, entry in entries if isinstance(entry, dict) and text in entry.values()}
    return places.pop() if len(places) == 1 else None


def _ends_with(conversation: str, text: str) -> bool:
    """Return True for a transcript that ends with a text of several words."""
    return len(text) > SHORTEST_END and conversation.endswith(text)


def _sides_in(parts: Sequence[str], answers: Answers) -> list[int]:
    """Return the places of the sides that words name, in order."""
    orders: set[tuple[str, ...]] = {("a", "b"), ("first", "second"), ("left", "right")}
    if answers.better is not None:
        orders = {SIDES if answers.better == 0 else SIDES[::-1], answers.marks}
    elif answers is not LISTED:
        orders |= {answers.marks}
    return [order.index(word) for word in parts for order in orders if word in order]


def _turned(kind: str, path: Path, place: int, count: int) -> tuple[str, Meanings] | None:
    """Return the meanings of a place under a name that may name the worse answer, or the worst of several."""
    if place == TIE:
        return kind, {"better": TIE}
    meant = sense([word for word in words(path) if word not in SIDES] or words(path))
    if meant == 1:
        return kind, {"better": place}
    if count != 2:
        return (kind, {WORST: place}) if meant == -1 else None
    worse = {"worse": 1 - place}
    return kind, worse if meant == -1 else {"better": place, **worse}


def _of_truth(path: Path, value: bool, answers: Answers, count: int) -> tuple[str, Meanings] | None:
    """Return what a truth value says, of the side in the name or of the first answer."""
    parts = words(path)
    if set(parts) & (AGREES | DISAGREES):
        return None if value != bool(set(parts) & DISAGREES) else ("truth", {})
    if count != 2:
        return None
    sides = _sides_in(parts, answers)
    if not sides and answers.better is None:
        return "truth", {"first": 1 - int(value), "second": int(value)}
    # The first side of a name is the subject: a_better_than_b.
    side = sides[0] if sides else answers.better or 0
    at = next((n for n, word in enumerate(parts) if sides and _sides_in((word,), answers)), 0)
    turns = sum(word in NOT or (word in WORSE and word not in SIDES) for word in parts)
    turns += bool(sides) and at > 0 and parts[at - 1] in OTHERS
    return "truth", {"truth": side if (turns % 2 == 0) == value else 1 - side}


def _of_number(path: Path, value: float, answers: Answers, count: int) -> tuple[str, Meanings] | None:
    """Return what a number says: a place from 0 or from 1, a strength with a sign, or a share of the first answer."""
    parts = set(words(path))
    sides = _sides_in(words(path), answers)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if sides and value in (0, 1) and not parts & PLURAL:
        return _of_truth(path, bool(value), answers, count)
    if parts & (PLURAL | AGREES | DISAGREES | ABOUT_THE_ROW) or (parts & SCORE and value >= 0):
        return None
    found: Meanings = {}
    # Beside names of the better and the worse answer, a bare 0 may mean false, unless the name asks for a place.
    false = answers.better is not None and value == 0 and not parts & PLACED
    if value == int(value) and not parts & STRENGTH and not false:
        found |= {f"from {base}": int(value) - base for base in (0, 1) if 0 <= value - base < count}
    if count == 2:
        found |= _of_strength(value, parts, answers)
    meant = sense([word for word in words(path) if word not in SIDES])
    if meant < 1 and count > 2:
        return ("number", {f"{way}, {WORST}": place for way, place in found.items()}) if found and meant == -1 else None
    turned = {f"{way}, turned": place if place == TIE else 1 - place for way, place in found.items()}
    found = found if meant == 1 else turned if meant == -1 else found | turned
    # A number beyond the places of three answers is another thing.
    return ("number", found) if found or count == 2 else None


def _of_strength(value: float, parts: set[str], answers: Answers) -> Meanings:
    """Return what a number says as a strength with a sign, and as a share."""
    found: Meanings = {}
    by_name = answers.better is not None
    better = answers.better or 0
    # A fraction is a share, unless the name says that the number is a strength.
    signed = parts & (SIGNED - {"label", "verdict"} if by_name else SIGNED) and not 0 < value < 1
    if parts & STRENGTH or signed:
        first = TIE if value == 0 else better if value > 0 else 1 - better
        found["positive is first"] = first
        if not by_name:
            found["positive is second"] = first if first == TIE else 1 - first
    # Beside names of answers such as A and B, a bare 0 or 1 is a place.
    soft = parts & SHARED or (by_name and isinstance(value, float))
    whole = value == int(value) and not soft
    if 0 <= value <= 1 and not parts & STRENGTH and not whole:
        share = TIE if value == 0.5 else better if value > 0.5 else 1 - better
        found["share of the first"] = share
        if not by_name:
            found["share of the second"] = share if share == TIE else 1 - share
    return found


def _of_list(path: Path, value: list[Any], row: Row, answers: Answers, count: int) -> tuple[str, Meanings] | None:
    """Return what a list says: numbers of the answers, an order of the answers, or words of annotators."""
    if len(value) == 1 and not isinstance(value[0], dict):
        return None if isinstance(value[0], list) else meanings_of(path, value[0], row, answers, count)
    if all(isinstance(entry, int | float) for entry in value):
        return _of_numbers(path, value, row, count)
    if all(isinstance(entry, str) and len(entry) <= LONG for entry in value):
        places = [place_of(entry, answers, count) for entry in value]
        if not set(words(path)) & (LABEL | RANK) or all(place is None for place in places):
            return None
        if sorted(place for place in places if place is not None) == list(range(count)) == list(range(len(places))):
            return _turned("list", path, places[0] or 0, count)
    elif all(isinstance(entry, dict) for entry in value):
        inner = [_of_object(path, entry, answers, count) for entry in value]
        places = [place for entry in inner for place in entry]
    else:
        return None
    known = [place for place in places if place is not None]
    return _turned("list", path, _majority(known), count) if known else None


def _of_object(path: Path, entry: Row, answers: Answers, count: int) -> list[int]:
    """Return the places that the entries of an annotator name."""
    found = []
    for inner, value in leaves(entry):
        told = meanings_of(inner, value, entry, answers, count) if may_mean(inner, answers) else None
        if told is None or isinstance(value, list):
            continue
        places = set(told[1].values())
        found += list(places) if len(places) == 1 else []
    return found


def _majority(places: Sequence[int]) -> int:
    """Return the place with the most words, or `TIE` for equal counts."""
    order = Counter(places).most_common(2)
    return TIE if len(order) > 1 and order[0][1] == order[1][1] else order[0][0]


def _of_numbers(path: Path, value: Sequence[float], row: Row, count: int) -> tuple[str, Meanings] | None:
    """Return what a list with a number for each answer says; None for numbers of another list of the row."""
    parts = set(words(path))
    lists = [other for other in row.values() if isinstance(other, list) and len(other) == len(value)]
    texts = [other for other in lists if any(isinstance(entry, str | dict) for entry in other)]
    if len(value) != count or count != 2 or parts & (MEASURES | ABOUT) or texts:
        return None
    if value[0] == value[1]:
        return None
    better = int(value[1] > value[0])
    return "list", {"better": 1 - better if parts & RANK else better}


def number_of_side(path: Path, value: Any, answers: Answers) -> tuple[tuple[str, ...], int, bool] | None:
    """Return the name without the side, the side, and True for ranks, for a number of votes or a rank of one side."""
    parts = words(path)
    sides = _sides_in(parts, answers)
    rest = tuple(word for word in parts if not _sides_in((word,), answers))
    ranks = bool(set(rest) & RANK)
    if len(sides) != 1 or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not (ranks or set(rest) & COUNTED) or set(rest) & (SCORE | DETAILS | MEASURES | WORSE | NOT | {"rate"}):
        return None
    return rest, sides[0], ranks


def _number(text: str) -> float | None:
    """Return a number written as text; None for anything else."""
    return float(text) if NUMBER.fullmatch(text) else None
