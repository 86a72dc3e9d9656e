"""Folders in programs other than bradley: each way that a card or a guide shows gives the score of bradley."""

import json
from importlib.util import find_spec

import client_folders
import pytest
from client_trl import METHODS

pytestmark = [pytest.mark.nightly, pytest.mark.transformers]

EXPORTS = [f"{family} float32" for family in client_folders.FAMILIES]
MERGED = [f"{adapter} float32" for adapter in client_folders.ADAPTERS]
HALF = [f"{name} bfloat16" for name in client_folders.BFLOAT16]
WITH_TEMPLATE = [f"{family} run" for family in client_folders.FAMILIES if family not in ("gpt2", "bert")]
MOST = 1e-5
"""Largest difference in float32 of a way that is shown, as a share of the largest score; scores below 1 count as 1."""
FAR = 1e-2
"""Least difference of a way that the documentation warns of."""


def beyond(compared):
    """Ways that end in an error or are further than `MOST` from the score."""
    return {way: value for way, value in compared.items() if isinstance(value, str) or value > MOST}


@pytest.mark.parametrize("name", [*EXPORTS, *MERGED, *HALF])
@pytest.mark.parametrize("program", ["transformers4", "transformers5"])
def test_transformers_4_and_5(compared, program, name):
    found = compared(program, name)
    # With the special tokens that the tokenizer adds by itself a text has two first tokens.
    unshown = ("bfloat16", "pipeline", "left 8 without position ids")
    shown = {way: value for way, value in found.items() if way not in unshown}
    assert "pipeline without special tokens" in shown and any(way.endswith("right 8") for way in shown)
    if (program, name) == ("transformers4", "gemma2 float32"):
        shown.pop("pipeline without special tokens")  # the pipeline takes sdpa, which has no softcap there
    assert beyond(shown) == {}


@pytest.mark.parametrize("name", [*EXPORTS, *WITH_TEMPLATE, *MERGED, *HALF])
def test_sentence_transformers_by_messages_and_by_pairs(compared, name):
    found = compared("sentence-transformers", name)
    if name in HALF:
        # As the card of such an export says: the dtype of config.json is taken otherwise.
        assert found.pop("messages") > MOST and found.pop("pairs") > MOST
    assert len(found) == (2 if name in HALF else 4) and beyond(found) == {}


@pytest.mark.parametrize("name", [*EXPORTS, *MERGED])
def test_the_function_for_openrlhf_by_texts_as_a_policy_leaves_them(compared, folders, name):
    found = compared("card", name)
    assert set(found) == {"whole", "stopped", "cut off"} and beyond(found) == {}
    ending = json.loads((folders[name] / "bradley.json").read_text(encoding="utf-8"))["export"]["ending"]
    assert (ending["tail"] != ending["stop"]) == (name.split()[0] in client_folders.NEWLINE)


@pytest.mark.skipif(find_spec("trl") is None, reason="trl is not installed")
@pytest.mark.parametrize("name", ["llama float32", "qwen2 run", "gpt2 float32", "gemma2 float32", "bert float32"])
def test_rewards_of_trls_trainers(compared, name):
    ways = [f"{method} {way}" for method in METHODS for way in ("function", "function pairs", "name")]
    found = compared("trl", name, (*ways, "GRPO name pairs"))
    joined = found.pop("GRPO name pairs")
    assert list(found) == ways and beyond(found) == {}
    # Plain texts by the name of the folder are joined without the template, as the documentation says.
    assert joined > FAR


@pytest.mark.skipif(find_spec("trl") is None, reason="trl is not installed")
@pytest.mark.parametrize("name", HALF)
def test_rewards_of_trl_with_weights_in_bfloat16(compared, name):
    found = compared("trl", name, ("GRPO function", "GRPO name"))
    # The trainer computes in the dtype that config.json names.
    assert found["GRPO function"] < MOST < found["GRPO name"]


@pytest.mark.parametrize("kind", ["run", "adapter"])
@pytest.mark.parametrize("adapter", list(client_folders.ADAPTERS))
def test_peft_reads_an_adapter_from_another_working_directory(compared, adapter, kind):
    found = compared("peft", f"{adapter} {kind}")
    assert "size mismatch" in found.pop("AutoPeft as it is")
    assert "no padding token" in found.pop("AutoPeft with num_labels=1 8")
    # Bases are published in bfloat16.
    assert found.pop("PeftModel on a base in its own dtype") > MOST
    plain = found.pop("AutoModel with num_labels=1")
    # transformers leaves the row lengths of DoRA as drawn.
    assert (plain > FAR) if adapter == "dora" else (plain < MOST)
    assert len(found) == 4 and beyond(found) == {}


@pytest.mark.parametrize("name", [*EXPORTS, *MERGED])
def test_scores_of_the_rewardbench_command(compared, name):
    found = compared("rewardbench", name)
    if name.startswith("gemma3"):
        assert all("Unrecognized configuration class" in error for error in found.values())
    elif name.startswith("bert"):
        # The command takes a doubled first token off, and a doubled [SEP] stays.
        assert min(found.values()) > FAR
    else:
        if name.startswith("gpt2"):
            assert found.pop("8 at a time") > FAR  # padded on the left, without position ids
        assert beyond(found) == {}


@pytest.mark.parametrize("name", [*EXPORTS, *MERGED, *HALF])
def test_vllm_by_ids_by_texts_without_special_tokens_and_by_pairs(compared, name):
    found = compared("vllm", name)
    found.pop("texts")  # texts as they are may get a second first token
    assert set(found) == {"token ids", "texts without special tokens", "pairs"} and beyond(found) == {}
