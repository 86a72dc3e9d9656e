"""Settings of the model, the objective and the optimizer."""

from typing import Annotated, Any, Literal

from pydantic import Field

from .base import MOST_STEPS, AboveZero, NotNegative, Section, Share, Words

EngineName = Literal["auto", "segments", "flex", "varlen", "plain"]
"""Attention implementation, or the choice of one."""


class Adapter(Section):
    """Low-rank adapters on a frozen backbone. The score head is always trained in full, and saved."""

    kind: Literal["none", "lora"] = "none"
    """Kind of adapter. `lora` freezes the backbone and trains low-rank changes of linear layers (Hu et al., 2021),
    beside the score head (needs the extra `lora`). The model folder then holds the changes and the head, in PEFT's
    format, and not the weights of `model.path`."""
    rank: Annotated[int, Field(gt=0, le=65_536)] = 16
    """Rank r of each low-rank change."""
    alpha: AboveZero = 32.0
    """Scale of the low-rank changes: each change is multiplied by alpha / r."""
    dropout: Share = 0.0
    """Share of an adapter's inputs dropped in training."""
    targets: Words = "all-linear"
    """Linear layers of the backbone with an adapter: `all-linear`, `attention` (layers inside attention modules), or
    names. A name is the full path of a layer or the end of a path, such as `q_proj` or `attn.c_proj`. A name that fits
    layers in several kinds of places is an error, and so is a name that fits none."""
    rslora: bool = False
    """Multiply by alpha / sqrt(r) instead of alpha / r, so that a higher rank does not learn less (rsLoRA:
    Kalajdzievski, 2023)."""
    dora: bool = False
    """Train the length of each weight row apart from the row's direction (DoRA: Liu et al., 2024)."""
    norms: bool = False
    """Train the normalisation layers too."""
    quantize: Literal["none", "nf4"] = "none"
    """Quantization of the frozen linear layers. `nf4`: 4 bits (QLoRA: Dettmers et al., 2023), on CUDA only (needs the
    extra `8bit` too)."""


class Model(Section):
    """The backbone, its tokenizer and its numerics.

    Example:
        small = bradley.Model(config={"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2}, tokenizer="train")
    """

    path: str = ""
    """Pretrained model: a local folder, a Hub name, or `package:NAME` for a model carried by a Python package. Empty: a
    model built from `config`."""
    revision: str = ""
    """Branch, tag or commit of `path` on the Hub (empty: the default branch). Only for Hub names."""
    config: dict[str, Any] = {}
    """Settings of a transformers model built from scratch, `model_type` among them (used when `path` is empty)."""
    tokenizer: str = ""
    """Tokenizer: a folder or a Hub name. Empty: the tokenizer of `path`. `train`: a byte-level BPE learned from the
    training texts."""
    vocab_size: Annotated[int, Field(ge=300, le=1_000_000)] = 4096
    """Size of a tokenizer learned by `tokenizer = "train"`."""
    trainable: Literal["all", "head", "head_and_norms"] = "all"
    """Trained weights. `head`: the score head alone, on a frozen backbone. `head_and_norms`: the head and the
    normalisation layers."""
    adapter: Adapter = Adapter()
    """Low-rank adapters instead of full training."""
    dropout: bool = False
    """Keep the dropout rates of the model's config; off sets every rate to 0."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute precision. `bfloat16` computes in bfloat16 over float32 weights. `auto`: `bfloat16` on CUDA, `float32`
    elsewhere. The score head and the loss are float32 always."""
    engine: EngineName = "auto"
    """Attention implementation. `segments`, `flex` and `varlen` compute a shared prompt once and pad no response;
    `plain` pads every response with its prompt. `segments` runs on any device, with an attention call for each segment.
    `flex` and `varlen` are single CUDA kernels; `varlen` computes in bfloat16 alone. Scores and gradients agree up to
    rounding; each run verifies the scores on a few of its rows. `auto` takes `segments` on a CPU, and on CUDA `varlen`,
    else `flex`. If the model does not allow any of these, `auto` takes `plain` and says why. Reasons: encoders, windows
    shorter than `render.max_tokens`, capped scores, attention sinks, ALiBi, state-space layers, rotary angles that
    depend on length. Further reasons: compiled models on a CPU, dropout of attention weights on CUDA. With `dropout`
    the responses of a prompt share the prompt's noise, except in `plain`."""
    gradient_checkpointing: bool = False
    """Keep only the inputs of each layer and compute the rest again in the backward pass: less memory, about a third
    more time."""
    compile: bool = False
    """Compile the training of the backbone with `torch.compile`: slow to start, faster afterwards on long runs.
    Evaluation is not compiled, so that evaluation scores are the scores of the saved model."""
    liger: bool = False
    """Run norms, gated feed-forward layers and rotary positions on Liger's fused CUDA kernels, for model types known to
    Liger (needs the extra `liger`)."""
    trust_remote_code: bool = False
    """Run Python code carried by a model repository. Leave off unless you have read the code."""


class Loss(Section):
    """The objective: a likelihood, and penalties that are off by default.

    All terms add up. `nll`, the plain Bradley-Terry likelihood, is always logged beside the objective.
    """

    objective: Literal["bradley_terry", "plackett_luce"] = "bradley_terry"
    """Likelihood. `bradley_terry` reads judgments. `plackett_luce` reads full rankings of K responses as a series of
    choices; a comparison without a ranking counts by its judgments. The two are equal at K = 2."""
    beta: AboveZero = 1.0
    """Scale of the score difference inside the sigmoid."""
    weight_by: Literal["prompt", "pair"] = "prompt"
    """Unit of equal weight in the loss. `prompt`: every comparison, however many judgments a comparison holds. `pair`:
    every judgment. The two agree if each comparison is a pair."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Share s of labels taken to be wrong: a label p becomes p (1 - s) + (1 - p) s. Bounds the optimal margin of a
    certain label; with `ties = "half"` the bound is log((1 - s) / s) / beta."""
    margin_scale: NotNegative = 0.0
    """Ask for a score difference larger by this much times the judgment's margin: -log sigmoid(beta d - scale margin).
    0 ignores margins; a judgment without a margin counts as margin 0."""
    margin_penalty: NotNegative = 0.0
    """Weight of a penalty on score differences d, the mean over judgments of |d| or d^2. Bounds the optimal margin."""
    margin_penalty_kind: Literal["l1", "l2"] = "l2"
    """Form of the margin penalty: `l2` squares the difference, `l1` takes the absolute value."""
    score_penalty: NotNegative = 0.0
    """Weight of a penalty on scores, the mean over responses of the squared score. Bounds the optimal margin."""
    centering: NotNegative = 0.0
    """Weight of a pull of scores towards 0 that leaves differences free: the mean over judgments of (s_better +
    s_worse)^2."""
    ties: Literal["half", "rao_kupper", "davidson"] = "half"
    """Likelihood of a labelled tie. `half`: half a win of either side. `rao_kupper` (Rao and Kupper, 1967) and
    `davidson` (Davidson, 1970): a third outcome beside the two wins."""
    tie_strength: AboveZero = 1.0
    """Frequency of ties in the model: the threshold log(theta) of Rao and Kupper, or Davidson's nu."""
    extra: dict[str, AboveZero] = {}
    """Further terms of your own, import path -> weight. `"my_losses:hinge" = 0.1` adds 0.1 times the result of the
    function `hinge(scores, targets)`, a `bradley.losses.Term`."""


class Optim(Section):
    """The optimizer and its learning-rate schedule."""

    name: str = "AdamW"
    """Optimizer: a class of `torch.optim`, such as AdamW, SGD, RAdam or Adafactor. Or `AdamW8bit`, whose states take a
    quarter of the memory (needs the extra `8bit`)."""
    lr: AboveZero = 1e-5
    """Peak learning rate."""
    head_lr: NotNegative = 0.0
    """Peak learning rate of the score head (0: the same as `lr`)."""
    weight_decay: NotNegative = 0.0
    """Weight decay, decoupled if the optimizer can, on the weights named by `decay`."""
    decay: Literal["matrices", "head"] = "matrices"
    """Weights under weight decay. `matrices`: the matrices of the backbone; biases, norms and the score head are
    exempt. `head`: the matrices of the score head alone."""
    betas: tuple[Annotated[float, Field(ge=0.0, lt=1.0)], Annotated[float, Field(ge=0.0, lt=1.0)]] = (0.9, 0.999)
    """Decay rates of the first and second moment, for Adam and its relatives."""
    eps: AboveZero = 1e-8
    """Small number that keeps the division by the second moment finite, for Adam and its relatives."""
    options: dict[str, Any] = {}
    """Further arguments of the optimizer's class, such as `momentum = 0.9`."""
    max_grad_norm: NotNegative = 1.0
    """Largest gradient norm: gradients above are scaled down to this norm (0: no clipping)."""
    skip_nonfinite: bool = False
    """Skip a step whose loss or gradient is not finite, instead of ending the run. No weight moves; order, schedule and
    randomness continue as if the step had been taken. The results list such steps. A fourth such step within 1,000
    steps ends the run all the same."""
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    """Shape of the learning-rate decay after the warm-up."""
    floor: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Learning rate at the last step of a cosine or linear schedule, as a share of the peak."""
    warmup: Annotated[float, Field(ge=0.0, le=MOST_STEPS, allow_inf_nan=False)] = 0.03
    """Length of the warm-up: below 1 a share of all steps, from 1 on a number of steps."""
    warmup_shape: Literal["linear", "quadratic"] = "linear"
    """Shape of the learning rate's rise during the warm-up."""
