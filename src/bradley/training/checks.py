"""Checks of a prepared run, before the run folder is made; the hint of each error names the setting to change."""

from collections.abc import Collection, Mapping
from typing import Any

from ..config import Config
from ..data.load import Splits
from ..data.plan import Plan
from ..data.render import Renderer
from ..data.report import unusable
from ..data.token_store import TokenStore
from ..data.truncate import decided_losses, losses_above
from ..errors import DataError, UserError
from ..model.folder.parity import draw
from ..model.folder.roundtrip import check_roundtrip
from ..model.folder.save_load import rendering_hashes
from ..model.reward import ScoreModel
from ..runs.layout import SELECTION
from .checkpoints.identity import trained_on
from .distributed.consistency import check_same
from .distributed.process_group import ProcessGroup

LAST = "last"
"""Value of `train.select_by` that needs no validation set."""
UNPROVABLE = (
    "no model of these data can be exported: every row looked at is above a limit or spells special tokens, so no "
    "conversation could prove the export"
)
"""Reason for which a run ends without a parity sample."""
ON_PURPOSE = {
    "response_over_limit": "--render.over_long truncate_response cuts such responses, --render.over_long drop leaves "
    "them out on purpose",
    "identical_ids": "--data.identical drop leaves equal responses out on purpose",
}
"""Cause of a loss in rendering -> setting that decides about the loss."""


def check_stop(stop_after: int, plan: Plan) -> None:
    """Raise `UserError` if `train.stop_after` is beyond the last step of the plan."""
    if stop_after > plan.num_steps:
        raise UserError(
            f"train.stop_after = {stop_after}, but the plan has {plan.num_steps} steps",
            f"use --train.stop_after {plan.num_steps} or less, or raise train.max_steps or train.epochs",
        )


def check_selection(config: Config, splits: Splits) -> None:
    """Raise `UserError` if a setting needs a validation set, and no validation set is given."""
    if SELECTION in splits.evals:
        return
    for name in ("early_stopping", "select_by"):
        # Only a changed setting is refused: training without a validation set is fine with the defaults.
        if getattr(config.train, name) not in (type(config.train).model_fields[name].default, LAST):
            raise UserError(
                f"train.{name} = {getattr(config.train, name)}, but there is no validation set",
                "give one with data.valid, or hold out a share with data.valid_share",
            )


def check_positions(network: Any, max_tokens: int) -> None:
    """Raise `UserError` if `render.max_tokens` exceeds the number of positions of the model.

    Args:
        network: the backbone, with a transformers configuration.
        max_tokens: `render.max_tokens`.
    """
    # A longer text would index past a table of learned positions: an IndexError on a CPU, a failed assertion on a GPU.
    text_config = network.config.get_text_config()
    positions = getattr(text_config, "max_position_embeddings", None)
    tables = [module for name, module in network.named_modules() if name.endswith("position_embeddings")]
    offsets = [module.padding_idx + 1 for module in tables if getattr(module, "padding_idx", None) is not None]
    if positions is not None and positions <= 0:
        return  # XLNet has -1 for no limit
    if positions is not None:
        positions -= max(offsets, default=0)  # RoBERTa counts positions from `padding_idx + 1`
    if positions is not None and max_tokens > positions:
        raise UserError(
            f"render.max_tokens = {max_tokens}, but the model has {positions} positions",
            f"use --render.max_tokens {positions} or less",
        )


def losses_decided(config: Config) -> set[str]:
    """Return the causes of loss in rendering that a setting of the user decides about.

    A policy left at its default is no decision: a limit of tokens far too low would then cost half the data unseen.
    """
    return decided_losses(config.render, config.data)


def check_losses(
    train: TokenStore, given: int, account: dict[str, Any], max_share: float, decided: Collection[str] = ()
) -> None:
    """Check the share of training data lost in loading and rendering together.

    Args:
        train: token store of the training split.
        given: number of comparisons given to rendering.
        account: report of the training split.
        max_share: `data.max_rejected_share`.
        decided: causes that do not count, see `losses_decided`.

    Raises:
        DataError: rendering drops comparisons against the user's wish, and the lost share exceeds `max_share`.
    """
    lost = unusable(account["rejected"], account["findings"])
    before = sum(lost.values()) / account["rows"]
    if above := losses_above(train.ledger, given, before, max_share, decided):
        causes = train.ledger.lost(decided)
        hints = [hint for cause, hint in ON_PURPOSE.items() if causes.get(cause)]
        raise DataError(above, "; ".join([*hints, "raise render.max_tokens or data.max_rejected_share"]))


def provable(config: Config, splits: Splits, renderer: Renderer) -> bool:
    """Return True if the data hold a conversation for the parity sample, without which no model can be exported."""
    return bool(draw(splits.evals.get(SELECTION, splits.train), renderer, config.seed))


def check_push(config: Config, splits: Splits, renderer: Renderer) -> None:
    """Raise `UserError` for a model that is to be pushed to the Hub, and could not be exported."""
    if config.hub.push and not provable(config, splits, renderer):
        raise UserError(
            f"hub.push = {config.hub.push}, and {UNPROVABLE}", "leave hub.push out, or raise render.max_tokens"
        )


def check_readback(config: Config, splits: Splits, model: ScoreModel, renderer: Renderer, group: ProcessGroup) -> None:
    """Check that the model folders of a run can be loaded, all but their weights; all processes call this.

    Raises:
        CheckpointError: as `check_roundtrip`.
    """
    sample = draw(splits.evals.get(SELECTION, splits.train), renderer, config.seed)
    trusted = config.model.trust_remote_code
    group.on_main(lambda: check_roundtrip(model, renderer, sample, trust_remote_code=trusted))


def check_data(stores: Mapping[str, TokenStore], renderer: Renderer, group: ProcessGroup) -> None:
    """Raise `UserError` if the processes have read different data, or have different tokenizers."""
    # Hashing all tokens costs seconds, and a single process has no other process to compare with.
    if group.size > 1:
        hashes = {name: trained_on(store) for name, store in stores.items()}
        check_same(group, {"data": hashes, "tokenizer": rendering_hashes(renderer)})
