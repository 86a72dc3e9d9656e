"""Rendering: ids equal to transformers' own, one BOS, the stated ending, prompts that can be cut."""

from pathlib import Path

import pytest

from bradley.config import Data, Render
from bradley.data.render import Renderer, common_prefix
from bradley.data.tokenizer import train_tokenizer
from bradley.errors import CheckpointError, DataError, UserError
from bradley.records import Comparison, Judgment, Message, Response, prompt_key
from tests.helpers import comparisons, needs_data, read_gz, tokenizer_for

pytestmark = pytest.mark.transformers

TEMPLATES = Path(__file__).parent / "templates"
SPECIAL = {
    "llama3": ("<|begin_of_text|>", "<|eot_id|>", ["<|start_header_id|>", "<|end_header_id|>"]),
    "qwen": (None, "<|im_end|>", ["<|im_start|>"]),
    "zephyr": ("<s>", "</s>", ["<|user|>", "<|assistant|>", "<|system|>"]),
    "gemma": ("<bos>", "<end_of_turn>", ["<start_of_turn>"]),
}
CHAT = [
    Message("user", "What is the capital of France?"),
    Message("assistant", "Paris."),
    Message("user", "And of Spain?"),
]
ANSWER = Response((Message("assistant", "  Madrid, of course. "),))


def chat_tokenizer(name: str):
    bos, eos, extra = SPECIAL[name]
    tokenizer = train_tokenizer([m.content for m in CHAT], 400)
    names = {"eos_token": eos, **({"bos_token": bos} if bos else {})}
    tokenizer.add_special_tokens({**names, "additional_special_tokens": extra})
    tokenizer.chat_template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    return tokenizer


@pytest.mark.parametrize("name", sorted(SPECIAL))
def test_ids_equal_apply_chat_template(name):
    tokenizer = chat_tokenizer(name)
    renderer = Renderer(tokenizer, Render(), causal=True)
    messages = [{"role": m.role, "content": m.content} for m in (*CHAT, *ANSWER.messages)]
    expected = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert renderer.ids([renderer.text(tuple(CHAT), ANSWER.messages)]) == [expected]
    writes_bos = "bos_token" in tokenizer.chat_template or name == "llama3"
    assert expected.count(tokenizer.bos_token_id) == int(writes_bos)


def test_llama3_text_is_what_its_authors_document():
    renderer = Renderer(chat_tokenizer("llama3"), Render(), causal=True)
    text = renderer.text((Message("user", "Hi"),), (Message("assistant", "Hello"),))
    assert text == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
    )


def test_pooled_token_of_a_template_that_ends_in_a_newline_is_the_newline():
    renderer = Renderer(chat_tokenizer("qwen"), Render(), causal=True)
    ids = renderer.ids([renderer.text(tuple(CHAT), ANSWER.messages)])[0]
    assert renderer.pooled_token(ids) == repr("\n")


def test_prompt_tokens_end_where_the_response_begins():
    renderer = Renderer(chat_tokenizer("llama3"), Render(), causal=True)
    other = Response((Message("assistant", "Lisbon"),))
    rendered = renderer.comparisons([Comparison("a", "k", tuple(CHAT), (ANSWER, other), (Judgment(0, 1),))])[0]
    decoded = renderer.tokenizer.decode(rendered.ids[1][rendered.prompt_tokens[1] :])
    assert decoded == "Lisbon<|eot_id|>"
    assert rendered.protected == 1 and rendered.ids[0][0] == renderer.tokenizer.bos_token_id


def bos_adding_tokenizer():
    from tokenizers.processors import TemplateProcessing

    tokenizer = train_tokenizer(["a few plain words"], 300)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    single = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)])
    tokenizer.backend_tokenizer.post_processor = single
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
    return tokenizer


def test_no_second_bos_where_the_tokenizer_and_the_template_both_add_one():
    tokenizer = bos_adding_tokenizer()
    renderer = Renderer(tokenizer, Render(), causal=True)
    naive = tokenizer(renderer.text((), ANSWER.messages))["input_ids"]
    assert naive.count(tokenizer.bos_token_id) == 2  # the trap
    assert renderer.ids([renderer.text((), ANSWER.messages)])[0].count(tokenizer.bos_token_id) == 1


def test_raw_adds_one_bos_and_one_eos_on_causal_models_only():
    tokenizer = bos_adding_tokenizer()
    prompt, response = (Message("text", "a few"),), (Message("text", " words"),)
    causal = Renderer(tokenizer, Render(template="raw"), causal=True)
    ids = causal.ids([causal.text(prompt, response)])[0]
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id
    assert ids.count(tokenizer.eos_token_id) == 1
    assert causal.ids(["words" + tokenizer.eos_token])[0].count(tokenizer.eos_token_id) == 1
    encoder = Renderer(tokenizer, Render(template="raw"), causal=False)
    assert encoder.ids([encoder.text(prompt, response)])[0] == ids[:-1]
    assert causal.text(prompt, response) == "a few words"


def test_raw_transcripts_are_rebuilt_byte_for_byte():
    rows = read_gz(needs_data("hh_harmless_test", "raw", "test.jsonl.gz"), 300)
    renderer = Renderer(tokenizer_for(comparisons(2)), Render(template="raw"), causal=True)
    from bradley.data.formats import to_comparisons

    kept = [c for c in to_comparisons(rows, Data(format="hh")) if isinstance(c, Comparison)]
    texts = {row["chosen"] for row in rows}
    assert len(kept) > 290
    assert all(renderer.text(c.prompt, c.responses[0].messages) in texts for c in kept)


def test_errors_name_what_is_missing(tmp_path):
    tokenizer = train_tokenizer(["x"], 300)
    tokenizer.chat_template = None
    with pytest.raises(CheckpointError, match="no chat template"):
        Renderer(tokenizer, Render(), causal=True)
    with pytest.raises(UserError, match="is not a file"):
        Renderer(tokenizer, Render(template=str(tmp_path / "absent.jinja")), causal=True)
    template = tmp_path / "latin.jinja"
    template.write_bytes("{{ 'é' }}".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.jinja is not UTF-8 at byte 4"):
        Renderer(tokenizer, Render(template=str(template)), causal=True)
    template.write_text("\n{% for %}")
    with pytest.raises(UserError, match="the chat template is not Jinja: line 2: ") as caught:
        Renderer(tokenizer, Render(template=str(template)), causal=True)
    assert "\n" not in caught.value.message


def test_a_conversation_that_the_template_refuses_is_a_fault_of_the_data():
    gemma = Renderer(chat_tokenizer("gemma"), Render(), causal=True)
    prompt = (Message("system", "Be kind."),)
    said = "the chat template refuses a conversation with the roles system, assistant: System role not supported"
    with pytest.raises(DataError, match=rf"^{said}(\n|$)"):
        gemma.text(prompt, ANSWER.messages)
    answers = (ANSWER, Response((Message("assistant", "No."),)))
    fine, bad = (
        Comparison(name, prompt_key(turns), turns, answers, (Judgment(0, 1),))
        for name, turns in (("fine", tuple(CHAT)), ("bad", prompt))
    )
    with pytest.raises(DataError, match=rf"^comparison bad: {said}(\n|$)") as caught:
        gemma.comparisons([fine, bad])
    assert "render.template" in caught.value.hint


def test_common_prefix():
    assert common_prefix([1, 2, 3], [1, 2, 4]) == 2
    assert common_prefix([], [1]) == 0
    assert common_prefix([1, 2], [1, 2, 3]) == 2


def given_ids(prompt, *responses, role="ids", **fields):
    turns = (Message("ids", prompt),) if prompt else ()
    answers = tuple(Response((Message(role, text),)) for text in responses)
    return Comparison("given", "k", turns, answers, (Judgment(0, 1),), **fields)


@pytest.mark.parametrize("template", ["tokenizer", "raw", "zephyr"])
def test_token_ids_are_read_as_they_are(template):
    renderer = Renderer(bos_adding_tokenizer(), Render(template=template), causal=True)
    bos = renderer.tokenizer.bos_token_id
    text = Comparison("text", "k", tuple(CHAT), (ANSWER, Response((Message("assistant", "No."),))), (Judgment(0, 1),))
    rows = [given_ids(f"{bos} 7 8", "9 10", "11"), text, given_ids("", "5", "6 7")]
    first, between, last = renderer.comparisons(rows)
    assert first == ([[bos, 7, 8, 9, 10], [bos, 7, 8, 11]], [3, 3], 1, 0)
    assert last == ([[5], [6, 7]], [0, 0], 0, 0)
    assert between == renderer.comparisons([text])[0]
    assert renderer.text(rows[0].prompt, rows[0].responses[1].messages) == renderer.tokenizer.decode([bos, 7, 8, 11])


def test_token_ids_that_cannot_be_read_are_faults_of_their_comparison():
    renderer = Renderer(bos_adding_tokenizer(), Render(template="raw"), causal=True)
    size = len(renderer.tokenizer)
    renderer.comparisons([given_ids("1", str(size - 1), "0")])
    for wrong, message in {
        str(size): rf"comparison given: token id {size} is outside of the tokenizer's vocabulary of {size}",
        "-1": "comparison given: token id -1 is outside",
        "1 x": "comparison given: token ids must be whole numbers",
    }.items():
        with pytest.raises(DataError, match=f"^{message}"):
            renderer.comparisons([given_ids("1", wrong, "0")])
    with pytest.raises(DataError, match=r"^comparison given: mixes token ids with texts"):
        renderer.comparisons([given_ids("1", "2", "3", role="assistant")])
    with pytest.raises(DataError, match=r"^comparison given: is made of token ids, to which no template argument"):
        renderer.comparisons([given_ids("1", "2", "3", template_args={"tools": []})])
    kind = Renderer(renderer.tokenizer, Render(template="raw", system_prompt="Be kind."), causal=True)
    with pytest.raises(DataError, match="no system turn can be added"):
        kind.comparisons([given_ids("1", "2", "3")])


def test_an_encoder_is_scored_at_its_first_token():
    tokenizer = chat_tokenizer("qwen")
    ids = tokenizer("<|im_start|>user")["input_ids"]
    assert Renderer(tokenizer, Render(), causal=False).pooled_token(ids) == repr("<|im_start|>")
    assert Renderer(tokenizer, Render(), causal=True).pooled_place(ids) == len(ids) - 1
