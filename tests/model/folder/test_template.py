"""What a model folder keeps of its rendering: scores are read from the same ids whatever the day."""

import datetime
import json

import pytest

from bradley.config import Render
from bradley.data.render import Renderer
from bradley.data.tokenizer import PLAIN_CHAT_TEMPLATE
from bradley.errors import CheckpointError
from bradley.model.folder.save_load import CARD, load_model, save_model
from bradley.scoring.reward_model import score_comparisons
from tests.helpers import LLAMA, comparisons, tiny_model, tokenizer_for

pytestmark = pytest.mark.transformers

DATED = "<|system|>Today is {{ strftime_now('%d %b %Y') }}.<|end|>" + PLAIN_CHAT_TEMPLATE


def saved(folder, chat, **settings):
    rows = comparisons(3)
    tokenizer = tokenizer_for(rows)
    tokenizer.chat_template = chat
    renderer = Renderer(tokenizer, Render(**settings), causal=True)
    save_model(folder, tiny_model(LLAMA, tokenizer), renderer, {})
    return rows, renderer


def test_the_date_of_training_is_the_date_of_scoring(tmp_path, monkeypatch):
    rows, renderer = saved(tmp_path / "model", DATED, date="2024-07-26")
    assert json.loads((tmp_path / "model" / CARD).read_text())["render"]["date"] == "2024-07-26"
    from transformers.utils import chat_template_utils

    class Moved(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 5, 6)

    before = [row.scores for row in score_comparisons(tmp_path / "model", rows)]
    monkeypatch.setattr(chat_template_utils, "datetime", Moved)
    loaded = load_model(tmp_path / "model")
    assert loaded.renderer.comparisons(rows) == renderer.comparisons(rows)
    assert "Today is 26 Jul 2024." in loaded.renderer.text(rows[0].prompt, ())
    assert [row.scores for row in score_comparisons(tmp_path / "model", rows)] == before


def test_named_templates_and_further_settings_come_back(tmp_path):
    settings = {"template": "zephyr", "system_prompt": "Be kind."}
    rows, renderer = saved(tmp_path / "model", None, **settings)
    loaded = load_model(tmp_path / "model").renderer
    assert loaded.template == renderer.template and loaded.comparisons(rows) == renderer.comparisons(rows)
    assert "<|system|>\nBe kind.<|end|>\n" in loaded.text(rows[0].prompt, ())


def test_template_arguments_come_back(tmp_path):
    template = "{% if terse %}(terse){% endif %}" + PLAIN_CHAT_TEMPLATE
    rows, renderer = saved(tmp_path / "model", template, template_kwargs={"terse": True}, control_tokens="keep")
    loaded = load_model(tmp_path / "model").renderer
    assert loaded.text(rows[0].prompt, ()).startswith("(terse)<|user|>")
    assert loaded.settings.control_tokens == "keep" and loaded.comparisons(rows) == renderer.comparisons(rows)


def test_the_template_for_rows_with_tools_comes_back(tmp_path):
    chat = {"default": PLAIN_CHAT_TEMPLATE, "tool_use": "{{ tools | tojson }}\r\n" + PLAIN_CHAT_TEMPLATE}
    rows, renderer = saved(tmp_path / "model", chat)
    tools = {"tools": [{"type": "function", "function": {"name": "depth"}}]}
    loaded = load_model(tmp_path / "model").renderer
    for args in ({}, tools):
        written = loaded.text(rows[0].prompt, rows[0].responses[0].messages, args)
        assert written == renderer.text(rows[0].prompt, rows[0].responses[0].messages, args)
        assert written.startswith('[{"type"') == bool(args)
    # A program without bradley chooses alike.
    turns = [{"role": "user", "content": "Hi"}]
    assert loaded.tokenizer.apply_chat_template(turns, **tools, tokenize=False).startswith('[{"type"')
    (tmp_path / "model" / "bradley_tool_template.jinja").write_text("{{ tools }}")
    with pytest.raises(CheckpointError):
        load_model(tmp_path / "model")


def test_a_policy_about_refused_rows_ends_with_training(tmp_path):
    """A caller of scores wants one for each row, or an error."""
    saved(tmp_path / "model", PLAIN_CHAT_TEMPLATE, refused="drop")
    assert load_model(tmp_path / "model").renderer.settings.refused == "error"
