"""JSON files read back by bradley: a single reader, and a single error for every kind of unusable file."""

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import BradleyError, CheckpointError
from .text import and_more, one_line

MOST_BYTES = 2**28
"""Largest JSON file read back, in bytes (256 MiB); the largest real tokenizer takes a tenth of this."""
MOST_DEPTH = 100
"""Most levels of nested objects and lists: code that walks through a deeper value would end in a `RecursionError`."""
MOST_DIGITS = 300
"""Most digits of an integer: a longer integer has no float, and no number of bradley is as long."""


def read_json(
    path: Path, shape: Any = dict[str, Any], *, error: type[BradleyError] = CheckpointError, hint: str = ""
) -> Any:
    """Read a JSON file and check the kind of every value.

    Args:
        shape: type of the content, such as a `TypedDict` (of typing_extensions) or `dict[str, str]`; values are never
            converted.
        error: class of the raised error.
        hint: next step for the user.

    Returns:
        The content, a value of type `shape`. Keys that a `TypedDict` does not name are kept.

    Raises:
        BradleyError: of class `error`: the file is missing, may not be read, is too large, or is no JSON of this shape.

    Example:
        class Status(TypedDict):  # from typing_extensions
            state: str
            step: NotRequired[int]

        status = read_json(run / "status.json", Status, hint="copy the whole run folder")
    """
    return check_shape(
        parse_json(read_bytes(path, error=error, hint=hint), path, error, hint), shape, path, error, hint
    )


def hash_json(value: Any) -> str:
    """Hash a JSON value by SHA-256 in hex: equal values have equal hashes, in any order of keys and with any blanks."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def with_hash(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return a JSON object with the hash of its content in the entry `key`, in place of an earlier hash.

    Example: `found == with_hash(found, "sha256")` holds for an object as written, and for no edited object.
    """
    others = {name: value for name, value in content.items() if name != key}
    return {**others, key: hash_json(others)}


RIGHTS = "see who may read it: ls -ld {}"
"""Hint for a file or folder without the right to read."""


def read_bytes(
    path: Path, *, most: int = MOST_BYTES, error: type[BradleyError] = CheckpointError, hint: str = ""
) -> bytes:
    """Read a file of bounded size.

    Raises:
        BradleyError: of class `error`: the file is missing, may not be read, is no regular file, or holds more than
            `most` bytes.
    """
    try:
        # A pipe or a device would block, or never end.
        if path.exists() and not path.is_file():
            raise error(f"{path} is no file", hint)
        if path.stat().st_size > most:
            raise error(f"{path} holds {path.stat().st_size:,} bytes, at most {most:,} can be right", hint)
        return path.read_bytes()
    except (OSError, ValueError) as cause:  # ValueError: a name with a null character
        hint = RIGHTS.format(path) if isinstance(cause, PermissionError) else hint
        raise error(f"{path} cannot be read: {getattr(cause, 'strerror', None) or one_line(cause)}", hint) from cause


def parse_json(data: bytes | str, path: Path | str, error: type[BradleyError] = CheckpointError, hint: str = "") -> Any:
    """Parse JSON; `path` names the source in errors.

    Raises:
        BradleyError: of class `error`: no UTF-8, no JSON, nested too deeply, or a number of too many digits.
    """
    try:
        value = json.loads(data, parse_int=_integer)
        if _too_deep(value):
            raise RecursionError
        return value
    except RecursionError as cause:
        raise error(f"{path} is broken: nested too deeply", hint) from cause
    # UnicodeDecodeError and JSONDecodeError are ValueErrors, and so is the error for a number of too many digits.
    except ValueError as cause:
        raise error(f"{path} is broken: {one_line(cause)}", hint) from cause


def check_shape(
    value: Any, shape: Any, path: Path | str, error: type[BradleyError] = CheckpointError, hint: str = ""
) -> Any:
    """Return `value` if each part has the kind that `shape` says; `path` names the source in errors.

    Raises:
        BradleyError: of class `error`, naming the first keys with values of the wrong kind.
    """
    from pydantic import ValidationError

    try:
        # The given value is returned, not the validated copy: a copy lacks the keys that a `TypedDict` does not name.
        _adapter(shape).validate_python(value, strict=True)
    except ValidationError as cause:
        wrong = [
            f"{'.'.join(map(str, one['loc'])) or 'the content'}: {one['msg']}"
            for one in cause.errors(include_url=False, include_input=False)
        ]
        raise error(f"{path} is broken: {one_line(and_more(wrong, 3))}", hint) from cause
    except RecursionError as cause:
        raise error(f"{path} is broken: nested too deeply", hint) from cause
    return value


@functools.cache
def _adapter(shape: Any) -> Any:
    from pydantic import TypeAdapter

    # Kept: building takes longer than checking a line, and a file may have a line for each row of data.
    return TypeAdapter(shape)


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        inner = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level = [child for children in inner for child in children if isinstance(child, dict | list)]
        if not level:
            return False
    return True
