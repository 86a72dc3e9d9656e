"""An adapter whose base model is no longer where the run found it: every door takes the new place, and no other one."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import bradley
from bradley.cli.main import run
from bradley.config import Render
from bradley.data.render import Renderer
from bradley.errors import CheckpointError
from bradley.model.adapters import find_base, kept_base
from bradley.model.folder.card import read_card
from bradley.model.folder.parity import draw
from bradley.model.folder.save_load import load_model, save_model
from bradley.verify import verify
from bradley.verify.plain import Folder
from bradley.verify.plain import base_of as plain_base
from bradley.verify.rescore import rescore
from tests.copies import verified_in_copies
from tests.helpers import LLAMA, tiny_model
from tests.model.adapted import ROWS, TOKENIZER, adapted, base_model, save, scores, train
from tests.verify.reward_server import reward_server, server

pytest.importorskip("peft")
CHAT = [{"role": "user", "content": "the river"}, {"role": "assistant", "content": "runs under a bridge"}]


class Moved(NamedTuple):
    """A trained adapter with a sample, where its base model is now, another base, and a score in training."""

    folder: Path
    base: str
    other: str
    score: float


@pytest.fixture
def in_copies():
    """Folders verified in copies of this process; `test_verify.py` and the tests of exports start fresh ones."""
    with verified_in_copies():
        yield


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    place = tmp_path_factory.mktemp("moved")
    base = base_model(place / "base", LLAMA)
    model = train(adapted(base), steps=3)
    renderer = Renderer(TOKENIZER, Render(max_tokens=200), causal=True)
    save_model(place / "m", model, renderer, {}, draw(ROWS, renderer, 0))
    (score,) = bradley.RewardModel.from_pretrained(place / "m").score([CHAT])
    base.rename(place / "elsewhere")
    return Moved(place / "m", str(place / "elsewhere"), str(base_model(place / "other", LLAMA, seed=1)), score)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "m"
    renderer = Renderer(TOKENIZER, Render(max_tokens=200), causal=True)
    save_model(folder, tiny_model(LLAMA, TOKENIZER), renderer, {}, draw(ROWS, renderer, 0))
    return folder


@pytest.mark.usefixtures("in_copies")
def test_another_process_verifies_it_through_bradley_and_peft(moved, capsys):
    assert run(["verify", str(moved.folder), "--base", moved.base, "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert all(check["passed"] for check in checks)
    for library in ("bradley", "PEFT"):
        assert any(check["name"].startswith(f"{library}, float32") for check in checks), library


def test_it_is_not_verified_without_the_new_place_or_on_another_base(moved):
    with pytest.raises(CheckpointError, match=r"base model of the adapter .* cannot be loaded") as caught:
        list(rescore(moved.folder))
    assert "--base FOLDER of `bradley score`, `verify` and `export`" in caught.value.hint
    with pytest.raises(CheckpointError, match="is not for the base model"):
        list(rescore(moved.folder, base=moved.other))


def test_a_server_is_held_to_it(moved):
    with server(reward_server(moved.folder, TOKENIZER)) as (url, _):
        assert all(check.passed for check in verify(moved.folder, f"{url}/classify", base=moved.base))
        with pytest.raises(CheckpointError, match="does not exist"):
            verify(moved.folder, f"{url}/classify")


def test_it_scores_in_python_and_on_the_command_line(moved, tmp_path, capsys):
    assert bradley.RewardModel.from_pretrained(moved.folder, base=moved.base).score([CHAT]) == [moved.score]
    with pytest.raises(CheckpointError, match="is not for the base model"):
        bradley.RewardModel.from_pretrained(moved.folder, base=moved.other)
    given, scored = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    given.write_text(json.dumps({"messages": CHAT}) + "\n")
    command = ["score", str(moved.folder), str(given), "--device", "cpu", "-o", str(scored)]
    assert run(command) == 4
    assert "cannot be loaded" in capsys.readouterr().err and not scored.exists()
    assert run([*command, "--base", moved.base]) == 0
    assert json.loads(scored.read_text())["score"] == moved.score


@pytest.mark.usefixtures("in_copies")
@pytest.mark.parametrize("kind", [[], ["--adapter"]], ids=["whole", "adapter"])
def test_it_is_exported_whole_and_alone(moved, tmp_path, capsys, kind):
    command = ["export", str(moved.folder), str(tmp_path / "out"), *kind]
    assert run(command) == 4
    assert "cannot be loaded" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert run([*command, "--base", moved.base]) == 0
    place = {"base": moved.base} if kind else {}
    (score,) = bradley.RewardModel.from_pretrained(tmp_path / "out", **place).score([CHAT])
    assert score == pytest.approx(moved.score, abs=1e-5 * max(1.0, abs(moved.score)))


@pytest.mark.parametrize("against", ["", "http://127.0.0.1:1/classify"])
def test_a_whole_model_has_no_base_to_move(whole, against):
    with pytest.raises(CheckpointError, match=r"base = x, but .* holds a whole model"):
        verify(whole, against, base="x")
    with pytest.raises(CheckpointError, match="holds a whole model"):
        bradley.RewardModel.from_pretrained(whole, base="x")


def test_a_relative_base_is_found_from_any_working_directory_and_with_the_project_moved(tmp_path, monkeypatch):
    """The base is kept as a whole path; a project moved as a whole keeps its layout."""
    project = tmp_path / "project"
    base_model(project / "bases" / "llama", LLAMA)
    monkeypatch.chdir(project)
    model = train(adapted(Path("bases/llama")), steps=2)
    save(project / "runs" / "m", model)
    wanted = scores(model)
    kept = json.loads((project / "runs" / "m" / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert kept == str(project / "bases" / "llama")
    monkeypatch.chdir(tmp_path)
    assert torch.equal(scores(load_model(project / "runs" / "m").model), wanted)
    project.rename(tmp_path / "moved")
    assert torch.equal(scores(load_model(tmp_path / "moved" / "runs" / "m").model), wanted)
    assert plain_base(Folder(tmp_path / "moved" / "runs" / "m", read_card(tmp_path / "moved" / "runs" / "m"))) == (
        str(tmp_path / "moved" / "bases" / "llama"),
        "main",
    )


def test_a_folder_that_is_gone_is_not_asked_of_the_hub(tmp_path, monkeypatch):
    base_model(tmp_path / "bases" / "llama", LLAMA)
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "m", train(adapted(Path("bases/llama")), steps=1))
    (tmp_path / "bases").rename(tmp_path / "gone")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the Hub was asked"))
    with pytest.raises(CheckpointError, match="llama does not exist"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("base", ["owner/name", "gpt2", "package:some"])
def test_a_name_on_the_hub_or_of_a_package_stays_as_given(tmp_path, base):
    assert kept_base(base) == base
    assert find_base(tmp_path, base) == base
