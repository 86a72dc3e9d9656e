"""Spellings of a message, of a list of messages, and of an answer; each is turned into text or role and content.

A message names the speaker under a key of `WHO` and holds the text under a key of `WHAT`. A content may be a list of
text parts. An answer object holds its text or its messages under one key of `HOLDERS`. Messages written as JSON text or
as Python's repr are decoded.
"""

import ast
import json
import re
from typing import Any

from ...records import ROLES
from ..rows import Row
from ..sources.plain import plain

CHAT_ROLES = tuple(role for role in ROLES if role not in ("text", "ids"))
"""Roles of a turn; `text` and `ids` are roles of bradley alone."""
WHO = ("role", "from", "speaker", "author", "sender")
"""Keys for the speaker of a message."""
WHAT = ("content", "value", "text", "message", "utterance", "parts")
"""Keys for the text of a message."""
SPEAKERS = {
    **{role: role for role in CHAT_ROLES},
    **dict.fromkeys(("human", "prompter", "questioner", "person", "customer", "client"), "user"),
    **dict.fromkeys(("gpt", "bot", "ai", "model", "chatgpt", "chatbot", "agent", "llm", "bing", "bard"), "assistant"),
    **dict.fromkeys(("observation", "function", "ipython", "tool_response"), "tool"),
}
"""Name of a speaker, in lower case -> the role."""
CALL = "function_call"
"""Speaker of a turn that holds tool calls as JSON text, and key of a turn with a call in the first form of OpenAI."""
CALLS = ("tool_calls", CALL)
"""Keys of a turn with calls of functions."""
HOLDERS = ("messages", "content", "answer", "response", "text", "completion", "value", "output", "message", "summary")
"""Keys under which an answer object holds its text or its messages."""
ROLE_WORDS = {"system", "user", "assistant", "human", "gpt", "bot", "chatgpt", "prompter"}
"""Speakers of which a list of pairs of a speaker and a text names at least one: other names may be kinds of things."""
ASKS = ("user", "human", "prompter", "question", "query")
REPLIES = ("assistant", "gpt", "bot", "ai", "answer", "response", "reply")
"""Keys of an exchange: an object with a text of the user, and the reply."""
GAP = re.compile(r"\s+(?=\{)")
"""Blanks between two objects."""
BESIDE = ("tools", *CALLS, "chat_template_kwargs", "functions")
"""Keys of an object that change what the model reads: an object with such a key is no plain answer."""
LOOKS_WRITTEN = re.compile(
    r"""\s*(array\()?[\[{]\s*(array\()?[\[{]?\s*["'](role|from|content|value|messages)["']\s*:"""
)
"""Beginning of messages written out as JSON or as Python's repr."""


def is_message(value: Any) -> bool:
    """Return True for an object that names a speaker, and holds a text or something in place of a text."""
    return isinstance(value, dict) and bool(_who(value)) and not _candidates(value)


def is_turns(value: Any) -> bool:
    """Return True for a list of messages that is not empty."""
    return isinstance(value, list) and bool(value) and all(is_message(entry) for entry in value)


def normal(value: Any) -> Any:
    """Return text or a list of messages as {"role", "content", ...} for every known spelling of the two.

    Any other value comes back as it is, or partly read; the reader of turns then names what is wrong.
    """
    if isinstance(value, str):
        return _decoded(value) if value[:1].isspace() or value[:1] in ("[", "{", "a") else value
    if isinstance(value, dict):
        if is_message(value):
            return [_message(value)]
        held = holder(value)
        return normal(value[held]) if held else value
    if isinstance(value, list) and value:
        if _is_normal(value):
            return value
        if all(is_pair(entry) for entry in value):
            return from_pairs(value)
        if is_exchanges(value):
            return from_exchanges(value)
        if not any(_who(entry) for entry in value if isinstance(entry, dict)) and isinstance(value[0], dict):
            return text_of_parts(value)
        return [_message(entry) if isinstance(entry, dict) else entry for entry in value]
    return value


def answers_in(value: Any) -> Any:
    """Return several answers as a list of texts, and any other value as `normal` does.

    Objects of a list without a speaker are parts of one answer only if a `type` says so, as content parts of OpenAI do.
    """
    if isinstance(value, dict) and not is_message(value) and (held := holder(value)) and held != "content":
        return answers_in(value[held])
    if not isinstance(value, list) or not value or not all(isinstance(entry, dict) for entry in value):
        return normal(value)
    if any(map(_who, value)) or are_parts(value) or is_exchanges(value):
        return normal(value)
    texts = [normal(entry) for entry in value]
    if not all(isinstance(text, str) for text in texts):
        return value
    return texts if len(texts) > 1 else texts[0]


def are_parts(value: Any) -> bool:
    """Return True for a list of objects of which one has a `type` and none a speaker: the parts of one text."""
    objects = isinstance(value, list) and all(isinstance(entry, dict) for entry in value)
    return objects and any(entry.get("type") for entry in value) and not any(map(_who, value))


def _is_normal(value: list[Any]) -> bool:
    """Return True for messages that need no change, as nearly all messages are."""
    return all(
        type(entry) is dict
        and type(entry.get("content")) is str
        and entry.get("role") in CHAT_ROLES
        and not entry.get(CALL)
        for entry in value
    )


def holder(value: Row) -> str:
    """Return the key under which an answer object holds its text or messages; "" for none or several."""
    if any(value.get(key) for key in BESIDE):
        return ""
    held = [key for key in HOLDERS if isinstance(value.get(key), str | list | dict) and value[key] != {}]
    return held[0] if len(held) == 1 else ""


def is_pair(value: Any) -> bool:
    """Return True for a list of two texts: a question and the answer to the question."""
    return isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value)


def is_told(value: Any) -> bool:
    """Return True for a list of pairs of a speaker and a text."""
    if not isinstance(value, list) or not value or not all(map(is_pair, value)):
        return False
    said = {entry[0].strip().lower() for entry in value}
    return said <= SPEAKERS.keys() and bool(said & ROLE_WORDS)


def is_exchanges(value: Any) -> bool:
    """Return True for a list of objects with a text of the user and the reply; a single reply may be absent."""
    if not isinstance(value, list) or not value or not all(isinstance(entry, dict) for entry in value):
        return False
    keys = {key for entry in value for key in entry}
    asks, replies = keys & set(ASKS), keys & set(REPLIES)
    return (
        len(keys) == 2
        and len(asks) == len(replies) == 1
        and all(isinstance(entry.get(*asks), str) for entry in value)
        and all(isinstance(entry.get(*replies), str | None) for entry in value)
    )


def from_exchanges(value: list[Row]) -> list[Row]:
    """Return turns given as objects with a text of the user and the reply; an absent reply gives no turn."""
    turns = []
    for entry in value:
        said = {("user" if key in ASKS else "assistant"): text for key, text in entry.items()}
        turns.append({"role": "user", "content": said["user"]})
        turns += [{"role": "assistant", "content": said["assistant"]}] if said.get("assistant") else []
    return turns


def from_pairs(pairs: list[list[str]]) -> list[Row]:
    """Return turns given as pairs of a speaker and a text, or of a question and an answer."""
    if is_told(pairs):
        return [_message({"role": who, "content": text}) for who, text in pairs]
    roles = ("user", "assistant")
    return [{"role": role, "content": text} for pair in pairs for role, text in zip(roles, pair, strict=True)]


def text_of_parts(content: Any) -> Any:
    """Return a list of text parts as one text, joined as chat templates join parts; other values as they are.

    A part that is no text, such as an image, leaves the list as it is: the reader of turns refuses the list.
    """
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list) or not content:
        return content
    texts = [_part(part) for part in content]
    return "".join(texts) if all(text is not None for text in texts) else content  # type: ignore[arg-type]


def _part(part: Any) -> str | None:
    """Return the text of a part; None for a part that is no text."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type", "text") not in ("text", "input_text", "output_text", None):
        return None
    filled = {key: value for key, value in part.items() if value is not None and key != "type"}
    texts = [filled[key] for key in ("text", "value", "content") if isinstance(filled.get(key), str)]
    others = any(isinstance(value, dict | list) and value for value in filled.values())
    return texts[0] if len(texts) == 1 and not others else None


def _message(value: Row) -> Row:
    """Return a message with the keys role and content; a message that has both already is returned unchanged.

    A call under `CALL` becomes the only one of `tool_calls`; the reader of turns refuses any other value there.
    """
    if value.get(CALL) and not value.get("tool_calls") and (calls := _calls(value[CALL])):
        value = {**{key: inner for key, inner in value.items() if key != CALL}, "tool_calls": calls}
    content = value.get("content")
    empty = content is None and all(value.get(key) is None for key in WHAT[1:])
    if value.get("role") in CHAT_ROLES and (isinstance(content, str) or empty):
        return value
    who = _who(value)
    if not who:
        return value
    known = SPEAKERS.get(value[who].strip().lower(), value[who])
    what = next((key for key in WHAT if value.get(key) is not None), "content")
    if value[who].strip().lower() == CALL and (calls := _calls(value.get(what))):
        return {"role": "assistant", "content": "", "tool_calls": calls}
    rest = {key: inner for key, inner in value.items() if key not in (who, what)}
    if what in value:
        rest["content"] = text_of_parts(value[what])
    return {"role": known, **rest}


def _calls(text: Any) -> list[Row]:
    """Return the tool calls of a turn that holds calls as JSON text; none for any other text."""
    found = _parsed(text) if isinstance(text, str) else text
    calls = found if isinstance(found, list) else [found]
    if not all(isinstance(call, dict) and isinstance(call.get("name"), str) for call in calls):
        return []
    made = [{"name": call["name"], "arguments": call.get("arguments", {})} for call in calls]
    return [{"type": "function", "function": call} for call in made]


def _who(value: Row) -> str:
    """Return the key that names the speaker; "" for none."""
    for key in WHO:
        # An answer may have an author of any name; only a known speaker makes such an object a turn.
        if isinstance(value.get(key), str) and (key in WHO[:2] or value[key].strip().lower() in SPEAKERS):
            return key
    return ""


def _candidates(value: Row) -> bool:
    """Return True for a turn that holds several answers in place of a text."""
    return all(value.get(key) is None for key in WHAT) and any(
        isinstance(inner, list) and inner and all(isinstance(entry, dict) for entry in inner)
        for key, inner in value.items()
        if key not in BESIDE
    )


def _decoded(text: str) -> Any:
    """Return messages written out as JSON or as Python's repr; any other text unchanged.

    A text that begins like messages and cannot be read comes back as an object without keys: the reader of turns then
    refuses the row. Such a text is never the words of a speaker.
    """
    if not LOOKS_WRITTEN.match(text):
        return text
    value = _parsed(text)
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        return normal(value) if holder(value) else value
    if is_message(value) and _known(value):
        return normal(value)
    if is_turns(value) and all(_known(entry) for entry in value):
        return normal(value)
    # JSON that is no conversation is an answer, such as code; text that looks like one and does not parse is neither.
    return Unreadable() if value is None and re.search(r"""["'](role|from)["']\s*:""", text) else text


def _known(message: Row) -> bool:
    """Return True for a message of a known speaker: any other object is content, such as a record of a user."""
    return any(str(message.get(key, "")).strip().lower() in SPEAKERS for key in WHO)


def _parsed(text: str) -> Any:
    """Parse JSON or Python's repr of lists and objects; None for anything else."""
    try:
        return plain(json.loads(text))
    except (ValueError, RecursionError):
        pass
    try:
        return plain(ast.literal_eval(_with_commas(text.strip())))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _with_commas(text: str) -> str:
    """Return Python's repr of a list with a comma between any two objects: NumPy writes blanks alone."""
    parts, start, quote, place = [], 0, "", 0
    while place < len(text):
        letter = text[place]
        if quote:
            # A backslash and the next character belong together, and end no quotation.
            place += letter == "\\"
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "}" and (gap := GAP.match(text, place + 1)):
            parts.append(text[start : place + 1])
            start = place = gap.end()
            continue
        place += 1
    return ", ".join([*parts, text[start:]])


class Unreadable:
    """Stands for messages written out as text that cannot be read back."""
