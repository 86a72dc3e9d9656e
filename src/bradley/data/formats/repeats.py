"""Texts of a row that stand in other columns of the same row: repetitions, and the prompts of judges."""

import re
from collections.abc import Sequence
from typing import Any

from ..rows import Foreign
from .layout import Layout, Path, at_path, texts_of, words
from .messages import is_turns, normal

LONGEST_CHOICE = 24
"""Fewest characters of an answer that does not stand in a question by chance."""
FEWEST_BLANKS = 2
"""Fewest blanks of a text that stands in no other text by chance."""
BEFORE, AFTER = r"(?:^|[\n:>\[\]|({#\"'`=])[ \t]*", r"[.?!]?[ \t]*(?:$|[\n<\[\]|)}\"'`;])"
"""Signs around a text that stands apart: the end of a line, a label such as `Context:`, and brackets."""
VERDICT = re.compile(
    r"\W*(?:(?:the|answer|response|output|model|assistant|option|winner|verdict|is|better|best)\W+)*"
    r"(?:[ab12]|left|right|first|second|tie|both|neither)\W*(?:is better|wins|better)?\W*",
    re.IGNORECASE,
)
"""Reply of a judge who names one of two answers."""


JUDGES = {
    *("labelling", "labeling", "labeller", "labeler", "judging", "judgement", "judgment", "grading", "grader"),
    *("annotation", "annotator", "annotators", "evaluator", "rater", "raters", "judges"),
}
"""Words in the name of a prompt that was written for the judge of the answers."""


def of_judge(path: Path) -> bool:
    """Return True for the name of a prompt that was written for a judge, such as labelling_prompt."""
    return bool(JUDGES & set(words(path)))


def renders(layout: Layout, path: Path, answers: set[Path]) -> bool:
    """Return True for a column that repeats the answers of its row: a judge's prompt, or a whole conversation.

    A text has to repeat every answer, and each answer has to be longer than a choice of the question. A conversation
    has to end with one of the answers.
    """
    kind, seen = layout.kinds[path], 0
    if kind not in ("text", "turns") or not answers:
        return False
    for row in layout.rows:
        told, sides = strings(at_path(row, path)), [strings(at_path(row, answer))[-1:] for answer in answers]
        ends = [side[0].strip() for side in sides if side]
        if told and len(ends) == len(answers):
            if kind == "turns":
                if told[-1].strip() not in ends:
                    return False
            elif len(ends) < 2 or not all(len(end) >= LONGEST_CHOICE and end in told[0] for end in ends):
                return False
            seen += 1
    return seen > 0


def judging(layout: Layout, path: Path, answers: set[Path], questions: Sequence[Path]) -> bool:
    """Return True for a column with the words of a judge beside a question, in every row.

    Such a text or conversation holds the question with every answer, or ends with a verdict.
    """
    asked, seen = [question for question in questions if question != path], 0
    for row in layout.rows if asked and answers else ():
        value = normal(at_path(row, path))
        if not value:
            continue
        said = strings(value)
        about = [text for question in asked for text in strings(at_path(row, question))]
        compared = [text for answer in answers for text in strings(at_path(row, answer))]
        ends = is_turns(value) and value[-1].get("role") == "assistant" and said and VERDICT.fullmatch(said[-1])
        if not ends and not any(compares(text, about, compared) for text in said):
            return False
        seen += 1
    return seen > 0


def compares(text: str, asked: Sequence[str], answers: Sequence[str]) -> bool:
    """Return True for a text that repeats every answer, and a question too unless the answers are long."""
    sides = [answer.strip() for answer in answers if answer.strip()]
    if len(sides) < 2 or not all(stands(side, text) and side != text.strip() for side in sides):
        return False
    about = [question.strip() for question in asked if question.strip()]
    return any(stands(question, text) and question != text.strip() for question in about) or (
        all(len(side) >= LONGEST_CHOICE for side in sides)
    )


def stands(text: str, whole: str) -> bool:
    """Return True for a text inside a whole; a short text has to stand there as words of its own."""
    if text not in whole:
        return False
    # Other writing may have no blanks between words.
    if len(text) >= LONGEST_CHOICE or not text.isascii() or not text:
        return True
    return re.search(rf"(?<![0-9A-Za-z]){re.escape(text)}(?![0-9A-Za-z])", whole) is not None


def stands_apart(text: str, whole: str) -> bool:
    """Return True for a text that stands in a whole as a turn, a line or a value of its own.

    A short text under the name of a part, such as context, may be a word of the question by chance.
    """
    if len(text) >= LONGEST_CHOICE and text.count(" ") >= FEWEST_BLANKS:
        return text in whole
    return text in whole and re.search(rf"{BEFORE}{re.escape(text)}{AFTER}", whole, re.MULTILINE) is not None


def repeated(layout: Layout, path: Path, others: Sequence[Path]) -> bool:
    """Return True if the words of a column stand in other columns of the same row, in every row."""
    return all(
        is_repeated(at_path(row, path), "\n".join(strings(at_path(row, other))))
        for row in layout.rows
        for other in others
    )


def is_repeated(value: Any, text: str) -> bool:
    """Return True if every text inside a value stands in a text; a value without a text counts as repeated."""
    return not isinstance(value, Foreign) and all(part.strip() in text for part in strings(value))


def strings(value: Any) -> list[str]:
    """Return the contents of a text, of messages and of lists of the two, in order."""
    value = normal(value)
    if isinstance(value, str):
        listed = texts_of(value)
        return [value] if listed is None else listed
    if is_turns(value):
        return [turn["content"] for turn in value if isinstance(turn.get("content"), str)]
    if isinstance(value, list):
        return [text for entry in value for text in strings(entry)]
    if isinstance(value, dict):
        return [text for entry in value.values() for text in strings(entry)]
    return []
