"""`bradley export`: whoever loads the folder gets the scores that were trained, or there is no folder."""

import json
import os
import re
import signal
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from bradley.cli.main import run
from bradley.errors import CheckpointError, DiskError, RunFolderError, UserError
from bradley.export import folder as module
from bradley.export.folder import cast_body, export_model, find_model
from bradley.model.folder.card import hash_files, read_card, write_card
from bradley.model.folder.save_load import load_model
from bradley.model.folder.tolerance import Check
from bradley.scoring.reward_model import score_comparisons
from bradley.verify import verify
from tests.export.folders import ROWS, TOKENIZER, saved
from tests.helpers import BERT, GPT2, LLAMA, tiny_model
from tests.verify.reward_server import reward_server, server

pytestmark = pytest.mark.transformers


@pytest.fixture
def unproven(monkeypatch):
    """Exports without the fresh process, which takes longer than all the rest."""
    monkeypatch.setattr(module, "verify", lambda folder, **_: [Check("plain", 0.0, 1e-5)])


def plain_scores(folder, rows, dtype=torch.float32):
    """Scores by transformers alone, in one padded batch."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype).eval()
    turns = [
        [{"role": m.role, "content": m.content} for m in (*row.prompt, *response.messages)]
        for row in rows
        for response in row.responses
    ]
    batch = tokenizer.apply_chat_template(turns, padding=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return logits[:, 0].tolist()


def flat(rows):
    return [score for row in rows for score in row.scores]


@pytest.mark.parametrize(
    ("config", "render"),
    [
        (LLAMA, {}),
        (LLAMA, {"system_prompt": "Be kind.", "eos": "always"}),
        (GPT2, {"template": "raw"}),
        (LLAMA, {"template": "zephyr"}),
        (BERT, {"template": "raw"}),
    ],
    ids=["llama", "system prompt", "gpt2 raw", "zephyr", "bert raw"],
)
def test_transformers_and_bradley_score_the_folder_as_in_training(tmp_path, unproven, config, render):
    saved(tmp_path / "m", config, **render)
    exported = export_model(tmp_path / "m", tmp_path / "e")
    assert exported.folder == tmp_path / "e" and exported.largest_difference <= exported.tolerance
    expected = flat(score_comparisons(tmp_path / "m", ROWS))
    assert flat(score_comparisons(tmp_path / "e", ROWS)) == expected
    assert plain_scores(tmp_path / "e", ROWS) == pytest.approx(expected, abs=3e-6)
    assert max(expected) - min(expected) > 1e-5  # else there would be nothing to tell apart


NEWLINE = "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>\\n' }}{% endfor %}"


def card_names(folder, monkeypatch, sign):
    """Names of a code block in the card that has `sign`."""
    monkeypatch.chdir(folder.parent)
    blocks = re.findall(r"^```python\n(.*?)^```", (folder / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    names = {}
    exec(next(block for block in blocks if sign in block), names)
    return names


@pytest.mark.parametrize(
    ("config", "chat", "render", "tail", "stop"),
    [
        (LLAMA, NEWLINE, {}, "<|end|>\n", "<|end|>"),
        (LLAMA, None, {}, "<|end|>", "<|end|>"),
        (GPT2, None, {"template": "raw"}, "<|end|>", "<|end|>"),
        (LLAMA, NEWLINE, {"eos": "always"}, "<|end|>\n<|end|>", "<|end|>\n<|end|>"),
    ],
    ids=["newline after the end token", "end token", "raw", "end token added"],
)
def test_the_function_of_the_card_completes_the_text_of_a_policy(
    tmp_path, unproven, monkeypatch, config, chat, render, tail, stop
):
    """A policy stops at its end token, and the score is read at the last token that the template writes."""
    saved(tmp_path / "m", config, tokenizer=load_copy(chat or TOKENIZER.chat_template), **render)
    export_model(tmp_path / "m", tmp_path / "e")
    assert read_card(tmp_path / "e")["export"]["ending"] == {"tail": tail, "stop": stop}
    names = card_names(tmp_path / "e", monkeypatch, "def reward_func")
    expected = flat(score_comparisons(tmp_path / "m", ROWS))
    turns = [
        [{"role": m.role, "content": m.content} for m in (*row.prompt, *response.messages)]
        for row in ROWS
        for response in row.responses
    ]
    whole = names["tokenizer"].apply_chat_template(turns, tokenize=False)
    assert all(text.endswith(tail) for text in whole)
    for cut in (tail, tail.removeprefix(stop), ""):
        queries = [text.removesuffix(cut) for text in whole]
        assert names["reward_func"](queries, None, None)["rewards"].tolist() == pytest.approx(expected, abs=3e-6), cut
    assert max(expected) - min(expected) > 1e-5


def test_a_server_of_an_export_is_asked_by_token_ids_and_by_messages(tmp_path, unproven):
    """vLLM renders messages by the template of the folder; the template holds the settings of training."""
    saved(tmp_path / "m", system_prompt="Be kind.")
    export_model(tmp_path / "m", tmp_path / "e")
    exported = AutoTokenizer.from_pretrained(tmp_path / "e")
    for tokenizer, passed in ((exported, [True] * 3), (TOKENIZER, [True, True, False])):
        rewards = reward_server(tmp_path / "e", tokenizer, missing=9.0)
        with server(rewards) as (url, seen):
            checks = verify(tmp_path / "e", f"{url}/classify")
        assert [check.passed for check in checks] == passed and checks[-1].name.endswith(", as messages")
    assert set(seen[-1]) == {"model", "messages", "use_activation"}


def test_a_bfloat16_folder_has_a_float32_head_and_states_how_far_it_is_from_training(tmp_path, unproven):
    saved(tmp_path / "m")
    exported = export_model(tmp_path / "m", tmp_path / "e", dtype="bfloat16")
    kinds = {name: tensor.dtype for name, tensor in load_file(tmp_path / "e" / "model.safetensors").items()}
    assert kinds.pop("score.weight") == torch.float32 and set(kinds.values()) == {torch.bfloat16}
    assert torch.equal(
        load_file(tmp_path / "e" / "model.safetensors")["score.weight"],
        load_file(tmp_path / "m" / "model.safetensors")["score.weight"],
    )
    card = read_card(tmp_path / "e")
    assert 0 < card["export"]["largest_difference"] == exported.largest_difference <= card["export"]["tolerance"]
    old, new = (read_card(tmp_path / name)["parity"]["rows"] for name in "me")
    assert [row["ids"] for row in old] == [row["ids"] for row in new]
    differences = [abs(a["score"] - b["score"]) for a, b in zip(old, new, strict=True)]
    assert max(differences) == pytest.approx(exported.largest_difference, abs=1e-6)
    before, after = flat(score_comparisons(tmp_path / "m", ROWS)), flat(score_comparisons(tmp_path / "e", ROWS))
    assert after != before and after == pytest.approx(before, abs=exported.tolerance)
    assert plain_scores(tmp_path / "e", ROWS) == pytest.approx(after, abs=3e-6)
    assert json.loads((tmp_path / "e" / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_card_is_carried_over_and_names_the_new_weights(tmp_path, unproven):
    saved(tmp_path / "m")
    export_model(tmp_path / "m", tmp_path / "e", dtype="bfloat16")
    old, new = read_card(tmp_path / "m"), read_card(tmp_path / "e")
    changed = {key for key in new if new[key] != old.get(key)}
    assert changed == {"export", "parity", "weights_sha256", "files_sha256", "card_sha256"} and set(old) <= set(new)
    assert new["weights_sha256"] == hash_files(tmp_path / "e")["weights_sha256"] != old["weights_sha256"]
    assert new["export"]["dtype"] == "bfloat16" and new["export"]["merged"] is False
    again = export_model(tmp_path / "e", tmp_path / "twice")  # an export is a model folder too
    assert again.largest_difference == 0


def test_the_config_is_for_servers_and_padding_is_on_the_right(tmp_path, unproven):
    saved(tmp_path / "m")
    tokenizer = tmp_path / "m" / "tokenizer_config.json"
    tokenizer.write_text(json.dumps({**json.loads(tokenizer.read_text()), "padding_side": "left"}))
    export_model(tmp_path / "m", tmp_path / "e", accept_edits=True)
    config = json.loads((tmp_path / "e" / "config.json").read_text())
    assert config["num_labels"] == 1 and config["problem_type"] == "regression"
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"]
    assert config["pad_token_id"] == TOKENIZER.pad_token_id != config["eos_token_id"]
    assert json.loads((tmp_path / "e" / "tokenizer_config.json").read_text())["padding_side"] == "right"
    assert "left" not in (tmp_path / "e" / "tokenizer_config.json").read_text().lower()


@pytest.mark.parametrize(("umask", "file", "directory"), [(0o022, 0o644, 0o755), (0o027, 0o640, 0o750)])
def test_others_may_read_what_the_umask_lets_them(tmp_path, unproven, umask, file, directory):
    saved(tmp_path / "m")
    for path in (tmp_path / "m").iterdir():
        path.chmod(0o600)
    before = os.umask(umask)
    try:
        export_model(tmp_path / "m", tmp_path / "e")
    finally:
        os.umask(before)
    rights = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "e").rglob("*") if path.is_file()}
    assert rights == {file} and stat.S_IMODE((tmp_path / "e").stat().st_mode) == directory
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "m").iterdir()} == {0o600}


def test_a_run_stands_for_its_model(tmp_path):
    saved(tmp_path / "run" / "model")
    assert find_model(tmp_path / "run") == (tmp_path / "run" / "model", None)  # no run: it has no metrics
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    assert find_model(tmp_path / "run") == find_model(tmp_path / "run" / "model")
    assert find_model(tmp_path / "run") == (tmp_path / "run" / "model", tmp_path / "run")
    saved(tmp_path / "run" / "checkpoints" / "step-000003")
    assert find_model(tmp_path / "run" / "checkpoints" / "step-000003")[1] is None


def refused(folder, kind, match, **options):
    """Assert that an export is refused, and that nothing is left of it."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(kind, match=match) as caught:
        export_model(folder / "m", folder / "e", **options)
    assert sorted(folder.rglob("*")) == before
    assert caught.value.hint and "\n" not in caught.value.message
    return caught.value


def test_bad_requests_are_refused(tmp_path):
    refused(tmp_path, CheckpointError, r"m holds no model: there is neither bradley\.json nor model/bradley\.json")
    saved(tmp_path / "m")
    refused(tmp_path, UserError, "the dtype 'float16' is unknown, wanted float32 or bfloat16", dtype="float16")
    refused(tmp_path, UserError, "adapters are float32 always", dtype="bfloat16", adapter=True)
    refused(tmp_path, UserError, "--adapter is given, and .*m has no adapter", adapter=True)
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "mine.txt").write_text("mine")
    assert refused(tmp_path, RunFolderError, "e already holds files").exit_code == 6
    (tmp_path / "e" / "mine.txt").unlink()
    (tmp_path / "e").rmdir()
    (tmp_path / "e").write_text("a file")
    refused(tmp_path, RunFolderError, "e is a file, and a folder is wanted")


def test_an_empty_folder_may_be_filled(tmp_path, unproven):
    saved(tmp_path / "m")
    (tmp_path / "e").mkdir()
    assert export_model(tmp_path / "m", tmp_path / "e").folder == tmp_path / "e"
    assert load_model(tmp_path / "e") and not list(tmp_path.glob(".tmp*"))


def test_a_link_is_refused_and_what_it_leads_to_stays(tmp_path):
    saved(tmp_path / "m")
    (tmp_path / "far").mkdir()
    (tmp_path / "e").symlink_to(tmp_path / "far")
    assert refused(tmp_path, RunFolderError, "e is a link to").exit_code == 6
    (tmp_path / "e").unlink()
    (tmp_path / "e").symlink_to(tmp_path / "nothing")
    refused(tmp_path, RunFolderError, "e is a link to")


def test_an_old_folder_of_somebody_else_beside_an_export_stays(tmp_path, unproven):
    saved(tmp_path / "m")
    (tmp_path / ".old-e").mkdir()
    (tmp_path / ".old-e" / "thesis.txt").write_text("mine")
    export_model(tmp_path / "m", tmp_path / "e")
    assert (tmp_path / ".old-e" / "thesis.txt").read_text() == "mine" and (tmp_path / "e" / "bradley.json").exists()


def test_the_next_export_removes_what_a_killed_one_left(tmp_path, unproven, monkeypatch):
    saved(tmp_path / "m")
    reached, go = os.pipe()
    child = os.fork()
    if child == 0:
        module.verify = lambda folder, **_: (os.write(go, b"x"), signal.pause())
        export_model(tmp_path / "m", tmp_path / "e")
    os.read(reached, 1)
    with pytest.raises(RunFolderError, match=f"is being written by process {child} on"):
        export_model(tmp_path / "m", tmp_path / "e")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(list(tmp_path.glob(".tmp-e-*"))) == 1
    export_model(tmp_path / "m", tmp_path / "e")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e", "m"]


@pytest.mark.parametrize("place", [".", "../here"])
def test_the_present_folder_may_be_filled_if_it_is_empty(place, tmp_path, unproven, monkeypatch):
    saved(tmp_path / "m")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export_model(tmp_path / "m", place)
    assert load_model(tmp_path / "here")
    with pytest.raises(UserError, match="the output is empty"):
        export_model(tmp_path / "m", "")


def test_models_that_cannot_be_proven_are_refused(tmp_path):
    saved(tmp_path / "m")
    card = read_card(tmp_path / "m")
    write_card(tmp_path / "m", {key: value for key, value in card.items() if key != "parity"})
    refused(tmp_path, CheckpointError, "has no parity sample")
    rows = [{**row, "ids": [*row["ids"][:-1], 7]} for row in card["parity"]["rows"]]
    write_card(tmp_path / "m", {**card, "parity": {**card["parity"], "rows": rows}})
    refused(tmp_path, CheckpointError, "as other tokens than training did")
    rows = [{**row, "score": row["score"] + 0.1, "float32": row["score"] + 0.1} for row in card["parity"]["rows"]]
    write_card(tmp_path / "m", {**card, "parity": {**card["parity"], "rows": rows}})
    refused(tmp_path, CheckpointError, r"score the parity sample up to 1\.0e-01 from training")
    tensors = load_file(tmp_path / "m" / "model.safetensors")
    del tensors["score.weight"]
    save_file(tensors, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    refused(tmp_path, CheckpointError, "no trained score head")


def test_a_template_that_fails_on_the_messages_or_writes_the_date_is_refused(tmp_path):
    strict = "{% if messages[0].role == 'referee' %}{{ raise_exception('Who?') }}{% endif %}" + TOKENIZER.chat_template
    clock = "{% set clock = strftime_now %}{{ clock('%Y') }}" + strict
    saved(tmp_path / "m", tokenizer=load_copy(clock), date="2024-07-26")
    assert "--render.template FILE" in refused(tmp_path, UserError, "writes today's date").hint
    card = read_card(tmp_path / "m")
    rows = [{**row, "messages": [{**row["messages"][0], "role": "referee"}]} for row in card["parity"]["rows"]]
    write_card(tmp_path / "m", {**card, "parity": {**card["parity"], "rows": rows}})
    refused(tmp_path, CheckpointError, "the chat template refuses a conversation with the roles referee: Who")


def load_copy(chat):
    import copy

    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.chat_template = chat
    return tokenizer


def test_a_failed_proof_leaves_nothing_behind(tmp_path, monkeypatch):
    saved(tmp_path / "m")
    checks = [Check("plain float32", 0.0, 1e-5), Check("left padding", 0.3, 1e-5)]
    monkeypatch.setattr(module, "verify", lambda folder, **_: checks)
    refused(tmp_path, CheckpointError, r"e does not give the scores .* left padding \(3\.0e-01 apart, 1\.0e-05 allowed")
    checks[1] = Check("left padding", float("nan"), 1e-5)
    refused(tmp_path, CheckpointError, "left padding .nan apart")

    def full(folder, **_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "verify", full)
    refused(tmp_path, DiskError, "No space left")


def test_the_command_says_what_it_wrote_and_complains_in_one_line(tmp_path, unproven, capsys):
    saved(tmp_path / "m")
    assert run(["export", str(tmp_path / "m"), str(tmp_path / "e")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["exported", str(tmp_path / "e")] and lines[-1].startswith("verified     1 checks in a")
    assert run(["export", str(tmp_path / "m"), str(tmp_path / "j"), "--dtype", "bfloat16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["folder"] == str(tmp_path / "j") and found["dtype"] == "bfloat16"
    assert found["checks"] == [{"name": "plain", "largest": 0.0, "allowed": 1e-5, "passed": True}]
    for args, code, words in [
        ([str(tmp_path / "m"), str(tmp_path / "e")], 6, "already holds files"),
        ([str(tmp_path / "absent"), str(tmp_path / "x")], 4, "holds no model"),
        ([str(tmp_path / "m"), str(tmp_path / "x"), "--dtype", "float16"], 2, "float16"),
        ([str(tmp_path / "m"), str(tmp_path / "x"), "--private"], 2, "--private has no effect without --push"),
        ([str(tmp_path / "m"), str(tmp_path / "x"), "--push", "nobody"], 2, "wanted owner/name"),
    ]:
        assert run(["export", *args]) == code
        out, err = capsys.readouterr()
        first, second = err.splitlines()
        assert not out and first.startswith("error: ") and words in first and second.startswith("hint: ")
    assert not (tmp_path / "x").exists()


def test_a_weight_beyond_the_largest_number_of_the_dtype_is_said():
    network = tiny_model(LLAMA, TOKENIZER).network
    weight = next(weight for name, weight in network.named_parameters() if name.endswith("q_proj.weight"))
    weight.data[0, 0] = torch.finfo(torch.float32).max
    with pytest.raises(CheckpointError, match=r"q_proj\.weight has numbers beyond 3\.39e\+38"):
        cast_body(network, torch.bfloat16)
    cast_body(tiny_model(LLAMA, TOKENIZER).network, torch.bfloat16)


def test_an_export_into_its_own_input_is_refused(tmp_path, capsys):
    saved(tmp_path / "m", LLAMA)
    for place in ("m/sub", "m/a/b"):
        assert run(["export", str(tmp_path / "m"), str(tmp_path / place)]) == 6
        assert "lies in" in capsys.readouterr().err and not (tmp_path / place).exists()
