"""A folder that could not be loaded is found before there are weights to save in it."""

import json

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bradley.config import Render
from bradley.data.render import Renderer
from bradley.data.tokenizer import PLAIN_CHAT_TEMPLATE
from bradley.errors import BradleyError, CheckpointError
from bradley.model.folder.parity import draw
from bradley.model.folder.roundtrip import check_roundtrip
from bradley.model.folder.save_load import load_model, save_model
from bradley.model.folder.weights import _without_sets
from tests.helpers import BERT, GPT2, GPT_NEOX, LLAMA, QWEN, comparisons, tiny_model, tokenizer_for
from tests.model.adapted import TOKENIZER, adapted, base_model, save, scores, train

pytestmark = pytest.mark.transformers

ROWS = comparisons(3)
EXPERTS = (
    {**LLAMA, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
    {**LLAMA, "model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
)


def renderer_with(chat=PLAIN_CHAT_TEMPLATE, **settings):
    tokenizer = tokenizer_for(ROWS)
    tokenizer.chat_template = chat
    return Renderer(tokenizer, Render(**settings), causal=True)


def loads(folder, model, renderer):
    """Whether the whole folder can be saved and loaded, by the way of a run at its end."""
    try:
        save_model(folder, model, renderer, {})
        load_model(folder)
    except (BradleyError, UnicodeError):
        return False
    return True


TEXTS = st.text(
    st.sampled_from("\r\n\t\0\ufeff\ud800\x85\u2028é#%") | st.characters(exclude_characters="{}"), max_size=6
)
EVERY = settings().max_examples
"""Examples of the profile; each saves and loads two folders."""


@settings(max_examples=max(4, EVERY // 10))
@given(TEXTS, TEXTS, st.booleans())
@example("\r\n", "\r", True)
@example("\ud800", "", False)
@example("", "é" * 600_000, True)
def test_the_round_trip_tells_of_any_template_if_the_saved_model_can_be_loaded(tmp_path_factory, text, tools, several):
    # Inside a comment: the text of a template, and no text of a conversation.
    chat = PLAIN_CHAT_TEMPLATE + "{#" + text + "#}"
    renderer = renderer_with({"default": chat, "tool_use": chat + tools} if several else chat)
    model = tiny_model(LLAMA, renderer.tokenizer)
    try:
        check_roundtrip(model, renderer)
        found = True
    except CheckpointError as error:
        found = False
        assert "could not be loaded from its folder: " in error.message and "/tmp" not in error.message
    assert found == loads(tmp_path_factory.mktemp("whole") / "model", model, renderer)


@pytest.mark.parametrize("config", EXPERTS, ids=lambda config: config["model_type"])
def test_adapters_on_a_mixture_of_experts_are_saved_and_make_the_round_trip(config, tmp_path):
    """PEFT sets `target_parameters` of such a model to a set, which JSON does not know."""
    pytest.importorskip("peft")
    model = train(adapted(base_model(tmp_path / "base", config)), steps=3)
    check_roundtrip(model, Renderer(TOKENIZER, Render(max_tokens=200), causal=True))
    folder, before = save(tmp_path / "model", model), scores(model)
    assert torch.equal(scores(load_model(folder).model), before)
    kept = json.loads((folder / "adapter_config.json").read_text())
    assert kept["target_modules"] == sorted(model.network.peft_config["default"].target_modules)


SETS = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: (
        st.dictionaries(st.text(), inner) | st.lists(inner) | st.sets(st.text()) | st.frozensets(st.integers())
    ),
)


@given(SETS)
def test_every_set_of_a_config_becomes_a_sorted_list(value):
    assert json.dumps(_without_sets(value)) == json.dumps(value, default=sorted)


@pytest.mark.parametrize("config", [LLAMA, GPT2, QWEN, GPT_NEOX, BERT], ids=lambda config: config["model_type"])
def test_every_family_makes_the_round_trip(config):
    renderer = renderer_with()
    model = tiny_model(config, renderer.tokenizer)
    check_roundtrip(model, renderer, draw(ROWS, renderer, 0))


def test_a_config_of_another_network_is_found():
    renderer = renderer_with()
    model = tiny_model(LLAMA, renderer.tokenizer)
    model.network.config.hidden_size *= 2
    with pytest.raises(CheckpointError, match=r"its config makes \[320, 64\] of model.embed_tokens.weight, and the mo"):
        check_roundtrip(model, renderer)


def test_a_tokenizer_that_loads_as_another_is_found(monkeypatch):
    renderer = renderer_with()
    model, sample = tiny_model(LLAMA, renderer.tokenizer), draw(ROWS, renderer, 0)
    sample[1].ids.append(7)
    with pytest.raises(CheckpointError, match="a conversation of the data becomes other token ids"):
        check_roundtrip(model, renderer, sample)
    save = type(renderer.tokenizer).save_pretrained

    def lossy(tokenizer, folder):
        save(tokenizer, folder)
        path = folder / "tokenizer.json"
        rules = json.loads(path.read_text())
        rules["model"]["merges"] = rules["model"]["merges"][:10]
        path.write_text(json.dumps(rules))

    monkeypatch.setattr(type(renderer.tokenizer), "save_pretrained", lossy)
    with pytest.raises(CheckpointError, match="the template or the tokenizer of the folder is not the one"):
        check_roundtrip(model, renderer)
