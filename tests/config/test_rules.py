"""What a configuration refuses: wrong values, settings without an effect, settings that contradict each other."""

import functools
import math
from typing import Any

import pytest

from bradley.config import Config
from bradley.config.base import changed
from bradley.config.load import load_settings, read_config
from bradley.config.toml import TomlSource
from bradley.errors import UserError

MODEL: dict[str, Any] = {"model": {"path": "some/model"}}


def problems(mapping: dict[str, Any], overrides: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(UserError) as caught:
        read_config(mapping, overrides)
    return caught.value.message.splitlines()


@pytest.mark.parametrize(
    ("section", "key", "value", "wanted"),
    [
        ("optim", "lr", "1e-4", 'a number above 0, got "1e-4"'),
        ("optim", "lr", 0, "a number above 0, got 0"),
        ("optim", "lr", math.inf, "a number above 0, got Infinity"),
        ("optim", "lr", math.nan, "a number above 0, got NaN"),
        ("optim", "betas", [0.9], "2 values, each a number of at least 0 and below 1, got [0.9]"),
        ("train", "batch_size", True, "a whole number above 0, got true"),
        ("train", "batch_size", 32.0, "a whole number above 0, got 32.0"),
        ("train", "device", "tpu", 'auto, cpu or cuda, got "tpu"'),
        ("model", "dropout", "yes", 'true or false, got "yes"'),
        ("model", "dropout", 1, "true or false, got 1"),
        ("data", "train", 3, "text or a list of texts, got 3"),
        ("data", "train", ["a", 3], 'text or a list of texts, got ["a", 3]'),
        ("data", "eval_sets", "a.jsonl", 'a table of named values, got "a.jsonl"'),
        ("data", "noise", {}, None),
    ],
)
def test_wrong_values_say_what_was_wanted_and_given(section: str, key: str, value: Any, wanted: str | None) -> None:
    found = problems({section: {key: value}})
    expected = f"configuration: {section}.{key}: wanted {wanted}"
    assert found == [
        expected if wanted else "configuration: data.noise: unknown key; did you mean data.synthetic.noise?"
    ]


def test_a_value_instead_of_a_section() -> None:
    assert problems({"train": "a.jsonl"}) == [
        'configuration: train: a section, wanted its settings as [train], got "a.jsonl"'
    ]


def test_rules_about_several_settings() -> None:
    assert problems({}) == ["configuration: give model.path, or model.config with a model_type such as 'llama'"]
    both = MODEL | {"train": {"epochs": 2.0, "max_steps": 5}, "optim": {"schedule": "constant", "floor": 0.1}}
    assert problems(both) == [
        "configuration: optim.floor has no effect while optim.schedule is constant",
        "configuration: train.epochs has no effect while train.max_steps is above 0",
    ]


@pytest.mark.parametrize(
    ("given", "name", "switch"),
    [
        ({"data": {"train": "a", "synthetic": {"noise": "threshold"}}}, "data.synthetic.noise", "data.train is not"),
        ({"data": {"group_max_responses": 8}}, "data.group_max_responses", "data.group_by is none"),
        ({"data": {"valid": "v", "valid_share": 0.1}}, "data.valid_share", "data.valid is given"),
        ({"data": {"test": "t", "test_share": 0.1}}, "data.test_share", "data.test is given"),
        ({"optim": {"schedule": "constant", "floor": 0.1}}, "optim.floor", "optim.schedule is constant"),
        ({"train": {"patience": 2}}, "train.patience", "train.early_stopping is off"),
        ({"train": {"min_delta": 0.1}}, "train.min_delta", "train.early_stopping is off"),
        ({"optim": {"warmup": 0.0, "warmup_shape": "quadratic"}}, "optim.warmup_shape", "optim.warmup is 0"),
        (
            {"model": {**MODEL["model"], "trainable": "head", "compile": True}},
            "model.compile",
            "model.trainable is head",
        ),
        (
            {"render": {"max_tokens": 64, "max_prompt_tokens": 65}},
            "render.max_prompt_tokens",
            "render.max_tokens is less than that",
        ),
        ({"model": {"path": "x", "vocab_size": 512}}, "model.vocab_size", "model.tokenizer is not `train`"),
        (
            {"model": {"config": {"model_type": "llama"}, "tokenizer": "train", "revision": "v1"}},
            "model.revision",
            "model.path is empty",
        ),
        (
            {"model": {**MODEL["model"], "trainable": "head", "gradient_checkpointing": True}},
            "model.gradient_checkpointing",
            "model.trainable is head",
        ),
        ({"model": {"path": "x", "adapter": {"rank": 8}}}, "model.adapter.rank", "model.adapter.kind is none"),
        (
            {"model": {"path": "x", "adapter": {"quantize": "nf4"}}},
            "model.adapter.quantize",
            "model.adapter.kind is none",
        ),
        (
            {"model": {"path": "x", "adapter": {"kind": "lora"}, "trainable": "head_and_norms"}},
            "model.trainable",
            "model.adapter.kind is lora, which trains the adapters and the score head (norms: model.adapter.norms)",
        ),
        ({"render": {"template": "raw", "date": "2024-07-26"}}, "render.date", "render.template is raw"),
        (
            {"render": {"template": "raw", "template_kwargs": {"a": 1}}},
            "render.template_kwargs",
            "render.template is raw",
        ),
        ({"loss": {"margin_penalty_kind": "l1"}}, "loss.margin_penalty_kind", "loss.margin_penalty is 0"),
        ({"loss": {"tie_strength": 0.5}}, "loss.tie_strength", "loss.ties is half"),
        ({"optim": {"decay": "head"}}, "optim.decay", "optim.weight_decay is 0"),
        (
            {"model": {**MODEL["model"], "trainable": "head"}, "optim": {"weight_decay": 0.1}},
            "optim.weight_decay",
            "model.trainable is head or head_and_norms, and optim.decay is matrices",
        ),
        (
            {"model": {**MODEL["model"], "trainable": "head"}, "optim": {"head_lr": 0.1}},
            "optim.head_lr",
            "model.trainable is head",
        ),
        ({"log": {"project": "mine", "trackers": "tensorboard"}}, "log.project", "log.trackers does not name wandb"),
        (
            {"train": {"past_interpolation": 0.9}, "eval": {"train_probe": 0}},
            "train.past_interpolation",
            "eval.train_probe is 0",
        ),
    ],
)
def test_a_setting_that_would_be_ignored_is_an_error(given: dict[str, Any], name: str, switch: str) -> None:
    (problem,) = problems(MODEL | given)
    assert problem.startswith(f"configuration: {name} has no effect while {switch}")


@pytest.mark.parametrize(
    "given",
    [
        {"data": {"train": ["synthetic:"], "synthetic": {"noise": "threshold"}}},
        {"data": {"train": "a", "synthetic": {"noise": "bradley_terry", "comparisons": 4000}}},
        {"data": {"group_by": "prompt", "group_max_responses": 8}},
        {"data": {"valid": "v", "valid_share": 0.05}},
        {"optim": {"schedule": "constant", "floor": 0.0}},
        {"render": {"max_tokens": 1024, "max_prompt_tokens": 1024}},
        {"model": {**MODEL["model"], "trainable": "head"}, "optim": {"weight_decay": 0.1, "decay": "head"}},
        {"train": {"early_stopping": "nll", "patience": 2, "min_delta": 0.1}},
        {"train": {"early_stopping": "nll"}, "data": {"valid": "v", "valid_share": 0.05}},
        {"model": {"config": {"model_type": "llama"}, "tokenizer": "train", "vocab_size": 512}},
        {"model": {"path": "x", "adapter": {"kind": "lora", "rank": 8, "targets": ["q_proj"], "quantize": "nf4"}}},
    ],
)
def test_a_setting_that_has_its_effect_or_its_default_is_none(given: dict[str, Any]) -> None:
    assert read_config(MODEL | given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"model": {"path": "x", "tokenizer": "train"}}, "model.path and model.tokenizer = train are both given"),
        ({"model": {"path": "x", "config": {"model_type": "bert"}}}, "model.path and model.config are both given"),
        ({"model": {"config": {"model_type": "bert"}}}, "model.config needs model.tokenizer"),
        (
            {"model": {"config": {"model_type": "bert", "num_labels": 2}, "tokenizer": "t"}},
            "model.config.num_labels may not be given",
        ),
        (
            {"model": {"config": {"model_type": "llama"}, "tokenizer": "t", "adapter": {"kind": "lora"}}},
            "model.adapter needs model.path",
        ),
        ({"model": {"path": "x", "adapter": {"kind": "lora", "targets": []}}}, "model.adapter.targets names no layer"),
        ({"data": {"eval_sets": {"test": "x"}}}, "data.eval_sets: the name test is taken"),
        ({"data": {"train": ["a.jsonl"], "mix": {"b.jsonl": 0.5}}}, "data.mix: 'b.jsonl' is no source of data.train"),
        ({"loss": {"objective": "plackett_luce", "label_smoothing": 0.1}}, "loss.label_smoothing is about judgments"),
        ({"loss": {"objective": "plackett_luce", "margin_scale": 1.0}}, "loss.margin_scale is about judgments"),
        ({"loss": {"objective": "plackett_luce", "ties": "davidson"}}, "loss.ties is about judgments"),
        ({"loss": {"objective": "plackett_luce", "weight_by": "pair"}}, "loss.weight_by = pair counts judgments"),
        ({"loss": {"ties": "rao_kupper", "margin_scale": 1.0}}, "loss.margin_scale and loss.ties = rao_kupper"),
        ({"train": {"past_interpolation": 0.99}, "loss": {"score_penalty": 0.1}}, "loss.score_penalty bounds"),
        ({"train": {"past_interpolation": 0.99}, "loss": {"label_smoothing": 0.1}}, "loss.label_smoothing bounds"),
        (
            {"train": {"past_interpolation": 0.99, "early_stopping": "nll"}},
            "train.early_stopping and train.past_interpolation are both given",
        ),
    ],
)
def test_settings_that_contradict_each_other(given: dict[str, Any], says: str) -> None:
    (problem,) = problems(MODEL | given)
    assert problem.startswith(f"configuration: {says}")


@pytest.mark.parametrize("name", ["held out", "a/b", "../up", "", "a.b", "x-best", "café", "line\n", "a\nb"])
def test_names_of_evaluation_sets_can_be_names_of_files(name: str) -> None:
    (problem,) = problems(MODEL | {"data": {"eval_sets": {name: "x.jsonl", "Fine_2": "y.jsonl"}}})
    assert problem.startswith("configuration: data.eval_sets") and problem.endswith(f"got {name!r}")


@pytest.mark.parametrize(
    ("given", "override", "winner", "loser"),
    [
        ({"train": {"epochs": 2.0}}, {"train.max_steps": "5"}, ("train", "max_steps", 5), ("train", "epochs")),
        ({"train": {"max_steps": 5}}, {"train.epochs": "2"}, ("train", "epochs", 2.0), ("train", "max_steps")),
        ({"data": {"valid_share": 0.2}}, {"data.valid": "v"}, ("data", "valid", "v"), ("data", "valid_share")),
        ({"data": {"test": "t"}}, {"data.test_share": "0.1"}, ("data", "test_share", 0.1), ("data", "test")),
    ],
)
def test_the_command_line_replaces_the_rival_in_the_file(
    given: dict[str, Any], override: dict[str, str], winner: tuple[str, str, Any], loser: tuple[str, str]
) -> None:
    config = read_config(MODEL | given, override)
    section, name, value = winner
    assert getattr(getattr(config, section), name) == value
    defaults = Config.model_fields[loser[0]].default
    assert getattr(getattr(config, loser[0]), loser[1]) == getattr(defaults, loser[1])


def test_rivals_on_the_command_line_are_refused() -> None:
    assert "has no effect" in problems(MODEL, {"train.max_steps": "5", "train.epochs": "2"})[0]
    assert read_config(MODEL | {"train": {"epochs": 2.0}}, {"train.max_steps": "0"}).train.epochs == 2.0


LORA = {"model": {"path": "x", "adapter": {"kind": "lora", "rank": 8, "targets": ["q_proj"]}}}


@pytest.mark.parametrize(
    ("given", "override", "gone"),
    [
        (LORA, {"model.adapter.kind": "none"}, ["model.adapter.rank", "model.adapter.targets"]),
        (
            {"train": {"early_stopping": "nll", "patience": 2, "min_delta": 0.1}},
            {"train.early_stopping": "off"},
            ["train.patience", "train.min_delta"],
        ),
        ({"optim": {"weight_decay": 0.1}}, {"model.trainable": "head"}, ["optim.weight_decay"]),
        # A switch may hang on a switch.
        (
            {"optim": {"weight_decay": 0.1, "head_lr": 1.0}, "model": {"path": "x", "compile": True}},
            {"model.trainable": "head"},
            ["model.compile", "optim.head_lr", "optim.weight_decay"],
        ),
        (
            {"optim": {"weight_decay": 0.1, "decay": "head"}},
            {"optim.weight_decay": "0"},
            ["optim.decay"],
        ),
        ({"model": {"path": "x", "trainable": "head"}}, {"model.adapter.kind": "lora"}, ["model.trainable"]),
        ({"render": {"max_prompt_tokens": 512}}, {"render.max_tokens": "256"}, ["render.max_prompt_tokens"]),
        ({"hub": {"push": "a/b", "private": True}}, {"hub.push": ""}, ["hub.private"]),
        ({"log": {"trackers": "wandb", "project": "mine"}}, {"log.trackers": ""}, ["log.project"]),
        ({"optim": {"floor": 0.1}}, {"optim.schedule": "constant"}, ["optim.floor"]),
        ({"train": {"past_interpolation": 0.9}}, {"eval.train_probe": "0"}, ["train.past_interpolation"]),
        (
            {"parallel": {"mode": "hybrid", "processes_per_copy": 2}},
            {"parallel.mode": "shard_all"},
            ["parallel.processes_per_copy"],
        ),
    ],
)
def test_an_override_that_switches_off_leaves_out_what_hangs_on_it(
    given: dict[str, Any], override: dict[str, str], gone: list[str]
) -> None:
    said: list[str] = []
    config = load_settings(Config, TomlSource(MODEL | given, "run.toml", {}), override, said.append)
    assert [line.split()[2] for line in said] == gone
    assert all(line.startswith("left out     ") and " of run.toml: " in line for line in said)
    assert not set(gone) & set(changed(config))
    # Whoever types both has made a mistake.
    typed = {name: functools.reduce(lambda table, key: table[key], name.split("."), given) for name in gone[:1]}
    (problem,) = problems(MODEL | given, typed | override)
    assert problem.startswith(f"configuration: {gone[0]} has no effect while ")


def test_a_mistake_of_the_file_alone_stays_one() -> None:
    given = {"train": {"patience": 2}, "optim": {"weight_decay": 0.1}}
    assert problems(MODEL | given, {"model.trainable": "head"}) == [
        "configuration: train.patience has no effect while train.early_stopping is off"
    ]


@pytest.mark.parametrize("name", ["past_interpolation", "early_stopping"])
def test_one_rule_to_stop_by_replaces_the_other(name: str) -> None:
    rules = {"past_interpolation": "0.9", "early_stopping": "nll"}
    other = next(each for each in rules if each != name)
    config = read_config(
        MODEL | {"train": {other: {"past_interpolation": 0.9}.get(other, "nll")}}, {f"train.{name}": rules[name]}
    )
    assert str(getattr(config.train, name)) == rules[name]
    assert getattr(config.train, other) == type(config.train).model_fields[other].default
    off = read_config(MODEL | {"train": {"past_interpolation": 0.9}}, {"train.early_stopping": "off"})
    assert off.train.past_interpolation == 0.9
