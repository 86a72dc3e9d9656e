"""Fresh process of `verify`: `python -m bradley.verify.rescore FOLDER` prints all checks as a line of JSON."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from ..common.signatures import is_foreign, said
from ..errors import BradleyError, UserError
from ..model.build import computes_bfloat16
from ..model.choose_engine import choose_engine
from ..model.folder.card import FLOAT32, read_card
from ..model.folder.other_trainers import ForeignRenderer
from ..model.folder.parity import row_ids, score_ids
from ..model.folder.save_load import DTYPES, Assumed, Loaded, load_model
from ..model.folder.tolerance import Check, Sample, compare_ids
from ..model.weight_files import ADAPTER_CONFIG
from .other_trainers import foreign_ids, foreign_network, foreign_rows, foreign_tokenizer
from .plain import Folder, depth, needs_positions, plain_ids, plain_network, plain_scores, plain_tokenizer
from .probe import tell_double_tokens, tokenizer_checks

SIZES = (1, 8)


def rescore(path: Path, trust: bool = False, base: str = "", *, accept_edits: bool = False) -> Iterator[Check]:
    """Run every check of a model folder.

    Bradley's checks come first, because bradley inspects a folder before opening any file in the folder.

    Args:
        path: model folder.
        trust: run the model code in the folder.
        base: folder or Hub name of an adapter's base model, if the base model has moved since the run.
        accept_edits: check a folder with files edited since saving, and log their names.
    """
    folder = Folder(path, read_card(path, accept_edits=accept_edits), trust, base)
    cuda = torch.device("cuda") if torch.cuda.is_available() else None
    device = cuda if cuda is not None and computes_bfloat16(cuda) else torch.device("cpu")
    loaded = load_model(path, str(device), trust_remote_code=trust, base=base, accept_edits=accept_edits)
    sample = Sample(folder.card, depth(folder))
    yield from _ours(loaded, sample)
    tokenizer = plain_tokenizer(folder)
    yield from tokenizer_checks(loaded, tokenizer)
    tell_double_tokens(loaded, tokenizer, sample.rows)
    # Encoders score the first token, and padding on the left would replace that token.
    sides = ("right", "left") if loaded.model.causal else ("right",)
    del loaded  # one model at a time in memory
    found = [plain_ids(tokenizer, folder.card, row) for row in sample.rows]
    yield compare_ids("token ids, transformers", found, sample.rows)
    for dtype, kind in DTYPES.items():
        network = plain_network(folder, tokenizer, kind).to(device)
        yield from _theirs(network, tokenizer, sample, dtype, sides)


def rescore_foreign(path: Path, trust: bool, assumed: Assumed) -> Iterator[Check]:
    """Run every check of a model of another trainer: bradley against plain transformers in float32, one row at a time.

    Raises:
        UserError: an adapter, which plain transformers loads only with its base model.
    """
    if (path / ADAPTER_CONFIG).is_file():
        raise UserError(f"{path} holds an adapter of another trainer", "fold the adapter into its base model first")
    loaded = load_model(path, "cpu", trust_remote_code=trust, assumed=assumed)
    renderer = loaded.renderer
    assert isinstance(renderer, ForeignRenderer)
    tokenizer = foreign_tokenizer(path, trust, renderer)
    rows = list(foreign_rows(loaded))
    network = foreign_network(path, trust, renderer, torch.float32)
    scores = plain_scores(network, tokenizer, [row["ids"] for row in rows], 1, "right")
    known = [{**row, "score": score} for row, score in zip(rows, scores, strict=True)]
    layers = network.config.get_text_config().num_hidden_layers
    sample = Sample({"parity": {"compute": FLOAT32, "rows": known}}, layers)
    yield from _ours(loaded, sample)
    found = [foreign_ids(tokenizer, renderer, row["messages"])[: len(row["ids"])] for row in rows]
    yield compare_ids("token ids, transformers", found, known)
    for dtype, kind in DTYPES.items():
        network = foreign_network(path, trust, renderer, kind)
        yield from _theirs(network, tokenizer, sample, dtype, ("right", "left") if loaded.model.causal else ("right",))


def _ours(loaded: Loaded, sample: Sample) -> Iterator[Check]:
    """Checks of token ids and scores by bradley: every dtype, both engines, both batch sizes."""
    model, renderer = loaded.model, loaded.renderer
    found = [row_ids(row, renderer) for row in sample.rows]
    yield compare_ids("token ids, bradley", found, sample.rows)
    for dtype, kind in DTYPES.items():
        model.compute = kind
        # The padded engine is the reference; the other engine is the engine that a run would choose on this device.
        best = choose_engine(model, "auto", renderer.settings.max_tokens).name
        for engine in dict.fromkeys(["plain", best]):
            model.use(engine)
            for size in SIZES:
                groups = [sample.ids[start : start + size] for start in range(0, len(sample.ids), size)]
                scores = [score for group in groups for score in score_ids(model, group)]
                yield sample.check(f"bradley, {dtype}, engine {engine}, {size} at a time", scores, dtype)


def _theirs(network: Any, tokenizer: Any, sample: Sample, dtype: str, sides: Sequence[str]) -> Iterator[Check]:
    """Checks of scores by transformers or PEFT: every side of padding, both batch sizes."""
    library = "PEFT" if hasattr(network, "peft_config") else "transformers"
    for side in sides:
        positions = side == "left" and needs_positions(network)
        how = f"padded {side}{' with position ids' if positions else ''}"
        for size in SIZES:
            scores = plain_scores(network, tokenizer, sample.ids, size, side, positions)
            yield sample.check(f"{library}, {dtype}, {size} at a time, {how}", scores, dtype)


def main(arguments: Sequence[str]) -> None:
    """Print {"checks": [...]}, or {"error", "hint", "kind"} for an unusable folder, or write it to a pipe."""
    parser = argparse.ArgumentParser(prog="python -m bradley.verify.rescore")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base", default="")
    parser.add_argument("--trust-remote-code", action="store_true")
    parser.add_argument("--accept-edits", action="store_true")
    for name in Assumed._fields:
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--answer", type=int, default=sys.stdout.fileno(), metavar="FILE_DESCRIPTOR")
    given = parser.parse_args(arguments)
    try:
        if is_foreign(given.folder):
            assumed = Assumed(given.template, given.pooling, given.pad)
            checks = list(rescore_foreign(given.folder, given.trust_remote_code, assumed))
        else:
            checks = list(rescore(given.folder, given.trust_remote_code, given.base, accept_edits=given.accept_edits))
        answer: dict[str, Any] = {"checks": [check._asdict() for check in checks]}
    except BradleyError as error:
        answer = {"error": error.message, "hint": error.hint, "kind": type(error).__name__}
    # The parent shows these lines: stderr of this process is read after a failure alone.
    answer["said"] = sorted(said)
    sys.stdout.flush()
    with os.fdopen(given.answer, "w", closefd=False) as file:
        file.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
