"""Named templates against functions written by hand, and how a template's name is understood."""

import itertools

import pytest

from bradley.config import Render
from bradley.data.chat_template import TEMPLATES, template_text, tool_template_text
from bradley.data.render import Renderer
from bradley.data.tokenizer import train_tokenizer
from bradley.errors import CheckpointError, UserError
from bradley.records import Message

pytestmark = pytest.mark.transformers

END = "<|end|>"
SAID = ["Be kind.", "Where is Rome?", "In Italy, of course.", "And Bonn?", "In Germany."]


def joined(separator):
    def render(turns, opens):
        text = separator.join(content for _, content in turns)
        return text + (separator if opens else END)

    return render


def simple_chat(turns, opens):
    text = "\n\n".join(f"{role[0].upper()}{role[1:]}: {content}" for role, content in turns)
    return text + ("\n\nAssistant:" if opens else END)


def zephyr(turns, opens):
    text = f"{END}\n".join(f"<|{role}|>\n{content}" for role, content in turns)
    return text + END + ("\n<|assistant|>\n" if opens else "")


def tulu(turns, opens):
    text = ""
    for place, (role, content) in enumerate(turns):
        last = place == len(turns) - 1
        text += f"<|{role}|>\n{content}"
        if role == "assistant" and (opens or not last):
            text += END
        if opens or not last:
            text += "\n"
    return text + ("<|assistant|>\n" if opens else END)


def assistant_only(turns, opens):
    return "".join(content for role, content in turns if role == "assistant") + ("" if opens else END)


BY_HAND = {
    "simple_concat": joined(""),
    "simple_concat_with_space": joined(" "),
    "simple_concat_with_new_line": joined("\n"),
    "simple_chat": simple_chat,
    "zephyr": zephyr,
    "tulu": tulu,
    "assistant_only": assistant_only,
}


def renderer(name, **settings):
    tokenizer = train_tokenizer(SAID, 400)
    return Renderer(tokenizer, Render(template=name, **settings), causal=True)


def conversation(turns, system):
    """`turns` turns, user and assistant in turn, the last of them the assistant's."""
    roles = list(itertools.islice(itertools.cycle(["user", "assistant"]), turns))
    roles = ["assistant"] if turns == 1 else roles if turns % 2 == 0 else ["assistant", *roles[:-1]]
    pairs = [("system", SAID[0])] * system + list(zip(roles, SAID[1:], strict=False))
    return pairs, tuple(Message(*pair) for pair in pairs)


def test_every_named_template_has_a_function_by_hand():
    assert set(BY_HAND) == set(TEMPLATES)


@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("turns", [1, 2, 3, 4])
@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_named_templates_write_what_is_written_by_hand(name, turns, system):
    pairs, messages = conversation(turns, system)
    made = renderer(name)
    assert made.text(messages[:-1], messages[-1:]) == BY_HAND[name](pairs, opens=False)
    if len(messages) > 1:
        assert made.text(messages[:-1], ()) == BY_HAND[name](pairs[:-1], opens=True)


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_a_named_template_ends_with_one_end_token_and_its_prompt_with_none(name):
    made = renderer(name)
    end = made.tokenizer.eos_token_id
    _, messages = conversation(2, True)
    whole = made.ids([made.text(messages[:-1], messages[-1:])])[0]
    prompt = made.ids([made.text(messages[:-1], ())], whole=False)[0]
    assert whole[-1] == end and whole.count(end) == (3 if name == "zephyr" else 1)
    assert prompt[-1:] != [end]
    if name not in ("simple_concat_with_space", "assistant_only"):  # a blank joins the word after it
        assert whole[: len(prompt)] == prompt


def test_encoders_get_their_own_first_and_last_token():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({"[CLS]": 0, "[SEP]": 1, "a": 2, "b": 3, "[UNK]": 4}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, cls_token="[CLS]", sep_token="[SEP]", pad_token="[UNK]")
    made = Renderer(tokenizer, Render(template="simple_concat_with_space"), causal=False)
    text = made.text((Message("user", "a"),), (Message("assistant", "b"),))
    assert text == "[CLS]a b[SEP]" and made.ids([text]) == [[0, 2, 3, 1]]


def test_a_wrong_name_gets_the_nearest_and_a_file_wins(tmp_path, monkeypatch):
    tokenizer = train_tokenizer(["x"], 300)
    with pytest.raises(UserError, match=r"zephir is not a file, and no template has that name") as caught:
        template_text(tokenizer, "zephir")
    assert "did you mean zephyr?" in caught.value.hint and "simple_concat_with_new_line" in caught.value.hint
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zephyr").write_text("mine")
    assert template_text(tokenizer, "zephyr") == "mine"
    assert template_text(tokenizer, "raw") is None


def test_a_tokenizer_without_an_end_token_cannot_close_a_named_template():
    tokenizer = train_tokenizer(["x"], 300)
    tokenizer.eos_token = None
    with pytest.raises(CheckpointError, match="closes with an end token"):
        template_text(tokenizer, "tulu")


def test_of_several_chat_templates_the_default_is_taken():
    tokenizer = train_tokenizer(["x"], 300)
    tokenizer.chat_template = {"default": "D", "tool_use": "T"}
    assert template_text(tokenizer, "tokenizer") == "D"
    tokenizer.chat_template = {"rag": "R", "tool_use": "T"}
    with pytest.raises(CheckpointError, match="rag, tool_use, and none of them is its default") as caught:
        template_text(tokenizer, "tokenizer")
    assert "--render.template rag" in caught.value.hint
    assert template_text(tokenizer, "rag") == "R" and tool_template_text(tokenizer, "rag") is None
    with pytest.raises(UserError, match="no template has that name") as caught:
        template_text(tokenizer, "ragg")
    assert "did you mean rag?" in caught.value.hint


@pytest.mark.parametrize("name", ["raw", *sorted(TEMPLATES)])
def test_settings_that_a_template_cannot_express_are_refused(name):
    with pytest.raises(UserError, match="template_kwargs"):
        renderer(name, template_kwargs={"enable_thinking": False})
    with pytest.raises(UserError, match=r"render\.date"):
        renderer(name, date="2024-07-26")
    if name == "assistant_only":
        with pytest.raises(UserError, match=r"render\.system_prompt has no effect"):
            renderer(name, system_prompt="Be kind.")
    else:
        made = renderer(name, system_prompt="Be kind.")
        assert "Be kind." in made.text((), (Message("assistant", "Yes."),))
