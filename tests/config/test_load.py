"""TOML and overrides into a configuration: places, values, suggestions, and what is resolved read back."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bradley.common.secrets import secret_in
from bradley.config import Config
from bradley.config.aliases import ALIASES
from bradley.config.fields import coerce, settings_of, suggest
from bradley.config.load import data_settings, load_config, read_config
from bradley.config.toml import read_toml
from bradley.errors import UserError

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


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
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
    assume(not secret_in([train, eval_sets, settings, valid], ""))  # secrets are refused, by tests of their own
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


def test_a_file_whose_name_has_commas_is_one_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a, b.jsonl", "c.jsonl", "d,e,f.jsonl"):
        Path(name).touch()
    for text, value in (
        ("a, b.jsonl", "a, b.jsonl"),
        ("c.jsonl,a, b.jsonl,d,e,f.jsonl", ["c.jsonl", "a, b.jsonl", "d,e,f.jsonl"]),
        ("c.jsonl, nosuch.jsonl", ["c.jsonl", "nosuch.jsonl"]),
        ('["a, b.jsonl"]', ["a, b.jsonl"]),
    ):
        assert load_config(None, {"model.path": "x", "data.train": text}).data.train == value


@pytest.mark.parametrize("text", ["2024-07-26", '"2024-07-26"'])
def test_an_unquoted_date_of_toml_is_its_text(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, f"model.path = 'x'\n[render]\ndate = {text}\ntemplate_kwargs = {{ days = [{text}] }}\n")
    render = load_config(path, {}).render
    assert (render.date, render.template_kwargs) == ("2024-07-26", {"days": ["2024-07-26"]})
    with pytest.raises(UserError, match=r'render\.date: wanted text, got "2024-07-26T10:00:00"'):
        load_config(write(tmp_path, "[render]\ndate = 2024-07-26T10:00:00\n"), {})


def test_formats_and_columns_of_a_source_are_given_as_entries() -> None:
    given = {
        "model.path": "x",
        "data.format.valid": "votes",
        "data.columns.prompt": "q",
        "data.columns.valid.prompt": "ask",
        "data.columns.a.jsonl.chosen": "good",
    }
    data = load_config(None, given).data
    assert data.format == {"valid": "votes"} and data.format_of("a.jsonl", "train") == "auto"
    assert data.columns == {"prompt": "q", "valid": {"prompt": "ask"}, "a.jsonl": {"chosen": "good"}}
    assert data.columns_of("a.jsonl", "train") == {"chosen": "good"}
    assert data.columns_of("b", "train") == {"prompt": "q"}
    whole = load_config(None, {"model.path": "x", "data.format": "votes", "data.columns": '{"prompt": "q"}'}).data
    assert whole.format_of("valid") == "votes" and whole.columns_of("valid") == {"prompt": "q"}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("data.format", '{"valid": 3}', "data.format: wanted text or a table of named texts"),
        ("data.columns", '{"valid": {"prompt": 3}}', "data.columns.valid: wanted text or a table of named texts"),
        ("data.columns", "q", "data.columns: wanted a table of named values"),
    ],
)
def test_a_wrong_table_of_a_source_is_told(name: str, value: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        load_config(None, {"model.path": "x", name: value})


def test_an_entry_beside_one_format_for_all_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, "model.path = 'x'\n[data]\nformat = 'votes'\n")
    with pytest.raises(UserError, match="one text for all sources in the file"):
        load_config(path, {"data.format.valid": "hh"})
