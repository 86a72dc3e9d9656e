"""Whole examinations of small configurations and runs, sound ones and with faults planted in the rows."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from torch import nn

import bradley
from bradley.cli.main import run
from bradley.config import Log, Model
from bradley.config.load import load_config
from bradley.doctor import short_run
from bradley.verify.rescore import rescore
from tests.helpers import LLAMA, WORDS

pytestmark = pytest.mark.transformers


def rows(count, prefix, seed=0):
    """Rows whose better response holds the word good; lengths say nothing."""
    rng = np.random.default_rng(seed)

    def side(word):
        return f"a {word} one: {' '.join(rng.choice(WORDS, int(rng.integers(4, 12))))}"

    return [
        {"id": f"{prefix}{k}", "prompt": f"{prefix} {k}?", "chosen": side("good"), "rejected": side("bad")}
        for k in range(count)
    ]


def swapped(given):
    return [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in given]


def configuration(folder: Path, train, valid) -> Path:
    """Write a configuration of a tiny model, with files of rows."""
    for name, given in (("train", train), ("valid", valid)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given))
    file = folder / "tiny.toml"
    model = "\n".join(f"{name} = {json.dumps(value)}" for name, value in LLAMA.items())
    file.write_text(
        f'[data]\ntrain = "{folder / "train.jsonl"}"\nvalid = "{folder / "valid.jsonl"}"\n'
        f'[model]\ntokenizer = "train"\nvocab_size = 400\n[model.config]\n{model}\n'
        "[render]\nmax_tokens = 128\n[optim]\nlr = 5e-3\n[train]\nbatch_size = 16\nepochs = 4\n"
    )
    return file


def examined(capsys, *args) -> tuple[int, dict[str, dict[str, object]], str]:
    """Run `bradley doctor --json`; return the exit code, the probes by name, and stderr."""
    code = run(["doctor", *map(str, args), "--json"])
    out, err = capsys.readouterr()
    return code, {probe["name"]: probe for probe in json.loads(out)["probes"]} if out else {}, err


@pytest.fixture(autouse=True)
def same_steps(monkeypatch):
    """A number of steps that no load of the machine changes."""
    monkeypatch.setattr(short_run, "steps_in", lambda *_: 40)


def test_a_sound_configuration_passes(tmp_path, capsys) -> None:
    code, probes, err = examined(capsys, configuration(tmp_path, rows(250, "t"), rows(110, "v", 1)), "--minutes", 0.2)
    verdicts = {name: probe["verdict"] for name, probe in probes.items()}
    assert (code, err) == (0, ""), probes
    assert {name for name, verdict in verdicts.items() if verdict == "undecided"} <= {
        "one response inside the other",
        "more than length",
        "own answer before another's",
        "nothing beside the texts",
        "shuffled labels",
    }
    assert verdicts["labels of train and evaluation"] == verdicts["better than chance"] == "pass"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny.toml", "train.jsonl", "valid.jsonl"]


def test_labels_swapped_in_evaluation_and_training_rows_there_fail(tmp_path, capsys) -> None:
    train = rows(400, "t")
    file = configuration(tmp_path, train, [*swapped(rows(120, "v", 1)), *swapped(train[:5])])
    code, probes, err = examined(capsys, file, "--minutes", 0.1)
    assert code == 3 and json.loads(err)["what"].startswith("2 of ")
    failed = {name for name, probe in probes.items() if probe["verdict"] == "fail"}
    assert failed == {"training rows in evaluation", "labels of train and evaluation"}
    assert probes["labels of train and evaluation"]["remedy"] and probes["better than chance"]["verdict"] == "pass"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    config = load_config(configuration(folder, rows(300, "t"), rows(120, "v", 1)), {"train.max_steps": 30})
    bradley.train(config.model_copy(update={"log": Log(figures=False)}), output=folder / "run")
    return folder / "run"


def test_a_model_is_examined_on_rows_and_left_as_it_was(trained, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("bradley.verify.verify", lambda folder, **_: list(rescore(folder)))
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    file = tmp_path / "swapped.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in swapped(rows(120, "n", 2))))
    code, probes, _ = examined(capsys, trained, "--minutes", 0.1)
    assert code == 0, probes
    sure = ("scores of training", "scores of the run", "training rows in evaluation", "better than chance")
    assert {probes[name]["verdict"] for name in sure} == {"pass"}
    assert run(["doctor", str(trained / "model"), str(file), "--minutes", "0.1"]) == 3
    shown, err = capsys.readouterr()
    assert "FAILED     better than chance" in shown and "remedy     look at the pairs" in shown
    assert "error: " in err and "better than chance" in err
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def dropout_left_on(model) -> None:
    model.network.base_model.register_forward_hook(
        lambda _m, _i, out: out.__class__(last_hidden_state=nn.functional.dropout(out.last_hidden_state, 0.1))
    )


def frozen_head(model) -> None:
    model.network.score.weight.requires_grad_(False)


def diverging(model) -> None:
    model.network.base_model.register_forward_hook(
        lambda module, _i, out: out.__class__(
            last_hidden_state=out.last_hidden_state * (float("nan") if module.training else 1.0)
        )
    )


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (dropout_left_on, "scored twice"),
        (frozen_head, "gradient of every trained weight"),
        (diverging, "short training"),
    ],
    ids=["dropout", "head", "nan"],
)
def test_a_fault_in_the_model_fails_its_probe_and_the_rest_is_shown(plant, name, tmp_path, capsys, monkeypatch) -> None:
    build = short_run.build

    def planted(*args):
        built = build(*args)
        plant(built.built.model)
        return built

    monkeypatch.setattr(short_run, "build", planted)
    file = configuration(tmp_path, rows(400, "t"), rows(150, "v", 1))
    code, probes, _ = examined(capsys, file, "--minutes", 0.1)
    assert code == 4 and probes[name]["verdict"] == "fail"
    assert probes["training rows in evaluation"]["verdict"] == "pass"


def test_what_has_no_effect_is_refused(trained, tmp_path, capsys) -> None:
    alone = tmp_path / "model"
    shutil.copytree(trained / "model", alone)
    assert run(["doctor", str(alone)]) == 2
    assert run(["doctor", str(trained), "--optim.lr", "1"]) == 2
    assert run(["doctor", "preset:quickstart", "rows.jsonl"]) == 2
    assert run(["doctor", "preset:quickstart", "--base", "x"]) == 2
    assert "--base is about a model" in capsys.readouterr().err


def test_a_large_model_is_cut(monkeypatch) -> None:
    settings = Model(config={**LLAMA, "num_hidden_layers": 5}, tokenizer="train")
    assert short_run.cut_model(settings) == (settings, "")
    monkeypatch.setattr(short_run, "LARGE", 1000)
    cut, note = short_run.cut_model(settings)
    assert cut.config == {**LLAMA, "num_hidden_layers": 2} and "2 layers" in note
