"""Proof that a model folder, or a server that runs it, gives the scores that were measured when it was saved."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import CheckpointError
from ..model.folder.card import read_card
from ..model.folder.checks import check_base
from ..model.folder.tolerance import Check as Check


def verify(folder: Path, against: str = "", *, trust_remote_code: bool = False, base: str = "") -> list[Check]:
    """Score the parity sample of a model folder again: in a fresh process, in every usual way, or through a server.

    The fresh process runs plain transformers (PEFT, if it is an adapter) and bradley; in float32 and bfloat16; one
    conversation at a time and 8; padded on the right and, decoders in transformers, on the left, with position ids
    where a model has a table of positions. Encoders score their first token, which padding on the left would replace.

    Args:
        against: URL of a running server to ask instead, see `server.ASK`.
        base: where the base model of an adapter is, if no longer where the run found it.

    Raises:
        CheckpointError: the folder cannot be read at all, has no parity sample or no need of `base`, or the server
            answers something else.
        UserError: `against` is no URL of a known kind, or nobody answers there.
    """
    folder = Path(folder)
    card = read_card(folder)
    check_base(folder, card, base)
    if not card.get("parity", {}).get("rows"):
        raise CheckpointError(
            f"{folder} has no parity sample: it is older than these, or no row of its data can be told without tools",
            "train or export it again with this bradley",
        )
    if against:
        from .plain import Folder
        from .server import check_server

        return check_server(Folder(folder, card, trust_remote_code, base), against)
    return _in_fresh_process(folder, trust_remote_code, base)


def _in_fresh_process(folder: Path, trust_remote_code: bool, base: str) -> list[Check]:
    options = [*(["--trust-remote-code"] if trust_remote_code else []), *([f"--base={base}"] if base else [])]
    command = [sys.executable, "-m", "bradley.verify.rescore", *options, "--", str(folder)]
    home = str(Path(__file__).parents[2])  # the fresh process is to run this bradley, installed or not
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CheckpointError(
            f"scoring {folder} in a fresh process ended with exit code {done.returncode}: {last}",
            f"see the whole message: {' '.join(command)}",
        )
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        raise CheckpointError(answer["error"], answer["hint"])
    return [Check(**check) for check in answer["checks"]]


def failure(folder: Path, checks: Sequence[Check]) -> CheckpointError | None:
    """The error of a folder whose checks did not all pass."""
    failed = [check for check in checks if not check.passed]
    if not failed:
        return None
    return CheckpointError(
        f"{folder} does not give the scores of its training: {len(failed)} of {len(checks)} checks failed, "
        f"the first of them {failed[0].name} ({failed[0].largest:.1e} apart, {failed[0].allowed:.1e} allowed)",
        "copy the whole model folder again; if it fails where it was trained, do not use it",
    )
