"""Every setting of a run: frozen models, one per part, a docstring under each field.

The docstring is the only description of a field: `bradley train --help` and the reference page are made from it. No
torch here, so a laptop or a launcher validates a run in milliseconds. `configfile.py` reads
TOML and overrides into these.
"""

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Policy = Literal["keep", "drop", "error"]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Sources = str | list[str]
SYNTHETIC = "synthetic:"
"""The source of composed training data."""


class Section(BaseModel):
    """A group of settings: frozen, and closed to names it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Synthetic(Section):
    """Preferences composed from a small grammar with a known true reward (source `synthetic:`)."""

    comparisons: Positive = 4000
    """Comparisons to compose, all splits together."""
    responses: Annotated[int, Field(ge=2, le=8)] = 2
    """Responses per prompt."""
    noise: Literal["bradley_terry", "threshold"] = "bradley_terry"
    """How labels err: `bradley_terry` draws each by the sigmoid of the scaled reward difference, so that hard pairs err
    more; `threshold` flips the true order with the same probability everywhere."""
    noise_rate: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.1
    """Expected share of judgments whose label contradicts the true reward."""
    length_weight: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """Weight of the response's length in the true reward: 0 makes length a pure nuisance."""
    view: Literal["full", "prompt", "response"] = "full"
    """What the model may see: everything, the prompt only (responses replaced by unrelated ones), or the response only
    (prompts replaced by one fixed text). The labels stay those of the full text, so the last two must end at chance
    (`response` where `length_weight` is 0)."""


class Data(Section):
    """Where comparisons come from and what is done about faulty ones."""

    train: Sources = SYNTHETIC
    """Training data: a file (.jsonl or .json, each also .gz), a glob, a list of these, or `synthetic:` alone."""
    valid: Sources = ""
    """Validation data, used to select the best checkpoint. Empty: split off from `train` by prompt."""
    test: Sources = ""
    """Test data, read once at the end. Empty: split off from `train` if `test_share` is above 0."""
    eval_sets: dict[str, Sources] = {}
    """Further named evaluation sets, reported beside `valid` but never used to select. Names are letters, digits and
    underscores: they become names of files."""
    valid_share: Share = 0.05
    """Share of the prompts of `train` held out for validation when `valid` is empty."""
    test_share: Share = 0.0
    """Share of the prompts of `train` held out for the test when `test` is empty."""
    format: Literal["auto", "hh", "preference", "ranked"] = "auto"
    """Shape of the rows; `auto` looks at the first rows of each file."""
    limit: Count = 0
    """Keep a seeded sample of this many training comparisons (0: all)."""
    eval_limit: Count = 0
    """Keep a seeded sample of this many comparisons of each evaluation set, the test set too (0: all)."""
    group_by: Literal["none", "prompt"] = "none"
    """`prompt` merges training rows that share a prompt into one comparison: responses deduplicated, every judgment
    kept."""
    group_max_responses: Annotated[int, Field(ge=2)] = 16
    """Most responses in one comparison made by `group_by`; a prompt with more makes several comparisons."""
    equal_scores: Literal["skip", "tie"] = "skip"
    """What two responses with the same score or rank become: no judgment, or a judgment with probability 0.5."""
    max_rejected_share: Share = 0.05
    """Largest share of source rows that may be unusable before the run stops."""
    identical: Policy = "drop"
    """Training judgments between two responses with the same text (no gradient). Evaluation sets keep theirs."""
    empty: Policy = "keep"
    """Training comparisons with an empty or blank response. Evaluation sets keep theirs."""
    duplicate: Policy = "drop"
    """Training comparisons that repeat an earlier one, same texts and same preferences. Evaluation sets keep theirs."""
    contradictory: Policy = "keep"
    """Training comparisons whose judgment is reversed by another one on the same texts. Evaluation sets keep theirs."""
    leaked: Policy = "error"
    """Training comparisons whose prompt also occurs in an evaluation set: `drop` takes them out of training. A test
    prompt that also occurs in `valid` or `eval_sets` is judged by the same policy, but evaluation rows are never
    dropped, so that only `keep` lets it pass."""
    synthetic: Synthetic = Synthetic()
    """Settings of the `synthetic:` source."""


class Render(Section):
    """How messages become token ids: one rule for training, evaluation, scoring and serving."""

    template: str = "tokenizer"
    """`tokenizer` (its own chat template), `raw` (plain text as it is, turns as "Human:" and "Assistant:"), or the path
    of a Jinja file."""
    eos: Literal["auto", "always", "never"] = "auto"
    """Whether the tokenizer's end-of-sequence token is appended where the text does not end with it. `auto`: with `raw`
    on causal models, yes; with chat templates, which write their own ending, no."""
    max_tokens: Annotated[int, Field(ge=8)] = 1024
    """Limit of prompt and response together, in tokens."""
    max_prompt_tokens: Count = 0
    """Limit of the prompt alone, in tokens (0: only `max_tokens` counts)."""
    over_long: Literal["drop", "truncate_prompt", "truncate_response"] = "truncate_prompt"
    """What happens above a limit. `drop`: the comparison leaves training. `truncate_prompt`: the oldest prompt tokens
    go, by the same amount for every response, and a response that alone is too long leaves training.
    `truncate_response`: after the whole prompt, the oldest tokens of the response go too. Ends are never touched.
    Evaluation never drops: with `drop` it truncates prompts, and a response that alone is too long stops the run unless
    `truncate_response` is set."""


class Model(Section):
    """The backbone, its tokenizer and its numerics."""

    path: str = ""
    """A local folder, a Hub name, or `package:NAME` for a model that a Python package carries. Empty: built from
    `config`."""
    config: dict[str, Any] = {}
    """Settings of a transformers model built from scratch, `model_type` among them (used when `path` is empty)."""
    tokenizer: str = ""
    """A tokenizer folder or Hub name; empty takes that of `path`; `train` learns a byte-level BPE from the training
    texts."""
    vocab_size: Annotated[int, Field(ge=300)] = 4096
    """Size of a tokenizer learned by `tokenizer = "train"`."""
    dropout: bool = False
    """Keep the dropout rates that the model's config names; off sets every one of them to 0."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute precision. `bfloat16` computes in bfloat16 over float32 weights; `auto` takes it on CUDA, float32
    elsewhere. The score head and the loss are float32 always."""
    trust_remote_code: bool = False
    """Run Python code that a model repository carries. Leave off unless you have read it."""


class Loss(Section):
    """The Bradley-Terry objective."""

    beta: Annotated[float, Field(gt=0.0)] = 1.0
    """Scale of the score difference inside the sigmoid."""
    weight_by: Literal["prompt", "pair"] = "prompt"
    """`prompt`: every comparison weighs one, however many judgments it holds. `pair`: every judgment weighs the same.
    The two agree where each comparison is a pair."""


class Optim(Section):
    """AdamW and its learning-rate schedule."""

    lr: Annotated[float, Field(gt=0.0)] = 1e-5
    """Peak learning rate."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    """Decoupled weight decay on matrices; biases, norms and the score head are exempt."""
    betas: tuple[Annotated[float, Field(ge=0.0, lt=1.0)], Annotated[float, Field(ge=0.0, lt=1.0)]] = (0.9, 0.999)
    """Adam's decay rates of the first and second moment."""
    eps: Annotated[float, Field(gt=0.0)] = 1e-8
    """Adam's epsilon."""
    max_grad_norm: Annotated[float, Field(ge=0.0)] = 1.0
    """Gradients are scaled down to this norm (0: no clipping)."""
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    """Shape of the decay after the warm-up."""
    floor: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Learning rate at the end of a cosine or linear schedule, as a share of the peak."""
    warmup: Annotated[float, Field(ge=0.0)] = 0.03
    """Length of the warm-up: below 1 a share of all steps, from 1 on a number of steps."""
    warmup_shape: Literal["linear", "quadratic"] = "linear"
    """How the rate rises during the warm-up."""


class Train(Section):
    """Steps, batches, selection and stopping."""

    batch_size: Positive = 32
    """Comparisons per optimizer step, whatever their number of responses."""
    micro_batch_tokens: Positive = 8192
    """Most tokens, padding included, that go through the model at once. A comparison is never split."""
    epochs: Annotated[float, Field(gt=0.0)] = 1.0
    """Passes over the training comparisons (used when `max_steps` is 0)."""
    max_steps: Count = 0
    """Optimizer steps (0: as many as `epochs` needs)."""
    early_stopping: Literal["off", "nll", "accuracy"] = "off"
    """Stop when this figure of the validation set no longer improves."""
    patience: Positive = 5
    """Evaluations without improvement before an early stop."""
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0
    """Smallest change that counts as an improvement for early stopping."""
    select_by: Literal["nll", "accuracy"] = "accuracy"
    """Figure of the validation set that chooses the best checkpoint."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes CUDA when there is one."""
    threads: Count = 0
    """CPU threads of PyTorch (0: its own choice)."""


class Eval(Section):
    """When and on what the model is evaluated while it trains."""

    every: Count = 0
    """Steps between evaluations (0: ten over the run). Step 0 and the last step are always evaluated."""
    train_probe: Count = 256
    """Size of the fixed sample of training comparisons evaluated beside the validation set (0: none)."""


class Log(Section):
    """What is written while the model trains."""

    every: Positive = 10
    """Steps between train lines in `metrics.jsonl`."""
    window: Positive = 50
    """Steps that the windowed train figures average over."""


IGNORED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "train.epochs": (lambda run: run.train.max_steps > 0, "train.max_steps is above 0"),
    "train.patience": (lambda run: run.train.early_stopping == "off", "train.early_stopping is off"),
    "train.min_delta": (lambda run: run.train.early_stopping == "off", "train.early_stopping is off"),
    "train.early_stopping": (
        lambda run: not as_list(run.data.valid) and not run.data.valid_share,
        "data.valid is empty and data.valid_share is 0",
    ),
    "data.valid_share": (lambda run: bool(as_list(run.data.valid)), "data.valid is given"),
    "data.test_share": (lambda run: bool(as_list(run.data.test)), "data.test is given"),
    "data.synthetic": (lambda run: SYNTHETIC not in as_list(run.data.train), f"data.train is not `{SYNTHETIC}`"),
    "data.group_max_responses": (lambda run: run.data.group_by == "none", "data.group_by is none"),
    "model.vocab_size": (lambda run: run.model.tokenizer != "train", "model.tokenizer is not `train`"),
    "optim.floor": (lambda run: run.optim.schedule == "constant", "optim.schedule is constant"),
}
"""Settings, or sections, that other settings switch off: when, and that in words. What is switched off must have its
default value, given or not, so that a resolved configuration can be read back."""
RESERVED = ("train", "train_probe", "valid", "test")
"""Names of sets that `data.eval_sets` may not use."""


def as_list(sources: Sources) -> list[str]:
    """A source setting as a list of its non-empty entries."""
    return [source for source in ([sources] if isinstance(sources, str) else sources) if source]


def changed(section: Section, prefix: str = "") -> Iterator[str]:
    """Dotted names of the settings below a section whose values are not their defaults."""
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, Section):
            yield from changed(value, f"{prefix}{key}.")
        elif value != field.default:
            yield prefix + key


class DataSettings(Section):
    """The settings that reading and rendering data needs: no model is asked for."""

    seed: int = 0
    """Seed of everything drawn: order, splits, samples, initial weights."""
    data: Data = Data()
    """Comparisons and the policies about them."""
    render: Render = Render()
    """Messages to token ids."""
    model: Model = Model()
    """Backbone, tokenizer, numerics."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*self._unused_settings(), *self._contradictions()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _unused_settings(self) -> Iterator[str]:
        for name in changed(self):
            rule = IGNORED.get(name) or IGNORED.get(name.rpartition(".")[0])
            if rule and rule[0](self):
                yield f"{name} has no effect while {rule[1]}"

    def _contradictions(self) -> Iterator[str]:
        """What settings may not say together, one line each."""
        for name in self.data.eval_sets:
            if name in RESERVED:
                yield f"data.eval_sets.{name}: the name is taken, as are {', '.join(RESERVED)}"
            elif not re.fullmatch("[A-Za-z0-9_]+", name):
                yield f"data.eval_sets: a name may hold letters, digits and underscores, got {name!r}"
        if self.model.path and self.model.tokenizer == "train":
            yield "model.path and model.tokenizer = train are both given: a pretrained model knows its own tokens only"


class Config(DataSettings):
    """A whole run."""

    loss: Loss = Loss()
    """Objective."""
    optim: Optim = Optim()
    """Optimizer and schedule."""
    train: Train = Train()
    """Steps, batches, selection."""
    eval: Eval = Eval()
    """Evaluation during training."""
    log: Log = Log()
    """Logging."""

    def _contradictions(self) -> Iterator[str]:
        yield from super()._contradictions()
        if self.model.path and self.model.config:
            yield "model.path and model.config are both given: a model is loaded or built, not both"
        elif not self.model.path and "model_type" not in self.model.config:
            yield "give model.path, or model.config with a model_type such as 'llama'"
        elif not self.model.path and not self.model.tokenizer:
            yield 'model.config needs model.tokenizer: a folder, a Hub name, or "train"'
        if "num_labels" in self.model.config:
            yield "model.config.num_labels may not be given: a reward model has one score"
