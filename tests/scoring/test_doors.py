"""The number of training is the number of every door, for every kind of row that a run trains on."""

import json
import logging

import numpy as np
import pytest
import torch

import bradley
from bradley.cli.main import run as command
from bradley.errors import DataError
from bradley.export.folder import export_model
from tests.scoring.trained import KINDS, Trained, singles, trained, write

pytestmark = pytest.mark.transformers

LIMITS = {"within the limits": {}, "a third cut": {"over_long": "truncate_response"}}
"""Settings of `render` about lengths, each a training of its own for every kind; `CUT` has the limit of tokens."""
CUT = dict.fromkeys(("text", "text in a chat template", "messages in a chat template", "ids"), 40)
CUT |= {"messages": 100, "messages in a chat template": 60, "tools": 250}
"""Limit of tokens by kind."""
EXPORTED = ("text", "messages", "tools", "ids")
"""Kinds whose export is asked too."""
Asked = list[float]


WHOLE, CUTTING = LIMITS
NIGHTLY = ("text in a chat template", "messages in a chat template")
"""Kinds that differ from another kind by the template alone."""
TRAININGS = [
    pytest.param((kind, WHOLE), id=f"{kind} {WHOLE}", marks=[pytest.mark.nightly] if kind in NIGHTLY else [])
    for kind in KINDS
]
TRAININGS += [pytest.param((kind, CUTTING), id=f"{kind} {CUTTING}", marks=pytest.mark.nightly) for kind in KINDS]


@pytest.fixture(scope="module", params=TRAININGS)
def known(request, tmp_path_factory):
    kind, limit = request.param
    limits = LIMITS[limit] | ({"max_tokens": CUT[kind]} if limit == CUTTING else {})
    found = trained(tmp_path_factory.mktemp("doors"), kind, **limits)
    assert limit == WHOLE or 0.2 < 1 - sum(found.whole) / len(found.whole) < 0.6
    return found


@pytest.fixture(scope="module")
def model(known):
    return bradley.RewardModel.from_pretrained(known.model)


def both(rows, ask):
    """Scores of both responses of each row, asked for one row at a time."""
    return [score for row in rows for score in ask(row)]


def as_score_takes_rows(known, model):
    return model.score(list(singles(known.rows)))


def as_score_takes_conversations(known, model):
    """Messages or token ids in one list; a plain text cannot be told from its prompt in one list of messages."""
    if known.kind == "ids":
        return model.score([row["prompt_ids"] + row["response_ids"] for row in singles(known.rows)])
    if known.kind == "tools":
        return model.score(
            [{**row, "messages": row.pop("prompt") + row.pop("response")} for row in singles(known.rows)]
        )
    if "text" in known.kind:
        sides = [(row["prompt"], row["response"]) for row in singles(known.rows)]
        return model.score([[{"role": "user", "content": p}, {"role": "assistant", "content": r}] for p, r in sides])
    return model.score([row["prompt"] + row["response"] for row in singles(known.rows)])


def as_rank(known, model):
    end = "_ids" if known.kind == "ids" else ""

    def ask(row):
        also = {key: row[key] for key in ("tools", "chat_template_kwargs") if key in row}
        ranked = model.rank(row[f"prompt{end}"], [row[f"chosen{end}"], row[f"rejected{end}"]], **also)
        return [score for _, score in sorted(ranked)]

    return both(known.rows, ask)


def as_reward(known, model):
    rows = list(singles(known.rows))
    if known.kind == "ids":
        pytest.skip("a trainer hands texts or messages to a reward function")
    columns = {key: [row[key] for row in rows] for key in ("tools", "chat_template_kwargs") if key in rows[0]}
    return model.as_reward_func()([row["prompt"] for row in rows], [row["response"] for row in rows], **columns)


def as_comparisons(known, model):
    scored = bradley.score_comparisons(known.model, list(bradley.to_comparisons(known.rows)))
    return [score for row in scored for score in row.scores]


DOORS = [as_score_takes_rows, as_score_takes_conversations, as_rank, as_reward, as_comparisons]


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_a_door_of_python_gives_the_score_of_training(known, model, door):
    np.testing.assert_allclose(door(known, model), known.scores, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("shape", ["pairs", "single responses"])
def test_bradley_score_gives_the_score_of_training(known, tmp_path, shape):
    rows = known.rows if shape == "pairs" else list(singles(known.rows))
    given, output = write(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    assert command(["score", str(known.model), str(given), "-o", str(output), "--device", "cpu", "--quiet"]) == 0
    scored = [json.loads(line) for line in output.read_text().splitlines()]
    found = [score for row in scored for score in (row["scores"] if shape == "pairs" else [row["score"]])]
    np.testing.assert_allclose(found, known.scores, rtol=1e-4, atol=2e-6)


def written(known: Trained, tokenizer, row) -> list[int]:
    """Token ids of a row by transformers alone, as the README writes them."""
    if known.kind == "ids":
        return row["prompt_ids"] + row["response_ids"]
    if KINDS[known.kind].template == "raw":
        if known.kind == "text":
            text = row["prompt"] + row["response"]
        else:
            names = {"system": "System", "user": "Human", "assistant": "Assistant"}
            turns = row["prompt"] + row["response"]
            if turns[0]["role"] != "system":
                turns = [{"role": "system", "content": "Be kind."}, *turns]
            text = "".join(f"\n\n{names[turn['role']]}: {turn['content']}" for turn in turns)
        return tokenizer(text + tokenizer.eos_token)["input_ids"]
    return templated(tokenizer, row)


def templated(tokenizer, row) -> list[int]:
    """Token ids of a row by the chat template of a tokenizer."""
    turns = row["prompt"], row["response"]
    if isinstance(turns[0], str):
        turns = [{"role": "user", "content": turns[0]}], [{"role": "assistant", "content": turns[1]}]
    also = {**({"tools": row["tools"]} if "tools" in row else {}), **row.get("chat_template_kwargs", {})}
    return tokenizer.apply_chat_template([*turns[0], *turns[1]], return_dict=True, **also)["input_ids"]


def by_transformers(folder, known, encode) -> Asked:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    network = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        ids = [encode(tokenizer, row) for row in singles(known.rows)]
        return [network(torch.tensor([each])).logits.item() for each in ids]


def agree(known, found):
    """Compare the scores of responses that no limit has cut: transformers alone knows no limit."""
    pairs = [pair for pair, whole in zip(zip(found, known.scores, strict=True), known.whole, strict=True) if whole]
    np.testing.assert_allclose(*zip(*pairs, strict=True), rtol=1e-4, atol=2e-6)


def test_transformers_alone_gives_the_score_of_training(known):
    found = by_transformers(known.model, known, lambda tokenizer, row: written(known, tokenizer, row))
    agree(known, found)


def test_an_export_gives_the_score_of_training(known, tmp_path, monkeypatch):
    """In transformers by the chat template of the export, whatever template trained; and in bradley."""
    if known.kind not in EXPORTED:
        pytest.skip("the model folder is asked for this kind")
    # The proof in a fresh process has tests of its own.
    monkeypatch.setattr("bradley.export.folder.verify", lambda *_, **__: [])
    export_model(known.model, tmp_path / "out")
    encode = templated if known.kind != "ids" else lambda _, row: row["prompt_ids"] + row["response_ids"]
    agree(known, by_transformers(tmp_path / "out", known, encode))
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert ("make them as for training" in card) == (known.kind == "ids")
    again = bradley.RewardModel.from_pretrained(tmp_path / "out")
    np.testing.assert_allclose(again.score(list(singles(known.rows))), known.scores, rtol=1e-4, atol=2e-6)


def asked(*roles):
    return [{"role": role, "content": f"the river {place}"} for place, role in enumerate(roles)]


REFUSED = {
    "text": [asked("system", "user", "assistant"), asked("user", "assistant", "user", "assistant")],
    "messages": [{"prompt": None, "response": "the river"}],
    "ids": [asked("user", "assistant"), {"prompt": "the", "response": "river"}],
}
"""Kind of the training rows -> conversations of another kind without a form in that kind."""
STATED = {
    "text": [asked("user", "assistant"), [5, 6, 7]],
    "messages": [{"prompt": "the", "response": "river"}],
}
"""Kind of the training rows -> conversations of another kind with a form in that kind, or read as given."""


def test_a_conversation_of_another_kind_is_refused_or_stated(known, model, caplog):
    for conversation in REFUSED.get(known.kind, []):
        with pytest.raises(DataError, match="conversation 1 cannot be scored: kind: ") as caught:
            model.score([conversation])
        assert "over_long" not in caught.value.hint and caught.value.hint
    for conversation in STATED.get(known.kind, []):
        fresh = bradley.RewardModel(type(model._scorer)(model._scorer.loaded))
        caplog.clear()
        with caplog.at_level(logging.WARNING, "bradley"):
            fresh.score([conversation, conversation])
        assert len(caplog.messages) == 1 and "the model was trained on" in caplog.messages[0]
    if known.kind not in REFUSED:
        assert len(model.score([asked("user", "assistant")])) == 1
