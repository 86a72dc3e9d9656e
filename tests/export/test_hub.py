"""Uploads to the Hub, against a stand-in of its HTTP interface on this machine; never the network."""

import copy
import json

import pytest

import bradley
from bradley.cli.main import run
from bradley.config import Config, repo_problem
from bradley.errors import HubError, UserError
from bradley.export.hub import check_hub, push
from tests.export.folders import saved
from tests.export.hub_server import TOKEN, USER, running
from tests.helpers import LLAMA, counting_rows, tiny_run

SETTINGS = tiny_run(train={"max_steps": 2}, eval={"train_probe": 0}, log={"samples": 0})


@pytest.fixture(autouse=True)
def hub(monkeypatch, tmp_path):
    monkeypatch.setenv("BRADLEY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def folder(tmp_path):
    """Something like an exported folder."""
    files = {
        "README.md": "---\nlibrary_name: transformers\n---\n",
        "model.safetensors": "w" * 5000,
        "figures/a.png": "p",
    }
    for name, text in files.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_text(text)
    return tmp_path / "folder"


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def trained(tmp_path, **hub):
    rows = counting_rows(40)
    return bradley.train({**SETTINGS, "hub": hub}, train=rows[:30], valid=rows[30:], output=tmp_path / "run")


@pytest.mark.parametrize("lfs", [False, True], ids=["in the commit", "as large files"])
@pytest.mark.parametrize("owner", ["ada", "lab"])
def test_a_folder_becomes_a_repository(hub, folder, monkeypatch, lfs, owner):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", lfs)
    hub.lfs = lfs
    assert push(folder, f"{owner}/rm", private=True) == f"{hub.url}/{owner}/rm"
    assert {name: data for name, data in hub.files[f"{owner}/rm"].items() if name[0] != "."} == content(folder)
    assert hub.private == {f"{owner}/rm": True}
    assert bool(hub.large) == lfs


def test_a_second_upload_leaves_no_weights_and_figures_of_the_first(hub, folder):
    push(folder, "ada/rm")
    hub.files["ada/rm"] |= {
        "model-00001-of-00002.safetensors": b"old",
        "adapter_config.json": b"{}",
        "notes.md": b"mine",
    }
    (folder / "figures" / "a.png").rename(folder / "figures" / "b.png")
    push(folder, "ada/rm")
    names = {name for name in hub.files["ada/rm"] if name[0] != "."}
    assert names == {"README.md", "model.safetensors", "figures/b.png", "notes.md"}


@pytest.mark.parametrize(
    "name",
    [
        "rm",
        "/rm",
        "ada/",
        "ada/r m",
        "a/b/c",
        "https://huggingface.co/ada/rm",
        "-a/b",
        "a/b-",
        "a/b--c",
        "a/b..c",
        "a/b.git",
        "a/" + "b" * 97,
    ],
)
def test_malformed_names_are_refused_before_anything_is_asked(hub, tmp_path, name):
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    with pytest.raises(UserError, match="Hub"):
        check_hub(name)
    with pytest.raises(UserError, match=r"hub\.push"):
        trained(tmp_path, push=name)
    assert hub.calls == [] and not (tmp_path / "run").exists()
    if name.count("/") == 1:
        with pytest.raises(HFValidationError):
            validate_repo_id(name)


@pytest.mark.parametrize("name", ["ada/rm", "a/b", "A-b/c.d_e-1", "lab/" + "r" * 96])
def test_names_that_the_hub_takes_are_taken(name):
    from huggingface_hub.utils import validate_repo_id

    validate_repo_id(name)
    assert repo_problem(name) == ""


def test_private_without_a_name_has_no_effect():
    with pytest.raises(ValueError, match=r"hub\.private has no effect while hub\.push is empty"):
        Config(model={"config": LLAMA, "tokenizer": "train"}, hub={"private": True})


def no_token(monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("huggingface_hub.utils._auth.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))


def test_a_token_that_cannot_push_is_found_before_training(hub, tmp_path, monkeypatch):
    def refusal(name="ada/rm", **more):
        with pytest.raises(UserError) as caught:
            trained(tmp_path, push=name, **more)
        assert not (tmp_path / "run").exists() and not any("create" in call for call in hub.calls)
        assert caught.value.hint and "\n" not in caught.value.message
        return caught.value

    hub.user = copy.deepcopy(USER)
    hub.user["auth"]["accessToken"]["role"] = "read"
    assert "the token only reads" in refusal().message
    hub.user = USER
    other = refusal("else/rm")
    assert "the token is that of ada, who may write to ada, lab" in other.message and "ada/rm" in other.hint
    hub.files["ada/rm"], hub.private["ada/rm"] = {}, False
    assert "ada/rm is to be private, but is there already, and public" in refusal(private=True).message
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    assert "does not know the token" in refusal().message
    no_token(monkeypatch, tmp_path)
    assert "there is no token of the Hub here" in refusal().message
    check_hub("")  # nobody asked for an upload


def test_a_hub_that_cannot_be_reached_has_an_exit_code_of_its_own(hub, folder, monkeypatch):
    hub.broken = "/commit/"
    with pytest.raises(HubError, match="folder could not be uploaded to ada/rm") as caught:
        push(folder, "ada/rm")
    assert caught.value.exit_code == 9 and "\n" not in caught.value.message
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(HubError, match="nothing can be pushed to ada/rm"):
        check_hub("ada/rm")


def without_fresh_process(monkeypatch):
    monkeypatch.setattr("bradley.export.folder.verify", lambda folder, **_: [])
    monkeypatch.setattr("bradley.training.run.write_pages", lambda folder, console: None)


def test_a_run_is_uploaded_when_it_has_ended(hub, tmp_path, monkeypatch):
    without_fresh_process(monkeypatch)
    finished = trained(tmp_path, push="lab/rm", private=True)
    files = hub.files["lab/rm"]
    assert {"README.md", "config.json", "model.safetensors", "bradley.json", "results.json", "tokenizer.json"} <= set(
        files
    )
    assert json.loads(files["results.json"]) == finished.results
    figure = finished.results["sets"]["valid"]["accuracy"]
    card = files["README.md"].decode()
    assert f"{100 * figure['value']:.1f} % [{100 * figure['low']:.1f}, {100 * figure['high']:.1f}]" in card
    assert 'folder = snapshot_download("lab/rm")' in card and str(tmp_path) not in card
    assert not list((tmp_path / "run").glob(".tmp*")) and hub.private == {"lab/rm": True}


def test_a_run_whose_upload_fails_is_complete_and_says_how_to_try_again(hub, tmp_path, monkeypatch):
    without_fresh_process(monkeypatch)
    hub.broken = "/api/repos/create"
    with pytest.raises(HubError, match="run is complete, but not uploaded") as caught:
        trained(tmp_path, push="ada/rm", private=True)
    assert caught.value.hint == f"type `bradley export {tmp_path / 'run'} DIR --push ada/rm --private` to try again"
    assert (tmp_path / "run" / "results.json").is_file() and not list((tmp_path / "run").glob(".tmp*"))
    hub.broken = ""
    assert run(["export", str(tmp_path / "run"), str(tmp_path / "e"), "--push", "ada/rm", "--private"]) == 0
    assert hub.files["ada/rm"]["model.safetensors"] == (tmp_path / "e" / "model.safetensors").read_bytes()


def test_a_sanity_run_checks_the_token_and_uploads_only_if_the_command_line_says_so(hub, tmp_path, monkeypatch):
    without_fresh_process(monkeypatch)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in counting_rows(40)))
    small = {"model_type": "llama", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = ", ".join(f"{key} = {json.dumps(value)}" for key, value in {**small, "intermediate_size": 16}.items())
    (tmp_path / "run.toml").write_text(
        f"data.train = '{tmp_path / 'rows.jsonl'}'\nhub.push = 'ada/rm'\nrender.max_tokens = 128\n"
        f"[model]\ntokenizer = 'train'\nvocab_size = 320\nconfig = {{{model}}}\n"
    )
    command = ["train", str(tmp_path / "run.toml"), "--sanity", "--quiet", "--output"]
    assert run([*command, str(tmp_path / "a")]) == 0
    assert hub.calls == ["GET /api/whoami-v2"] and not hub.files
    assert run([*command, str(tmp_path / "b"), "--hub.push", "ada/try"]) == 0
    assert list(hub.files) == ["ada/try"]


def test_the_command_prints_the_page_of_the_repository(hub, tmp_path, monkeypatch, capsys):
    without_fresh_process(monkeypatch)
    saved(tmp_path / "m")
    assert run(["export", str(tmp_path / "m"), str(tmp_path / "e"), "--push", "ada/rm"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"hub          {hub.url}/ada/rm"
    assert run(["export", str(tmp_path / "m"), str(tmp_path / "j"), "--push", "ada/rm", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["url"] == f"{hub.url}/ada/rm"
    assert set(content(tmp_path / "e")) == {name for name in hub.files["ada/rm"] if name[0] != "."}
