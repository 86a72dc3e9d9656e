"""Turns of a conversation: parsing of messages, and checks of the order of roles against chat templates."""

import json
from collections.abc import Sequence
from typing import Any

from ...records import Message
from .. import rows
from ..rows import Row, RowPlace
from .messages import CALL, CHAT_ROLES, Unreadable, answers_in, normal

Turns = tuple[Message, ...]

LAST_ROLES = ("assistant", "text", "ids")
"""Roles allowed in the last turn, the judged turn."""
WANTED = '{"role": "user", "content": "..."}'
WANTED_CALL = '{"name": "...", "arguments": "..."}, or tool_calls alone'
RENAME = "write the roles of these turns anew in a function of your own: --data.format module:function"
INSTEAD = ("tool_calls", "reasoning_content", "reasoning", "thinking", "tool_plan")
"""Keys that allow a turn without content, such as a bare tool call."""
EXTRA = ("name", "tool_call_id", *INSTEAD)
"""Keys read by chat templates besides role and content; other keys describe the turn and are not read."""


def said(row: Row, key: str, at: RowPlace) -> Any:
    """Return the text, messages or answers of `key`, see `answers_in`; raise `DataError` if missing or null."""
    return answers_in(rows.field(row, key, at))


def turns(value: Any, plain_role: str, what: str, at: RowPlace) -> Turns:
    """Return text as a turn of `plain_role`, or messages as turns; a response needs at least one message.

    Messages may have any spelling that `messages.normal` reads.

    Raises:
        DataError: anything but text or messages.
    """
    value = normal(value)
    if isinstance(value, Unreadable):
        raise at.fault(f"messages written as text in the {what}, neither JSON nor Python's repr", f"a list of {WANTED}")
    if isinstance(value, str):
        return (Message(plain_role, value),)
    if not isinstance(value, list) or (not value and what == "response"):
        found = "an empty list" if value == [] else rows.kind(value)
        raise at.fault(f"{found} as {what}", 'text, or messages such as [{"role": "user", "content": "..."}]')
    return tuple(_message(entry, what, at) for entry in value)


def check_order(roles: Sequence[str], at: RowPlace) -> None:
    """Raise `DataError` for an order of roles that chat templates refuse.

    Two turns in a row by the same speaker occur in real data and pass.
    """
    # A template's own refusal comes only during tokenization, after all rows were read.
    if "system" not in roles[1:] and "tool" not in roles and roles[-1] in LAST_ROLES:
        return
    found = f"the roles {', '.join(roles)}"
    if "system" in roles[1:]:
        raise at.fault(found, "a system turn only at the beginning")
    if any(role == "tool" and roles[max(i - 1, 0)] not in ("assistant", "tool") for i, role in enumerate(roles)):
        raise at.fault(found, "every tool turn after an assistant or a tool turn")
    if roles[0] == "tool" or roles[-1] not in LAST_ROLES:
        raise at.fault(found, "an assistant turn at the end, the one that is judged")


def _message(entry: Any, what: str, at: RowPlace) -> Message:
    """Return a checked turn; raise `DataError` for an unknown role or a value of another type."""
    if not isinstance(entry, dict):
        raise at.fault(f"{rows.kind(entry)} in a message of the {what}", WANTED)
    # Sorted, because extra keys enter the prompt's hash: the order of keys in a file must not change the prompt.
    extra = {key: entry[key] for key in sorted(EXTRA) if entry.get(key) not in (None, [])}
    bare = any(key in extra for key in INSTEAD)
    if entry.get(CALL):
        beside = " beside tool_calls" if "tool_calls" in extra else ""
        raise at.fault(f"{rows.quoted(entry[CALL])} as {CALL}{beside} in the {what}", WANTED_CALL)
    if "role" not in entry or ("content" not in entry and not bare):
        raise at.fault(f"{rows.keys_of(entry)} in a message of the {what}", WANTED)
    if entry["role"] not in CHAT_ROLES:
        found = f"the role {rows.quoted(entry['role'])} in the {what}"
        # A call that is no JSON has no place in the normal form, in any row of the file.
        hint = RENAME if entry["role"] == CALL else rows.CORRECT
        raise at.fault(found, f"one of {', '.join(CHAT_ROLES)}", hint)
    content = entry.get("content")
    if not isinstance(content, str) and not (content is None and bare):
        raise at.fault(f"{rows.kind(content)} as content in the {what}", f"text, as in {WANTED}")
    _check_extra(extra, what, at)
    return Message(entry["role"], content or "", json.dumps(extra, ensure_ascii=False) if extra else "")


def _check_extra(extra: Row, what: str, at: RowPlace) -> None:
    """Raise `DataError` for a value of another type than templates expect."""
    for key, value in extra.items():
        if key == "tool_calls":
            if not isinstance(value, list) or not all(isinstance(call, dict) for call in value):
                raise at.fault(f"{rows.kind(value)} as tool_calls in the {what}", "a list of objects")
        elif not isinstance(value, str):
            raise at.fault(f"{rows.kind(value)} as {key} in the {what}", "text")
