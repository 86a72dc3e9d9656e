"""Detect secrets, and remove secrets from texts: no file or line written by a run may hold a password or key."""

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
    r"|sk-[\w-]{20,}|xox[abpr]-[\w-]{10,}|eyJ[\w-]{10,2000}+\.[\w-]{10,}+\.[\w-]{10,})"
)
"""Tokens with a known shape: Hugging Face Hub, AWS, GitHub, OpenAI and similar services, Slack, signed web tokens.

The first part of a web token is bounded: a text of many beginnings would otherwise take quadratic time.
"""
NAMES = re.compile(r"(^|_)(token|secret|password|passwd|api_?key|access_key|secret_key|credentials?)$", re.IGNORECASE)
"""Names of environment variables holding a secret."""
KEYS = re.compile(
    r"((hub|hf|auth|use_auth|access|api)_)?token|(\w+_)?(secret|password|passwd|api_?key|access_key|credentials?)",
    re.IGNORECASE,
)
"""Names of entries of a setting holding a secret; names such as `pad_token` do not match."""
SHORTEST = 8
"""Minimum length of a variable's value to count as a secret: shorter values are words of ordinary texts."""


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Replace secrets in a text by `***`: passwords in URLs, tokens by shape, values of variables by name.

    Args:
        environment: variables with secret values, by default the environment of this process.
    """
    # Longest first: a secret that contains a shorter secret would otherwise be replaced in part and leave a rest.
    for value in sorted(_secret_values(os.environ if environment is None else environment), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    text = IN_QUERY.sub(rf"\1={HIDDEN}", IN_URL.sub(HIDDEN, text))
    return SHAPES.sub(HIDDEN, text)


def _secret_values(environment: Mapping[str, str]) -> Iterator[str]:
    """Values of the variables named like a secret."""
    for name, value in environment.items():
        if (NAMES.search(name) or name.endswith("_ACCESS_KEY_ID")) and len(value) >= SHORTEST:
            yield value


class Redacted:
    """Text stream that redacts every line before writing, tracebacks of uncaught exceptions included.

    A line is held until complete, because `print` writes a line in several calls; flushing writes an incomplete line.
    """

    def __init__(self, stream: Any) -> None:
        self._stream, self._held = stream, ""
        self._lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        """Forward every other attribute to the stream."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write all complete lines and hold the rest."""
        # Several threads write to stderr: without the lock a thread could overwrite text held for another thread.
        with self._lock:
            lines, end, self._held = (self._held + text).rpartition("\n")
            if end:
                self._stream.write(redact(lines + end))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts, one after another."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write the held part of a line, then flush the stream."""
        with self._lock:
            incomplete, self._held = self._held, ""
            if incomplete:
                self._stream.write(redact(incomplete))
            self._stream.flush()


def secret_in(value: Any, name: str) -> str:
    """Describe the first secret in a setting, without the secret itself.

    Args:
        value: text, or lists and tables of values.
        name: dotted name of the setting; '' for all settings together.

    Returns:
        A description such as "`name` holds a token", or '' without a secret.
    """
    return next(_secrets(value, name), "")


def _secrets(value: Any, name: str) -> Iterator[str]:
    """Descriptions of all secrets in a setting."""
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
