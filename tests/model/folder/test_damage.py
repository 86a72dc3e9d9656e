"""Generated damage to a model folder: an error in one line or a right load, in bounded time, and no traceback."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.config import Model, Render
from bradley.data.render import Renderer
from bradley.data.tokenizer import load_tokenizer
from bradley.errors import BradleyError, CheckpointError, UserError
from bradley.model.build import build_model
from bradley.model.folder.card import read_card, write_card
from bradley.model.folder.parity import draw
from bradley.model.folder.save_load import load_model, save_model
from bradley.verify.plain import Folder, plain_network, plain_tokenizer
from tests.helpers import LLAMA, comparisons, tiny_model, tokenizer_for
from tests.model.folder.damage import KINDS, damage, keys

pytestmark = pytest.mark.transformers

ROWS = comparisons(6)
TOKENIZER = tokenizer_for(ROWS)
FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "bradley.json")
NOT_IN_A_SAVED_CONFIG = {
    "attn_implementation": ["flash_attention_2", "kernels-community/flash-attn2", 7, {"": "x"}, ["a"]],
    "_attn_implementation": ["owner/kernel:function", {"": 1}],
    "experts_implementation": ["owner/kernel", 1],
    "use_kernels": [True, "owner/kernel"],
    "kernel_config": [{"RMSNorm": "owner/kernel:RMSNorm"}],
    "auto_map": [{"AutoModelForSequenceClassification": "owner/name--code.Model"}, "x"],
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good") / "model"
    renderer = Renderer(TOKENIZER, Render(max_tokens=64), causal=True)
    save_model(folder, tiny_model(LLAMA, TOKENIZER), renderer, {}, draw(ROWS, renderer, 0))
    return folder


@pytest.fixture
def copy(good, tmp_path):
    shutil.copytree(good, tmp_path / "model")
    return tmp_path / "model"


def as_base(folder):
    """Open a folder as a base model, as a run does."""
    build_model(Model(path=str(folder)), load_tokenizer(str(folder)), 0, CPU)


def changed(folder, name, **values):
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**content, **values}))


def said(error):
    assert error.exit_code in (2, 4) and "\n" not in error.message and len(error.message) < 1500
    return error.message


def places(good):
    return [(name, path) for name in FILES for path in keys(json.loads((good / name).read_text()))]


@settings(derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_value_of_another_kind_anywhere_is_an_error_or_no_matter(good, tmp_path_factory, data):
    name, path = data.draw(st.sampled_from(places(good)))
    folder = tmp_path_factory.mktemp("damaged") / "model"
    shutil.copytree(good, folder)
    damage(folder / name, path, data.draw(st.sampled_from(sorted(KINDS))))
    for load in (lambda: load_model(folder, accept_edits=True), lambda: as_base(folder)):
        try:
            load()
        except BradleyError as error:
            said(error)
        # As a base model the folder is one of another program.
        (folder / "bradley.json").unlink(missing_ok=True)


@pytest.mark.parametrize("key", ["sliding_window", "layer_types", "num_labels", "id2label", "quantization_config"])
@pytest.mark.parametrize("kind", KINDS)
def test_settings_that_a_saved_config_lacks(copy, key, kind):
    changed(copy, "config.json", **{key: KINDS[kind]})
    (copy / "bradley.json").unlink()
    try:
        as_base(copy)
    except BradleyError as error:
        said(error)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 2**63 - 1),
        ("num_hidden_layers", 10**6),
        ("vocab_size", 10**12),
        ("hidden_size", 2**40),
        ("intermediate_size", 10**12),
        ("num_attention_heads", 0),
        ("max_position_embeddings", 2**63 - 1),
        ("num_labels", 10**12),
        ("num_local_experts", 10**12),
        ("text_config", {"num_hidden_layers": 2**62}),
        ("per_layer_config", {"0": {"num_experts": 2**62}}),
    ],
)
def test_sizes_that_the_files_do_not_hold_are_refused_before_memory_is_taken(copy, key, value):
    changed(copy, "config.json", **{key: value})
    (copy / "bradley.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        as_base(copy)
    said(caught.value)


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, values in NOT_IN_A_SAVED_CONFIG.items() for v in values])
def test_kernels_and_code_named_by_a_config_are_ignored_or_refused(copy, monkeypatch, key, value):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    network = load_model(copy).model.network
    changed(copy, "config.json", **{key: value})
    try:
        found = load_model(copy, accept_edits=True).model.network
    except CheckpointError as error:
        said(error)
    else:
        assert found.config._attn_implementation == network.config._attn_implementation
        assert found.config._experts_implementation == network.config._experts_implementation
    try:
        folder = Folder(copy, read_card(copy))
        assert plain_network(folder, plain_tokenizer(folder), torch.float32)
    except CheckpointError as error:
        said(error)


@pytest.mark.parametrize("method", ["fp8", "mxfp4", "gptq", {"a": 1}, 3])
def test_weights_whose_format_brings_code_are_refused(copy, method):
    changed(copy, "config.json", quantization_config={"quant_method": method})
    with pytest.raises(CheckpointError, match="are quantized") as caught:
        load_model(copy, accept_edits=True)
    said(caught.value)


def test_a_python_file_in_a_folder_never_runs(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(copy)
    for name in ("argparse.py", "sitecustomize.py", "modeling.py", "torch.py", "tokenizers.py"):
        (copy / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    changed(
        copy, "config.json", auto_map={"AutoConfig": "modeling.C", "AutoModelForSequenceClassification": "modeling.M"}
    )
    changed(copy, "tokenizer_config.json", auto_map={"AutoTokenizer": ["modeling.T", "modeling.T"]})
    load_model(Path("."), accept_edits=True)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "bradley.json", "chat_template.jinja"]
)
def test_a_file_without_rights_is_told_from_a_missing_one(copy, monkeypatch, name):
    opened = io.open

    def denied(file, *args, **named):
        if str(file).endswith(f"/{name}"):
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, *args, **named)

    monkeypatch.setattr(io, "open", denied)
    with pytest.raises(CheckpointError, match=rf"{name} cannot be read: Permission denied"):
        load_model(copy)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "model.safetensors", "bradley.json", "tokenizer_config.json"]
)
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b"[" * 10_000, b"[]", b"null", b"1" * 5000, b"{}"])
def test_any_content_and_a_folder_in_place_of_a_file(copy, name, content):
    (copy / name).unlink()
    if content is None:
        (copy / name).mkdir()
    else:
        (copy / name).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_model(copy)
    said(caught.value)
    # A tokenizer has rules without settings, and a base model needs no card.
    free = {"tokenizer_config.json": ["load", "base"]}.get(name, []) if content == b"{}" else []
    for how, load in (("load", lambda: load_model(copy, accept_edits=True)), ("base", lambda: as_base(copy))):
        try:
            load()
        except BradleyError as error:
            said(error)
        else:
            assert how in free


INDEXES = [
    *(None, [], {}, {"weight_map": None}, {"weight_map": {"a": 1}}, {"weight_map": {"a": "../../x.safetensors"}}),
    *({"weight_map": {"a": "/etc/passwd"}}, {"weight_map": {"a": "gone.safetensors"}}, {"weight_map": {}}),
    {"weight_map": {"a": "part.bin"}},
]


@pytest.mark.parametrize("index", INDEXES, ids=str)
def test_an_index_of_weights_that_leads_elsewhere_or_nowhere(copy, index):
    (copy / "model.safetensors").rename(copy / "part.safetensors")
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    for load in (lambda: load_model(copy, accept_edits=True), lambda: as_base(copy)):
        with pytest.raises(CheckpointError) as caught:
            load()
        said(caught.value)
        (copy / "bradley.json").unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["m\udcff", "a\udc80b"])
def test_a_name_that_is_not_utf8_is_said(good, tmp_path, name):
    folder = tmp_path / name
    shutil.copytree(good, folder)
    for act in (lambda: load_model(folder), lambda: load_tokenizer(str(folder)), lambda: as_base(folder)):
        with pytest.raises(UserError, match="is not UTF-8") as caught:
            act()
        assert caught.value.message.encode()


@pytest.mark.parametrize(
    "values",
    [
        {"probe": {"text": "x", "ids": [-1]}},
        {"probe": {"text": "x", "ids": [2**70]}},
        {"parity": {"compute": "float32", "rows": [{"messages": [], "ids": [1], "score": 0.0}]}},
        {"render": {"max_tokens": "many"}},
        {"template": "/etc/passwd"},
        {"adapter": {"base": "/etc"}},
        {"format": [1]},
        {"normalization": "half"},
    ],
    ids=str,
)
def test_a_signed_card_with_values_that_cannot_be(copy, values):
    """A hash says who wrote the card, not that the values are right."""
    write_card(copy, {**read_card(copy), **values})
    with pytest.raises(CheckpointError) as caught:
        load_model(copy)
    said(caught.value)
