"""Reward models of other trainers, without a card: their scores, what is assumed, and what is refused."""

import json
import logging

import pytest
import torch

import bradley
from bradley.cli.main import run
from bradley.common.signatures import said
from bradley.errors import CheckpointError, UserError
from bradley.model.folder.other_trainers import Assumed
from bradley.verify.rescore import rescore_foreign
from tests.copies import verified_in_copies
from tests.helpers import BERT, LLAMA
from tests.model.adapted import TOKENIZER, adapted, base_model, save
from tests.model.other_trainers import classifier, head_of, llama_factory, open_rlhf, own_scores, trl_value_head

pytestmark = pytest.mark.transformers
CHATS = [
    [{"role": "user", "content": "the river"}, {"role": "assistant", "content": "runs under a bridge"}],
    [{"role": "user", "content": "birds"}, {"role": "assistant", "content": ""}],
    [
        {"role": "user", "content": "a stone"},
        {"role": "assistant", "content": "tall trees"},
        {"role": "user", "content": "and?"},
        {"role": "assistant", "content": "nobody counts them\n"},
    ],
]
NEWLINE = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Template that ends a turn with the end token and a line break, as ChatML does."""


@pytest.fixture(autouse=True)
def nothing_said():
    said.clear()


def template_of(folder, text):
    """A folder with another chat template."""
    (folder / "chat_template.jinja").write_text(text)
    return folder


def config_of(folder, **values):
    """A folder with other values in its config."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))
    return folder


def ids_of(folder, chats=CHATS):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"] for turns in chats]


def by_transformers(folder, rows):
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return [network(torch.tensor([row])).logits.item() for row in rows]


@pytest.mark.parametrize("make", [llama_factory, trl_value_head])
def test_a_value_head_on_a_language_model_gives_its_scores_bias_included(tmp_path, make):
    folder = make(tmp_path / "m")
    model = bradley.RewardModel.from_pretrained(folder)
    expected = own_scores(folder, bias=True, rows=ids_of(folder)).tolist()
    assert model.score(CHATS) == pytest.approx(expected, abs=1e-5)
    assert len(set(expected)) == 3 and abs(head_of()[1].item()) > 0.01


def test_a_classifier_gives_its_scores_and_says_what_is_assumed(tmp_path, caplog):
    folder = classifier(tmp_path / "m")
    (folder / "training_args.bin").write_bytes(b"a pickle that nobody opens")
    with caplog.at_level(logging.WARNING, "bradley"):
        model = bradley.RewardModel.from_pretrained(folder)
    assert model.score(CHATS) == pytest.approx(by_transformers(folder, ids_of(folder)), abs=1e-5)
    (line,) = caplog.messages
    for part in (
        "has no bradley.json, so it is assumed: template tokenizer, found in the tokenizer",
        "head score, in the weights",
        "pooled at the last token that is no pad token",
        "pad token '<|pad|>', of the tokenizer",
        "at most 512 tokens",
        "float32",
    ):
        assert part in line


def test_a_pad_token_equal_to_the_end_token_moves_the_pooled_token_as_in_transformers(tmp_path):
    """transformers then reads the token before the end token, and so did the training of that trainer."""
    folder = config_of(classifier(tmp_path / "m"), pad_token_id=TOKENIZER.eos_token_id)
    rows = ids_of(folder)
    expected = by_transformers(folder, rows)
    assert expected == pytest.approx(own_scores(folder, rows=[row[:-1] for row in rows]).tolist(), abs=1e-5)
    assert bradley.RewardModel.from_pretrained(folder).score(CHATS) == pytest.approx(expected, abs=1e-5)
    other = bradley.RewardModel.from_pretrained(folder, pad="<|pad|>").score(CHATS)
    assert other == pytest.approx(own_scores(folder, rows=rows).tolist(), abs=1e-5)


def test_the_last_end_token_is_pooled_on_request(tmp_path):
    folder = template_of(open_rlhf(tmp_path / "m"), NEWLINE)
    rows = ids_of(folder)
    last = bradley.RewardModel.from_pretrained(folder).score(CHATS)
    end = bradley.RewardModel.from_pretrained(folder, pooling="end").score(CHATS)
    assert last == pytest.approx(own_scores(folder, rows=rows).tolist(), abs=1e-5)
    assert end == pytest.approx(own_scores(folder, rows=[row[:-1] for row in rows]).tolist(), abs=1e-5)
    assert all(row[-2] == TOKENIZER.eos_token_id for row in rows)


@pytest.mark.parametrize("make", [classifier, llama_factory, open_rlhf])
def test_verify_holds_bradley_to_plain_transformers(tmp_path, make):
    folder = template_of(make(tmp_path / "m"), NEWLINE)
    for assumed in (Assumed(), Assumed(template="raw", pooling="end", pad="<|pad|>")):
        checks = list(rescore_foreign(folder, False, assumed))
        assert len(checks) == 18 and [check for check in checks if not check.passed] == []
        assert {check.name.split(",")[0] for check in checks} == {"token ids", "bradley", "transformers"}


def test_the_commands_score_and_verify(tmp_path, capsys):
    folder = llama_factory(tmp_path / "m")
    (folder / "chat_template.jinja").unlink()
    given, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    given.write_text("".join(json.dumps({"messages": turns}) + "\n" for turns in CHATS))
    command = ["score", str(folder), str(given), "-o", str(output), "--device", "cpu", "--quiet"]
    assert run(command) == 4
    assert "no chat template, so how its texts were rendered is unknown" in capsys.readouterr().err
    with verified_in_copies():
        assert run(["verify", str(folder)]) == 4
    assert "--template raw" in capsys.readouterr().err
    assert run([*command, "--template", "simple_chat"]) == 0
    scored = [json.loads(line)["score"] for line in output.read_text().splitlines()]
    assert scored == bradley.RewardModel.from_pretrained(folder, template="simple_chat").score(CHATS)
    capsys.readouterr()
    with verified_in_copies():
        assert run(["verify", str(folder), "--template", "simple_chat"]) == 0
    shown = capsys.readouterr()
    assert all(line.startswith("ok") for line in shown.out.splitlines()) and len(shown.out.splitlines()) == 18


def test_an_adapter_of_another_trainer_is_scored_on_its_base(tmp_path):
    pytest.importorskip("peft")
    base = base_model(tmp_path / "base", LLAMA)
    folder = save(tmp_path / "m", adapted(base))
    expected = bradley.RewardModel.from_pretrained(folder).score(CHATS)
    for name in ("bradley.json", "bradley_template.jinja"):
        (folder / name).unlink()
    assert bradley.RewardModel.from_pretrained(folder).score(CHATS) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(UserError, match="holds an adapter of another trainer"):
        list(rescore_foreign(folder, False, Assumed()))


def test_what_cannot_be_assumed_is_refused(tmp_path):
    load = bradley.RewardModel.from_pretrained
    with pytest.raises(CheckpointError, match=r"has no trained score head \(score\.weight missing\); it holds lm_head"):
        load(base_model(tmp_path / "lm", LLAMA))
    folder = classifier(tmp_path / "m")
    with pytest.raises(UserError, match="pooling = 'mean' is unknown"):
        load(folder, pooling="mean")
    with pytest.raises(UserError, match="pad = 'nothing' is no token"):
        load(folder, pad="nothing")
    with pytest.raises(CheckpointError, match="has 3 labels"):
        load(config_of(classifier(tmp_path / "three"), id2label={"0": "a", "1": "b", "2": "c"}, num_labels=3))
    own = save(tmp_path / "own", adapted(base_model(tmp_path / "base", LLAMA), kind="none"))
    with pytest.raises(UserError, match=r"template is given, and .*bradley\.json says how"):
        load(own, template="raw")
    assert run(["verify", str(own), "--pad", "<|pad|>"]) == 2
    assert run(["verify", str(folder), "--against", "http://localhost:1/classify"]) == 2
    (own / "bradley.json").unlink()
    with pytest.raises(CheckpointError, match=r"holds no bradley\.json"):
        load(own)


def test_an_encoder_keeps_its_own_head(tmp_path):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    values = {key: value for key, value in BERT.items() if key != "model_type"}
    config = AutoConfig.for_model("bert", vocab_size=len(TOKENIZER), num_labels=1, **values)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path / "m")
    TOKENIZER.save_pretrained(tmp_path / "m")
    found = bradley.RewardModel.from_pretrained(tmp_path / "m").score(CHATS)
    assert found == pytest.approx(by_transformers(tmp_path / "m", ids_of(tmp_path / "m")), abs=1e-5)
