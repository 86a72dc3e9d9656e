"""Publish the best model of a run: copy the checkpoint, load the copy, compare the scores, score the test split."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from ..common.files import remove_folder
from ..config import Data
from ..config.model import EngineName
from ..errors import CheckpointError
from ..evaluate.expectation import describe_verdict, expected_of, judge
from ..model.folder import parity
from ..model.folder.card import FLOAT32, MODEL_MARK, read_card, write_card
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
from .evaluation import Evaluator, summary_of, write_rows
from .job import Job


def publish_best(job: Job, prepared: Prepared) -> None:
    """Copy the best checkpoint to `model/`, load the copy as users will, and compare scores with the run's.

    The model of a sharded run gets a sample of scores here, measured on the loaded copy.

    Raises:
        CheckpointError: the copy cannot be loaded, or gives other scores. `model/` is then removed; the checkpoints are
            whole.
    """
    folder = job.checkpoints.publish(job.folder / MODEL)
    try:
        _load_published(job, prepared, folder)
    # A `model/` that failed the check must not be left for a script that only looks for the folder.
    except CheckpointError as error:
        remove_folder(folder, (MODEL_MARK,))
        step = job.checkpoints.path(job.checkpoints.index["best"]["step"])
        raise CheckpointError(
            f"the exported best model failed its check, and {folder} was removed: {error.message}",
            f"the checkpoints are whole; `bradley verify {step}` says in which ways that one can be loaded",
        ) from error


def _load_published(job: Job, prepared: Prepared, folder: Path) -> None:
    """Load the published model, and compare scores with the sample in the card.

    Raises:
        CheckpointError: the model cannot be loaded, or differs by more than rounding.
    """
    settings, card, sample = prepared.config.model, read_card(folder), job.checkpoints.provenance.sample
    # On the CPU: the trained model may fill the GPU. A quantized model needs the kernels of the GPU.
    device = "cpu" if settings.adapter.quantize == "none" else str(prepared.built.model.device)
    loaded = load_model(folder, device, trust_remote_code=settings.trust_remote_code)
    # A sharded model could not be scored by the main process alone at the save, and gets the sample now.
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
    """Yield the checks of a loaded model's token ids and scores against the sample.

    Scores are computed in float32: devices and engines differ least in float32.
    """
    ids = [parity.row_ids(row, loaded.renderer) for row in sample.rows]
    yield compare_ids("the token ids of so many conversations", ids, sample.rows)
    with parity.in_float32(loaded.model):
        yield sample.check("its scores", parity.score_ids(loaded.model, sample.ids), FLOAT32, same_device=same_device)


def load_back(prepared: Prepared, folder: Path, device: str) -> ScoreModel:
    """Load the model of a run from a model folder, with the engine of training."""
    trusted, engine = prepared.config.model.trust_remote_code, prepared.built.engine.name
    return load_model(folder, device, trust_remote_code=trusted, engine=cast(EngineName, engine)).model


def score_test(prepared: Prepared, job: Job) -> list[ScoredComparison] | None:
    """Score the test split with the published best model; all processes call this and share the work.

    Returns:
        Rows of the test split, read for the first and only time; None without a test split.
    """
    if prepared.test is None:
        return None
    model, strategy, folder = prepared.built.model, prepared.strategy, job.folder / MODEL
    budget = prepared.config.train.micro_batch_tokens
    if strategy.group.size == 1:
        return score_store(load_back(prepared, folder, str(model.device)), prepared.test, budget)
    # Several processes put the published weights into the trained model: a model loaded anew would not be in shards.
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
    """Collect the figures of the best model on every set, and the rows of the sets with examples in the report.

    The scores of `valid`, or else of the first evaluation set, become the unit of scores in the model folder.

    Args:
        prepared: checked data, model and plan.
        evaluator: with the summaries of the best and the last evaluation.
        folder: the run folder.
        test: rows of the test split; None without a test split.

    Returns:
        Fields of `results.json`, and scored rows by name of the set.
    """
    sets, last = dict(evaluator.summaries["best"]), evaluator.summaries["last"]
    headline = SELECTION if SELECTION in sets else next(iter(sets), "test")
    shown = {name: read_rows(folder, name, "best") for name in (headline,) if name in sets}
    if headline in shown:
        # The unit never comes from the test split: the model folder must not depend on test data.
        add_normalization(folder / MODEL, measure(headline, prepared.evals[headline], shown[headline]))
    if test is not None:
        write_rows(folder / EVAL / rows_file(TEST, "best"), test)
        sets["test"] = summary_of(test, prepared.config.loss)
        headline, shown = "test", {**shown, "test": test}
    return {"headline": headline, "compute": compute_name(prepared.built.model), "sets": sets, "last": last}, shown


def diagnostic_result(data: Data, final: dict[str, Any]) -> dict[str, Any]:
    """Judge the accuracy of a run with `data.diagnostic`; nothing without a diagnostic or an evaluation set.

    Args:
        data: settings with the diagnostic.
        final: the result of `final_figures`.

    Returns:
        Field `diagnostic` of `results.json`: name, set, and the fields of `judge`; `text` is the verdict in words.
    """
    # The best step was chosen for its accuracy on `valid`, so noise alone lifts the best of many evaluations above
    # chance. The last evaluation and the test split were not chosen.
    name, sets = (TEST, final["sets"]) if TEST in final["sets"] else (SELECTION, final["last"])
    if data.diagnostic == "none" or name not in sets:
        return {}
    found = judge(sets[name]["accuracy"], expected_of(data.diagnostic, data.diagnostic_rate))
    shown = "test" if name == TEST else f"{name}, last evaluation"
    return {"diagnostic": {"name": data.diagnostic, "set": shown, **found, "text": describe_verdict(found)}}
