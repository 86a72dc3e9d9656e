"""The scorer: a transformers backbone and a float32 head that gives each response one score.

Legend: R responses, L longest full response, H hidden size.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .engine.batch import Batch, padded_rows
from .engine.registry import IMPLEMENTATIONS, replace_attention

CAUSAL_HEAD = "score"
"""Attribute under which transformers' decoder classifiers keep their linear head."""
HEAD_PREFIXES = (f"{CAUSAL_HEAD}.", "classifier.", "classification_head.", "pre_classifier.", "head.", "pooler.")
"""Where transformers' classifiers keep what a plain language model lacks."""


class ScoreModel(nn.Module):
    """Scores responses with a `*ForSequenceClassification` network of one label.

    Decoders are pooled here: the hidden state of each response's last token, found by its stored index, goes through
    the linear head in float32. Encoders keep the head that transformers gives them, run in float32 as well.

    Args:
        network: the transformers model, weights in float32.
        compute: dtype of the backbone's arithmetic; with bfloat16 the weights stay float32 and autocast does the rest.

    Attributes:
        engine: `plain`, every response a padded row of its own, or a key of `IMPLEMENTATIONS`, the batch as packed.

    Raises:
        UserError: `nn.DataParallel` around the network or, at the first forward, around this model.
    """

    def __init__(self, network: nn.Module, compute: torch.dtype = torch.float32) -> None:
        super().__init__()
        _refuse_data_parallel(isinstance(network, nn.DataParallel))
        self.network: Any = network
        self.compute = compute
        self.engine = "plain"
        config: Any = network.config
        self._plain_attention: str = config._attn_implementation

    @property
    def causal(self) -> bool:
        """Whether the backbone is a decoder, pooled at the last token."""
        return is_causal(self.network)

    @property
    def pad_id(self) -> int:
        """Id written beyond the end of a row; what it is never matters, because it is masked."""
        return int(self.network.config.get_text_config().pad_token_id)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def trains_backbone(self) -> bool:
        """Whether a weight below the head is trained; where none is, no activation is kept for a backward pass."""
        return any(parameter.requires_grad for parameter in self.network.base_model.parameters())

    def forward(self, batch: Batch) -> Tensor:
        """Scores [R], float32, of the responses of a batch."""
        _refuse_data_parallel(getattr(self, "_is_replica", False))
        if not self.causal:
            return self._encoder_scores(batch)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains_backbone), self._autocast():
            pooled = self._padded(batch) if self.engine == "plain" else self._packed(batch)
        scores = nn.functional.linear(pooled.float(), self.network.score.weight.float())
        return scores[:, 0].clone()  # FSDP hooks onto what comes out, which may be no view

    def use(self, engine: str) -> None:
        """Run on `plain` or a key of `IMPLEMENTATIONS` from here on. Files stay as they are: they know no engine.

        Raises:
            UserError: the network does not let its attention be replaced.
        """
        name = self._plain_attention if engine == "plain" else IMPLEMENTATIONS[engine].attention
        replace_attention(self.network, engine, name)
        self.engine = engine

    def _packed(self, batch: Batch) -> Tensor:
        """Hidden states [R, H] at the pooled tokens, each prompt read once."""
        implementation = IMPLEMENTATIONS[self.engine]
        spare = implementation.padded(len(batch.tokens)) - len(batch.tokens)
        hidden = self.network.base_model(
            input_ids=nn.functional.pad(batch.tokens, (0, spare), value=self.pad_id)[None],
            position_ids=nn.functional.pad(batch.positions, (0, spare))[None],
            segments=implementation.row(batch, self.compute),
            use_cache=False,
        ).last_hidden_state
        return torch.as_tensor(hidden[0, batch.last])

    def _padded(self, batch: Batch) -> Tensor:
        """The same, each response a row of its own."""
        rows = padded_rows(batch, self.pad_id)
        hidden = self.network.base_model(
            input_ids=rows.input_ids, attention_mask=rows.attention_mask, use_cache=False
        ).last_hidden_state
        return torch.as_tensor(hidden[torch.arange(len(rows.last), device=hidden.device), rows.last])

    def _encoder_scores(self, batch: Batch) -> Tensor:
        rows = padded_rows(batch, self.pad_id)
        with self._backbone_in_compute_dtype():
            logits = self.network(input_ids=rows.input_ids, attention_mask=rows.attention_mask).logits
        return torch.as_tensor(logits)[: len(rows.last), 0].float().clone()

    def _autocast(self) -> Any:
        kind = self.device.type
        return torch.autocast(kind, dtype=self.compute, enabled=self.compute != torch.float32)

    @contextlib.contextmanager
    def _backbone_in_compute_dtype(self) -> Iterator[None]:
        """Autocast for the backbone alone: an encoder's head runs inside the same forward and must stay float32."""
        autocast = self._autocast()
        backbone = self.network.base_model
        enter = backbone.register_forward_pre_hook(lambda *_: _enter(autocast))
        leave = backbone.register_forward_hook(lambda _m, _i, output: _leave(autocast, output), always_call=True)
        try:
            yield
        finally:
            enter.remove()
            leave.remove()


def _refuse_data_parallel(wrapped: bool) -> None:
    """A packed batch cannot be split along its first axis: each GPU would get all of it, or half a comparison."""
    if wrapped:
        raise UserError(
            "a reward model does not run under nn.DataParallel, which splits batches inside comparisons",
            "use the network itself: one process trains on one GPU",
        )


def _enter(autocast: Any) -> None:
    autocast.__enter__()  # returns itself, which a hook may not: that would replace the inputs


def _leave(autocast: Any, output: Any) -> Any:
    autocast.__exit__(None, None, None)
    if output is None:  # the backbone raised
        return None
    for name, value in output.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            output[name] = value.float()
    return output


def compute_name(model: ScoreModel) -> str:
    """The dtype of a model's arithmetic as results and cards write it, such as `bfloat16`."""
    return str(model.compute).removeprefix("torch.")


def is_head_weight(network: Any, name: str) -> bool:
    """Whether a weight is part of what turns a language model into a scorer, an encoder's pooler included."""
    return name.removeprefix(f"{network.base_model_prefix}.").startswith(HEAD_PREFIXES)


def is_causal(network: Any) -> bool:
    """Whether a classifier is a decoder with transformers' linear `score` head."""
    return isinstance(getattr(network, CAUSAL_HEAD, None), nn.Linear)


def draw_head(network: Any, seed: int) -> None:
    """Draw a decoder's head from N(0, 1/sqrt(H + 1)) in place (Stiennon et al., 2020, arXiv:2009.01325, appendix)."""
    head = getattr(network, CAUSAL_HEAD)
    source = torch.Generator().manual_seed(seed)
    std = 1.0 / math.sqrt(head.in_features + 1)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=source) * std)
