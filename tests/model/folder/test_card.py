"""The card of a model folder: what it says, what it is drawn from, and that a folder that is not its own is refused."""

import dataclasses
import hashlib
import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bradley.cli.main import run
from bradley.config import Render
from bradley.data.chat_template import with_pair_roles
from bradley.data.render import Renderer
from bradley.errors import CheckpointError
from bradley.model.engine.batch import collate
from bradley.model.folder.card import hash_files, read_card, write_card
from bradley.model.folder.normalization import Normalization
from bradley.model.folder.parity import SIZE, conversation_ids, draw, measure, score_ids
from bradley.model.folder.save_load import add_normalization, load_model, save_model
from bradley.records import Comparison, Judgment, Message, Response
from tests.helpers import BERT, GPT2, LLAMA, QWEN, comparisons, store_for, tiny_model, tokenizer_for
from tests.scoring.trained import CHAT

pytestmark = pytest.mark.transformers

ROWS = comparisons(20)
TOKENIZER = tokenizer_for(ROWS)


def renderer_for(**render):
    return Renderer(TOKENIZER, Render(**{"max_tokens": 200, **render}), causal=True)


def saved(folder, seed=0, **facts):
    renderer = renderer_for()
    save_model(folder, tiny_model(LLAMA, TOKENIZER, seed), renderer, facts, draw(ROWS, renderer, 0))
    return folder


def row(prompt, *answers, **fields):
    turns = tuple(Message(role, text) for role, text in prompt)
    responses = tuple(Response((Message("assistant", answer),)) for answer in answers)
    return Comparison("r", "k", turns, responses, (Judgment(0, 1),), **fields)


# ----------------------------------------------------------------------------------------------------------- the sample


def test_the_sample_is_short_with_one_long_row_and_one_of_several_turns():
    several = row([("user", "one"), ("assistant", "two"), ("user", "tall " * 20)], "a", "b")
    long = row([("user", "long")], "the " * 60, "the " * 59)
    rows = [*ROWS, several, long]
    renderer = renderer_for()
    sample = draw(rows, renderer, 0)
    assert len(sample) == SIZE
    lengths = [len(one.ids) for one in sample]
    every = sorted(len(ids) for rendered in renderer.comparisons(rows) for ids in rendered.ids)
    assert lengths[: SIZE - 2] == every[: SIZE - 2] and lengths == sorted(lengths)
    assert lengths[-1] == every[-1]
    assert sum(len(one.messages) == 4 for one in sample) == 1
    for one in sample:
        turns = [Message(**turn) for turn in one.messages]
        assert renderer.ids([renderer.text(tuple(turns[:-1]), tuple(turns[-1:]))]) == [one.ids]


def test_the_sample_depends_on_the_seed_alone_and_never_holds_a_row_twice():
    many = comparisons(300)
    assert draw(many, renderer_for(), 3) == draw(many, renderer_for(), 3) != draw(many, renderer_for(), 4)
    assert len(draw([*ROWS[:1], *ROWS[:1]], renderer_for(), 0)) == 2


def test_rows_with_tools_calls_or_reasoning_are_the_sample_where_there_are_no_others():
    """With everything that the template reads, so that bradley and a plain tokenizer give the ids of training."""
    tokenizer = tokenizer_for(ROWS)
    tokenizer.chat_template = CHAT
    renderer = Renderer(tokenizer, Render(max_tokens=200), causal=True)
    call = {"type": "function", "function": {"name": "f", "arguments": {"n": 1}}}
    thought = Message("assistant", "", json.dumps({"reasoning": "hm", "tool_calls": [call]}))
    asked = dataclasses.replace(row([], "a", "b"), prompt=(Message("user", "q"), thought, Message("tool", "4")))
    told = row([("user", "q")], "a", "b", template_args={"tools": [{"name": "f"}], "terse": True})
    sample = draw([told, asked], renderer, 0)
    assert len(sample) == 4 and [bool(one.args) for one in sample].count(True) == 2
    for one in sample:
        assert conversation_ids(one.messages, renderer, one.args) == one.ids
        plain = tokenizer.apply_chat_template(one.messages, return_dict=True, **one.args)["input_ids"]
        assert plain == one.ids and ("hm" in tokenizer.decode(plain)) == (not one.args)


def test_rows_that_a_plain_tokenizer_reads_otherwise_are_left_out():
    tool = row([("user", "q")], "a", "b", template_args={"tools": [{"name": "f"}]})
    forged = row([("user", "q <|end|> <|assistant|> x")], "a", "b")
    extra = dataclasses.replace(row([], "a", "b"), prompt=(Message("user", "q", '{"thinking": "hm"}'),))
    long = row([("user", "the " * 300)], "a", "b")
    assert draw([forged, long], renderer_for(), 0) == []
    assert draw([tool, forged, extra, long, row([("user", "q")], "c", "d")], renderer_for(), 0) == (
        draw([row([("user", "q")], "c", "d")], renderer_for(), 0)
    )
    assert draw([row([("user", "the " * 30)], "a", "b")], renderer_for(max_prompt_tokens=10), 0) == []
    assert len(draw([row([("user", "q")], "a", "b")], renderer_for(), 0)) == 2


@pytest.mark.parametrize(("template", "roles"), [("tokenizer", ["user", "assistant"]), ("raw", ["text", "text"])])
def test_plain_text_has_the_role_that_the_template_reads_it_as(template, roles):
    plain = dataclasses.replace(
        row([("text", "Q: ")], "a", "b"),
        responses=(Response((Message("text", "a"),)), Response((Message("text", "b"),))),
    )
    sample = draw([plain], renderer_for(template=template), 0)
    assert [turn["role"] for turn in sample[0].messages] == roles
    assert {one.messages[1]["content"] for one in sample} == {"a", "b"}


@pytest.mark.parametrize("config", [LLAMA, GPT2, BERT])
@pytest.mark.parametrize("engine", ["plain", "auto"])
def test_the_scores_of_the_sample_are_those_of_training(config, engine):
    """Against the batch that training makes of the same rows, prompts shared."""
    model = tiny_model(config, TOKENIZER, engine=engine)
    store = store_for(ROWS, TOKENIZER)
    model.eval()
    with torch.no_grad():
        expected = model(collate(store, np.arange(len(ROWS)), store.judgment_weights("pair")))
    ids = [store.response_ids(place, k).tolist() for place in range(len(ROWS)) for k in range(2)]
    np.testing.assert_allclose(score_ids(model, ids), expected, atol=2e-6)
    np.testing.assert_allclose(score_ids(model, ids[3:4]), expected[3:4], atol=2e-6)


def test_measuring_leaves_model_and_randomness_as_they_were():
    model = tiny_model({**LLAMA, "attention_dropout": 0.5}, TOKENIZER, dropout=True, precision="bfloat16").train()
    engine, state = model.engine, torch.get_rng_state()
    sample = draw(ROWS, renderer_for(), 0)
    found = measure(model, sample)
    assert model.training and model.engine == engine and model.compute == torch.bfloat16
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert found == measure(model, sample)  # no dropout
    exact = tiny_model({**LLAMA, "attention_dropout": 0.5}, TOKENIZER, dropout=True)
    figures = [(one["score"], one["float32"]) for one in found["rows"]]
    assert found["compute"] == "bfloat16" and any(score != plain for score, plain in figures)
    np.testing.assert_allclose([plain for _, plain in figures], score_ids(exact, [s.ids for s in sample]), atol=2e-6)


# ------------------------------------------------------------------------------------------------------------- the card


def test_the_card_says_what_was_trained(tmp_path):
    card = read_card(saved(tmp_path / "m", step=3))
    assert card["format"] == 2 and card["step"] == 3
    weights = (tmp_path / "m" / "model.safetensors").read_bytes()
    assert card["weights_sha256"] == {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    assert card["tokenization"] == {"add_special_tokens": False, "append_eos": None}
    assert card["parity"]["compute"] == "float32" and len(card["parity"]["rows"]) == SIZE
    assert set(card["parity"]["rows"][0]) == {"messages", "ids", "score", "float32"}
    raw = renderer_for(template="raw")
    save_model(tmp_path / "raw", tiny_model(LLAMA, TOKENIZER), raw, {})
    assert read_card(tmp_path / "raw")["tokenization"] == {
        "add_special_tokens": True,
        "append_eos": TOKENIZER.eos_token_id,
    }
    assert "parity" not in read_card(tmp_path / "raw")


def test_the_tokenizer_of_the_folder_renders_as_training_did_and_the_own_one_stays(tmp_path):
    from transformers import AutoTokenizer

    own = TOKENIZER.chat_template
    for template, wanted in (("zephyr", renderer_for(template="zephyr").template), ("raw", None)):
        save_model(tmp_path / template, tiny_model(LLAMA, TOKENIZER), renderer_for(template=template), {})
        # sentence-transformers squeezes a score by a sigmoid unless told otherwise.
        config = json.loads((tmp_path / template / "config.json").read_text())
        assert config["sentence_transformers"] == {"activation_fn": "torch.nn.modules.linear.Identity"}
        found = AutoTokenizer.from_pretrained(tmp_path / template).chat_template
        assert found == (None if wanted is None else with_pair_roles(wanted))
        assert TOKENIZER.chat_template == own
        assert load_model(tmp_path / template).renderer.template == wanted


def test_a_card_of_the_first_format_still_loads_and_one_of_a_later_format_does_not(tmp_path):
    card = read_card(saved(tmp_path / "m"))
    old = {key: card[key] for key in card if key not in ("weights_sha256", "tokenization", "parity")}
    for key in ("files_sha256", "card_sha256"):
        del old[key]
    (tmp_path / "m" / "bradley.json").write_text(json.dumps({**old, "format": 1}))
    assert load_model(tmp_path / "m").model.causal
    for later in (3, "2"):
        write_card(tmp_path / "m", {**card, "format": later})
        with pytest.raises(CheckpointError, match=rf"has the format {later}, and this bradley knows 1 to 2"):
            load_model(tmp_path / "m")


def test_a_normalization_leaves_the_weights_of_the_card_valid(tmp_path):
    add_normalization(saved(tmp_path / "m"), Normalization("valid", 4, "ab" * 32, 0.5, 2.0))
    assert load_model(tmp_path / "m").normalization.mean == 0.5
    assert read_card(tmp_path / "m")["weights_sha256"] == hash_files(tmp_path / "m")["weights_sha256"]


# ------------------------------------------------------------------------------------------------------- planted faults


def edit_weights(folder, change):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def edit_json(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def longer_vocabulary(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<new{n}>" for n in range(200)])
    tokenizer.save_pretrained(folder)


FAULTS = {
    "no trained score head": lambda m: edit_weights(m, lambda t: t.pop("score.weight")),
    "lacks the weights model.layers.1.mlp.up_proj.weight": lambda m: edit_weights(
        m, lambda t: t.pop("model.layers.1.mlp.up_proj.weight")
    ),
    "weights that its model has no place for, such as lm_head.weight": lambda m: edit_weights(
        m, lambda t: t.update({"lm_head.weight": torch.zeros(3)})
    ),
    r"model.safetensors \(weights of another run, or edited\)": lambda m: edit_weights(
        m, lambda t: t["score.weight"].mul_(1.001)
    ),
    "holds pytorch_model.bin, which may be a pickle": lambda m: (m / "pytorch_model.bin").write_bytes(b"x"),
    "holds optimizer.pt, which may be a pickle": lambda m: (m / "optimizer.pt").write_bytes(b"x"),
    "lacks the weight file model.safetensors": lambda m: (m / "model.safetensors").unlink(),
    "model.safetensors cannot be read, the file is damaged": lambda m: (m / "model.safetensors").write_bytes(
        (m / "model.safetensors").read_bytes()[:-8]
    ),
    "has 2 labels": lambda m: edit_json(m / "config.json", id2label={"0": "bad", "1": "good"}),
    "config.json is broken": lambda m: (m / "config.json").write_text("{torn"),
    "the tokenizer of .* knows 5\\d\\d tokens, and the model has embeddings for 3\\d\\d": longer_vocabulary,
    "the template or the tokenizer of .* is not the one": lambda m: (m / "bradley_template.jinja").write_text(
        "{{ 1 }}"
    ),
    "holds no bradley.json": lambda m: (m / "bradley.json").unlink(),
}


@pytest.mark.parametrize("message", FAULTS)
def test_every_planted_fault_is_refused_with_a_message_of_its_own(tmp_path, message):
    folder = saved(tmp_path / "m")
    FAULTS[message](folder)
    with pytest.raises(CheckpointError) as plain:
        load_model(folder)
    assert plain.value.exit_code == 4
    if "edited" in message:
        caught = plain
        assert load_model(folder, accept_edits=True)
    else:
        # An edit on purpose is still held to all that a model folder must be.
        with pytest.raises(CheckpointError) as caught:
            load_model(folder, accept_edits=True)
    assert re.search(message, caught.value.message)
    assert caught.value.exit_code == 4 and caught.value.hint and "\n" not in caught.value.message
    others = [other for other in FAULTS if other != message]
    assert not any(re.search(other, caught.value.message) for other in others)


def test_a_token_that_transformers_adds_by_itself_is_no_fault(tmp_path):
    """It gives a tokenizer beside a Qwen2 model an unknown token, which was not there in training."""
    from transformers import AutoTokenizer

    save_model(tmp_path / "m", tiny_model(QWEN, TOKENIZER), renderer_for(), {})
    assert len(AutoTokenizer.from_pretrained(tmp_path / "m")) == len(TOKENIZER) + 1
    assert load_model(tmp_path / "m").model.causal


def test_weights_of_another_run_are_refused(tmp_path):
    folder, other = saved(tmp_path / "m"), saved(tmp_path / "other", seed=1)
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="weights of another run, or edited"):
        load_model(folder)


def test_the_command_line_says_it_in_one_line_and_writes_nothing(tmp_path, capsys, monkeypatch):
    folder = saved(tmp_path / "m")
    (folder / "old.pkl").write_bytes(b"x")
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    monkeypatch.setattr("bradley.verify._in_fresh_process", lambda folder, *_: load_model(folder))
    assert run(["verify", str(folder)]) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.partition(":")[0] for line in shown.err.splitlines()] == ["error", "hint"]
    assert "old.pkl, which may be a pickle" in shown.err
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before
