"""Every setting of a run: frozen models, one for each part, with a docstring under each field.

The docstring is the only description of a field: `bradley train --help` and the reference page are made from the
docstrings. Without torch here, a laptop or a launcher validates a run in milliseconds. `load.py` reads TOML files and
overrides into these models.
"""

import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Self

from pydantic import Field, ValidationInfo, model_validator

from ..common.secrets import secret_in
from ..common.text import message_line, quoted
from .base import Policy, Section, Words, as_list, changed
from .data import SYNTHETIC, Data, Render, Synthetic, Unread
from .model import Adapter, Loss, Model, Optim
from .run import Checkpoint, Eval, Hub, Log, Parallel, Train, repo_problem

__all__ = [
    "SINGLE_VALUES",
    "SYNTHETIC",
    "Adapter",
    "Checkpoint",
    "Config",
    "Data",
    "DataSettings",
    "Eval",
    "Hub",
    "Log",
    "Loss",
    "Model",
    "Optim",
    "Parallel",
    "Policy",
    "Render",
    "Section",
    "Synthetic",
    "Train",
    "Unread",
    "Words",
    "as_list",
    "name_problem",
    "repo_problem",
]


SINGLE_VALUES = "single values"
"""Context of a validation without the rules about several settings."""


class DataSettings(Section):
    """Settings for reading and rendering data; no model is required."""

    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] = 0
    """Seed of everything random: order, splits, samples, initial weights."""
    data: Data = Data()
    """Comparisons, and policies about comparisons."""
    render: Render = Render()
    """Conversion of messages to token ids."""
    model: Model = Model()
    """Backbone, tokenizer, numerics."""

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Self:
        if info.context == SINGLE_VALUES:
            return self
        # All problems at once: a run that fails its check five times costs five starts of a job.
        unused = (f"{name} has no effect while {state}" for name, state in self.unused().items())
        problems = [*unused, *self._contradictions()]
        if problems:
            # Escaped first: pydantic takes one text, and the loader takes the problems apart at the line breaks.
            raise ValueError("\n".join(map(message_line, problems)))
        return self

    def unused(self) -> dict[str, str]:
        """Return the settings that are switched off and have no default value, with the switch in words."""
        found = {}
        # A rule for a section covers every setting directly below, such as `model.adapter` or `data.synthetic`.
        for name in changed(self):
            rule = IGNORED.get(name) or IGNORED.get(name.rpartition(".")[0])
            if rule and rule[0](self):
                found[name] = rule[1]
        return found

    def _contradictions(self) -> Iterator[str]:
        """Yield a line for each secret, wrong name and contradiction among the settings."""
        # Settings are copied into run folder, model card and the Hub, where a token would be public.
        if found := secret_in(self.model_dump(mode="json"), ""):
            yield f"{found}: settings are written into the run folder and the model, so give it as a variable"
        for name in self.data.eval_sets:
            if problem := name_problem(name):
                yield f"data.eval_sets: {problem}"
        sources = set(as_list(self.data.train))
        for source in self.data.mix:
            if source not in sources:
                yield f"data.mix: {quoted(source)} is no source of data.train"
        if self.model.path and self.model.tokenizer == "train":
            yield "model.path and model.tokenizer = train are both given: a pretrained model knows its own tokens only"


class Config(DataSettings):
    """Settings of a whole run.

    Example:
        model = {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2}
        config = bradley.Config(model={"config": model, "tokenizer": "train"}, optim={"lr": 1e-3})
        print(config.train.batch_size)
    """

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
    checkpoint: Checkpoint = Checkpoint()
    """Saving and resuming."""
    parallel: Parallel = Parallel()
    """Several processes."""
    hub: Hub = Hub()
    """Upload of the finished model."""

    def _contradictions(self) -> Iterator[str]:
        yield from super()._contradictions()

        if self.model.path and self.model.config:
            yield "model.path and model.config are both given: a model is loaded or built, not both"
        elif not self.model.path and "model_type" not in self.model.config:
            yield "give model.path, or model.config with a model_type such as 'llama'"
        elif not self.model.path and not self.model.tokenizer:
            yield 'model.config needs model.tokenizer: a folder, a Hub name, or "train"'
        if self.model.adapter.kind != "none":
            yield from self._contradictions_of_adapter()
        if "num_labels" in self.model.config:
            yield "model.config.num_labels may not be given: a reward model has one score"
        if self.hub.push and (problem := repo_problem(self.hub.push)):
            yield f"hub.push = {quoted(self.hub.push)} {problem}"
        yield from self._contradictions_of_loss()

    def _contradictions_of_adapter(self) -> Iterator[str]:
        if not self.model.path:
            yield "model.adapter needs model.path: its folder holds no weights of a model that is built from a config"
        if not as_list(self.model.adapter.targets):
            yield "model.adapter.targets names no layer: give all-linear, attention or names"

    def _contradictions_of_loss(self) -> Iterator[str]:
        loss = self.loss
        # A ranking has no labels, margins or ties: these settings would be silently without effect.
        if loss.objective == "plackett_luce":
            for name in ("label_smoothing", "margin_scale", "ties"):
                if getattr(loss, name) != type(loss).model_fields[name].default:
                    yield f"loss.{name} is about judgments, and loss.objective = plackett_luce reads rankings"
            if loss.weight_by == "pair":
                yield "loss.weight_by = pair counts judgments, and loss.objective = plackett_luce reads rankings"
        if loss.margin_scale and loss.ties != "half":
            yield f"loss.margin_scale and loss.ties = {loss.ties} are both given: the two have no common likelihood"
        # With a bounded margin the label probabilities stay below 1: the run would train to the last step in vain.
        if self.train.past_interpolation:
            for name in BOUNDING:
                if getattr(loss, name):
                    yield f"loss.{name} bounds the optimal margin, so train.past_interpolation may never be reached"
            if self.train.early_stopping != "off":
                yield "train.early_stopping and train.past_interpolation are both given: two rules to stop by"


IGNORED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "train.epochs": (lambda run: run.train.max_steps > 0, "train.max_steps is above 0"),
    "train.patience": (lambda run: run.train.early_stopping == "off", "train.early_stopping is off"),
    "train.min_delta": (lambda run: run.train.early_stopping == "off", "train.early_stopping is off"),
    "train.past_interpolation": (lambda run: run.eval.train_probe == 0, "eval.train_probe is 0"),
    **{
        f"train.interpolation_{name}": (lambda run: not run.train.past_interpolation, "train.past_interpolation is 0")
        for name in ("by", "hold", "times")
    },
    "train.interpolation_epochs": (
        lambda run: not run.train.past_interpolation or run.train.interpolation_times > 0,
        "train.past_interpolation is 0, or train.interpolation_times is above 0",
    ),
    "data.valid_share": (lambda run: bool(as_list(run.data.valid)), "data.valid is given"),
    "data.test_share": (lambda run: bool(as_list(run.data.test)), "data.test is given"),
    "data.synthetic": (lambda run: SYNTHETIC not in as_list(run.data.train), f"data.train is not `{SYNTHETIC}`"),
    "data.group_max_responses": (lambda run: run.data.group_by == "none", "data.group_by is none"),
    "data.diagnostic_rate": (
        lambda run: run.data.diagnostic != "label_shuffle",
        "data.diagnostic is not label_shuffle",
    ),
    "data.diagnostic_threshold": (
        lambda run: run.data.diagnostic != "length_matched",
        "data.diagnostic is not length_matched",
    ),
    "data.diagnostic_seed": (
        lambda run: run.data.diagnostic in ("none", "length_matched"),
        "data.diagnostic is none or length_matched, and draws nothing",
    ),
    "model.revision": (lambda run: not run.model.path, "model.path is empty"),
    "model.adapter": (lambda run: run.model.adapter.kind == "none", "model.adapter.kind is none"),
    "model.trainable": (
        lambda run: run.model.adapter.kind != "none",
        "model.adapter.kind is lora, which trains the adapters and the score head (norms: model.adapter.norms)",
    ),
    "model.gradient_checkpointing": (
        lambda run: run.model.trainable == "head",
        "model.trainable is head, so that no activation is kept at all",
    ),
    "model.compile": (lambda run: run.model.trainable == "head", "model.trainable is head: nothing is compiled for it"),
    "model.vocab_size": (lambda run: run.model.tokenizer != "train", "model.tokenizer is not `train`"),
    "render.max_prompt_tokens": (
        lambda run: run.render.max_prompt_tokens > run.render.max_tokens,
        "render.max_tokens is less than that",
    ),
    "render.template_kwargs": (lambda run: run.render.template == "raw", "render.template is raw"),
    "render.date": (lambda run: run.render.template == "raw", "render.template is raw"),
    "loss.margin_penalty_kind": (lambda run: not run.loss.margin_penalty, "loss.margin_penalty is 0"),
    "loss.tie_strength": (lambda run: run.loss.ties == "half", "loss.ties is half"),
    "optim.warmup_shape": (lambda run: not run.optim.warmup, "optim.warmup is 0"),
    "optim.floor": (lambda run: run.optim.schedule == "constant", "optim.schedule is constant"),
    "optim.weight_decay": (
        lambda run: run.model.trainable != "all" and run.optim.decay == "matrices",
        "model.trainable is head or head_and_norms, and optim.decay is matrices: no matrix of the backbone is trained",
    ),
    "optim.head_lr": (
        lambda run: run.model.trainable == "head",
        "model.trainable is head: optim.lr is the rate of all that is trained",
    ),
    "optim.decay": (lambda run: not run.optim.weight_decay, "optim.weight_decay is 0"),
    "parallel.processes_per_copy": (lambda run: run.parallel.mode != "hybrid", "parallel.mode is not hybrid"),
    "parallel.canonical": (lambda run: run.parallel.mode != "replicate", "parallel.mode is not replicate"),
    "parallel.parts": (
        lambda run: run.parallel.mode != "replicate" or run.parallel.canonical == "off",
        "parallel.mode is not replicate, or parallel.canonical is off",
    ),
    "hub.private": (lambda run: not run.hub.push, "hub.push is empty"),
    "log.project": (lambda run: "wandb" not in as_list(run.log.trackers), "log.trackers does not name wandb"),
}
"""Setting or section -> a test for the state that switches the setting off, and the state in words.

A setting that is switched off must have the default value, given or not. Otherwise a user would tune a setting without
effect. Defaults pass even if given, so that a resolved configuration can be read back. Where an override turns the
switch, a setting of the file is left out instead.
"""
RESERVED = ("train", "train_probe", "valid", "test")
"""Names of sets refused in `data.eval_sets`."""
BOUNDING = ("label_smoothing", "margin_penalty", "score_penalty")
"""Settings of `loss` under which the best margin is finite."""


def name_problem(name: str) -> str:
    """Return the reason why an evaluation set may not be called `name`, or ''."""
    if name in RESERVED:
        return f"the name {name} is taken, as are {', '.join(RESERVED)}"
    # Names become names of files, as in `valid-best.jsonl`: a slash or a dot could leave the run folder.
    if not re.fullmatch("[A-Za-z0-9_]+", name):
        return f"a name may hold letters, digits and underscores, got {quoted(name)}"
    return ""
