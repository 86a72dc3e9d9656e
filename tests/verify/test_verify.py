"""`bradley verify`: what was trained passes in every way it can be run, and what was changed does not."""

import dataclasses
import json
import math
import re

import pytest

from bradley.cli.main import run
from bradley.config import Render
from bradley.data.render import Renderer
from bradley.errors import CheckpointError, UserError
from bradley.model.folder.card import read_card, write_card
from bradley.model.folder.parity import draw, score_ids
from bradley.model.folder.save_load import load_model, save_model
from bradley.model.folder.tolerance import compare
from bradley.verify import Check, failure, verify
from bradley.verify.rescore import rescore
from tests.copies import verified_in_copies
from tests.helpers import BERT, GPT2, LLAMA, QWEN, comparisons, tiny_model, tokenizer_for
from tests.scoring.trained import CHAT
from tests.verify.reward_server import reward_server, server

ROWS = comparisons(20)
TOKENIZER = tokenizer_for(ROWS)
BY_LIBRARY = {"right", "left"}
PROBED = [
    "token ids of code, numbers, blanks and scripts, transformers",
    "tokens without an embedding, transformers",
]


def saved(folder, config=LLAMA, precision="float32", **render):
    model = tiny_model(config, TOKENIZER, precision=precision)
    renderer = Renderer(TOKENIZER, Render(**{"max_tokens": 200, **render}), causal=model.causal)
    save_model(folder, model, renderer, {}, draw(ROWS, renderer, 0))
    return folder


def edit_rows(folder, change):
    card = read_card(folder)
    for row in card["parity"]["rows"]:
        change(row)
    write_card(folder, card)


def failed(folder):
    """Names of failed checks, of files edited on purpose too."""
    return {check.name for check in rescore(folder, accept_edits=True) if not check.passed}


@pytest.mark.transformers
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("config", "render"),
    [
        (LLAMA, {}),
        (GPT2, {"template": "raw", "system_prompt": "Be brief."}),
        (BERT, {"template": "zephyr", "system_prompt": "Be kind."}),
    ],
    ids=["llama", "gpt2", "bert"],
)
def test_a_saved_model_passes_every_check(tmp_path, config, render, precision):
    checks = list(rescore(saved(tmp_path / "m", config, precision, **render)))
    assert [check for check in checks if not check.passed] == []
    sides = {LLAMA["model_type"]: ["right", "left"], "gpt2": ["right", "left with position ids"], "bert": ["right"]}
    expected = ["token ids, bradley", "token ids, transformers", *PROBED]
    for dtype in ("float32", "bfloat16"):
        engines = ["plain"] if config is BERT else ["plain", "segments"]
        expected += [f"bradley, {dtype}, engine {engine}, {size} at a time" for engine in engines for size in (1, 8)]
        for side in sides[config["model_type"]]:
            expected += [f"transformers, {dtype}, {size} at a time, padded {side}" for size in (1, 8)]
    assert sorted(check.name for check in checks) == sorted(expected)
    exact = [check for check in checks if "float32" in check.name]
    assert max(check.largest for check in exact) < 3e-6 and {check.allowed < 3e-5 for check in exact} == {True}
    assert max(check.largest for check in checks if "bfloat16" in check.name) > 1e-5  # another dtype did run


def test_a_tokenizer_that_transformers_reads_otherwise_is_found(tmp_path):
    """transformers takes the class of the type for a Qwen2, which divides words otherwise and adds a token."""
    model = tiny_model(QWEN, TOKENIZER)
    renderer = Renderer(TOKENIZER, Render(max_tokens=200), causal=True)
    save_model(tmp_path / "m", model, renderer, {}, draw(ROWS, renderer, 0))
    assert failed(tmp_path / "m") == set(PROBED)


def test_special_tokens_written_twice_are_told(tmp_path, monkeypatch):
    from tokenizers import processors

    tokenizer = tokenizer_for(ROWS)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|system|> $A", special_tokens=[("<|system|>", tokenizer.convert_tokens_to_ids("<|system|>"))]
    )
    tokenizer.chat_template = "<|system|>" + str(tokenizer.chat_template)
    renderer = Renderer(tokenizer, Render(max_tokens=200), causal=True)
    save_model(tmp_path / "m", tiny_model(LLAMA, tokenizer), renderer, {}, draw(ROWS, renderer, 0))
    told = []
    monkeypatch.setattr("bradley.verify.probe.say_once", told.append)
    assert failed(tmp_path / "m") == set()
    (line,) = told
    assert "writes <|system|> twice" in line and line.endswith("give add_special_tokens=False")
    moved = float(re.search(r"up to (\S+):", line)[1])
    loaded = load_model(tmp_path / "m")
    rows = read_card(tmp_path / "m")["parity"]["rows"]
    twice = score_ids(loaded.model, [[row["ids"][0], *row["ids"]] for row in rows])
    wanted = max(abs(a - row["score"]) for a, row in zip(twice, rows, strict=True))
    assert moved == pytest.approx(wanted, rel=0.05) and wanted > 1e-3


@pytest.mark.transformers
def test_a_model_of_rows_with_tools_and_reasoning_alone_is_verified(tmp_path):
    tokenizer = tokenizer_for(ROWS)
    tokenizer.chat_template = CHAT
    extra = json.dumps({"reasoning_content": "a bridge"})
    rows = [
        dataclasses.replace(
            row,
            template_args={"tools": [{"name": "add"}], "terse": True},
            responses=tuple(
                dataclasses.replace(each, messages=(dataclasses.replace(each.messages[0], extra=extra),))
                for each in row.responses
            ),
        )
        for row in ROWS[:4]
    ]
    renderer = Renderer(tokenizer, Render(max_tokens=200), causal=True)
    sample = draw(rows, renderer, 0)
    save_model(tmp_path / "m", tiny_model(LLAMA, tokenizer), renderer, {}, sample)
    assert len(sample) == 8 and failed(tmp_path / "m") == set()
    edit_rows(tmp_path / "m", lambda row: row["args"].update(terse=False))
    assert failed(tmp_path / "m") == {"token ids, bradley", "token ids, transformers"}


def test_a_score_that_no_longer_holds_is_found(tmp_path):
    folder = saved(tmp_path / "m")
    edit_rows(folder, lambda row: row.update(score=row["score"] + 1e-4, float32=row["float32"] + 1e-4))
    assert failed(folder) == {check.name for check in rescore(folder) if "float32" in check.name}


def test_weights_of_another_seed_are_found_in_both_dtypes(tmp_path):
    folder, other = saved(tmp_path / "m"), tmp_path / "other"
    model = tiny_model(LLAMA, TOKENIZER, 1)
    save_model(other, model, Renderer(TOKENIZER, Render(max_tokens=200), causal=True), {})
    write_card(other, {**read_card(other), "parity": read_card(folder)["parity"]})
    assert len(failed(other)) == len(list(rescore(other))) - 4  # all but the tokens


def test_another_chat_template_for_plain_transformers_is_found(tmp_path):
    folder = saved(tmp_path / "m")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("<|end|>", "<|end|>\n"))
    assert failed(folder) == {"token ids, transformers"}


def test_a_pad_token_that_plain_transformers_pools_by_is_found(tmp_path):
    folder = saved(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "pad_token_id": TOKENIZER.eos_token_id}))
    assert {name.partition(",")[0] for name in failed(folder)} == {"transformers"}


def test_a_template_with_a_date_and_arguments_is_rendered_as_the_card_says(tmp_path):
    tokenizer = tokenizer_for(ROWS)
    tokenizer.chat_template = "<|system|>{{ strftime_now('%d %b %Y') }}{{ mood }}<|end|>" + str(tokenizer.chat_template)
    settings = Render(max_tokens=200, date="2024-07-26", template_kwargs={"mood": "calm"})
    renderer = Renderer(tokenizer, settings, causal=True)
    sample = draw(ROWS, renderer, 0)
    assert "26 Jul 2024calm" in tokenizer.decode(sample[0].ids)
    save_model(tmp_path / "m", tiny_model(LLAMA, tokenizer), renderer, {}, sample)
    assert failed(tmp_path / "m") == set()


def test_token_ids_as_data_are_scored_as_they_are(tmp_path):
    folder = saved(tmp_path / "m")
    edit_rows(folder, lambda row: row.update(messages=[{"role": "ids", "content": " ".join(map(str, row["ids"]))}]))
    assert failed(folder) == set()


def test_scores_of_a_bfloat16_run_without_their_float32_pass_within_bfloat16_only(tmp_path):
    folder = saved(tmp_path / "m", precision="bfloat16")
    edit_rows(folder, lambda row: row.pop("float32"))
    assert failed(folder) == set()
    assert min(check.allowed for check in rescore(folder) if "token" not in check.name) > 0.01


def test_what_is_allowed():
    """By hand: 1e-5 of the largest score; 4 * 2^-8 * sqrt(2 * 4 + 1) of it; scores below 1 count as 1."""
    assert compare("a", [1.0, -20.0], [1.0, -20.0], "float32", 4) == Check("a", 0.0, 20 * 1e-5)
    bf16 = compare("a", [0.5, 20.5], [0.5, 20.0], "bfloat16", 4)
    assert bf16.largest == 0.5 and bf16.allowed == pytest.approx(20 * 4 / 256 * 3) and bf16.passed
    assert compare("a", [0.1], [0.1], "float32", 4).allowed == 1e-5
    broken = compare("a", [0.0, math.nan, 3.0], [0.0, 0.0, 0.0], "float32", 1)
    assert math.isnan(broken.largest) and not broken.passed
    assert not compare("a", [1.0, 2.0], [1.0, 2.1], "float32", 1).passed


def test_a_folder_without_a_sample_says_so(tmp_path):
    save_model(
        tmp_path / "m", tiny_model(LLAMA, TOKENIZER), Renderer(TOKENIZER, Render(max_tokens=200), causal=True), {}
    )
    with pytest.raises(CheckpointError, match="has no parity sample"):
        verify(tmp_path / "m")
    with pytest.raises(CheckpointError, match="does not exist"):
        verify(tmp_path / "absent")


def test_the_command_checks_in_a_fresh_process(tmp_path, capsys, monkeypatch):
    """From another folder, so that the process has to find this package by itself."""
    folder = saved(tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    assert run(["verify", "m"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 + 2 * 4 + 2 * 4 and all(line.startswith("ok ") for line in lines)
    assert "transformers, bfloat16, 8 at a time, padded left" in lines[-1] and "allowed" in lines[-1]
    (folder / "model.safetensors").write_bytes(b"torn")
    with verified_in_copies():
        assert run(["verify", "m", "--json"]) == 4
    shown = capsys.readouterr()
    assert shown.out == "" and len(shown.err.splitlines()) == 1
    assert json.loads(shown.err)["what"].startswith("m/model.safetensors cannot be read, the file is damaged")


def test_a_failed_check_ends_the_command_with_code_4(tmp_path, capsys, monkeypatch):
    checks = [Check("first way", 0.0, 1e-5), Check("second way", 0.25, 1e-5)]
    monkeypatch.setattr("bradley.verify._in_fresh_process", lambda *_: checks)
    folder = saved(tmp_path / "m")
    assert run(["verify", str(folder), "--json"]) == 4
    shown = capsys.readouterr()
    assert [row["passed"] for row in json.loads(shown.out)["checks"]] == [True, False]
    assert "1 of 2 checks failed, the first of them second way (2.5e-01 apart, 1.0e-05 allowed)" in shown.err
    assert run(["verify", str(folder)]) == 4
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["ok", "FAILED"]
    assert failure(folder, checks[:1]) is None


def test_another_process_that_dies_is_an_error(tmp_path):
    folder = saved(tmp_path / "m")
    edit_rows(folder, lambda row: row.update(messages=[{"role": "ids", "content": "x"}]))
    died = pytest.raises(CheckpointError, match="in a fresh process ended with exit code 1: ValueError")
    with verified_in_copies(), died:
        verify(folder)


@pytest.mark.parametrize("path", ["/get_reward", "/classify", "/pooling"])
@pytest.mark.parametrize("template", ["tokenizer", "raw"])
def test_a_server_is_held_to_the_card(tmp_path, path, template):
    folder = saved(tmp_path / "m", template=template)
    with server(reward_server(folder, TOKENIZER)) as (url, seen):
        checks = verify(folder, url + path)
    assert [check.name for check in checks] == [f"{url}{path}, 1 at a time", f"{url}{path}, 8 at a time"]
    assert all(check.passed and check.largest == 0 for check in checks)
    assert [len(body.get("query") or body["input"]) for body in seen] == [1] * 8 + [8]
    if path == "/pooling":
        assert seen[0]["task"] == "classify"
    with server(reward_server(folder, TOKENIZER, lambda score: 1 / (1 + math.exp(-score)))) as (url, _):
        assert not any(check.passed for check in verify(folder, url + path))


def test_a_server_has_to_complete_the_text_of_a_policy(tmp_path):
    """Its template writes a newline after the end token, where the score is read; the text of a policy has none."""
    tokenizer = tokenizer_for(ROWS)
    tokenizer.chat_template = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>\\n' }}{% endfor %}"
    renderer = Renderer(tokenizer, Render(max_tokens=200), causal=True)
    save_model(tmp_path / "m", tiny_model(LLAMA, tokenizer), renderer, {}, draw(ROWS, renderer, 0))
    known = {tokenizer.decode(row["ids"]): row["score"] for row in read_card(tmp_path / "m")["parity"]["rows"]}
    asked = []

    def answer(complete):
        def rewards(path, body):
            asked.append(body)
            return {"rewards": [known.get(text + "\n" * (complete and text[-1] == ">"), 9.0) for text in body["query"]]}

        return rewards

    for complete, passed in ((True, [True] * 3), (False, [True, True, False])):
        with server(answer(complete)) as (url, _):
            checks = verify(tmp_path / "m", f"{url}/get_reward")
        assert [check.passed for check in checks] == passed
        assert checks[-1].name == f"{url}/get_reward, as a policy stops"
    assert set(asked[-1]) == {"query", "prompts", "labels"} and len(asked[-1]["labels"]) == 8
    pairs = zip(asked[-1]["query"], asked[-1]["prompts"], strict=True)
    assert all(query.startswith(prompt) and prompt.endswith("<|assistant|>") for query, prompt in pairs)


def test_a_server_that_answers_something_else(tmp_path, capsys):
    folder = saved(tmp_path / "m")
    answers = {
        "answered .*, wanted 1 scores": [{"scores": [1]}, {"rewards": []}, {"rewards": [None]}, [1.0]],
        "wanted 1 scores": [{"rewards": [math.nan]}],
        "refused with 500": [None],
        "did not answer in JSON": [b"<html>"],
    }
    for message, contents in answers.items():
        for content in contents:
            says = pytest.raises(CheckpointError, match=message)
            with server(lambda path, body, content=content: content) as (url, _), says:
                verify(folder, f"{url}/get_reward")
    unnamed = pytest.raises(CheckpointError, match="wanted the name of a model")
    with server(lambda path, body: {"data": []}) as (url, _), unnamed:
        verify(folder, f"{url}/classify")
    with pytest.raises(UserError, match="does not answer"):
        verify(folder, f"{url}/get_reward")  # it is gone
    for wrong in ("http://localhost:1/score", "file:///get_reward", "nonsense"):
        with pytest.raises(UserError, match="no address of a reward server"):
            verify(folder, wrong)
    assert run(["verify", str(folder), "--against", "http://localhost:1/score"]) == 2
    assert "error: --against http://localhost:1/score" in capsys.readouterr().err


def test_a_conversation_that_is_no_text_can_only_be_asked_by_token_ids(tmp_path):
    folder = saved(tmp_path / "m")
    unwritable = [TOKENIZER.convert_tokens_to_ids(letter) for letter in "the"]  # a text would be read as one token
    edit_rows(folder, lambda row: row.update(messages=[{"role": "ids", "content": ""}], ids=unwritable))
    with server(reward_server(folder, TOKENIZER)) as (url, _):
        with pytest.raises(CheckpointError, match="cannot be written as a text with its token ids"):
            verify(folder, f"{url}/get_reward")
        assert len(verify(folder, f"{url}/classify")) == 2
