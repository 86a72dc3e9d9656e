"""The choice of an engine: the first able to compute a prompt once, else `plain`; and the proof of equal scores."""

import inspect
import math
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
"""Engines tried by `auto` on a device, in this order. `segments` is for CPUs: a call for each segment and layer leaves
a GPU waiting."""
EXPRESSED_LAYERS = {"full_attention", "sliding_attention"}
"""Entries of a config's `layer_types` covered by packed rows; windows are measured besides."""
LENGTH_DEPENDENT = {"dynamic", "longrope"}
"""Kinds of rotary embedding with angles depending on the length of the row."""
PROOF_ROWS = 4
"""Comparisons scored for the proof."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Largest difference between engines accepted as rounding, as a share of the spread of the scores."""
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 1e-2}
"""Difference accepted besides, as a share of the largest score: scores with hardly any spread are still rounded."""


class Engine(NamedTuple):
    """The engine of a model.

    Attributes:
        name: `plain`, or a key of `IMPLEMENTATIONS`.
        reason: reason against the engines tried before; '' for the first choice, and for a choice by name.
    """

    name: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name}: the model {self.reason}" if self.reason else self.name


class Proof(NamedTuple):
    """Comparison of an engine with `plain` on a few real rows.

    Attributes:
        difference: largest absolute difference of the scores.
        scores: number of compared scores.
    """

    difference: float
    scores: int


def choose_engine(model: ScoreModel, wanted: str, longest: int = 0, *, compiled: bool = False) -> Engine:
    """Put a model on the engine `wanted`.

    Args:
        wanted: a key of `IMPLEMENTATIONS`, `plain`, or `auto` for the first engine able to run the model.
        longest: most tokens of a response with its prompt; no sliding window may be shorter (0: unknown here, and every
            batch is checked anyway).
        compiled: True if the backbone is compiled.

    Raises:
        UserError: the engine was given by name, and the model cannot run there, or not on this device.
    """
    # An error below must leave a usable model, so the model is put on `plain` first.
    model.use("plain")
    if wanted == "plain":
        return Engine("plain")
    # Several engines often fail for the same reason, and the line on the screen has to name the reason once.
    reasons: dict[str, None] = {}  # in their order, each once
    for name in AUTO.get(model.device.type, AUTO["cuda"]) if wanted == "auto" else (wanted,):
        # The config gives the clearest reasons at no cost. The trial finds the rest, such as unusual attention code.
        reason = next(_reasons(model, name, longest, compiled), "") or _trial(model, name)
        if not reason:
            model.use(name)
            return Engine(name, "; ".join(reasons))
        if wanted != "auto":
            raise Refused(reason, name)
        reasons[reason] = None
    return Engine("plain", "; ".join(reasons))


def prove(model: ScoreModel, store: TokenStore) -> Proof:
    """Score a few real comparisons on the engine of a model and on `plain`.

    Raises:
        CheckpointError: the scores differ by more than rounding.
    """
    batch = collate(store, _shortest(store), store.judgment_weights("pair")).to(model.device)
    # Real rows on the real weights: the trial has toy tokens, and a kernel may fail at other lengths.
    engine, packed = model.engine, _scores(model, batch)
    model.use("plain")
    padded = _scores(model, batch)
    model.use(engine)
    difference = float((packed - padded).abs().max())
    spread, largest = float(padded.max() - padded.min()), float(padded.abs().max())
    allowed = TOLERANCE[model.compute] * spread + ROUNDING[model.compute] * largest
    # Written as a negation, so a difference of NaN fails too; infinite plain scores would allow any difference.
    if not difference <= allowed < math.inf:
        raise CheckpointError(
            f"on this model the engine {engine} gives other scores than plain: they differ by up to {difference:.1e}, "
            f"and rounding explains {allowed:.1e}",
            "use --model.engine plain",
        )
    return Proof(difference, len(packed))


def describe_engine(engine: Engine, proof: Proof | None) -> str:
    """Describe the engine in one line, with the proof if one was made."""
    if proof is None:
        return str(engine)
    return (
        f"{engine}, proven on this model: largest difference from plain {proof.difference:.0e} on {proof.scores} scores"
    )


def _reasons(model: ScoreModel, name: str, longest: int, compiled: bool) -> Iterator[str]:
    """Yield the reasons against an engine, as far as settings and config tell."""
    implementation = IMPLEMENTATIONS[name]
    if compiled and not implementation.compiles:
        yield "is compiled (model.compile)"
    # Every token of an encoder sees the response, and no prompt can be shared.
    if not model.causal:
        yield "is an encoder, or has no linear score head"
    if missing := implementation.missing(model.device, model.compute):
        yield missing
    # A response continues the positions of its prefix; without position ids, positions follow the place in the row.
    if "position_ids" not in inspect.signature(model.network.base_model.forward).parameters:
        yield "takes no position ids"
    config = model.network.config.get_text_config()
    if getattr(config, "alibi", False):
        yield "adds a bias by distance to its attention scores (ALiBi)"
    # A packed row is longer than the text of any response inside, so these angles would differ from `plain`.
    for kind in sorted(_rope_types(getattr(config, "rope_parameters", None)) & LENGTH_DEPENDENT):
        yield f"has rotary angles that depend on the length of the row ({kind})"
    # State-space and convolution layers mix neighbouring tokens, also across segments.
    layers = set(getattr(config, "layer_types", None) or EXPRESSED_LAYERS)
    for kind in sorted(layers - EXPRESSED_LAYERS):
        yield f"has layers of the kind {kind}"
    window = getattr(config, "sliding_window", None)
    if window is not None and "sliding_attention" in layers and window < longest:
        yield f"attends to a window of {window} tokens, and a response may have {longest} (render.max_tokens)"
    # Checked here, because the trial runs without dropout and training would fail at the first step.
    if not implementation.drops and (dropout := _attention_dropout(config)):
        yield f"drops attention weights ({dropout}), which {name} cannot"


def _attention_dropout(config: Any) -> str:
    """Return the name of the config's first rate above 0 for dropping attention weights, or ''."""
    rates = (key for key in vars(config) if "att" in key and ("dropout" in key or "pdrop" in key))
    return next((key for key in rates if getattr(config, key)), "")


def _rope_types(parameters: Any) -> set[str]:
    """Collect every `rope_type` of a config; some configs have a type for each kind of layer."""
    if not isinstance(parameters, dict):
        return set()
    return {str(parameters.get("rope_type"))}.union(*map(_rope_types, parameters.values()))


def _trial(model: ScoreModel, name: str) -> str:
    """Return the reason against an engine, found by a trial run, or ''.

    The trial finds refused requests of the attention, and scores changed by the tokens of another response.
    """
    try:
        model.use(name)
        # Only the first response differs. A change of the second score means mixing outside of attention.
        scores, changed = (_scores(model, _toy_batch(first, model.device)) for first in ((5, 6), (7, 8)))
    except Refused as refused:
        reason = refused.reason
    # Model code raises all kinds of errors on unexpected rows; `auto` must then go on to the next engine.
    except (TypeError, ValueError, RuntimeError) as error:
        reason = f"does not run on packed rows: {one_line(error)}"
    else:
        leaks = float((scores - changed)[1].abs()) > 1e-4 * float(scores.abs().max())
        reason = "mixes tokens outside of transformers' attention interface" if leaks else ""
    model.use("plain")
    return reason


def _toy_batch(first: tuple[int, int], device: torch.device) -> Batch:
    """Build a batch of a prompt and two responses of two tokens each, `first` and a fixed response."""
    empty = torch.zeros(0)
    return Batch(
        tokens=torch.tensor([1, 2, *first, 3, 4]),
        positions=torch.tensor([0, 1, 2, 3, 2, 3]),
        segments=torch.tensor([0, 2, 4, 6]),
        prefix=torch.tensor([0, 0]),
        own=torch.tensor([1, 2]),
        last=torch.tensor([3, 5]),
        targets=Targets(empty, empty, empty, empty, empty, empty, empty),
    ).to(device)


def _scores(model: ScoreModel, batch: Batch) -> Tensor:
    """Compute scores [R] without dropout, and leave the model as before."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            scores: Tensor = model(batch)
    finally:
        model.train(was_training)
    return scores


def _shortest(store: TokenStore) -> np.ndarray:
    """Choose the shortest comparisons, preferring a shared prefix."""
    first = np.repeat(store.first_segment[:-1], np.diff(store.first_response))
    # Comparisons without a shared prefix would prove nothing about sharing. Short ones keep the proof cheap.
    shared = np.diff(store.segments)[first + store.prefix]
    alone = np.add.reduceat(shared, store.first_response[:-1]) == 0
    return np.lexsort((store.longest(), alone))[:PROOF_ROWS]
