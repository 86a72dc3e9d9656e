"""Files of a model folder from elsewhere: a single seam for errors of the reading libraries, and bounds.

Rule: an unusable file is a `CheckpointError` in a line, for every class of exception of the library. A value asking
for unbounded time or memory is refused before a library acts on the value.
"""

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import BradleyError, CheckpointError, UserError
from .json_files import RIGHTS, read_json
from .signals import StopRequested
from .text import one_line

CONFIG = "config.json"
JSON_FILES = (CONFIG, "tokenizer_config.json", "tokenizer.json", "adapter_config.json", "model.safetensors.index.json")
"""JSON files whose content is an object."""
MOST = {r"layer|expert|block|depth|stage": 4096, r"label": 2**17, r"position": 2**27}
"""Pattern in the name of a config's setting -> largest integer. Each of these makes a Python object for every unit, and
no real model comes near."""
COPY = "copy the whole model folder again"
OWN_CODE = "read that code, then add --model.trust_remote_code true, or trust_remote_code=True in Python"
"""Hint for a model with Python code of its own."""
PANIC = "PanicException"
"""Class of a panic in Rust code, which is no `Exception`."""


@contextlib.contextmanager
def library_errors(what: str, hint: str) -> Iterator[None]:
    """Turn every exception of a library inside a `with` block into `CheckpointError`.

    Only calls of the library belong inside: a bug of bradley must keep its traceback. Errors of bradley, stop requests
    and exhausted memory pass unchanged.

    Args:
        what: begin of the message, such as `no model could be loaded from DIR`.

    Raises:
        CheckpointError: the library raised an exception. A refusal by transformers to run the code of a model has
            the setting that allows such code as its hint.
    """
    try:
        yield
    except (BradleyError, StopRequested, MemoryError):
        raise
    except BaseException as error:
        # The class is checked by name, because importing torch takes seconds.
        unrelated = not isinstance(error, Exception) and type(error).__name__ != PANIC
        if unrelated or type(error).__name__ == "OutOfMemoryError":
            raise
        if "trust_remote_code=True" in str(error):
            raise CheckpointError(f"{what}: it brings Python code of its own, which is not run", OWN_CODE) from error
        raise CheckpointError(f"{what}: {describe(error)}", hint) from error


def describe(error: BaseException) -> str:
    """Return an exception as a line, with the class where the text alone says little, as of a `KeyError`."""
    text = one_line(error) if isinstance(error, Exception) else one_line(Exception(str(error)))
    return text if text and isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {text}".rstrip(": ")


@contextlib.contextmanager
def file_errors(path: Path, hint: str = COPY) -> Iterator[None]:
    """Turn an `OSError` about a file inside a `with` block into `CheckpointError`, with the reason of the system."""
    try:
        yield
    except OSError as error:
        hint = RIGHTS.format(path) if isinstance(error, PermissionError) else hint
        raise CheckpointError(f"{path} cannot be read: {error.strerror or one_line(error)}", hint) from error


def check_name(folder: Path) -> None:
    """Raise `UserError` for a path that is not UTF-8: libraries written in Rust cannot open such a file."""
    try:
        str(folder).encode("utf-8")
    except UnicodeEncodeError as error:
        shown = str(folder).encode("utf-8", "backslashreplace").decode()
        raise UserError(f"the name {shown} is not UTF-8", "give the folder another name") from error


def check_model_files(folder: Path) -> None:
    """Check rights and kinds of the files of a folder, and the bounds of the config; a Hub name has no files yet.

    Libraries report a file without rights as missing, and build any network named by a config.

    Raises:
        CheckpointError: a file cannot be read, is no JSON object, or its config is out of bounds.
    """
    if not folder.is_dir():
        return
    check_name(folder)
    with file_errors(folder):
        paths = sorted(folder.iterdir())
    for path in paths:
        # A pipe or a device would keep a reader waiting for ever.
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise CheckpointError(f"{path} is no file", COPY)
        if path.name in JSON_FILES or path.suffix in (".safetensors", ".model", ".jinja"):
            with file_errors(path), path.open("rb") as file:
                file.read(1)
    for name in JSON_FILES:
        if (folder / name).is_file():
            content = read_json(folder / name, dict[str, Any], hint=COPY)
            if name == CONFIG:
                refuse_sizes(content, str(folder / name))


def refuse_sizes(config: dict[str, Any], source: str, error: type[BradleyError] = CheckpointError) -> None:
    """Raise an error for a config with more layers, experts, labels or positions than any model has.

    Args:
        source: place of the config, for the message.
        error: class of the error.
    """
    for name, value in config.items():
        if isinstance(value, dict):
            refuse_sizes(value, f"{source}: {name}", error)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        for pattern, most in MOST.items():
            # A float as large is refused too: some configs are read with `int`.
            if re.search(pattern, name) and value > most:
                raise error(f"{source}: {name} is {_short(value)}, at most {most:,} can be right", "correct the value")


def _short(value: float) -> str:
    text = str(value)
    return text if len(text) < 30 else f"{text[:12]}... ({len(text)} digits)"


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence the reports and progress bars of transformers: what is missing is checked and reported here."""
    from transformers.utils import logging as bars

    logger = logging.getLogger("transformers")
    level, shown = logger.level, bars.is_progress_bar_enabled()
    logger.setLevel(logging.CRITICAL)
    bars.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if shown:
            bars.enable_progress_bar()
