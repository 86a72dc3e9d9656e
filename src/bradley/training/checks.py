"""Checks of a prepared run, each raising an error that says what to type, before the run folder is made."""

from collections.abc import Mapping
from typing import Any

from ..config import Config
from ..data.load import Splits
from ..data.plan import Plan
from ..data.render import Renderer
from ..data.report import unusable
from ..data.token_store import TokenStore
from ..errors import DataError, UserError
from ..model.folder.save_load import rendering_hashes
from ..runs.layout import SELECTION
from .checkpoints.identity import trained_on
from .distributed.consistency import check_same
from .distributed.process_group import ProcessGroup


def check_stop(stop_after: int, plan: Plan) -> None:
    """Raise `UserError` where training is to stop after the end of the plan."""
    if stop_after > plan.num_steps:
        raise UserError(
            f"train.stop_after = {stop_after}, but the plan has {plan.num_steps} steps",
            f"use --train.stop_after {plan.num_steps} or less, or raise train.max_steps or train.epochs",
        )


def check_selection(config: Config, splits: Splits) -> None:
    """Raise `UserError` for a setting about the validation set where there is none."""
    if SELECTION in splits.evals:
        return
    for name in ("early_stopping", "select_by"):
        if getattr(config.train, name) != type(config.train).model_fields[name].default:
            raise UserError(
                f"train.{name} = {getattr(config.train, name)}, but there is no validation set",
                "give one with data.valid, or hold out a share with data.valid_share",
            )


def check_positions(network: Any, max_tokens: int) -> None:
    """Raise `UserError` where the limit asks for more positions than the model has."""
    text_config = network.config.get_text_config()
    places = getattr(text_config, "max_position_embeddings", None)
    tables = [module for name, module in network.named_modules() if name.endswith("position_embeddings")]
    offsets = [module.padding_idx + 1 for module in tables if getattr(module, "padding_idx", None) is not None]
    if places is not None and places <= 0:
        return  # how XLNet says that there is no limit
    if places is not None:
        places -= max(offsets, default=0)  # RoBERTa counts its positions from the one after padding
    if places is not None and max_tokens > places:
        raise UserError(
            f"render.max_tokens = {max_tokens}, but the model has {places} positions",
            f"use --render.max_tokens {places} or less",
        )


def check_losses(train: TokenStore, given: int, account: dict[str, Any], max_share: float) -> None:
    """Raise `DataError` where rendering, on top of what loading lost, takes a larger share than was allowed."""
    lost = unusable(account["rejected"], account["findings"])
    before, dropped = sum(lost.values()) / account["rows"], train.ledger.dropped
    if dropped and before + dropped / given > max_share:
        causes = ", ".join(f"{row['dropped']} {cause}" for cause, row in train.ledger.causes.items() if row["dropped"])
        raise DataError(
            f"rendering would drop {dropped} of {given} training comparisons ({causes}); with the {before:.1%} of "
            f"rows lost before that is above data.max_rejected_share = {max_share}",
            "raise render.max_tokens, choose another render.over_long, or raise data.max_rejected_share",
        )


def check_data(stores: Mapping[str, TokenStore], renderer: Renderer, group: ProcessGroup) -> None:
    """Raise `UserError` if the processes have read other data, or use another tokenizer."""
    if group.size > 1:  # hashing all tokens costs seconds, and one process has nobody to differ from
        hashes = {name: trained_on(store) for name, store in stores.items()}
        check_same(group, {"data": hashes, "tokenizer": rendering_hashes(renderer)})
