"""From rows to a folder that strangers load: a run is exported and proven, and the code in its model card runs."""

import json
import re

import pytest

import bradley
from bradley.export.folder import export_model
from bradley.model.folder.parity import conversation_ids, score_ids
from tests.copies import verified_in_copies
from tests.helpers import counting_rows, tiny_run

SETTINGS = tiny_run(optim={"lr": 1e-3}, eval={"every": 4}, log={"samples": 0})


@pytest.fixture(scope="module")
def proven(tmp_path_factory):
    """A folder with the run `run` and its export `exported`, with the checks of that."""
    place = tmp_path_factory.mktemp("export")
    rows = counting_rows(60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRADLEY_CACHE", str(place / "cache"))
        patch.setattr("bradley.training.run.write_pages", lambda folder, console: None)
        bradley.train(SETTINGS, train=rows[:40], valid=rows[40:], output=place / "run")
    (place / "run" / "plots").mkdir()
    (place / "run" / "plots" / "training.png").write_bytes(b"a picture")
    with verified_in_copies():  # test_verify.py starts a fresh process by day
        return place, export_model(place / "run", place / "exported").checks


@pytest.fixture
def place(proven):
    return proven[0]


def blocks(place, language="python"):
    text = (place / "exported" / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_folder_was_proven_in_another_process(proven):
    checks = proven[1]
    assert len(checks) > 10 and all(check.passed for check in checks)
    for way in ("bradley, float32", "transformers, float32", "transformers, bfloat16", "padded left", "token ids"):
        assert any(way in check.name for check in checks), way


def test_the_card_shows_results_pictures_and_data(place):
    text = (place / "exported" / "README.md").read_text(encoding="utf-8")
    results = json.loads((place / "exported" / "results.json").read_text())
    accuracy = results["sets"]["valid"]["accuracy"]
    assert f"| valid | {100 * accuracy['value']:.1f} % [" in text and "| train | " in text
    assert "![training](figures/training.png)" in text
    assert (place / "exported" / "figures" / "training.png").read_bytes() == b"a picture"
    assert str(place) not in text + (place / "exported" / "bradley.json").read_text()


def test_the_code_for_transformers_and_openrlhf_gives_the_scores_of_bradley(place, monkeypatch):
    monkeypatch.chdir(place)
    names = {}
    exec(next(block for block in blocks(place) if "apply_chat_template" in block), names)
    reward = {}
    exec(next(block for block in blocks(place) if "def reward_func" in block), reward)
    texts = names["tokenizer"].apply_chat_template(names["conversations"], tokenize=False)
    rewards = reward["reward_func"](texts, None, None)
    expected = [scored(place / "run" / "model", turns) for turns in names["conversations"]]
    piped = dict(names)
    exec(next(block for block in blocks(place) if "pipeline(" in block), piped)
    assert piped["scores"] == pytest.approx(expected, abs=3e-6)
    assert names["scores"] == pytest.approx(expected, abs=3e-6) and expected[0] != expected[1]
    assert rewards["rewards"].tolist() == rewards["scores"].tolist() == pytest.approx(expected, abs=3e-6)


def scored(folder, turns):
    loaded = bradley.load_model(folder)
    return score_ids(loaded.model, [conversation_ids(turns, loaded.renderer)])[0]


def test_the_code_for_bradley_ranks(place, monkeypatch):
    monkeypatch.chdir(place)
    names = {}
    exec(next(block for block in blocks(place) if "model.rank(" in block), names)
    assert sorted(index for index, _ in names["ranked"]) == [0, 1]
    assert names["ranked"][0][1] >= names["ranked"][1][1]


def test_the_request_for_vllm_is_json(place):
    (shell,) = [block for block in blocks(place, "sh") if "curl" in block]
    asked = json.loads(re.search(r"-d '(.*)'", shell, flags=re.DOTALL)[1])
    assert asked["model"] == "exported" and asked["messages"][-1]["role"] == "assistant"
