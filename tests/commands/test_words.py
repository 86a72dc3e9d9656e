"""Failures in words: what cannot be read, written or meant is an error of one line with a hint, never a traceback."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Commands, by_hand, checked, edit_json, without_rights

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.transformers]
SURROGATE = "\ud800"
REFUSED: dict[str, Any] = {
    "the entry": SURROGATE,
    "inside": {"deep": [f"x{SURROGATE}y"]},
    "a huge number": 2**80,
    "a key": {f"a{SURROGATE}": 1},
}


def noted(bradley: Commands, notes: list[Any]) -> Path:
    """Rows to score, each with a note of its own."""
    path = bradley.folder / "in.jsonl"
    rows = ({"prompt": "x", "response": f"y {i}", "note": note} for i, note in enumerate(notes))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_a_value_that_parquet_refuses_is_named(bradley: Commands, value: Any) -> None:
    rows = noted(bradley, [value, value])
    error = bradley.refused(3, "score", "--quiet", bradley.ref / "model", rows, "-o", "out.parquet", says="note")
    assert "row 1" in error


@pytest.mark.parametrize(("first", "later"), [("text", 7), (7, "text"), ({"a": 1}, {"a": "b"}), ([1], "text")])
def test_a_field_of_another_type_is_told_at_its_part(
    bradley: Commands, first: Any, later: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bradley.scoring.scorer import Scorer

    score, calls = Scorer.score, []
    monkeypatch.setattr(Scorer, "score", lambda *given: calls.append(1) or score(*given))
    rows = noted(bradley, [first] * 4 + [later] + [first] * 15)
    error = bradley.refused(
        3, "score", "--quiet", "--part-rows", 2, bradley.ref / "model", rows, "-o", "out.parquet", says="note"
    )
    assert "row 5" in error and len(calls) < 6


UNREADABLE = {
    "weights": ("copy/model/model.safetensors", ["score", "copy/model", "in.jsonl", "-o", "-"], 4),
    "tokenizer": ("copy/model/tokenizer.json", ["score", "copy/model", "in.jsonl", "-o", "-"], 4),
    "config": ("copy/model/config.json", ["score", "copy/model", "in.jsonl", "-o", "-"], 4),
    "card": ("copy/model/bradley.json", ["score", "copy/model", "in.jsonl", "-o", "-"], 4),
    "template": ("copy/model/bradley_template.jinja", ["score", "copy/model", "in.jsonl", "-o", "-"], 4),
    "export": ("copy/model/model.safetensors", ["export", "copy", "x"], 4),
    "verify": ("copy/model/bradley.json", ["verify", "copy/model"], 4),
    "input": ("in.jsonl", ["score", "copy/model", "in.jsonl", "-o", "-"], 3),
    "data": ("in.jsonl", ["data", "in.jsonl"], 3),
    "settings": ("run.toml", ["plan", "run.toml"], 2),
    "record": ("copy/run.json", ["train", "run.toml", "--output", "copy", "--resume", "--quiet"], 4),
    "metrics": ("copy/metrics.jsonl", ["plot", "copy"], 4),
    "results": ("copy/results.json", ["plot", "copy"], 4),
    "scores": ("copy/eval/valid-best.jsonl", ["plot", "copy"], 4),
    "base": ("copy/model/config.json", ["plan", "base.toml", "--no-timing"], 4),
    "a template": ("t.jinja", ["plan", "run.toml", "--render.template", "t.jinja"], 2),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_file_that_may_not_be_read_is_named(bradley: Commands, case: str) -> None:
    name, args, code = UNREADABLE[case]
    bradley.copy()
    bradley.rows(3)
    bradley.settings(**{**OF_BASE, "model__path": "./copy/model"}).rename("base.toml")
    bradley.settings()
    (bradley.folder / "t.jinja").write_text("{{ messages }}")
    os.chmod(name, 0)
    with without_rights():
        bradley.refused(code, *args, says="Permission denied")
    os.chmod(name, 0o600)


def of_config(**values: Any) -> Callable[[Path], None]:
    return lambda model: edit_json(model / "config.json", **values)


def of(name: str, **values: Any) -> Callable[[Path], None]:
    return lambda model: edit_json(model / name, **values)


KINDS: dict[str, Callable[[Path], None]] = {
    "size": of_config(hidden_size="x"),
    "layers": of_config(num_hidden_layers=None),
    "heads": of_config(num_attention_heads=[4]),
    "labels": of_config(id2label=["a"]),
    "positions": of_config(rope_parameters=["a"]),
    "kind": of_config(model_type=7),
    "class of the tokenizer": of("tokenizer_config.json", tokenizer_class=7),
    "token": of("tokenizer_config.json", pad_token={"a": 1}),
    "vocabulary": of("tokenizer.json", model=7),
    "rendering": of("bradley.json", render=["a"]),
    "hashes": of("bradley.json", weights_sha256=["a"]),
    "sample": of("bradley.json", probe={"text": 1}),
}


@pytest.mark.parametrize("harm", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("use", ["score", "base"])
def test_a_value_of_the_wrong_kind_is_an_error_of_one_line(
    bradley: Commands, harm: Callable[[Path], None], use: str
) -> None:
    """In a folder without hashes of its files, where an edit does not show."""
    model = bradley.copy("model")
    by_hand(model)
    harm(model)
    if use == "score":
        bradley.refused(4, "score", "--quiet", model, bradley.rows(3), "-o", "-")
        return
    ended = bradley("plan", "--no-timing", bradley.settings(**OF_BASE))
    # A tokenizer class or token that does not matter may pass; no exception does.
    assert ended.code == 0 or checked(ended, ended.code)
    assert ended.code in (0, 2, 4)


OF_BASE = {
    "model__path": "./copy", "model__tokenizer": None, "model__vocab_size": None,
    **{f"model__config__{key}": None for key in (
        "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "intermediate_size", "max_position_embeddings")},
}  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [
        {"attn_implementation": "flash_attention_2"},
        {"attn_implementation": "kernels-community/flash-attn2"},
        {"attn_implementation": "owner/kernel:function"},
        {"attn_implementation": 7},
        {"_attn_implementation": "flash_attention_3"},
        {"experts_implementation": "owner/kernel"},
    ],
    ids=str,
)
def test_attention_named_by_a_model_is_not_taken(
    bradley: Commands, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model scores as without the name, or is refused; nothing is asked of a Hub."""

    def no_network(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr("socket.create_connection", no_network)
    model, rows = bradley.copy("model"), bradley.rows(3)
    wanted = bradley("score", "--quiet", model, rows, "-o", "-").out
    by_hand(model)
    edit_json(model / "config.json", **values)
    ended = bradley("score", "--quiet", model, rows, "-o", "-")
    assert ended.out == wanted if ended.code == 0 else checked(ended, 4)


@pytest.mark.parametrize("name", ["x.json", "x.jinja", "x.safetensors"])
def test_a_folder_inside_a_model_folder_is_no_traceback(bradley: Commands, name: str) -> None:
    model = bradley.copy("model")
    (model / name).mkdir()
    ended = bradley("score", "--quiet", model, bradley.rows(3), "-o", "out.jsonl")
    assert ended.code == 0 or checked(ended, 4)


DEEP = 20_000
SETTINGS = {
    "the entry": ["--model.config.rope_scaling", "[" * DEEP],
    "closed": ["--model.config.rope_scaling", "[" * DEEP + "]" * DEEP],
    "objects": ["--model.config.rope_scaling", '{"a":' * DEEP],
    "another setting": ["--data.eval_sets", '{"a":[' * DEEP],
}


@pytest.mark.parametrize("args", SETTINGS.values(), ids=SETTINGS)
def test_a_deep_setting_is_a_usage_error(bradley: Commands, args: list[str]) -> None:
    bradley.refused(2, "plan", bradley.settings(), "--no-timing", *args)


TOML = {
    "lists": "seed = " + "[" * DEEP,
    "closed": "seed = " + "[" * DEEP + "]" * DEEP,
    "tables": "seed = " + "{a = " * DEEP,
    "names": "a" + ".a" * DEEP + " = 1",
    "headers": "[a" + ".a" * DEEP + "]",
    "of a model": "model.config.rope_scaling = " + "[" * 400 + "]" * 400,
}


@pytest.mark.parametrize("text", TOML.values(), ids=TOML)
def test_a_deep_configuration_is_a_usage_error(bradley: Commands, text: str) -> None:
    (bradley.folder / "deep.toml").write_text(text)
    bradley.refused(2, "plan", "--no-timing", "deep.toml")


TEMPLATES = {
    "lists": "{{ " + "[" * DEEP + " }}",
    "brackets": "{{ " + "(" * DEEP + "1" + ")" * DEEP + " }}",
    "signs": "{{ " + "-" * DEEP + "1 }}",
    "25 blocks": "{% for a in messages %}" * 25 + "x" + "{% endfor %}" * 25,
    "30 blocks": "{% if messages %}{% for a in messages %}" * 30 + "x" + "{% endfor %}{% endif %}" * 30,
    "200 blocks": "{% for a in messages %}" * 200 + "{% endfor %}" * 200,
}


@pytest.mark.parametrize("text", TEMPLATES.values(), ids=TEMPLATES)
def test_a_deep_template_is_a_usage_error(bradley: Commands, text: str) -> None:
    (bradley.folder / "t.jinja").write_text(text)
    ended = bradley.train("run", "--render.template", "t.jinja")
    assert checked(ended, 2)
    assert not (bradley.folder / "run").exists()


@pytest.mark.parametrize("name", ["results.json", "config.json", "data_report.json", "metrics.jsonl", "status.json"])
@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_a_deep_file_of_a_run_is_an_error_of_one_line(bradley: Commands, name: str, text: str) -> None:
    (bradley.copy() / name).write_text(text)
    ended = bradley("plot", "copy")
    assert name in checked(ended, 4)


def homeless(patch: pytest.MonkeyPatch) -> None:
    """Be a user without a home folder."""

    def none(*_: Any) -> Any:
        raise KeyError("uid not found")

    for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME"):
        patch.delenv(name, raising=False)
    patch.setattr("pwd.getpwuid", none)


@pytest.mark.parametrize(("place", "code"), [(True, 0), (False, 2), ("~/x", 2), ("~nosuchuser/x", 2)])
def test_a_missing_home_is_told_or_no_matter(
    bradley: Commands, place: Any, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    homeless(monkeypatch)
    if place is not True:
        monkeypatch.setenv("BRADLEY_CACHE", place or "")
    ended = bradley.train("run")
    assert ended.code == code and "Traceback" not in ended.err, ended


NAMES = {"the entry": "~nosuchuser/x.jsonl", "a folder": "~nosuchuser", "a pattern": "~nosuchuser/*.jsonl"}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_unknown_user_is_a_data_error(bradley: Commands, name: str) -> None:
    bradley.refused(3, "data", name, says="nosuchuser")


LONG = "x" * 300


@pytest.mark.parametrize(
    ("args", "codes"),
    [
        (["train", "run.toml", "--output", LONG, "--quiet"], (2,)),
        (["data", LONG], (2, 3)),
        (["score", "copy", "in.jsonl", "-o", f"{LONG}.jsonl"], (2, 7)),
        (["score", LONG, "in.jsonl", "-o", "x.jsonl"], (2, 4, 7)),
        (["export", "copy", LONG], (2, 7)),
        (["plan", f"{LONG}.toml"], (2,)),
        (["plot", f"{LONG}/x"], (2, 4)),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else "",
)
def test_a_name_of_300_characters_is_told(bradley: Commands, args: list[str], codes: tuple[int, ...]) -> None:
    bradley.rows(3)
    bradley.settings()
    bradley.copy("model")
    ended = bradley(*args)
    assert ended.code in codes and "too long" in checked(ended, ended.code)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("args", [["--help"], ["configs"], ["plan", "--help"], ["data", "in.jsonl"]], ids=str)
def test_a_full_stdout_is_a_disk_error(bradley: Commands, args: list[str]) -> None:
    (bradley.folder / "in.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    (bradley.folder / "configs").mkdir()
    (bradley.folder / "configs/a.toml").write_text("# Fine.\n")

    def full() -> None:
        sys.stdout = os.fdopen(os.open("/dev/full", os.O_WRONLY), "w")

    checked(bradley.alone(*args, prepare=full), 7, "No space left on device")


@pytest.mark.parametrize("content", [b"# caf\xe9\n", b"\xff\xfe", b"seed = 1 # \x80\n"])
def test_a_configuration_that_is_not_utf8_is_listed(bradley: Commands, content: bytes) -> None:
    (bradley.folder / "configs").mkdir()
    (bradley.folder / "configs/a.toml").write_bytes(content)
    (bradley.folder / "configs/b.toml").write_text("# Fine.\n")
    ended = bradley("configs")
    assert ended.code == 0 and "Fine." in ended.out and "a.toml" in ended.out


@pytest.mark.parametrize("number", [-1, 4097, 1_000_000, 2**63])
def test_threads_out_of_reason_are_a_usage_error(bradley: Commands, number: int) -> None:
    ended = bradley.alone("train", bradley.settings(train__threads=None), "--output", "w", "--train.threads", number)
    checked(ended, 2, "threads")
    assert not (bradley.folder / "w").exists()


@pytest.mark.parametrize("value", ['["a"]', '["a", "b"]', '"x"', "7", '{"0": 1}'])
def test_labels_of_another_kind_are_a_usage_error(bradley: Commands, value: str) -> None:
    ended = bradley("plan", bradley.settings(), "--no-timing", "--model.config.id2label", value)
    assert ended.code == 0 or checked(ended, 2)


@pytest.mark.parametrize(
    "options",
    [{"attention_dropout": 1}, {"attention_dropout": True}, {"embd_pdrop": 1, "model_type": "gpt2"}],
    ids=str,
)
def test_a_rate_of_dropout_that_is_a_whole_number_is_silenced(bradley: Commands, options: dict[str, Any]) -> None:
    changes = {f"model__config__{key}": value for key, value in options.items()}
    if "model_type" in options:
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
        changes |= OF_BASE | {f"model__config__{key}": value for key, value in (sizes | options).items()}
        changes |= {"model__path": None, "model__tokenizer": "train", "model__vocab_size": 320}
    ended = bradley.train("run", model__engine="plain", **changes)
    assert ended.code == 0 or (checked(ended, 2) and not (bradley.folder / "run").exists()), ended


SIZES = ["num_hidden_layers", "max_position_embeddings", "intermediate_size", "hidden_size"]


@pytest.mark.parametrize(("name", "value"), [(name, 2**63 - 1) for name in SIZES] + [("num_hidden_layers", 10**6)])
def test_a_network_out_of_reason_is_refused_soon(bradley: Commands, name: str, value: int) -> None:
    ended = bradley.alone(
        "train", bradley.settings(**{f"model__config__{name}": value}), "--output", "w", "--quiet", seconds=60
    )
    checked(ended, 2)
    assert not (bradley.folder / "w").exists()
