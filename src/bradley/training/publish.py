"""Publish the best model of a run: copy the checkpoint, load it back, hold it to its scores, score the test split."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from ..common.files import remove_folder
from ..errors import CheckpointError
from ..evaluate.summary import summarize
from ..model.folder import parity
from ..model.folder.card import FLOAT32, read_card, write_card
from ..model.folder.normalization import measure
from ..model.folder.save_load import Loaded, add_normalization, load_model
from ..model.folder.tolerance import Check, Sample, compare_ids
from ..model.folder.weights import read_tensors, tensors_to_save
from ..model.reward import ScoreModel, compute_name
from ..records import ScoredComparison
from ..runs.layout import EVAL, MODEL, SELECTION, TEST, rows_file
from ..runs.run import read_rows
from ..scoring.core import score_store
from .build import Prepared
from .distributed.full_tensors import spread_tensors
from .evaluation import Evaluator, write_rows
from .job import Job


def publish_best(job: Job, prepared: Prepared) -> None:
    """Make `model/` of the best checkpoint, and load it as its users will: what it scores must be what the run did.

    One of a run in shards gets its sample of scores here, from the model that is loaded back from it.

    Raises:
        CheckpointError: it cannot be loaded, or scores otherwise. Then there is no `model/`; the checkpoints are whole.
    """
    folder = job.checkpoints.publish(job.folder / MODEL)
    try:
        _load_published(job, prepared, folder)
    except CheckpointError as error:
        remove_folder(folder)
        step = job.checkpoints.path(job.checkpoints.index["best"]["step"])
        raise CheckpointError(
            f"the best model is no model that can be used, and {folder} was removed: {error.message}",
            f"the checkpoints are whole; `bradley verify {step}` says in which ways that one can be loaded",
        ) from error


def _load_published(job: Job, prepared: Prepared, folder: Path) -> None:
    """Load the published model, and hold it to its sample of scores; on the CPU, beside a model that fills the GPU."""
    settings, card, sample = prepared.config.model, read_card(folder), job.checkpoints.provenance.sample
    device = "cpu" if settings.adapter.quantize == "none" else str(prepared.built.model.device)
    loaded = load_model(folder, device, trust_remote_code=settings.trust_remote_code)
    if "parity" not in card and sample:
        write_card(folder, {**card, "parity": parity.measure(loaded.model, sample)})
    elif "parity" in card:
        layers = loaded.model.network.config.get_text_config().num_hidden_layers
        same_device = loaded.model.device.type == prepared.built.model.device.type
        for check in _agreement(loaded, Sample(card, layers), same_device):
            if not check.passed:
                raise CheckpointError(
                    f"loaded back, it differs from training in {check.name}, by up to {check.largest:.1e}; rounding "
                    f"explains {check.allowed:.1e}"
                )


def _agreement(loaded: Loaded, sample: Sample, same_device: bool) -> Iterator[Check]:
    """Token ids and scores of a loaded model against its sample; in float32, where devices and engines differ least."""
    ids = [parity.conversation_ids(row["messages"], loaded.renderer) for row in sample.rows]
    yield compare_ids("the token ids of so many conversations", ids, sample.rows)
    with parity.in_float32(loaded.model):
        yield sample.check("its scores", parity.score_ids(loaded.model, sample.ids), FLOAT32, same_device=same_device)


def load_back(prepared: Prepared, folder: Path, device: str) -> ScoreModel:
    """The model of a run from its folder."""
    trusted, engine = prepared.config.model.trust_remote_code, prepared.built.engine.name
    return load_model(folder, device, trust_remote_code=trusted, engine=engine).model


def score_test(prepared: Prepared, job: Job) -> list[ScoredComparison] | None:
    """The rows of the test split, read here, once, with the best model loaded back from its folder; all processes share
    the work.
    """
    if prepared.test is None:
        return None
    model, strategy, folder = prepared.built.model, prepared.strategy, job.folder / MODEL
    budget = prepared.config.train.micro_batch_tokens
    if strategy.group.size == 1:
        return score_store(load_back(prepared, folder, str(model.device)), prepared.test, budget)
    trusted = prepared.config.model.trust_remote_code
    read: dict[str, Tensor] = {}

    def load() -> None:
        read.update(read_tensors(model.network, folder, read_card(folder), remote_code=trusted))

    strategy.group.on_main(load)
    spread_tensors(tensors_to_save(model.network), read, strategy.group)
    return score_store(model, prepared.test, budget, strategy)


def final_figures(
    prepared: Prepared, evaluator: Evaluator, folder: Path, test: list[ScoredComparison] | None
) -> tuple[dict[str, Any], dict[str, list[ScoredComparison]]]:
    """The figures of the best model on every set, and the rows of the set that is reported first.

    The first set before the test split, `valid` where there is one, becomes the unit of the scores in the model folder.

    Args:
        test: rows of the test split, if there is one.
    """
    sets, last = dict(evaluator.summaries["best"]), evaluator.summaries["last"]
    headline = SELECTION if SELECTION in sets else next(iter(sets), "test")
    shown = {name: read_rows(folder, name, "best") for name in (headline,) if name in sets}
    if headline in shown:
        add_normalization(folder / MODEL, measure(headline, prepared.evals[headline], shown[headline]))
    if test is not None:
        write_rows(folder / EVAL / rows_file(TEST, "best"), test)
        loss = prepared.config.loss
        sets["test"] = summarize(test, beta=loss.beta, weight_by=loss.weight_by)
        headline, shown = "test", {**shown, "test": test}
    return {"headline": headline, "compute": compute_name(prepared.built.model), "sets": sets, "last": last}, shown
