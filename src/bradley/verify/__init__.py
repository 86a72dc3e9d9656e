"""Verification: a model folder, or a server running the model, reproduces the scores measured at saving."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..common.signatures import say_once
from ..errors import CheckpointError
from ..model.folder.card import read_card
from ..model.folder.checks import check_base, check_files
from ..model.folder.tolerance import Check as Check


def verify(
    folder: Path, against: str = "", *, trust_remote_code: bool = False, base: str = "", accept_edits: bool = False
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

    Returns:
        A check for each way of running the model.

    Raises:
        CheckpointError: an unreadable folder, no parity sample, a `base` for a model without adapter, or a server
            answering anything but scores.
        UserError: `against` is no URL of a known kind, or no server answers.
    """
    folder = Path(folder)
    card = read_card(folder, accept_edits=accept_edits)
    check_base(folder, card, base)
    if not card.get("parity", {}).get("rows"):
        raise CheckpointError(
            f"{folder} has no parity sample: it is older than these, or no row of its data can be told without tools",
            "train or export it again with this bradley",
        )
    if against:
        # These modules import torch, and the usual path leaves all of torch to the fresh process.
        from .plain import Folder
        from .server import check_server

        check_files(folder, card, accept_edits)
        return check_server(Folder(folder, card, trust_remote_code, base), against)
    return _in_fresh_process(folder, trust_remote_code, base, accept_edits)


def _in_fresh_process(folder: Path, trust_remote_code: bool, base: str, accept_edits: bool) -> list[Check]:
    """Run `bradley.verify.rescore` in a new process and return the checks.

    A new process knows only the saved files: nothing in the memory of the training process can hide a fault.
    """
    options = [*(["--trust-remote-code"] if trust_remote_code else []), *([f"--base={base}"] if base else [])]
    options += ["--accept-edits"] if accept_edits else []
    command = [sys.executable, "-m", "bradley.verify.rescore", *options, "--", str(folder)]
    # The fresh process must import this bradley, installed or not, and not another version on the path.
    home = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CheckpointError(
            f"scoring {folder} in a fresh process ended with exit code {done.returncode}: {last}",
            f"see the whole message: {' '.join(command)}",
        )
    # Libraries may print to stdout while loading; the answer is the last line.
    answer = json.loads(done.stdout.splitlines()[-1])
    for line in answer["said"]:
        say_once(line)
    if "error" in answer:
        raise CheckpointError(answer["error"], answer["hint"])
    return [Check(**check) for check in answer["checks"]]


def failure(folder: Path, checks: Sequence[Check]) -> CheckpointError | None:
    """Build the error for failed checks of a folder; None if every check passed."""
    failed = [check for check in checks if not check.passed]
    if not failed:
        return None
    return CheckpointError(
        f"{folder} does not give the scores of its training: {len(failed)} of {len(checks)} checks failed, "
        f"the first of them {failed[0].name} ({failed[0].largest:.1e} apart, {failed[0].allowed:.1e} allowed)",
        "copy the whole model folder again; if it fails where it was trained, do not use it",
    )
