"""Probes of a saved model: a copy loads to the same scores; a folder gives the scores of its training."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..data.render import Renderer
from ..errors import CheckpointError
from ..model.folder.save_load import load_model, save_model
from ..model.folder.tolerance import Check, compare
from ..model.reward import ScoreModel, compute_name
from ..records import Comparison, ScoredComparison
from ..scoring.reward_model import score_comparisons
from .independence import scores_of
from .results import Advice, ProbeResult, found

COPY = Advice(
    "saved and loaded",
    "a weight is not saved, is saved under another name, or is drawn anew when loading",
    "look at the tensor that the message names; a module of your own must be part of the network",
)
VERIFIED = Advice(
    "scores of training",
    "weights, tokenizer or template of the folder are not those of training",
    "copy the whole model folder again, and see `bradley verify DIR`",
)
RECORDED = Advice(
    "scores of the run",
    "the model folder reads other tokens than the run: another template, tokenizer or limit at evaluation",
    "evaluate with the model folder as the run has written it, and see `bradley verify DIR`",
)


def saved_and_loaded(
    model: ScoreModel, renderer: Renderer, rows: Sequence[Comparison], *, trust_remote_code: bool = False
) -> ProbeResult:
    """Save the model into a temporary folder, load the copy, and compare scores."""
    wanted = [score for row in scores_of(model, renderer, rows) for score in row]
    layers = int(model.network.config.get_text_config().num_hidden_layers)
    try:
        with tempfile.TemporaryDirectory(prefix="bradley-doctor-") as folder:
            place = Path(folder) / "model"
            save_model(place, model, renderer, {})
            loaded = load_model(place, str(model.device), trust_remote_code=trust_remote_code)
            again = [score for row in score_comparisons(loaded, rows) for score in row.scores]
    except CheckpointError as error:
        return found(COPY, False, error.message, "equal scores", "a model is its files", n=len(rows))
    check = compare("a copy", again, wanted, compute_name(model), layers)
    return found(
        COPY,
        check.passed,
        f"largest difference {check.largest:.1e}",
        f"at most {check.allowed:.1e}",
        "a model is its files",
        n=len(rows),
    )


def verified(checks: Sequence[Check]) -> ProbeResult:
    """Judge the checks of `bradley verify`."""
    failed = [check.name for check in checks if not check.passed]
    largest = max(checks, key=lambda check: check.largest / check.allowed if check.allowed else check.largest)
    return found(
        VERIFIED,
        not failed,
        f"failed: {'; '.join(failed)}" if failed else f"largest difference {largest.largest:.1e} ({largest.name})",
        f"{len(checks)} checks within rounding",
        "a fresh process reads the files alone",
        n=len(checks),
    )


def as_recorded(
    now: Sequence[ScoredComparison], recorded: Sequence[ScoredComparison], model: ScoreModel
) -> ProbeResult:
    """Compare scores and numbers of tokens with those that the run has recorded for the same rows."""
    known = {(row.source, row.id): row for row in recorded}
    pairs = [(row, known[row.source, row.id]) for row in now if (row.source, row.id) in known]
    others = [row.id for row, before in pairs if row.tokens != before.tokens]
    scores, wanted = ([score for pair in pairs for score in pair[side].scores] for side in (0, 1))
    layers = int(model.network.config.get_text_config().num_hidden_layers)
    check = compare("recorded", scores, wanted, compute_name(model), layers) if pairs and not others else None
    measured = f"{len(others):,} of {len(pairs):,} rows have other numbers of tokens"
    measured += f"; largest difference {check.largest:.1e}" if check else ""
    return found(
        RECORDED,
        "undecided" if not pairs else check is not None and check.passed,
        measured,
        f"equal tokens, scores within {check.allowed:.1e}" if check else "equal tokens, and equal scores",
        "the run has scored the same rows with the same model",
        n=len(pairs),
    )
