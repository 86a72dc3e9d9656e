"""Files that bradley wrote, or reads twice, and that somebody changed: named, made again or refused, never believed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bradley.errors import CheckpointError
from bradley.model.folder.save_load import save_model

from .conftest import Commands, by_hand, checked, edit_json, tree

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.transformers]


def swap(entry: Path) -> None:
    (entry / "better.bin").rename(entry / "x")
    (entry / "worse.bin").rename(entry / "better.bin")
    (entry / "x").rename(entry / "worse.bin")


def put(name: str, kind: str, value: float) -> Callable[[Path], None]:
    """A change of every third number of an array, the first among them."""

    def change(entry: Path) -> None:
        numbers = np.fromfile(entry / name, dtype=kind)
        numbers[::3] = value
        numbers.tofile(entry / name)

    return change


def first_json(entry: Path, text: str) -> None:
    sorted(entry.glob("*.json"))[0].write_text(text)


STORES: dict[str, Callable[[Path], None]] = {
    "labels swapped": swap,
    "another token": put("tokens.bin", "uint32", 5),
    "another weight": put("weight.bin", "float32", 50.0),
    "a token out of range": put("tokens.bin", "uint32", 2**31),
    "a size out of range": put("segment_sizes.bin", "int32", 10**6),
    "a negative size": put("responses.bin", "int32", -7),
    "a judgment out of range": put("better.bin", "int32", 99),
    "a list": lambda entry: first_json(entry, "[]"),
    "a broken file": lambda entry: first_json(entry, "{"),
    "deep": lambda entry: first_json(entry, "[" * 100_000),
}


@pytest.mark.parametrize("change", STORES.values(), ids=STORES)
def test_a_changed_store_of_tokens_is_not_trained_on(
    bradley: Commands, cache: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = shutil.copytree(cache, bradley.folder / "cache")
    monkeypatch.setenv("BRADLEY_CACHE", str(mine))
    for entry in mine.iterdir():
        if (entry / "better.bin").exists():
            change(entry)
    assert bradley.train("run").code == 0
    assert (bradley.folder / "run/metrics.jsonl").read_bytes() == (bradley.ref / "metrics.jsonl").read_bytes()


def rope(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    place = config.get("rope_parameters", config)
    place["rope_theta"] = 3.0
    (model / "config.json").write_text(json.dumps(config))


CONFIGS: dict[str, Callable[[Path], None]] = {
    "the entry": lambda model: edit_json(model / "config.json", rms_norm_eps=1.0),
    "activation": lambda model: edit_json(model / "config.json", hidden_act="relu"),
    "positions": rope,
}


@pytest.mark.parametrize("edit", CONFIGS.values(), ids=CONFIGS)
def test_an_edited_config_gives_no_scores(bradley: Commands, edit: Callable[[Path], None]) -> None:
    model = bradley.copy("model")
    edit(model)
    bradley.refused(4, "score", "--quiet", model, bradley.rows(3), "-o", "-", says="config.json")


def swap_tokens(model: Path, first: str, second: str) -> None:
    content = json.loads((model / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (model / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize("pair", ["AQ", "XZ", "JK"])
@pytest.mark.parametrize(
    "args",
    [["score", "copy", "in.jsonl", "-o", "-"], ["verify", "copy"], ["export", "copy", "x"]],
    ids=lambda args: args[0],
)
def test_an_edited_tokenizer_is_another_tokenizer(bradley: Commands, pair: str, args: list[str]) -> None:
    bradley.rows(3)
    swap_tokens(bradley.copy("model"), *pair)
    bradley.refused(4, *args, says="tokenizer.json")


def grow(path: Path) -> None:
    with path.open("a") as file:
        file.write('{"prompt": "Q", "response": "more"}\n' * 5000)


def edit(path: Path) -> None:
    path.write_text(path.read_text().replace("red fox", "fat fox"))


def shrink(path: Path) -> None:
    os.truncate(path, path.read_text().index("Question 35") - len('{"prompt": "'))


CHANGES = {"grow": grow, "edit": edit, "shrink": shrink}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("part", [0, 2])
def test_an_input_that_changes_gives_no_output(
    bradley: Commands, change: Callable[[Path], None], part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bradley.scoring.scorer import Scorer

    rows, score, calls = bradley.rows(40), Scorer.score, iter(range(100))

    def then(*given: Any) -> Any:
        if next(calls) == part:
            change(rows)
        return score(*given)

    monkeypatch.setattr(Scorer, "score", then)
    bradley.refused(3, "score", "--quiet", "--part-rows", 10, bradley.ref / "model", rows, "-o", "out.jsonl")
    assert not (bradley.folder / "out.jsonl").exists()


def spoil(model: Path, value: float, token: str = "Z", dtype: torch.dtype = torch.float32) -> None:
    """Put a number into the embedding of a token that no text has."""
    weights = load_file(model / "model.safetensors")
    row = json.loads((model / "tokenizer.json").read_text())["model"]["vocab"][token]
    weights["model.embed_tokens.weight"][row, 3] = value
    save_file({k: v.to(dtype) for k, v in weights.items()}, model / "model.safetensors", metadata={"format": "pt"})


NUMBERS = {"the entry": (float("nan"), "Z"), "inf": (float("inf"), "Z"), "minus inf": (float("-inf"), "X")}


@pytest.mark.parametrize(("value", "token"), NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize("engine", [None, "plain"])
def test_a_base_with_a_number_that_is_none_is_not_trained(
    bradley: Commands, value: float, token: str, engine: str | None
) -> None:
    base = bradley.copy("model", "base")
    (base / "bradley.json").unlink()
    spoil(base, value, token)
    gone = {f"model__{name}": None for name in ("tokenizer", "vocab_size", *(f"config__{key}" for key in CONFIG))}
    ended = bradley.train("run", model__path="./base", **gone, **({"model__engine": engine} if engine else {}))
    assert ended.code == 4, ended
    assert "embed_tokens" in checked(ended, 4) and "--model.engine" not in ended.err
    assert not (bradley.folder / "run").exists()


CONFIG = (
    "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "intermediate_size", "max_position_embeddings",
)  # fmt: skip


@pytest.mark.parametrize(("value", "token"), NUMBERS.values(), ids=NUMBERS)
@pytest.mark.parametrize(
    "args", [["score", "copy", "in.jsonl", "-o", "out.jsonl"], ["verify", "copy"], ["export", "copy", "x"]]
)
def test_a_finished_model_with_a_number_that_is_none_is_refused(
    bradley: Commands, value: float, token: str, args: list[str]
) -> None:
    """Even one whose card has the hashes of the spoiled weights."""
    bradley.rows(3)
    spoil(bradley.copy("model"), value, token)
    by_hand(bradley.folder / "copy")
    error = bradley.refused(4, *args)
    assert "embed_tokens" in error
    assert not {"out.jsonl", "x", "out.jsonl.parts"} & set(os.listdir(bradley.folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_model_with_a_number_that_is_none_is_not_published(tmp_path: Path, value: float) -> None:
    from bradley.config import Render
    from tests.export.folders import TOKENIZER, Renderer
    from tests.helpers import LLAMA, tiny_model

    model = tiny_model(LLAMA, TOKENIZER)
    with torch.no_grad():
        model.network.get_input_embeddings().weight[7, 2] = value
    with pytest.raises(CheckpointError, match="embed_tokens"):
        save_model(tmp_path / "m", model, Renderer(TOKENIZER, Render(max_tokens=200), causal=True), {})
    assert not (tmp_path / "m").exists()


LOST = {
    "the entry": ["model"],
    "weights": ["model/model.safetensors"],
    "tokenizer": ["model/tokenizer.json"],
    "card and config": ["model/bradley.json", "model/config.json"],
}


@pytest.mark.parametrize("names", LOST.values(), ids=LOST)
def test_a_finished_run_without_its_model_gets_the_model_again(bradley: Commands, names: list[str]) -> None:
    folder = bradley.copy()
    for name in names:
        path = folder / name
        (shutil.rmtree if path.is_dir() else os.unlink)(path)  # type: ignore[operator]
    ended = bradley.train("copy", "--resume")
    assert ended.code == 0, ended
    assert tree(folder / "model") == tree(bradley.ref / "model")
    # A model folder without a card may hold files of somebody: the folder is set aside, and not removed.
    if "model/bradley.json" in names:
        kept = {name: content for name, content in tree(bradley.ref / "model").items() if f"model/{name}" not in names}
        assert tree(folder / ".bad-model") == kept and ".bad-model" in ended.err


@pytest.mark.parametrize("name", ["results.json", "config.json", "status.json", "run.json"])
@pytest.mark.parametrize("harm", ["gone", "empty", "cut", "null", "deep", "not UTF-8"])
def test_a_finished_run_with_a_torn_file_goes_on_or_is_refused(bradley: Commands, name: str, harm: str) -> None:
    path = bradley.copy() / name
    content = path.read_bytes()
    bad = {"empty": b"", "cut": content[: len(content) // 2], "null": b"null", "deep": b"[" * 100_000}
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(bad.get(harm, b"\xff\xfe"))
    ended = bradley.train("copy", "--resume")
    if ended.code:
        assert name in checked(ended, 4)
    else:
        assert name in ended.err.replace("\n", "") or name == "status.json"
        assert json.loads(path.read_bytes()).keys() == json.loads(content).keys()
