"""Parts of a comparison that a chat template drops: found by rendering with and without, and by looking for contents.

Tools, arguments of a row, tool calls, reasoning and names are rendered once more without. A part that changes nothing
is not read by the model. The content of each turn is looked for in the text.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

from ..config import Unread
from ..errors import DataError
from ..records import Comparison, Message
from .chat_template import REASONING
from .rows import on_one_line

Turns = tuple[Message, ...]
Parts = dict[str, bool]
"""Parts of a comparison by name, False for a part that the text lacks."""
KEYS = dict.fromkeys((*REASONING, "tool_plan"), "reasoning")
"""Keys of a turn with a part of another name; any other key is a part of its own name."""
ARGUMENT, CONTENTS, WORDS = "chat_template_kwargs", "contents", "words"
DESCRIBED = ("name", "description")
"""Keys inside tools with words of somebody; templates rewrite the rest of a schema."""
MOST_NAMES = 40
"""Most names of parts, beyond which new names of arguments are counted together."""
OTHERS = f"{ARGUMENT} (other names)"


class Render(Protocol):
    """Rendering of a prompt and a response to text, by the template for conversations with or without tools."""

    def __call__(self, prompt: Turns, response: Turns, args: Mapping[str, Any], with_tools: bool | None) -> str:
        """Render a conversation; raise `DataError` if the template refuses."""


def parts_of(comparison: Comparison, texts: Sequence[str], render: Render, known: AbstractSet[str]) -> Parts:
    """Find the parts of a comparison besides contents, and the contents missing in the texts.

    Args:
        comparison: any comparison but one of token ids.
        texts: rendering of each response, with the prompt, then of the prompt alone.
        render: renders a changed conversation.
        known: names of arguments that the settings give too, and the template is known to read.

    Returns:
        Names of parts: `tools`, `chat_template_kwargs.NAME`, `tool_calls`, `reasoning` and other keys of turns. False
        for a part that changes nothing in some text. Two names are always False: `contents.ROLE` for a turn of this
        role with content missing in the text, `words.PART` for a part that is read without some of the words inside.
    """
    found: Parts = {}
    if comparison.template_args:
        found |= _arguments(comparison, texts[0], render, known)
    for turns, response, place in _with_extras(comparison):
        for part, read in _keys_read(comparison, turns, response, texts[place], render):
            found[part] = found.get(part, True) and read
    for role in _missing(comparison, texts):
        found[f"{CONTENTS}.{role}"] = False
    return found


def glued(comparison: Comparison) -> bool:
    """Return True if a plain prompt and a plain response meet without white space between the two."""
    if not comparison.prompt or comparison.prompt[-1].role != "text":
        return False
    before = comparison.prompt[-1].content[-1:]
    return bool(before.strip()) and any(response.messages[0].content[:1].strip() for response in comparison.responses)


@dataclass
class UnreadCounts:
    """Counts of parts in the comparisons of a split, and of the comparisons where a part changes nothing.

    Attributes:
        comparisons: comparisons rendered.
        parts: by name of the part, {"comparisons": with the part, "unread": with the part dropped, "example": id}.
    """

    comparisons: int = 0
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, comparison: Comparison, parts: Parts) -> None:
        """Count a comparison."""
        self.comparisons += 1
        for name, read in parts.items():
            row = self._row(name)
            row["comparisons"] += 1
            row["unread"] += not read
            if not read and not row["example"]:
                row["example"] = comparison.id

    def merge(self, later: "UnreadCounts") -> None:
        """Add the counts of later comparisons."""
        self.comparisons += later.comparisons
        for name, counts in later.parts.items():
            row = self._row(name)
            row["comparisons"] += counts["comparisons"]
            row["unread"] += counts["unread"]
            row["example"] = row["example"] or counts["example"]

    def _row(self, name: str) -> dict[str, Any]:
        """Return the counts of a part."""
        # A row may name its arguments as it likes; all other names are ours.
        free = name in self.parts or _kind(name) != ARGUMENT or len(self.parts) < MOST_NAMES
        return self.parts.setdefault(name if free else OTHERS, {"comparisons": 0, "unread": 0, "example": ""})

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {"comparisons": self.comparisons, "parts": {name: dict(row) for name, row in self.parts.items()}}


def describe_unread(split: str, unread: UnreadCounts) -> list[str]:
    """Describe the parts of a split that the model does not read, each in a line."""
    return [f"unread       {split}: {_in_words(name, row, unread)}" for name, row in _dropped(unread)]


def over_limits(limits: Unread, unread: UnreadCounts) -> list[str]:
    """Describe the parts dropped in more of a split's comparisons than a limit allows."""
    return [_in_words(name, row, unread) for name, row in _over(limits, unread)]


def check_unread(limits: Unread, split: str, unread: UnreadCounts) -> None:
    """Raise `DataError` if the template drops a part in more comparisons of a split than a limit allows."""
    over = list(_over(limits, unread))
    if not over:
        return
    kinds = dict.fromkeys(_kind(name) for name, _ in over)
    allowed = " ".join(f"--render.max_unread.{kind} 1" for kind in kinds)
    raise DataError(
        f"{split}: {'; '.join(_in_words(name, row, unread) for name, row in over)}",
        f"use a template that writes them (--render.template), take them out of the rows, or train without: {allowed}",
    )


def _over(limits: Unread, unread: UnreadCounts) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the dropped parts above the limit of their kind."""
    for name, row in _dropped(unread):
        limit = getattr(limits, _kind(name), 1.0)
        if row["unread"] > limit * unread.comparisons:
            yield name, row


def _dropped(unread: UnreadCounts) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every part that is dropped in a comparison."""
    return ((name, row) for name, row in unread.parts.items() if row["unread"])


def _kind(part: str) -> str:
    """Return the kind of a part: the name before a dot or blank."""
    return part.partition(".")[0].partition(" ")[0]


def _in_words(name: str, row: Mapping[str, Any], unread: UnreadCounts) -> str:
    """Describe a dropped part, with the number of comparisons and an example."""
    example = f"such as {on_one_line(row['example'])}"
    kind, _, what = name.partition(".")
    if kind in (CONTENTS, WORDS):
        of = "plain text" if what == "text" else f"{what} turns" if kind == CONTENTS else what
        return (
            f"the template leaves out {kind} of {of} in {row['unread']:,} of {unread.comparisons:,} comparisons, "
            f"{example}"
        )
    change, them = ("change", "them") if name in ("tools", "tool_calls") else ("changes", "it")
    return (
        f"{on_one_line(name)} {change} nothing in {row['unread']:,} of the {row['comparisons']:,} comparisons with "
        f"{them}, {example}"
    )


def _arguments(comparison: Comparison, text: str, render: Render, known: AbstractSet[str]) -> Parts:
    """Render the first response without each argument of the row."""
    args, response = comparison.template_args, comparison.responses[0].messages
    found = {}
    for name in (name for name, value in args.items() if value is not None):
        less = {key: value for key, value in args.items() if key != name}
        without = partial(render, comparison.prompt, response, less, _with_tools(comparison))
        found["tools" if name == "tools" else f"{ARGUMENT}.{name}"] = name in known or _changes(text, without)
    if found.get("tools") and not _words_found(_described(args["tools"]), text):
        found[f"{WORDS}.tools"] = False
    return found


def _with_tools(comparison: Comparison) -> bool | None:
    """Return True for a comparison with tools: without these, another template would change the text by itself."""
    return True if comparison.template_args.get("tools") is not None else None


def _with_extras(comparison: Comparison) -> Iterator[tuple[Turns, Turns | None, int]]:
    """Yield the runs of turns with further keys: the prompt (None as the response), and each response, with its place
    among the texts.
    """
    if any(message.extra for message in comparison.prompt):
        yield comparison.prompt, None, 0
    for place, response in enumerate(comparison.responses):
        if any(message.extra for message in response.messages):
            yield response.messages, response.messages, place


def _keys_read(
    comparison: Comparison, turns: Turns, response: Turns | None, text: str, render: Render
) -> Iterator[tuple[str, bool]]:
    """Yield the parts of turns, and True for a part that the text holds.

    Args:
        turns: the turns of the prompt, or of a response.
        response: None for the prompt.
        text: rendering of the conversation.
    """

    def changes(changed: Turns) -> bool:
        first = comparison.responses[0].messages
        prompt, response_turns = (changed, first) if response is None else (comparison.prompt, changed)
        args = comparison.template_args
        return _changes(text, partial(render, prompt, response_turns, args, _with_tools(comparison)))

    extras = [_parts_in(message) for message in turns]
    for part in dict.fromkeys(part for extra in extras for part in extra):
        holders = [place for place, extra in enumerate(extras) if part in extra]
        read = changes(tuple(_without(message, part) for message in turns))
        # Of several turns a template may write the last alone; a turn whose words are in the text needs no rendering.
        unsure = [place for place in holders if read and not _words_found(_texts(extras[place][part]), text)]
        if unsure and len(holders) > 1:
            read = all(changes((*turns[:at], _without(turns[at], part), *turns[at + 1 :])) for at in unsure)
        yield part, read
        if read and unsure:
            yield f"{WORDS}.{part}", False


def _parts_in(message: Message) -> dict[str, list[Any]]:
    """Return the values of the further keys of a turn by part, without blank values."""
    found: dict[str, list[Any]] = {}
    for key, value in (json.loads(message.extra) if message.extra else {}).items():
        if value is not None and (not isinstance(value, str) or value.strip()):
            found.setdefault(KEYS.get(key, key), []).append(value)
    return found


def _changes(text: str, render: Callable[[], str]) -> bool:
    """Return True if a rendering differs from a text, or is refused."""
    try:
        return render() != text
    except DataError:
        return True


def _without(message: Message, part: str) -> Message:
    """Return a turn without a part."""
    if not message.extra:
        return message
    kept = {key: value for key, value in json.loads(message.extra).items() if KEYS.get(key, key) != part}
    return replace(message, extra=json.dumps(kept, ensure_ascii=False) if kept else "")


def _words_found(words: Iterable[str], text: str) -> bool:
    """Return True if every word stands in a rendering, as it is or as JSON writes it."""
    return all(
        word.strip() in text or json.dumps(word)[1:-1] in text or json.dumps(word, ensure_ascii=False)[1:-1] in text
        for word in words
    )


def _described(value: Any) -> Iterator[str]:
    """Yield the names and descriptions inside tools."""
    for entry in value if isinstance(value, list) else []:
        yield from _described(entry)
    for key, entry in value.items() if isinstance(value, dict) else []:
        if key in DESCRIBED and isinstance(entry, str):
            yield entry
        else:
            yield from _described(entry)


def _texts(value: Any) -> Iterator[str]:
    """Yield every text of a JSON value but the kind and id of a call, which most templates leave out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if not (key in ("type", "id") and "function" in value):
                yield from _texts(entry)


def _missing(comparison: Comparison, texts: Sequence[str]) -> set[str]:
    """Return the roles of the turns with content missing in the text of a response."""
    found: set[str] = set()
    *whole, opening = texts
    # Most texts begin with the text of the prompt, which then answers for the turns of the prompt.
    if any(not text.startswith(opening) for text in whole):
        for text in whole:
            found |= set(_absent(comparison.prompt, text))
    else:
        found |= set(_absent(comparison.prompt, opening))
    for response, text in zip(comparison.responses, whole, strict=True):
        found |= set(_absent(response.messages, text))
    return found


def _absent(turns: Iterable[Message], text: str) -> Iterator[str]:
    """Yield the role of each turn with content missing in a text, apart from outer blanks."""
    start = 0
    for message in turns:
        content = message.content.strip()
        # Contents stand in order in most texts, and a search from the last one ends soon.
        place = text.find(content, start)
        if place >= 0:
            start = place + len(content)
        elif content not in text:
            yield message.role
