"""Which engine a model runs on: one that reads a prompt once where its attention allows it, else `plain`; the proof."""

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..common.text import one_line
from ..data.token_store import TokenStore
from ..errors import CheckpointError
from ..losses import Targets
from .engine.batch import Batch, collate
from .engine.contract import Refused
from .engine.registry import IMPLEMENTATIONS
from .reward import ScoreModel

AUTO = {"cpu": ("segments",), "cuda": ("varlen", "flex")}
"""What `auto` tries on a device, in this order; on a GPU, a call for each segment and layer leaves it waiting."""
EXPRESSED_LAYERS = {"full_attention", "sliding_attention"}
"""Entries of a config's `layer_types` that packed rows express; a window is measured besides."""
LENGTH_DEPENDENT = {"dynamic", "longrope"}
"""Kinds of rotary embedding whose angles depend on the length of the row."""
PROOF_ROWS = 4
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""The largest difference between the engines that passes as rounding, as a share of the spread of the scores."""
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 1e-2}
"""What passes besides, as a share of the largest score: scores that hardly spread are still rounded."""


class Engine(NamedTuple):
    """The engine of a model, and why it is not the first choice: empty where it is, or where nobody asked for it."""

    name: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name}: the model {self.reason}" if self.reason else self.name


class Proof(NamedTuple):
    """How far the engines were apart on a few real rows."""

    difference: float
    scores: int


def choose_engine(model: ScoreModel, wanted: str, longest: int = 0, *, compiled: bool = False) -> Engine:
    """Put a model on the engine `wanted`: a key of `IMPLEMENTATIONS`, `plain`, or `auto`, the first that is allowed.

    Args:
        longest: most tokens of a response with its prompt, which no sliding window may be shorter than (0: not known
            here; every batch is checked anyway).
        compiled: whether the backbone is compiled.

    Raises:
        UserError: an engine was asked for by name, and the model cannot take it, or not on this device.
    """
    model.use("plain")
    if wanted == "plain":
        return Engine("plain")
    reasons: dict[str, None] = {}  # in their order, each once
    for name in AUTO.get(model.device.type, AUTO["cuda"]) if wanted == "auto" else (wanted,):
        reason = next(_reasons(model, name, longest, compiled), "") or _trial(model, name)
        if not reason:
            model.use(name)
            return Engine(name, "; ".join(reasons))
        if wanted != "auto":
            raise Refused(reason, name)
        reasons[reason] = None
    return Engine("plain", "; ".join(reasons))


def _reasons(model: ScoreModel, name: str, longest: int, compiled: bool) -> Iterator[str]:
    """Why not, as far as it can be read off settings and config."""
    implementation = IMPLEMENTATIONS[name]
    if compiled and not implementation.compiles:
        yield "is compiled (model.compile)"
    if not model.causal:
        yield "is an encoder, or has no linear score head"
    if missing := implementation.missing(model.device, model.compute):
        yield missing
    if "position_ids" not in inspect.signature(model.network.base_model.forward).parameters:
        yield "takes no position ids"
    config = model.network.config.get_text_config()
    if getattr(config, "alibi", False):
        yield "adds a bias by distance to its attention scores (ALiBi)"
    for kind in sorted(_rope_types(getattr(config, "rope_parameters", None)) & LENGTH_DEPENDENT):
        yield f"has rotary angles that depend on the length of the row ({kind})"
    layers = set(getattr(config, "layer_types", None) or EXPRESSED_LAYERS)
    for kind in sorted(layers - EXPRESSED_LAYERS):
        yield f"has layers of the kind {kind}"
    window = getattr(config, "sliding_window", None)
    if window is not None and "sliding_attention" in layers and window < longest:
        yield f"attends to a window of {window} tokens, and a response may have {longest} (render.max_tokens)"
    if not implementation.drops and (dropout := _attention_dropout(config)):
        yield f"drops attention weights ({dropout}), which {name} cannot"


def _attention_dropout(config: Any) -> str:
    """The first rate of a config above 0 at which attention weights are dropped, or ''."""
    rates = (key for key in vars(config) if "att" in key and ("dropout" in key or "pdrop" in key))
    return next((key for key in rates if getattr(config, key)), "")


def _rope_types(parameters: Any) -> set[str]:
    """Every `rope_type` of a config; some have one for each kind of layer."""
    if not isinstance(parameters, dict):
        return set()
    return {str(parameters.get("rope_type"))}.union(*map(_rope_types, parameters.values()))


def _trial(model: ScoreModel, name: str) -> str:
    """Why not, found by trying: what its attention asks for, and whether one response reaches another's score."""
    try:
        model.use(name)
        one, other = (_scores(model, _toy_batch(first, model.device)) for first in ((5, 6), (7, 8)))
    except Refused as refused:
        reason = refused.reason
    except (TypeError, ValueError, RuntimeError) as error:
        reason = f"does not run on packed rows: {one_line(error)}"
    else:
        leaks = float((one - other)[1].abs()) > 1e-4 * float(one.abs().max())
        reason = "mixes tokens outside of transformers' attention interface" if leaks else ""
    model.use("plain")
    return reason


def _toy_batch(first: tuple[int, int], device: torch.device) -> Batch:
    """A prompt and two responses of two tokens each, `first` and one that stays the same."""
    none = torch.zeros(0)
    return Batch(
        tokens=torch.tensor([1, 2, *first, 3, 4]),
        positions=torch.tensor([0, 1, 2, 3, 2, 3]),
        segments=torch.tensor([0, 2, 4, 6]),
        prefix=torch.tensor([0, 0]),
        own=torch.tensor([1, 2]),
        last=torch.tensor([3, 5]),
        targets=Targets(none, none, none, none, none, none, none),
    ).to(device)


def _scores(model: ScoreModel, batch: Batch) -> Tensor:
    was_training = model.training
    model.eval()
    with torch.no_grad():
        scores: Tensor = model(batch)
    model.train(was_training)
    return scores


def prove(model: ScoreModel, store: TokenStore) -> Proof:
    """Score a few real rows on the engine of a model and on `plain`.

    Raises:
        CheckpointError: the scores differ by more than rounding explains.
    """
    batch = collate(store, _shortest(store), store.judgment_weights("pair")).to(model.device)
    engine, packed = model.engine, _scores(model, batch)
    model.use("plain")
    padded = _scores(model, batch)
    model.use(engine)
    difference = float((packed - padded).abs().max())
    spread, largest = float(padded.max() - padded.min()), float(padded.abs().max())
    allowed = TOLERANCE[model.compute] * spread + ROUNDING[model.compute] * largest
    if not difference <= allowed:
        raise CheckpointError(
            f"on this model the engine {engine} gives other scores than plain: they differ by up to {difference:.1e}, "
            f"and rounding explains {allowed:.1e}",
            "use --model.engine plain",
        )
    return Proof(difference, len(packed))


def _shortest(store: TokenStore) -> np.ndarray:
    """The shortest comparisons, those that share a prefix first."""
    prefix = store.first_response[:-1] + np.arange(len(store))
    alone = store.segments[prefix + 1] == store.segments[prefix]
    return np.lexsort((store.longest(), alone))[:PROOF_ROWS]


def describe_engine(engine: Engine, proof: Proof | None) -> str:
    """The engine in one line."""
    if proof is None:
        return str(engine)
    return (
        f"{engine}, proven on this model: largest difference from plain {proof.difference:.0e} on {proof.scores} scores"
    )
