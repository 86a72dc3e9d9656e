"""Answers beside a label: the columns are found by what the first rows hold, and read alike in every row."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...records import Candidates, Comparison, Judgment, Message, Rejected, Response, prompt_key
from .. import rows
from ..rows import Row, RowPlace
from .absent import numbers_of, present
from .answers import Given
from .base import Format, ReadingInDoubt, comparison, leaning, option, row_weight, shared, unreadable, weighed
from .exchanges import until_judged
from .labels import Label, Unknown, Verdict
from .layout import Path, at_path, named, replies_of, texts_of, words
from .messages import normal
from .pairs import template_args
from .prompts import Prompt
from .ranked import ranking
from .reading import Reading
from .transcripts import answer, asked
from .turns import Turns, turns
from .unread import Unread
from .words import sense

SAID = ("margin", "weight", "tools", "chat_template_kwargs")
"""Columns read beside the prompt, the answers and the label."""


@dataclass(frozen=True)
class Columns:
    """Columns of a file with answers and a label.

    Attributes:
        prompt: parts of the prompt.
        given: answers.
        label: label, None for rows without a judgment, as for scoring.
        turn: column with the number of the judged exchange in conversations of several exchanges.
        first: number of the first exchange.
        graded: True if the label has strengths, such as A>>B.
    """

    prompt: Prompt
    given: Given
    label: Label | None
    turn: Path | None = None
    first: int = 1
    graded: bool = False

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every column that is read."""
        label = self.label.paths if self.label else ()
        return (*self.prompt.paths, *self.given.answers.paths, *label, *((self.turn,) if self.turn else ()))

    def rule(self) -> str:
        """Say which columns are the prompt, the answers and the label."""
        prompt = f"prompt <- {self.prompt.shown}" if self.prompt.shown else "prompt <- what the answers begin with"
        if self.prompt.steps:
            prompt += f", answers begin with {named(self.prompt.steps)}"
        # Counts of a label that names the worse answer are counts of worse answers.
        worse = self.label and self.label.kind == "choice" and any(sense(words(one)) == -1 for one in self.label.paths)
        better = f"{'worse' if worse else 'better'} <- {self.label.name}" if self.label else ""
        if self.label and self.label.own:
            better += f", which names {', '.join(map(named, self.label.own))}"
        if self.label and self.label.kind == "ranks":
            better += ", the lowest is best"
        if self.label and self.label.kind == "scores" and all(sense(words(path)) == 1 for path in self.label.paths):
            better += ", the highest is best"
        turn = f"up to exchange <- {named(self.turn)}, from {self.first}" if self.turn else ""
        return ", ".join(part for part in (prompt, f"answers <- {self.given.shown}", turn, better) if part)


def reading_of(columns: Columns, others: Sequence[Label]) -> Reading:
    """Return the reading of a file with these columns.

    Args:
        others: further columns that may be labels, to be named.
    """
    keys = tuple(dict.fromkeys(path[0] for path in columns.paths))
    settings = (
        ("strength_as",) if columns.graded else ("votes",) if columns.label and columns.label.kind == "votes" else ()
    )
    shape = Format(
        (*keys, *SAID),
        lambda row: True,
        lambda row, at: convert(columns, row, at),
        LOOKS,
        settings=settings,
        candidates=lambda row, at: candidates(columns, row, at),
    )
    # Margin and weight belong to the judgment of a label that names one of two answers.
    read = {("margin",), ("weight",)} if columns.label and columns.label.kind == "choice" else set()
    others = [label for label in others if not read.issuperset(label.paths)]
    names = ", ".join(label.name for label in others if columns.turn not in label.paths)
    single = next((label.name for label in others if len(label.paths) == 1 and label.tier == 0 and label.read), "")
    line = f" (to read this one: {option('columns.label', single)})" if single else ""
    beside = f"not read as the label: {names}{line}" if names else ""
    label = columns.label.shown if columns.label else lambda row: ""
    labels = [path for path in columns.label.paths if "*" not in path] if columns.label else []
    # The name of an author may look like a turn, as under bot1.
    sources = map(named, columns.label.sources) if columns.label else ()
    paths = [path for path in columns.paths if "*" not in path]
    unread = Unread({*keys, *SAID, "id"}, sources, paths=paths, labels=labels)
    answers = columns.given.answers.paths
    return Reading("labelled", shape, columns.rule(), beside, label, unread=unread, answers=answers)


def convert(columns: Columns, row: Row, at: RowPlace) -> Comparison | Rejected:
    """Convert a row with answers and a label.

    Raises:
        DataError: a missing answer, or a label that puts the reading of the whole file in doubt.
    """
    label = columns.label
    if label is None or label.read is None:
        raise at.fault("answers without a label", "a label", "score such rows with bradley score")
    given, verdict = columns.given.get(row), label.read(row)
    # A label that names one answer says nothing about the text of another.
    merits = verdict.merits if isinstance(verdict, Verdict) and label.kind != "choice" else ()
    kept = present(given, numbers_of(merits, len(given)), at)
    if len(kept) < min(len(given), 2):
        return Rejected(at.row, "one_response", f"{len(kept)} of {len(given)} answers have a text")
    parts = conversation(columns, row, at, [given[place] for place in kept])
    if isinstance(parts, Rejected):
        return parts
    prompt, sides = parts
    if len(sides) < 2:
        return Rejected(at.row, "one_response", f"{len(sides)} answers")
    if isinstance(verdict, Unknown):
        if verdict.doubt:
            hint = "correct or remove the row, or use --data.format module:function"
            fault = at.fault(f"{verdict.word} as {label.name}", "a label as in the first rows", hint)
            raise ReadingInDoubt(fault.message, fault.hint)
        return Rejected(at.row, "unread_label", f"{verdict.word} as {label.name}")
    if verdict is None:
        return Rejected(at.row, "no_judgment", f"no label in {label.name}")
    if len(verdict.merits) != len(given):
        raise at.fault(f"{len(verdict.merits)} values in {label.name}", f"{len(given)}, one for each answer")
    best = max(verdict.merits)
    verdict = verdict._replace(merits=tuple(verdict.merits[place] for place in kept))
    if label.kind == "choice" and max(verdict.merits) < best:
        return Rejected(at.row, "unread_label", f"{label.name} names an answer without a text")
    if any(map(math.isnan, verdict.merits)):
        return Rejected(at.row, "missing_score", f"no number for an answer in {label.name}")
    result = _judged(columns, row, prompt, sides, verdict, at)
    # A label that names one of two answers is read with the weight.
    return result if label.kind == "choice" and len(sides) == 2 else weighed(result, row, at)


def candidates(columns: Columns, row: Row, at: RowPlace) -> Candidates | Rejected:
    """Return prompt and answers of a row without the label."""
    parts = conversation(columns, row, at)
    if isinstance(parts, Rejected):
        return parts
    prompt, sides = parts
    responses, args = tuple(map(Response, sides)), template_args(row, at)
    if found := unreadable(prompt, responses, at, args):
        return found
    return Candidates("", prompt_key(prompt), prompt, responses, template_args=args)


def _judged(
    columns: Columns, row: Row, prompt: Turns, sides: list[Turns], verdict: Verdict, at: RowPlace
) -> Comparison | Rejected:
    """Return the comparison of answers by a verdict."""
    kind, args = columns.label.kind if columns.label else "", template_args(row, at)
    merits, two = verdict.merits, len(sides) == 2
    if kind in ("scores", "ranks") or (kind == "votes" and not two):
        scores = list(merits) if kind != "ranks" else [None] * len(sides)
        ranks = [-merit for merit in merits] if kind == "ranks" else []
        return ranking(prompt, sides, ranks, scores, at, template_args=args)
    responses = [Response(messages) for messages in sides]
    if kind == "votes":
        judgments = _by_support(merits[0], merits[1], at)
    elif kind == "choice" and two:
        judgments = _by_choice(columns, row, verdict, at)
    else:
        better = [place for place, merit in enumerate(merits) if merit > 0]
        worse = [place for place, merit in enumerate(merits) if merit <= 0]
        judgments = [Judgment(one, other) for one, other in itertools.product(better, worse)]
    if not judgments:
        weight = row_weight(row, at) if kind == "choice" and two else None
        return Rejected(at.row, "no_judgment", "weight 0" if weight == 0.0 else "a tie")
    return comparison(prompt, responses, judgments, at, template_args=args)


def _by_support(first: float, second: float, at: RowPlace) -> list[Judgment]:
    """Return the judgment of votes or shares; none for no votes."""
    if not first + second > 0:
        return []
    if at.settings.votes == "majority" and first != second:
        first, second = float(first > second), float(second > first)
    return leaning(first, second, at)


def _by_choice(columns: Columns, row: Row, verdict: Verdict, at: RowPlace) -> list[Judgment]:
    """Return the judgment of a label that names a side, with the row's margin and weight."""
    first, second = verdict.merits
    weight, margin = row_weight(row, at), rows.number(row, "margin", at)
    if columns.graded and verdict.strength and at.settings.strength_as == "weight":
        weight = float(verdict.strength)
    elif columns.graded and verdict.strength:
        margin = float(verdict.strength)
    if weight == 0.0:
        return []
    support = (1.0, 0.0) if first > second else (0.0, 1.0) if second > first else (0.5, 0.5)
    weight = 1.0 if weight is None else weight
    judgments = leaning(*support, at, weight=weight)
    # A margin below zero is the difference of the two answers with the worse first; `Beside` checks the signs.
    margin = abs(margin) if margin is not None and first != second else margin
    return [Judgment(j.better, j.worse, j.probability, margin, j.weight) for j in judgments]


def conversation(
    columns: Columns, row: Row, at: RowPlace, given: list[Any] | None = None
) -> tuple[Turns, list[Turns]] | Rejected:
    """Return the prompt and the answers of a row as turns.

    Args:
        given: answers; None for all answers of the row.

    Raises:
        DataError: a missing answer, or values that are neither text nor messages.
    """
    given = columns.given.get(row) if given is None else given
    if not given:
        return Rejected(at.row, "one_response", f"no answers in {columns.given.shown}")
    if None in given:
        names = columns.given.answers.names
        missing = (
            named(names[given.index(None)]) if names else f"answer {given.index(None) + 1} of {columns.given.shown}"
        )
        raise at.fault(f"no text in {missing}", "text or messages")
    found = in_lists(at_path(row, columns.prompt.question) if columns.prompt.question else None, given, at)
    if isinstance(found, Rejected):
        return found
    if found is not None:
        if beside := columns.prompt.beside(row):
            raise at.fault(f"{beside} beside a list of questions", "a prompt in messages")
        return exchanges(*found, at)
    prompt, begun = columns.prompt.value(row), columns.prompt.begun(row)
    if columns.given.conversation is not None:
        prompt = _before_branches(columns, row, prompt)
    sides = [normal(value) for value in given]
    if begun:
        sides = [begun + side if isinstance(side, str) and not side.startswith(begun) else side for side in sides]
    plain = not columns.prompt.turns and isinstance(prompt, str | None) and all(isinstance(side, str) for side in sides)
    if plain:
        return _texts(prompt, sides, at)
    before = asked(prompt, at) if isinstance(prompt, str) else ()
    before = before or (() if prompt is None else turns(prompt, "user", "prompt", at))
    answers = [turns(side, "assistant", "response", at) for side in sides]
    if columns.turn:
        answers = until_judged(answers, row, columns.turn, columns.first, at)
    return divided(before, answers, at)


def _before_branches(columns: Columns, row: Row, prompt: Any) -> Any:
    """Return the turns in front of answers that stand in place of a last turn."""
    earlier = (at_path(row, columns.given.conversation) or [None])[:-1] if columns.given.conversation else []
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt or []
    return [*before, *normal(earlier)]


def _texts(prompt: Any, sides: list[str], at: RowPlace) -> tuple[Turns, list[Turns]]:
    """Return plain texts: texts throughout stay texts, and a transcript becomes turns."""
    if prompt is not None and (before := asked(prompt, at)):
        return before, [(Message("assistant", answer(side, prompt)),) for side in sides]
    return (Message("text", prompt),) if prompt else (), [(Message("text", side),) for side in sides]


def in_lists(question: Any, given: Sequence[Any], at: RowPlace) -> tuple[list[str], list[list[str]]] | Rejected | None:
    """Return the texts of the user, and a list of replies for each side; None for sides that are no such lists.

    Lists written as JSON text are a layout of the row: a reply that is no list beside one makes the row irregular.
    """
    questions = texts_of(question)
    if questions is None:
        return None
    replies = [replies_of(value) for value in given]
    lists = [texts for texts in replies if texts is not None]
    if len(lists) == len(replies):
        return questions, lists
    written = isinstance(question, str) and any(texts_of(value) is not None for value in given)
    return Rejected(at.row, "irregular", "a list of replies beside a reply that is no list") if written else None


def exchanges(questions: list[str], answers: list[list[str]], at: RowPlace) -> tuple[Turns, list[Turns]] | Rejected:
    """Return conversations given as a list of the user's texts, and a list of replies for each side."""
    if any(len(texts) != len(questions) for texts in answers) or not questions:
        lengths = " and ".join(str(len(texts)) for texts in answers)
        return Rejected(at.row, "irregular", f"{len(questions)} texts of the user, and {lengths} replies")
    sides: list[Turns] = [
        tuple(
            message
            for question, reply in zip(questions, texts, strict=True)
            for message in (Message("user", question), Message("assistant", reply))
        )
        for texts in answers
    ]
    return divided((), sides, at)


def divided(prompt: Turns, sides: list[Turns], at: RowPlace) -> tuple[Turns, list[Turns]] | Rejected:
    """Return prompt and answers, where the answers may be whole conversations.

    Answers that all begin with the prompt lose the beginning. Answers that are whole conversations share their first
    turns, which become the prompt; a question given beside must be one of these turns.
    """
    start = len(prompt)
    if start and all(len(side) > start and side[:start] == prompt for side in sides):
        prompt, sides = prompt, [side[start:] for side in sides]
    elif all(side[0].role in ("user", "system") for side in sides):
        cut = min(shared(sides[0][:-1], side[:-1]) for side in sides)
        common = sides[0][:cut]
        told = {turn.content.strip() for turn in common}
        if not any(turn.role == "user" for turn in common):
            return Rejected(at.row, "irregular", "the sides answer different first turns of the user")
        if any(turn.content.strip() not in told for turn in prompt if turn.role in ("user", "text")):
            return Rejected(at.row, "irregular", "the conversations do not hold the question beside them")
        system = tuple(turn for turn in prompt if turn.role == "system" and turn.content.strip() not in told)
        prompt, sides = (*system, *common), [side[cut:] for side in sides]
    elif any(side[0].role == "user" for side in sides):
        return Rejected(at.row, "irregular", "a side begins with a turn of the user that is not the prompt")
    return prompt, sides


LOOKS = '{"prompt" or its parts, answers in columns such as "response_a" and "response_b", or in a list, and a label}'

Choose = Callable[[Row, RowPlace], Reading]
