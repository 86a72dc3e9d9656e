"""The model card: figures as they were measured, nothing of this machine, and front matter that YAML reads."""

import re

import pytest
import yaml

from bradley.export.model_card import model_card
from bradley.runs.run import read_run
from tests.report.runs import make_run

EXPORT = {
    "bradley": "0.1.0",
    "dtype": "float32",
    "merged": False,
    "largest_difference": 1e-7,
    "tolerance": 1e-4,
    "ending": {"tail": "</s>", "stop": "</s>"},
}
CARD = {
    "render": {"max_tokens": 512, "control_tokens": "split"},
    "pooling": "last token, by stored index",
    "compute": "float32",
    "export": EXPORT,
}


def run_folder(folder):
    make_run(folder / "run")
    return folder / "run"


def front_of(text):
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


def tables(text):
    """Every table as rows of cells."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def test_a_card_without_a_run_says_how_to_use_the_model():
    text = model_card(CARD, None, "my-model", [])
    assert front_of(text) == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["reward-model", "bradley"],
    }
    assert 'folder = "my-model"' in text and "snapshot_download" not in text
    for head in ("# my-model", "### bradley", "### transformers", "### TRL", "### vLLM", "### OpenRLHF"):
        assert f"\n{head}\n" in text
    assert "## Results" not in text and "## Data" not in text and "None" not in text and "\n\n\n\n" not in text
    assert "512 tokens" in text and "read as plain text in training" in text


def test_a_card_on_the_hub_loads_from_there():
    text = model_card(CARD, None, "ada/rm", [])
    assert 'folder = snapshot_download("ada/rm")' in text and "\n# rm\n" in text and "vllm serve ada/rm" in text


def test_figures_and_counts_are_those_of_the_run(tmp_path):
    run = read_run(run_folder(tmp_path))
    text = model_card(CARD, run, "rm", ["figures/training.png"])
    assert "![training](figures/training.png)" in text
    rows = {row[0]: row[1:] for row in tables(text)}
    for name, figures in run.results["sets"].items():
        accuracy = figures["accuracy"]
        value, low, high = (f"{100 * accuracy[key]:.1f}" for key in ("value", "low", "high"))
        assert rows[name][0] == f"{value} % [{low}, {high}]"
        assert rows[name][3] == f"{accuracy['n']:,} of {accuracy['clusters']:,} prompts"


def test_data_are_told_with_counts_and_what_was_left_out():
    split = {
        "left_out": {"empty": 1200, "too long": 3},
        "sources": [{"path": "a|b.jsonl"}, {"path": "hub:lab/x?split=s"}],
    }
    split |= {"comparisons": 12345, "judgments": 2, "prompts": 3}
    rest = {**split, "sources": [], "left_out": {}}
    text = model_card({**CARD, "data": {"splits": {"train": split, "valid": rest}}}, None, "rm", [])
    assert ["train", r"a\|b.jsonl, hub:lab/x?split=s", "12,345", "2", "3", "1,200 empty, 3 too long"] in tables(text)
    assert ["valid", "split off", "12,345", "2", "3", "none"] in tables(text)


def test_without_a_run_the_card_has_the_figures_of_its_checkpoint():
    figures = {"accuracy": 0.715, "low": 0.68, "high": 0.75, "nll": 0.55, "judgments": 1200}
    nothing = {"accuracy": None, "low": None, "high": None, "nll": None, "judgments": 0}
    text = model_card({**CARD, "step": 40, "evaluation": {"valid": figures, "other": nothing}}, None, "rm", [])
    assert ["valid", "71.5 % [68.0, 75.0]", "-", "0.5500", "1,200"] in tables(text)
    assert ["other", "-", "-", "-", "0"] in tables(text)
    assert "Step 40. Accuracy is" in text


def test_a_base_on_the_hub_is_named():
    def front(base):
        return front_of(model_card({**CARD, "config": {"seed": 1, "model": {"path": base}}}, None, "rm", []))

    assert front("openai-community/gpt2")["base_model"] == "openai-community/gpt2"
    assert front("openai-community/gpt2")["base_model_relation"] == "finetune"
    for base in ("gpt2-of-mine", "package:some_package", "", "tests/report"):
        assert "base_model" not in front(base)


def test_an_adapter_is_loaded_with_peft_onto_its_base():
    text = model_card({**CARD, "adapter": {"base": "openai-community/gpt2"}}, None, "rm", [])
    assert front_of(text)["library_name"] == "peft"
    assert 'base = "openai-community/gpt2"' in text and "PeftModel.from_pretrained(model, folder)" in text
    assert "vLLM" not in text.partition("## How")[0].partition("## Use it")[2]


def test_a_bfloat16_card_states_its_tolerance():
    export = {**EXPORT, "dtype": "bfloat16", "largest_difference": 0.0123, "tolerance": 0.05}
    text = model_card({**CARD, "export": export}, None, "rm", [])
    assert "up to\n  0.012 from those in training, 0.05 allowed" in text
    assert "allowed" not in model_card(CARD, None, "rm", [])


def test_every_loader_of_a_bfloat16_card_asks_for_float32():
    text = model_card({**CARD, "export": {**EXPORT, "dtype": "bfloat16"}}, None, "rm", [])
    blocks = [block.partition("```")[0] for block in text.split("```")[1::2]]
    # bradley computes in the dtype of training by itself, and TRL is given the function of bradley.
    loaders = [block for block in blocks if not re.search("RewardModel|curl|bradley verify", block)]
    assert len(loaders) == 6 and all("float32" in block for block in loaders)


@pytest.mark.parametrize("card", [CARD, {**CARD, "adapter": {"base": "a/b"}}])
def test_every_python_block_compiles(card):
    for place in ("rm", "ada/rm"):
        blocks = model_card(card, None, place, []).split("```python\n")[1:]
        assert len(blocks) >= 3
        for block in blocks:
            compile(block.partition("```")[0], "card", "exec")


def test_a_card_says_what_other_programs_do_to_this_model():
    chatml = {**EXPORT, "ending": {"tail": "<|im_end|>\n", "stop": "<|im_end|>"}}
    text = model_card({**CARD, "export": chatml}, None, "rm", [], "qwen2")
    assert 'TAIL, STOP = "<|im_end|>\\n", "<|im_end|>"' in text and 'policy stop at `"<|im_end|>"`' in text
    assert "SGLang builds the head of Qwen with a bias" in text and "NeMo-RL renders turn by turn" in text
    assert "LoRA" not in text and "PeftModel" not in text
    plain = model_card(CARD, None, "rm", [], "llama")
    assert "SGLang" not in plain and "policy stop at" not in plain
    gemma = model_card(CARD, None, "rm", [], "gemma3_text")
    options = """--max-model-len 512 --convert classify --hf-overrides '{"architectures": ["Gemma3ForCausalLM"]}'\n"""
    assert options in gemma
    assert "--hf-overrides" not in plain
    adapter = model_card({**CARD, "adapter": {"base": "owner/base"}}, None, "rm", [], "qwen2")
    assert "row lengths of DoRA as drawn" in " ".join(adapter.split())
    for name in ("SGLang", "sentence_transformers", "vLLM", "pipeline("):
        assert name not in adapter
