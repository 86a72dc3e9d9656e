"""The fields of a source row, checked: every fault names file, row, what was found and what was wanted."""

from dataclasses import dataclass
from typing import Any, Literal

from ..errors import DataError
from ..records import ROLES, Message

Row = dict[str, Any]
Turns = tuple[Message, ...]
EqualScores = Literal["skip", "tie"]

CHAT_ROLES = tuple(role for role in ROLES if role != "text")
LARGEST = 1e300


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands and what the settings say about it.

    Attributes:
        name: of its file or list, as messages say it.
        stem: the short name, for ids and as a source where the row names none.
        row: from 1.
        equal_scores: what two completions with the same rank or score become.
    """

    name: str
    stem: str
    row: int = 0
    equal_scores: EqualScores = "skip"

    def fault(self, found: str, wanted: str, hint: str = "correct or remove the row") -> DataError:
        """The error for a row of the wrong shape."""
        return DataError(f"{self.name}, row {self.row}: found {found}, wanted {wanted}", hint)


def field(row: Row, key: str, at: Place) -> Any:
    """The value of `key`, which must be there and not null."""
    if key not in row:
        raise at.fault(f"the keys {', '.join(map(on_one_line, row)) or '(none)'}", f"the key {key}")
    if row[key] is None:
        raise at.fault(f"null in {key}", "text or messages")
    return row[key]


def text(row: Row, key: str, at: Place) -> str:
    """The value of `key`, which must be text."""
    value = field(row, key, at)
    if not isinstance(value, str):
        raise at.fault(f"{kind(value)} in {key}", "a transcript as text", "or let --data.format auto find the format")
    return value


def number(row: Row, key: str, at: Place) -> float | None:
    """The value of `key` as a float, finite; None where it is absent or null."""
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST < value < LARGEST:
        raise at.fault(f"{value!r} as {key}", "a finite number")
    return float(value)


def turns(value: Any, plain_role: str, what: str, at: Place) -> Turns:
    """Text as one turn of `plain_role`, or a list of messages, of which a response has at least one."""
    if isinstance(value, str):
        return (Message(plain_role, value),)
    if not isinstance(value, list) or (not value and what == "response"):
        found = "an empty list" if value == [] else kind(value)
        raise at.fault(f"{found} as {what}", 'text, or messages such as [{"role": "user", "content": "..."}]')
    return tuple(_message(entry, what, at) for entry in value)


def check_order(turns: Turns, at: Place) -> None:
    """Stop at an order of roles that chat templates refuse; two turns of one speaker in a row occur in real data."""
    roles = [turn.role for turn in turns]
    found = f"the roles {', '.join(roles)}"
    if "system" in roles[1:]:
        raise at.fault(found, "a system turn only at the beginning")
    if any(role == "tool" and roles[max(i - 1, 0)] not in ("assistant", "tool") for i, role in enumerate(roles)):
        raise at.fault(found, "every tool turn after an assistant or a tool turn")
    if roles[0] == "tool" or roles[-1] not in ("assistant", "text"):
        raise at.fault(found, "an assistant turn at the end, the one that is judged")


def on_one_line(found: object) -> str:
    """What the data holds, as a message quotes it: whatever would break the line is escaped."""
    text = str(found)
    return text if text.isprintable() else repr(text)[1:-1]


def kind(value: Any) -> str:
    """What a value is, in the words of JSON."""
    names = {str: "text", list: "a list", dict: "an object", bool: "a boolean", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _message(entry: Any, what: str, at: Place) -> Message:
    wanted = '{"role": "user", "content": "..."}'
    if not isinstance(entry, dict) or not {"role", "content"} <= set(entry):
        found = f"the keys {', '.join(map(on_one_line, entry))}" if isinstance(entry, dict) else kind(entry)
        raise at.fault(f"{found} in a message of the {what}", wanted)
    if entry["role"] not in CHAT_ROLES:
        raise at.fault(f"the role {entry['role']!r} in the {what}", f"one of {', '.join(CHAT_ROLES)}")
    if not isinstance(entry["content"], str):
        raise at.fault(f"{kind(entry['content'])} as content in the {what}", f"text, as in {wanted}")
    if entry.get("tool_calls"):
        raise at.fault(f"tool_calls in the {what}", "turns of text", "write the calls into the content of the turn")
    return Message(entry["role"], entry["content"])
