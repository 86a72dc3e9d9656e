"""The reward model: a transformers backbone, and a float32 head giving each response a score.

Legend: R responses, T tokens of the packed row, L longest response with its prompt, H hidden size.
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
"""Attribute of the linear head in transformers' decoder classifiers."""
HEAD_PREFIXES = (f"{CAUSAL_HEAD}.", "classifier.", "classification_head.", "pre_classifier.", "head.", "pooler.")
"""Name prefixes of head weights in transformers' classifiers, absent from a plain language model."""


class ScoreModel(nn.Module):
    """A reward model: scores responses with a `*ForSequenceClassification` network of one label.

    Decoders are pooled here. The hidden state of each response's last token, found by the stored index, goes through
    the linear head in float32. Encoders keep the head of transformers, run in float32 as well.

    Args:
        network: transformers model, weights in float32.
        compute: dtype of the backbone's arithmetic; with bfloat16 the weights stay float32, and autocast rounds.

    Attributes:
        engine: `plain`, with every response as a padded row, or a key of `IMPLEMENTATIONS`, with the batch as packed.

    Raises:
        UserError: `nn.DataParallel` is around the network or, at the first forward, around this model.
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
        """True if the backbone is a decoder, pooled at the last token."""
        return is_causal(self.network)

    @property
    def pad_id(self) -> int:
        """Token id beyond the end of a row; any id would do, because padding is masked."""
        return int(self.network.config.get_text_config().pad_token_id)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    @property
    def trains_backbone(self) -> bool:
        """True if a weight below the head is trained; otherwise no activations are kept for a backward pass."""
        return any(parameter.requires_grad for parameter in self.network.base_model.parameters())

    def forward(self, batch: Batch) -> Tensor:
        """Compute scores [R], float32, of the responses of a batch."""
        # A replica is made without `__init__`, so the constructor cannot refuse DataParallel around this model.
        _refuse_data_parallel(getattr(self, "_is_replica", False))
        if not self.causal:
            return self._encoder_scores(batch)
        # Below a frozen backbone autograd would keep the activations of all layers for nothing.
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains_backbone), self._autocast():
            pooled = self._padded(batch) if self.engine == "plain" else self._packed(batch)
        # Float32 always: near 7, bfloat16 numbers are 1/32 apart, and margins of good pairs would round to 0.
        head = self.network.score
        # A head of ours has no bias: a bias shifts all scores alike.
        bias = None if head.bias is None else head.bias.float()
        scores = nn.functional.linear(pooled.float(), head.weight.float(), bias)
        return scores[:, 0].clone()  # FSDP hooks onto the output, and a view is refused

    def use(self, engine: str) -> None:
        """Run on `plain` or a key of `IMPLEMENTATIONS` from now on; saved files do not depend on the engine.

        Raises:
            UserError: the network does not let its attention be replaced.
        """
        # The attention before any replacement, because transformers keeps only the latest name in the config.
        name = self._plain_attention if engine == "plain" else IMPLEMENTATIONS[engine].attention
        replace_attention(self.network, engine, name)
        self.engine = engine

    def _packed(self, batch: Batch) -> Tensor:
        """Compute hidden states [R, H] at the pooled tokens, with each shared prefix computed once."""
        implementation = IMPLEMENTATIONS[self.engine]
        # `flex` compiles for few lengths. The added tokens follow all others and no score reads them.
        padding = implementation.padded(len(batch.tokens)) - len(batch.tokens)
        hidden = self.network.base_model(
            input_ids=nn.functional.pad(batch.tokens, (0, padding), value=self.pad_id)[None],
            position_ids=nn.functional.pad(batch.positions, (0, padding))[None],
            segments=implementation.row(batch, self.compute),
            use_cache=False,
        ).last_hidden_state
        return torch.as_tensor(hidden[0, batch.last])

    def _padded(self, batch: Batch) -> Tensor:
        """Compute hidden states [R, H] at the pooled tokens, with each response as a row [L] of its own."""
        rows = padded_rows(batch, self.pad_id)
        hidden = self.network.base_model(
            input_ids=rows.input_ids, attention_mask=rows.attention_mask, use_cache=False
        ).last_hidden_state
        # By stored index: transformers pools by the pad id, and picks another token if a text holds this id.
        return torch.as_tensor(hidden[torch.arange(len(rows.last), device=hidden.device), rows.last])

    def _encoder_scores(self, batch: Batch) -> Tensor:
        """Compute scores [R] by the encoder's own head."""
        rows = padded_rows(batch, self.pad_id)
        with self._backbone_in_compute_dtype():
            logits = self.network(input_ids=rows.input_ids, attention_mask=rows.attention_mask).logits
        # A batch without responses runs one row, and the logit of this row is no score.
        return torch.as_tensor(logits)[: len(rows.last), 0].float().clone()

    def _autocast(self) -> Any:
        kind = self.device.type
        return torch.autocast(kind, dtype=self.compute, enabled=self.compute != torch.float32)

    @contextlib.contextmanager
    def _backbone_in_compute_dtype(self) -> Iterator[None]:
        """Use autocast for the backbone alone: an encoder's head is in the same forward and must stay float32."""
        autocast = self._autocast()
        backbone = self.network.base_model
        enter = backbone.register_forward_pre_hook(lambda *_: _enter(autocast))
        # Also called after an error: autocast would otherwise stay on in this thread.
        leave = backbone.register_forward_hook(lambda _m, _i, output: _leave(autocast, output), always_call=True)
        try:
            yield
        finally:
            enter.remove()
            leave.remove()


def _refuse_data_parallel(wrapped: bool) -> None:
    """Raise `UserError` under `nn.DataParallel`.

    A packed batch cannot be split along the first axis: each GPU would get the whole batch, or half a comparison.
    """
    if wrapped:
        raise UserError(
            "a reward model does not run under nn.DataParallel, which splits batches inside comparisons",
            "use the network itself: one process trains on one GPU",
        )


def _enter(autocast: Any) -> None:
    autocast.__enter__()  # a returned value would replace the inputs


def _leave(autocast: Any, output: Any) -> Any:
    autocast.__exit__(None, None, None)
    if output is None:  # the backbone raised
        return None
    # The head multiplies float32 weights, and outside of autocast both dtypes must agree.
    for name, value in output.items():
        if isinstance(value, Tensor) and value.is_floating_point():
            output[name] = value.float()
    return output


def compute_name(model: ScoreModel) -> str:
    """Return the dtype of a model's arithmetic as written in results and cards, such as `bfloat16`."""
    return str(model.compute).removeprefix("torch.")


def is_head_weight(network: Any, name: str) -> bool:
    """Return True if a weight belongs to the head of a classifier, the pooler of an encoder included."""
    # Encoders keep the pooler inside of the backbone, as `bert.pooler`.
    return name.removeprefix(f"{network.base_model_prefix}.").startswith(HEAD_PREFIXES)


def is_causal(network: Any) -> bool:
    """Return True if a classifier is a decoder with the linear `score` head of transformers."""
    return isinstance(getattr(network, CAUSAL_HEAD, None), nn.Linear)


def draw_head(network: Any, seed: int) -> None:
    """Draw a decoder's head in place, from a normal distribution with standard deviation 1/sqrt(H + 1).

    After Stiennon et al. (2020, arXiv:2009.01325, appendix).
    """
    head = getattr(network, CAUSAL_HEAD)
    # A generator of its own, on the CPU: equal seeds give equal heads on every device and process.
    source = torch.Generator().manual_seed(seed)
    std = 1.0 / math.sqrt(head.in_features + 1)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=source) * std)
