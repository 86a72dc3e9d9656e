"""Verification: a model folder, or a server running the model, reproduces the scores measured at saving."""

import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from .. import errors
from ..common import signals
from ..common.json_files import check_shape, parse_json
from ..common.processes import child_command, child_environment, safe_python
from ..common.signatures import CARD, is_foreign, refuse_assumed, say_once
from ..common.text import one_line, visible
from ..errors import BradleyError, CheckpointError, UserError
from ..model.folder.card import read_card
from ..model.folder.checks import check_base, check_files
from ..model.folder.tolerance import Check as Check

POLL_SECONDS = 0.2
KEPT_BYTES = 2**16
"""Bytes kept of the messages of the fresh process, the last ones."""
MOST_BYTES = 2**20
"""Largest answer of the fresh process, in bytes."""
MODULE = "bradley.verify.rescore"
ASSUMED = ("template", "pooling", "pad")
"""Names of what may be said about a model of another trainer, in the order of `verify`."""


class Row(TypedDict):
    """Check in the answer of the fresh process."""

    name: str
    largest: float
    allowed: float


class Answer(TypedDict):
    """Answer of the fresh process: the checks, or message, hint and class of an error; lines to show the user."""

    checks: NotRequired[list[Row]]
    error: NotRequired[str]
    hint: NotRequired[str]
    kind: NotRequired[str]
    said: NotRequired[list[str]]


def verify(
    folder: Path,
    against: str = "",
    *,
    trust_remote_code: bool = False,
    base: str = "",
    accept_edits: bool = False,
    assumed: Sequence[str] = ("", "", ""),
) -> list[Check]:
    """Score the parity sample of a model folder again, in a fresh process or through a server.

    The fresh process runs bradley and plain transformers (PEFT for an adapter), in float32 and bfloat16, with batches
    of 1 and 8 conversations. Transformers pads on the right, and for decoders also on the left, using position ids if
    the model has a table of positions. Encoders score the first token, so left padding would score a padding token.

    Args:
        folder: model folder.
        against: URL of a running server to ask instead, see `server.ASK`.
        trust_remote_code: run the model code in the folder.
        base: folder or Hub name of an adapter's base model, if the base model has moved since the run.
        accept_edits: check a folder with files edited since saving, and log their names.
        assumed: template, pooling and pad token of a model of another trainer. Such a model is held to plain
            transformers on conversations of ours, because no card holds scores of its training.

    Returns:
        A check for each way of running the model.

    Raises:
        CheckpointError: an unreadable folder, no parity sample, a `base` for a model without adapter, or a server
            answering anything but scores.
        UserError: `against` is no URL of a known kind, or no server answers.
    """
    folder = Path(folder)
    named = dict(zip(ASSUMED, assumed, strict=True))
    if is_foreign(folder):
        if against or base:
            given = "--against" if against else "base"
            raise UserError(
                f"{given} is given, and {folder} has no {CARD} with scores to compare", f"leave {given} out"
            )
        return _in_fresh_process(folder, trust_remote_code, base, accept_edits, named)
    refuse_assumed(folder, named)
    card = read_card(folder, accept_edits=accept_edits)
    check_base(folder, card, base)
    if not card.get("parity", {}).get("rows"):
        raise CheckpointError(
            f"{folder} has no parity sample: it is older than these, or every row of its data was above a limit",
            "train or export it again with this bradley",
        )
    if against:
        # These modules import torch, and the usual path leaves all of torch to the fresh process.
        from .plain import Folder
        from .server import check_server

        check_files(folder, card, accept_edits)
        return check_server(Folder(folder, card, trust_remote_code, base), against)
    return _in_fresh_process(folder, trust_remote_code, base, accept_edits)


def _in_fresh_process(
    folder: Path, trust_remote_code: bool, base: str, accept_edits: bool, assumed: Mapping[str, str] | None = None
) -> list[Check]:
    """Run `bradley.verify.rescore` in a new process and return the checks.

    A new process knows only the saved files: nothing in the memory of the training process can hide a fault. The
    process ends with this process. A stop request ends the wait: the scores of a large model take minutes.

    Raises:
        CheckpointError: the process gave no answer.
        BradleyError: the error of the process.
        StopRequested: this process was asked to stop.
    """
    options = [*(["--trust-remote-code"] if trust_remote_code else []), *([f"--base={base}"] if base else [])]
    options += ["--accept-edits"] if accept_edits else []
    options += [f"--{name}={value}" for name, value in (assumed or {}).items() if value]
    code, data, said = _answer_of(options, folder)
    if code:
        last = (said.strip().splitlines() or ["no message"])[-1]
        raise CheckpointError(
            f"scoring {folder} in a fresh process ended {_in_words(code)}: {visible(one_line(last))}",
            f"see the whole message: {shlex.join([*safe_python('-m', MODULE), *options, '--', str(folder)])}",
        )
    source, hint = Path("the answer of the fresh process"), "try again; if the answer stays broken, report the folder"
    answer: Answer = check_shape(parse_json(data, source, hint=hint), Answer, source, hint=hint)
    for line in answer.get("said", []):
        say_once(line)
    if "error" in answer:
        kind = vars(errors).get(answer.get("kind", ""), CheckpointError)
        known = isinstance(kind, type) and issubclass(kind, BradleyError)
        raise (kind if known else CheckpointError)(answer["error"], answer.get("hint", ""))
    # No check at all would count as passed.
    if not answer.get("checks"):
        raise CheckpointError(f"{source} names no check", hint)
    return [Check(row["name"], row["largest"], row["allowed"]) for row in answer["checks"]]


def _answer_of(options: Sequence[str], folder: Path) -> tuple[int, bytes, str]:
    """Run the fresh process; return exit code, answer, and the end of the messages."""
    # The answer has a channel of its own. Whatever a library or the model's code prints cannot be taken for checks.
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as answers:
        try:
            process = subprocess.Popen(
                child_command(MODULE, *options, f"--answer={writer}", "--", str(folder)),
                env=child_environment(),
                pass_fds=[writer],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        finally:
            os.close(writer)
        answer, said = Kept(answers, MOST_BYTES), Kept(process.stderr, KEPT_BYTES)
        try:
            while process.poll() is None:
                signals.check()
                answer.ended.wait(POLL_SECONDS)
                if answer.ended.is_set():
                    process.wait()
        finally:
            process.kill()
            process.wait()
            data, text = answer.end(), said.end().decode("utf-8", "replace")
    return process.returncode, data, text


class Kept:
    """Thread that reads a stream to the end and keeps the last bytes.

    Args:
        stream: binary file.
        most: number of bytes to keep.
    """

    def __init__(self, stream: Any, most: int) -> None:
        self.stream, self.most, self.kept = stream, most, b""
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        try:
            while part := self.stream.read1(2**16):
                self.kept = (self.kept + part)[-self.most :]
        finally:
            self.ended.set()

    def end(self) -> bytes:
        """Return the kept bytes, after the end of the writing process."""
        # A grandchild may hold the stream open for longer.
        self.thread.join(1.0)
        return self.kept


def _in_words(code: int) -> str:
    """Exit code of a process in words."""
    if code < 0:
        hint = ", as by a system without free memory" if code == -signal.SIGKILL else ""
        return f"by signal {signal.Signals(-code).name}{hint}"
    return f"with exit code {code}"


def failure(folder: Path, checks: Sequence[Check], against: str = "") -> CheckpointError | None:
    """Build the error for failed checks of a folder, or of the server `against`; None if every check passed."""
    failed = [check for check in checks if not check.passed]
    if not failed:
        return None
    found = (
        f"{len(failed)} of {len(checks)} checks failed, the first of them {failed[0].name} "
        f"({failed[0].largest:.1e} apart, {failed[0].allowed:.1e} allowed)"
    )
    if against:
        return CheckpointError(
            f"the server does not give the scores of {folder}: {found}",
            "check which model and which dtype the server runs; `bradley verify` without --against checks the folder",
        )
    return CheckpointError(
        f"{folder} does not give the scores of its training: {found}",
        "copy the whole model folder again; if it fails where it was trained, do not use it",
    )
