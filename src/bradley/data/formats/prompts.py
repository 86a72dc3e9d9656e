"""Parts of a prompt in several columns: system text, earlier turns, context, question, and input of an instruction.

A system text becomes a system turn. Earlier turns are messages, or pairs of a question and an answer. Context, question
and input become one text: context and question with a blank line between them, instruction and input with a line break.
First steps that both answers continue are put in front of both answers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..rows import Row
from .layout import CONVERSATION, Layout, Path, at_path, covered, is_spoken, named, texts_of, words
from .messages import is_turns, normal, text_of_parts
from .numbered import find_numbered
from .repeats import judging, of_judge, renders, repeated

QUESTION = (
    *("prompt", "question", "instruction", "query", "problem", "request", "input", "context", "history"),
    *("conversation", "conversations", "messages", "dialog", "dialogue", "chat", "turns"),
    *(
        "frage",
        "kontext",
        "task",
        "post",
        "user",
        "human",
        "ask",
        "text",
        "article",
        "document",
        "passage",
        "premise",
        "goal",
        "scenario",
    ),
)
"""Words in the name of a column with the question, the likeliest first."""
CERTAIN = (*QUESTION[:9], "frage", "kontext")
"""Words for a question of any length; under the other words short texts are labels."""
CERTAIN_QUESTION = {*QUESTION[:7], "frage"}
"""Words for the question itself, beside which a conversation may be the one with a judge."""
ABOUT = {
    *("id", "ids", "type", "category", "language", "lang", "index", "idx", "model", "name", "date", "url", "hash"),
    *(
        "dataset",
        "key",
        "uuid",
        "uid",
        "length",
        "len",
        "tokens",
        "score",
        "rating",
        "judge",
        "difficulty",
        "domain",
        "topic",
    ),
}
"""Words in the name of a column about a prompt."""
SYSTEM = {"system", "sys"}
INPUT = {"input"}
CONTEXT = {"context", "kontext", "passage", "background"}
FIRST = {"initial", "previous", "prior", "partial", "prefix", "prefill"}
STEPS = {
    *("step", "steps", "solution", "reasoning", "response", "answer", "prefill", "completion", "assistant", "reply"),
    *("responses", "answers", "completions", "output"),
}
ASKING = {"prompt", "question", "instruction", "query", "user", "input", "system", "task"}
"""Words by which the beginning belongs to the prompt, as in prompt_prefix."""


@dataclass(frozen=True)
class Prompt:
    """Columns of the parts of a prompt; None for a part that the rows do not have.

    Attributes:
        system: text of a system turn.
        history: turns before the question, as messages or pairs.
        context: text before the question.
        question: question as text, or a conversation that ends with the question.
        input: text after an instruction.
        steps: beginning of both answers.
        numbered: role and column of turns in columns of their own, in order.
        several: True if the question is a list with a text for each turn of the user.
        alternating: True if the question is a list with texts of the user and the assistant in turn.
        turns: True if the rows are written as turns throughout; False for a prompt in one text.
    """

    system: Path | None = None
    history: Path | None = None
    context: Path | None = None
    question: Path | None = None
    input: Path | None = None
    steps: Path | None = None
    numbered: tuple[tuple[str, Path], ...] = ()
    several: bool = False
    turns: bool = False
    alternating: bool = False

    @property
    def paths(self) -> tuple[Path, ...]:
        """Columns of the prompt, in the order of the text."""
        before = (self.system, self.history, self.context)
        parts = (*before, *(path for _, path in self.numbered), self.question, self.input, self.steps)
        return tuple(part for part in parts if part is not None)

    @property
    def shown(self) -> str:
        """Names of the columns, for the line about the reading."""
        in_turn = " (user and assistant in turn)" if self.alternating else ""
        return " + ".join(
            named(path) + (in_turn if path == self.question else "") for path in self.paths if path != self.steps
        )

    def value(self, row: Row) -> Any:
        """Return the prompt of a row, as text or as messages; None for a row without any part.

        A value that is neither comes back as it is, for the reader of turns to refuse.
        """
        question = part_of(row, self.question)
        if self.several and (texts := texts_of(question)) is not None:
            # Several questions need a reply to each: without replies the reader of turns refuses the list.
            question = texts[0] if len(texts) == 1 else _in_turn(texts) if self.alternating else texts
        if (odd := self._odd(row, question)) is not None:
            return odd
        text = question
        if isinstance(question, str) or question is None:
            text = _joined(part_of(row, self.context), question, part_of(row, self.input))
        if not self.turns:
            return text or None
        system, history = part_of(row, self.system), part_of(row, self.history)
        turns = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
        for part in (system if isinstance(system, list) else None, history, numbered_texts(row, self.numbered), text):
            if isinstance(part, str):
                turns += [{"role": "user", "content": part}] if part.strip() else []
            elif isinstance(part, list):
                turns += part
            elif part is not None:
                return part
        return turns or None

    def _odd(self, row: Row, question: Any) -> Any:
        """Return a part that has no place in the prompt of a row, such as a context that is a list; None for none."""
        beside = [part_of(row, path) for path in (self.context, self.input, self.steps)]
        odd = [part for part in beside if part is not None and not isinstance(part, str)]
        system = part_of(row, self.system)
        odd += [system] if not isinstance(system, str | list | None) else []
        if not isinstance(question, str | None):
            # Context and input become one text with the question, and a conversation is no text.
            odd += [[part] for path, part in zip((self.context, self.input), beside, strict=False) if path and part]
        return odd[0] if odd else None

    def beside(self, row: Row) -> str:
        """Return the name of a part that a row has beside the question; "" for none."""
        parts = (path for path in self.paths if path != self.question)
        return next((named(path) for path in parts if part_of(row, path) is not None), "")

    def begun(self, row: Row) -> str:
        """Return the beginning of both answers of a row; "" for none."""
        steps = at_path(row, self.steps) if self.steps else None
        return steps if isinstance(steps, str) else ""


def _in_turn(texts: list[str]) -> list[Any]:
    """Return texts of user and assistant in turn as messages; a list that ends with a reply comes back as it is."""
    if len(texts) % 2 == 0:
        return texts
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def _alternates(layout: Layout, path: Path, answers: Iterable[Path]) -> bool:
    """Return True for lists of texts that end with the user if user and assistant speak in turn.

    Every list has an odd number of texts. The numbers differ, or the name is the name of a conversation.
    """
    if any(layout.kinds.get(answer) == "texts" for answer in answers):
        return False
    lengths = {len(texts) for value in layout.columns[path] if (texts := texts_of(value))}
    named_so = bool(CONVERSATION & set(words(path[-1:])))
    return (
        bool(lengths) and all(length % 2 for length in lengths) and (len(lengths) > 1 or (named_so and lengths != {1}))
    )


def numbered_texts(row: Row, numbered: Iterable[tuple[str, Path]]) -> list[Row]:
    """Return the turns of a row in columns of their own, up to the last that is filled."""
    turns = [{"role": role, "content": at_path(row, path)} for role, path in numbered]
    while turns and turns[-1]["content"] in (None, ""):
        turns.pop()
    return turns


def part_of(row: Row, path: Path | None) -> Any:
    """Return a part of the prompt in the normal spelling; None for a missing or empty part."""
    if path is None:
        return None
    value = at_path(row, path)
    if SYSTEM & set(words(path)):
        value = text_of_parts(value)
    value = normal(value)
    return None if value in ("", []) else value


def _joined(context: Any, question: str | None, more: Any) -> str:
    """Return context, question and input as one text."""
    text = question or ""
    if isinstance(more, str) and more.strip():
        text = f"{text}\n{more}" if text else more
    if isinstance(context, str) and context.strip() and context not in text:
        text = f"{context}\n\n{text}" if text else context
    return text


def find_prompt(layout: Layout, used: Iterable[Path], stem: Sequence[str], wanted: Path | None = None) -> Prompt:
    """Return the columns of the prompt.

    Args:
        used: columns that hold answers.
        stem: words of the names of the answers; a question with the same first word is preferred.
        wanted: the column that the user named as the prompt.
    """
    taken = set(used)
    free = [path for path in layout.columns if not covered(path, taken) and not (set(words(path)) & ABOUT)]
    system = [path for path in free if set(words(path)) & SYSTEM and _system(layout, path)]
    free = [path for path in free if path not in system and not renders(layout, path, taken)]
    own = [path for path in free if path == wanted or not of_judge(path)]
    # A prompt for the judge is the prompt of the answers only if the file has no other.
    free = own if any(_may_ask(layout, path) for path in _ordered(own, stem)) else free
    numbered = find_numbered(layout, [path for path in free if path != wanted])
    free = [path for path in free if path not in {path for _, path in numbered}]
    turns = [path for path in _ordered(free, stem) if layout.kinds[path] == "turns"]
    texts = [path for path in _ordered(free, stem) if path not in turns and _may_ask(layout, path)]
    asked = [path for path in texts if CERTAIN_QUESTION & set(words(path))]
    turns, texts = ([path for path in some if not judging(layout, path, taken, asked)] for some in (turns, texts))
    pairs = [path for path in free if layout.kinds[path] == "pairs" and path != wanted]
    if not turns and not texts:
        # Turns under any name are the conversation, if nothing else is.
        turns = [path for path in free if layout.kinds[path] == "turns"][:2]
        turns = turns if len(turns) == 1 else []
    if wanted is not None:
        turns = [path for path in turns if path != wanted]
        texts = [wanted, *(path for path in texts if path != wanted)]
    question = texts[0] if texts else None
    found = Prompt(_only(system), history=_only(pairs), question=question, numbered=numbered)
    if turns and wanted is not None and layout.kinds.get(wanted) == "turns":
        found = replace(found, question=wanted)
    elif turns:
        found = _with_turns(layout, found, turns[0])
    if numbered:
        found = _with_numbered(layout, found)
    if found.question in texts:
        found = _with_texts(layout, found, texts)
    steps = [path for path in free if layout.kinds[path] == "text" and path != found.question and _steps(path)]
    several = found.question is not None and layout.kinds.get(found.question) == "texts"
    in_turns = bool(found.system or found.history or several or found.numbered) or layout.kinds.get(
        found.question or ()
    ) in ("turns", "pairs")
    in_turn = several and found.question is not None and _alternates(layout, found.question, taken)
    return replace(found, steps=_only(steps), several=several, turns=in_turns, alternating=in_turn)


def _with_turns(layout: Layout, found: Prompt, turns: Path) -> Prompt:
    """Return the prompt with a column of turns: the conversation itself, or the turns before a question."""
    if found.question is None or repeated(layout, found.question, [turns]):
        return replace(found, question=turns)
    if not set(words(found.question)) & set(CERTAIN[:6]):
        return replace(found, question=turns)
    # Turns that end with the user hold a question of their own: nothing says how the two belong together.
    told = [normal(value) for value in layout.columns[turns]]
    ends = [value[-1].get("role") for value in told if is_turns(value)]
    return replace(found, history=turns) if "user" not in ends else found


def _with_numbered(layout: Layout, found: Prompt) -> Prompt:
    """Return the prompt with one question: the last of the numbered turns, or the question after their last reply."""
    asks = found.numbered[-1][0] == "user"
    if asks and found.question and repeated(layout, found.question, [found.numbered[-1][1]]):
        return replace(found, question=None)
    # Two questions, or none after a reply: nothing says how the turns and the question belong together.
    return found if asks == (found.question is None) else replace(found, numbered=())


def _with_texts(layout: Layout, found: Prompt, texts: Sequence[Path]) -> Prompt:
    """Return the prompt with the texts that belong to a question: input and context."""
    others = [path for path in texts if path != found.question and not repeated(layout, path, [found.question or ()])]
    plain = [path for path in others if layout.kinds[path] == "text"]
    more = [path for path in plain if set(words(path)) & INPUT]
    context = [path for path in plain if set(words(path)) & CONTEXT]
    return replace(found, input=_only(more), context=_only(context))


def _ordered(paths: Iterable[Path], stem: Sequence[str]) -> list[Path]:
    """Return the columns named like a question, the likeliest first."""
    rated = []
    for place, path in enumerate(paths):
        parts = words(path)
        # The last name says most: question.full_text is a text, and question.dataset a name.
        last = words(path[-1:]) if set(words(path[-1:])) & set(QUESTION) else parts
        rank = min((QUESTION.index(word) for word in last if word in QUESTION), default=-1)
        if rank >= 0:
            # Names such as orig_response_A belong to orig_instruction, and not to instruction.
            kin = bool(stem) and parts[0] == stem[0] and len(parts) > 1
            rated.append((not kin, rank, len(parts), place, path))
    return [entry[-1] for entry in sorted(rated)]


def _only(paths: Sequence[Path]) -> Path | None:
    """Return the single column; None for none, and for several, which nothing tells apart."""
    return paths[0] if len(paths) == 1 else None


def _may_ask(layout: Layout, path: Path) -> bool:
    """Return True for a column of questions or of messages, under the name of a question."""
    kind = layout.kinds[path]
    return kind == "turns" or (kind in ("text", "texts") and _asks(layout, path))


def _asks(layout: Layout, path: Path) -> bool:
    """Return True for a column of questions: filled in some row, and spoken unless the name is certain."""
    values = [value for value in layout.columns[path] if isinstance(value, str | list) and value]
    return bool(values) and (
        bool(set(words(path[-1:])) & set(CERTAIN)) or 2 * sum(map(is_spoken, values)) > len(values)
    )


def _system(layout: Layout, path: Path) -> bool:
    """Return True for a column of system texts."""
    values = [value for value in layout.columns[path] if value not in (None, "", [])]
    kinds = {type(text_of_parts(value)) for value in values}
    return layout.kinds[path] == "turns" or (bool(values) and kinds == {str}) or layout.kinds[path] == "text"


def _steps(path: Path) -> bool:
    """Return True for the name of a column with the beginning of both answers."""
    parts = set(words(path))
    # A bare prefix may be an instruction in front of the question.
    return bool(parts & FIRST and parts & STEPS and not parts & ASKING) or {"first", "steps"} <= parts
