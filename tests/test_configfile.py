"""TOML and overrides into a configuration: places, values, suggestions, rules, and what is resolved read back."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.config import Config
from bradley.configfile import data_settings, load_config, read_config
from bradley.errors import UserError
from bradley.settings import ALIASES, coerce, settings_of, suggest
from bradley.tomlfile import read_toml

MODEL: dict[str, Any] = {"model": {"path": "some/model"}}
FULL = """# A comment.
seed = 7

[data]
train = ["synthetic:"]
valid = ["a.jsonl", "b.jsonl"]
synthetic = { comparisons = 100, noise = "threshold" }

[data.eval_sets]
"held_out" = "c.jsonl"

[optim]
lr = 3e-4
betas = [0.9, 0.95]

[model]
tokenizer = "train"

[model.config]
model_type = "llama"
rope_parameters.rope_theta = 10000.0
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "x.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(mapping: dict[str, Any], overrides: dict[str, Any] | None = None) -> list[str]:
    with pytest.raises(UserError) as caught:
        read_config(mapping, overrides)
    return caught.value.message.splitlines()


def test_every_value_of_a_file_arrives(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, FULL), {})
    assert config.seed == 7
    assert config.data.valid == ["a.jsonl", "b.jsonl"]
    assert (config.data.synthetic.comparisons, config.data.synthetic.noise) == (100, "threshold")
    assert config.data.eval_sets == {"held_out": "c.jsonl"}
    assert (config.optim.lr, config.optim.betas) == (3e-4, (0.9, 0.95))
    assert config.model.config == {"model_type": "llama", "rope_parameters": {"rope_theta": 10000.0}}
    assert config.train.batch_size == Config.model_fields["train"].default.batch_size


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    overrides = {
        "seed": "8",
        "optim.lr": "1e-5",
        "optim.betas": "0.8,0.9",
        "data.valid": "d.jsonl",
        "data.synthetic.noise": "bradley_terry",
        "data.eval_sets.more": "e.jsonl,f.jsonl",
        "model.dropout": "TRUE",
        "model.config.hidden_size": "128",
        "model.config.rope_parameters.factor": "2.5",
        "model.config.hidden_act": "silu",
    }
    config = load_config(write(tmp_path, FULL), overrides)
    assert (config.seed, config.optim.lr, config.optim.betas) == (8, 1e-5, (0.8, 0.9))
    assert config.data.valid == "d.jsonl"
    assert (config.data.synthetic.comparisons, config.data.synthetic.noise) == (100, "bradley_terry")
    assert config.data.eval_sets == {"held_out": "c.jsonl", "more": ["e.jsonl", "f.jsonl"]}
    assert config.model.dropout is True
    assert config.model.config == {
        "model_type": "llama",
        "rope_parameters": {"rope_theta": 10000.0, "factor": 2.5},
        "hidden_size": 128,
        "hidden_act": "silu",
    }


def test_all_problems_come_at_once_in_order_with_their_lines(tmp_path: Path) -> None:
    text = """[render]
max_token = 5

[data]
limit = -1
train = [
  "a = b",
  "c",
]
synthetic = { noise = "loud" }
eval_sets.one = 3

[optimizer]
learning_rate = 1e-4
"""
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_config(path, {"optim.lrr": "1", "train.max_steps": "many", "data.eval_sets": '{"two": [4]}'})
    assert caught.value.message.splitlines() == [
        f"{path}:2: render.max_token: unknown key; did you mean render.max_tokens?",
        f"{path}:5: data.limit: wanted a whole number of at least 0, got -1",
        f'{path}:10: data.synthetic.noise: wanted bradley_terry or threshold, got "loud"',
        f"{path}:14: optimizer.learning_rate: unknown key; did you mean optim.lr?",
        "command line: optim.lrr: unknown key; did you mean optim.lr?",
        'command line: train.max_steps: wanted a whole number of at least 0, got "many"',
        "command line: data.eval_sets.two: wanted text or a list of texts, got [4]",
    ]
    assert "bradley train --help" in caught.value.hint


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
            {"render": {"max_tokens": 64, "max_prompt_tokens": 64}},
            "render.max_prompt_tokens",
            "render.max_tokens is no more than that",
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


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("render.max_token", "render.max_tokens"),
        ("optim.learning_rate", "optim.lr"),
        ("lr", "optim.lr"),
        ("train.lr", "optim.lr"),
        ("max_length", "render.max_tokens"),
        ("num-train-epochs", "train.epochs"),
        ("train.gradient_accumulation_steps", "train.micro_batch_tokens"),
        ("weight_decay", "optim.weight_decay"),
        ("output_dir", "--output"),
        ("model.bf16", "model.precision"),
        ("data.trian", "data.train"),
        ("zebra", ""),
    ],
)
def test_suggestions(name: str, meant: str) -> None:
    assert suggest(name, settings_of(Config)) == meant


def test_every_alias_leads_to_a_setting() -> None:
    settings = settings_of(Config)
    assert {target for target in ALIASES.values() if target not in settings} == {"--output"}
    assert not set(ALIASES) & {name.rpartition(".")[2] for name in settings}


def test_every_setting_is_found_with_its_docstring() -> None:
    settings = settings_of(Config)
    assert all(setting.text for setting in settings.values())
    config = read_config(MODEL)
    for name, setting in settings.items():
        value: Any = config
        for key in name.split("."):
            value = getattr(value, key)
        if name != "model.path":
            assert value == setting.default


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("a,b", str | list[str], ["a", "b"]),
        ('["a,b"]', str | list[str], ["a,b"]),
        ("a", str | list[str], "a"),
        ("a,b", str, "a,b"),
        ("false", bool, False),
        ("-3", int, -3),
        ("[0.1, 0.2]", tuple[float, float], [0.1, 0.2]),
        ('{"a": 1}', dict[str, Any], {"a": 1}),
        ("[1, 2]", Any, [1, 2]),
        ("gelu", Any, "gelu"),
    ],
)
def test_text_becomes_the_type_of_its_setting(text: str, kind: Any, value: Any) -> None:
    assert coerce(text, kind) == value


def test_an_entry_of_a_table_of_numbers_is_a_number_also_on_the_command_line() -> None:
    tables = {**MODEL, "data": {"train": ["a.jsonl", "b.jsonl"]}}
    assert read_config(tables, {"data.mix.a.jsonl": "0.5"}).data.mix == {"a.jsonl": 0.5}
    with pytest.raises(UserError, match=r'data\.mix\.a\.jsonl: wanted a number above 0, got "half"'):
        read_config(tables, {"data.mix.a.jsonl": "half"})


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "")
    with pytest.raises(UserError, match="cannot be read") as caught:
        load_config(tmp_path / "y.toml", {})
    assert caught.value.hint == f"did you mean {tmp_path / 'x.toml'}?"


@pytest.mark.parametrize(("text", "line"), [("a = 1\nb = \n", 2), ("a = 1\na = 2\n", 2), ("x = '''\n\n", 2)])
def test_broken_toml_names_its_line(tmp_path: Path, text: str, line: int) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError, match="not TOML") as caught:
        load_config(path, {})
    assert caught.value.message.startswith(f"{path}:{line}: ")


def test_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes("seed = 1 # \xe9".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8 at byte 11"):
        load_config(path, {})
    path.write_bytes(b"\xef\xbb\xbfseed = 4\r\n[model]\r\npath = 'm'\r\n")
    assert load_config(path, {}).seed == 4


def test_lines_are_those_of_the_text(tmp_path: Path) -> None:
    lines = FULL.split("\n")
    source = read_toml(write(tmp_path, FULL))
    for name, text in {
        "seed": "seed",
        "data.train": "train",
        "data.eval_sets.held_out": '"held',
        "optim.lr": "lr",
    }.items():
        assert lines[source.line(name) - 1].startswith(text)
    assert source.line("data.synthetic.noise") == source.line("data.synthetic")
    assert lines[source.line("model.config.rope_parameters.rope_theta") - 1].startswith("rope")
    assert source.line("nowhere") == 0


texts = st.text(st.characters(codec="utf-8"), max_size=20)
entries = st.recursive(
    st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@given(
    train=st.lists(texts, min_size=1, max_size=3),
    eval_sets=st.dictionaries(st.from_regex("set_[A-Za-z0-9_]{1,9}", fullmatch=True), texts, max_size=3),
    settings=st.dictionaries(texts, entries, max_size=4),
    lr=st.floats(1e-12, 1e3),
    max_steps=st.integers(0, 10),
    valid=texts,
)
def test_a_resolved_configuration_reads_back_as_the_same(
    train: list[str], eval_sets: dict[str, str], settings: dict[str, Any], lr: float, max_steps: int, valid: str
) -> None:
    config = read_config(
        {
            "data": {"train": train, "eval_sets": eval_sets, "valid": valid},
            "model": {"config": {**settings, "model_type": "llama"}, "tokenizer": "train"},
            "optim": {"lr": lr},
            "train": {"max_steps": max_steps},
        }
    )
    resolved = json.loads(json.dumps(config.model_dump(mode="json")))
    assert read_config(resolved) == config == Config(**resolved)


def test_data_command_splits_nothing_off_unless_asked() -> None:
    settings = data_settings(["a.jsonl"], {})
    assert (settings.data.train, settings.data.valid_share) == (["a.jsonl"], 0.0)
    assert data_settings(["a.jsonl"], {"data.valid": "b.jsonl"}).data.valid == "b.jsonl"
    with pytest.raises(UserError, match=r"data\.synthetic\.responses has no effect while data\.train is not"):
        data_settings(["a.jsonl"], {"data.synthetic.responses": "3"})
    with pytest.raises(UserError, match=r"render\.eos has no effect without a tokenizer"):
        data_settings(["a.jsonl"], {"render.eos": "never"})
