"""Settings of the model, its objective and its optimizer."""

from typing import Annotated, Any, Literal

from pydantic import Field

from .base import NotNegative, Positive, Section, Share, Words


class Adapter(Section):
    """Low-rank adapters on a frozen backbone. The score head is trained in full, and saved, whatever is set here."""

    kind: Literal["none", "lora"] = "none"
    """`lora` freezes the backbone and trains low-rank changes of its linear layers (Hu et al., 2021), beside the score
    head (needs the extra `lora`). The model folder then holds the changes and the head, in PEFT's format, and not the
    weights of `model.path`."""
    rank: Positive = 16
    """Rank r of each change."""
    alpha: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 32.0
    """Scale of the changes: each is multiplied by alpha / r."""
    dropout: Share = 0.0
    """Share of an adapter's inputs that are dropped in training."""
    targets: Words = "all-linear"
    """Which linear layers of the backbone get an adapter: `all-linear`, `attention` (those inside attention modules),
    or names. A name is the full path of a layer or its end, such as `q_proj` or `attn.c_proj`; one that fits layers in
    several kinds of places is an error, and so is one that fits none."""
    rslora: bool = False
    """Multiply by alpha / sqrt(r) instead of alpha / r, so that a higher rank does not learn less (rsLoRA:
    Kalajdzievski, 2023)."""
    dora: bool = False
    """Train the length of each row of a weight apart from its direction (DoRA: Liu et al., 2024)."""
    norms: bool = False
    """Train the normalisation layers too."""
    quantize: Literal["none", "nf4"] = "none"
    """`nf4` keeps the frozen linear layers in 4 bits (QLoRA: Dettmers et al., 2023), on CUDA only (needs the extra
    `8bit` too)."""


class Model(Section):
    """The backbone, its tokenizer and its numerics."""

    path: str = ""
    """A local folder, a Hub name, or `package:NAME` for a model that a Python package carries. Empty: built from
    `config`."""
    revision: str = ""
    """Branch, tag or commit of `path` on the Hub (empty: the default branch). Only for Hub names."""
    config: dict[str, Any] = {}
    """Settings of a transformers model built from scratch, `model_type` among them (used when `path` is empty)."""
    tokenizer: str = ""
    """A tokenizer folder or Hub name; empty takes that of `path`; `train` learns a byte-level BPE from the training
    texts."""
    vocab_size: Annotated[int, Field(ge=300)] = 4096
    """Size of a tokenizer learned by `tokenizer = "train"`."""
    trainable: Literal["all", "head", "head_and_norms"] = "all"
    """Which weights are trained. `head`: the score head alone, on a frozen backbone. `head_and_norms`: the head and the
    normalisation layers."""
    adapter: Adapter = Adapter()
    """Low-rank adapters instead of full training."""
    dropout: bool = False
    """Keep the dropout rates that the model's config names; off sets every one of them to 0."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute precision. `bfloat16` computes in bfloat16 over float32 weights; `auto` takes it on CUDA, float32
    elsewhere. The score head and the loss are float32 always."""
    engine: Literal["auto", "segments", "flex", "varlen", "plain"] = "auto"
    """How a micro-batch goes through the backbone. `segments`, `flex` and `varlen`: a prompt once for all its
    responses, and no padding; the first with a call of attention for each of them, on any device, the others with one
    kernel for all of them, on CUDA; `varlen` computes in bfloat16 alone. `plain`: every response with its prompt as a
    padded row. Scores and gradients are equal up to rounding, which each run proves on a few of its rows. `auto` takes
    `segments` on a CPU, and on CUDA `varlen`, else `flex`, where the model allows it, and says why where not: encoders,
    windows shorter than `render.max_tokens`, capped scores, attention sinks, ALiBi, state-space layers, rotary angles
    that depend on length, on a CPU compiled models, on CUDA dropout of attention weights. With `dropout` the responses
    of a prompt share its noise."""
    gradient_checkpointing: bool = False
    """Keep only the inputs of each layer and compute the rest again on the way back: less memory, about a third more
    time."""
    compile: bool = False
    """Compile the training of the backbone with `torch.compile`: slow to start, faster afterwards on long runs.
    Evaluation is not compiled, so that its scores are those of the saved model."""
    liger: bool = False
    """Run norms, gated feed-forward layers and rotary positions on the fused CUDA kernels of Liger, for the model types
    that it knows (needs the extra `liger`)."""
    trust_remote_code: bool = False
    """Run Python code that a model repository carries. Leave off unless you have read it."""


class Loss(Section):
    """The objective: a likelihood, and penalties that are off by default. All terms add up; `nll`, the plain
    Bradley-Terry likelihood, is logged beside them whatever they are."""

    objective: Literal["bradley_terry", "plackett_luce"] = "bradley_terry"
    """`bradley_terry` reads judgments. `plackett_luce` reads full rankings of K responses as one choice after another;
    a comparison without a ranking counts by its judgments. The two are equal at K = 2."""
    beta: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1.0
    """Scale of the score difference inside the sigmoid."""
    weight_by: Literal["prompt", "pair"] = "prompt"
    """`prompt`: every comparison weighs one, however many judgments it holds. `pair`: every judgment weighs the same.
    The two agree where each comparison is a pair."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Share s of labels taken to be wrong: a label p becomes p (1 - s) + (1 - p) s. Bounds the optimal margin of a
    certain label, without a model of ties at log((1 - s) / s) / beta."""
    margin_scale: NotNegative = 0.0
    """Ask for a score difference larger by this much times the judgment's margin: -log sigmoid(beta d - scale margin).
    0 ignores margins; a judgment without one counts as margin 0."""
    margin_penalty: NotNegative = 0.0
    """Weight of a penalty on score differences d, the mean over judgments of |d| or d^2. Bounds the optimal margin."""
    margin_penalty_kind: Literal["l1", "l2"] = "l2"
    """`l2` squares the difference, `l1` takes its absolute value."""
    score_penalty: NotNegative = 0.0
    """Weight of a penalty on scores, the mean over responses of their squares. Bounds the optimal margin."""
    centering: NotNegative = 0.0
    """Weight of a pull of scores towards 0 that leaves differences free: the mean over judgments of (s_better +
    s_worse)^2."""
    ties: Literal["half", "rao_kupper", "davidson"] = "half"
    """How a labelled tie enters the likelihood: as half a win of either side, or as an outcome of its own after Rao and
    Kupper (1967) or Davidson (1970)."""
    tie_strength: Annotated[float, Field(gt=0.0, allow_inf_nan=False)] = 1.0
    """How likely ties are: the threshold log(theta) of Rao and Kupper, or Davidson's nu."""
    extra: dict[str, Annotated[float, Field(gt=0.0, allow_inf_nan=False)]] = {}
    """Further terms of your own, import path -> weight: `"my_losses:hinge" = 0.1` adds 0.1 times what the function
    `hinge(scores, targets)` returns, a `bradley.losses.Term`."""


class Optim(Section):
    """The optimizer and its learning-rate schedule."""

    name: str = "AdamW"
    """A class of `torch.optim`, such as AdamW, SGD, RAdam or Adafactor; or `AdamW8bit`, whose states take a quarter of
    the memory (needs the extra `8bit`)."""
    lr: Annotated[float, Field(gt=0.0)] = 1e-5
    """Peak learning rate."""
    head_lr: NotNegative = 0.0
    """Peak learning rate of the score head (0: that of the rest)."""
    weight_decay: NotNegative = 0.0
    """Weight decay, decoupled where the optimizer can, on what `decay` says."""
    decay: Literal["matrices", "head"] = "matrices"
    """What weight decay acts on: the `matrices` of the backbone (biases, norms and the score head are exempt), or those
    of the score `head` alone."""
    betas: tuple[Annotated[float, Field(ge=0.0, lt=1.0)], Annotated[float, Field(ge=0.0, lt=1.0)]] = (0.9, 0.999)
    """Decay rates of the first and second moment, for Adam and its relatives."""
    eps: Annotated[float, Field(gt=0.0)] = 1e-8
    """What keeps the division by the second moment finite, for Adam and its relatives."""
    options: dict[str, Any] = {}
    """Further arguments of the optimizer's class, such as `momentum = 0.9`."""
    max_grad_norm: Annotated[float, Field(ge=0.0)] = 1.0
    """Gradients are scaled down to this norm (0: no clipping)."""
    skip_nonfinite: bool = False
    """Pass over a step whose loss or gradient is not finite, instead of ending the run: no weight moves, and everything
    else goes on as if it had. The results list such steps; a fourth one within 1,000 steps ends the run all the
    same."""
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    """Shape of the decay after the warm-up."""
    floor: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Learning rate at the last step of a cosine or linear schedule, as a share of the peak."""
    warmup: Annotated[float, Field(ge=0.0)] = 0.03
    """Length of the warm-up: below 1 a share of all steps, from 1 on a number of steps."""
    warmup_shape: Literal["linear", "quadratic"] = "linear"
    """How the rate rises during the warm-up."""
