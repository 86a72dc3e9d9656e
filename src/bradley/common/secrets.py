"""Secrets: what looks like one, and texts without them. Nothing that a run writes may hold a key of somebody's."""

import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

HIDDEN = "***"
IN_URL = re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)")
"""User and password of `scheme://user:password@host`."""
IN_QUERY = re.compile(
    r"(?<=[?&])((?:access_|auth_|api_)?(?:token|key)|password|secret|signature)=[^\s&#]+", re.IGNORECASE
)
"""`?token=...` of a URL."""
SHAPES = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}"
    r"|sk-[\w-]{20,}|xox[abpr]-[\w-]{10,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,})"
)
"""Tokens that say what they are: of the Hub, AWS, GitHub, OpenAI and its like, Slack, and signed web tokens."""
NAMES = re.compile(r"(^|_)(token|secret|password|passwd|api_?key|access_key|secret_key|credentials?)$", re.IGNORECASE)
"""What a variable of the environment is called that holds a secret."""
KEYS = re.compile(
    r"((hub|hf|auth|use_auth|access|api)_)?token|(\w+_)?(secret|password|passwd|api_?key|access_key|credentials?)",
    re.IGNORECASE,
)
"""What an entry of a setting is called that holds one; `pad_token` and its like do not."""
SHORTEST = 8
"""Fewest characters of a variable's value that is taken for a secret: shorter ones are words of ordinary texts."""


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """A text without the secrets in it: passwords of URLs, tokens by their shape, values of variables by their name.

    Args:
        environment: the variables, by default those of this process.
    """
    for value in sorted(_secret_values(os.environ if environment is None else environment), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    text = IN_QUERY.sub(rf"\1={HIDDEN}", IN_URL.sub(HIDDEN, text))
    return SHAPES.sub(HIDDEN, text)


def _secret_values(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if (NAMES.search(name) or name.endswith("_ACCESS_KEY_ID")) and len(value) >= SHORTEST:
            yield value


class Redacted:
    """A text stream whose lines leave it without the secrets in them, tracebacks of uncaught exceptions among them.

    A line waits for its end, because `print` writes it in pieces; flushing lets go what there is of it.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self._held = stream, ""
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the lines that are whole now."""
        with self._lock:
            lines, end, self._held = (self._held + text).rpartition("\n")
            if end:
                self._stream.write(redact(lines + end))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write one after another."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write the beginning of a line, too."""
        with self._lock:
            held, self._held = self._held, ""
            if held:
                self._stream.write(redact(held))
            self._stream.flush()


def secret_in(value: Any, name: str) -> str:
    """What a setting holds that must not be written down, in words without it; or ''.

    Args:
        value: text, or lists and tables of values.
        name: its dotted name; '' for all settings together.
    """
    return next(_secrets(value, name), "")


def _secrets(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            place = f"{name}.{key}" if name else str(key)
            if isinstance(entry, str) and entry and KEYS.fullmatch(str(key)):
                yield f"{place} is called like a secret"
            yield from _secrets(entry, place)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _secrets(entry, name)
    elif isinstance(value, str):
        if IN_URL.search(value):
            yield f"{name} holds the password of a URL"
        elif IN_QUERY.search(value) or SHAPES.search(value):
            yield f"{name} holds a token"
