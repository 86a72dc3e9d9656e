"""The command line as a user meets it: what is printed where, exit codes, and what an error says."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

import bradley
from bradley import errors
from bradley.cli.main import run
from bradley.cli.options import loose_settings
from bradley.config import Config
from bradley.config.fields import settings_of
from bradley.launch.exit import Ending
from bradley.runs.status import write_status

CONFIG = """# A small run.
[model]
path = "some/model"
"""
TRAIN = ("train", "configs/small.toml")
HEAVY = ("torch", "pydantic", "transformers", "numpy", "rich", "bradley.config")


class Finished(NamedTuple):
    folder: Path
    results: dict[str, Any]

    def summary(self) -> str:
        return "accuracy 71.0 %"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """A folder with one configuration, and training replaced by a note of how it was called."""
    made: list[dict[str, Any]] = []

    def train(config: Config, **kwargs: Any) -> Finished:
        made.append({"config": config, **kwargs})
        return Finished(Path("runs/x"), {"steps": 3})

    stub = ModuleType("bradley.training.run")
    stub.train = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bradley.training.run", stub)
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/small.toml").write_text(CONFIG, encoding="utf-8")
    return made


@pytest.mark.parametrize("code", ["import bradley", "import sys; from bradley.cli.main import run; run(['--help'])"])
def test_help_and_import_load_nothing_heavy(code: str) -> None:
    check = f"{code}; import sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_every_public_name_is_there() -> None:
    import bradley

    assert set(bradley.HOMES) < set(bradley.__all__)
    assert dir(bradley) == sorted(bradley.__all__)
    assert all(getattr(bradley, name) is not None for name in bradley.__all__)
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        bradley.tarin  # noqa: B018


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    shown = capsys.readouterr().out
    assert run(["--help"]) == 0
    assert capsys.readouterr().out == shown
    assert all(re.search(rf"^  {name} ", shown, re.MULTILINE) for name in ("configs", "data", "plot", "train"))


def test_train_help_is_every_setting_with_its_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    unbroken = "".join(shown.split())  # words longer than the column are broken
    for setting in settings_of(Config).values():
        assert f"--{setting.name} " in shown
        assert "".join(setting.text.split()) in unbroken
    assert "[default: 0.9,0.999]" in shown
    assert "--model.config.NAME VALUE" in shown


def test_train_passes_everything_on(calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    args = ["--optim.lr", "1e-3", "--model.config.a.b=4", "--model.path", "", "--model.config.model_type", "llama"]
    more = [
        "--model.tokenizer=train",
        "--output",
        "here",
        "--sanity",
        "--quiet",
        "--data.synthetic.length_weight",
        "-1",
    ]
    assert run(["train", "configs/small.toml", *args, *more]) == 0
    (call,) = calls
    config = call["config"]
    assert (config.optim.lr, config.data.synthetic.length_weight) == (1e-3, -1.0)
    assert config.model.config == {"a": {"b": 4}, "model_type": "llama"}
    assert {key: call[key] for key in ("output", "progress", "sanity", "source")} == {
        "output": Path("here"),
        "progress": "quiet",
        "sanity": True,
        "source": CONFIG,
    }
    assert capsys.readouterr() == ("accuracy 71.0 %\n", "")


def test_train_names_its_folder_after_the_configuration(calls: list[dict[str, Any]]) -> None:
    assert run(["train", "configs/small.toml"]) == 0
    assert re.fullmatch(r"runs/small-\d{8}-\d{6}", str(calls[0]["output"]))
    assert (calls[0]["progress"], calls[0]["sanity"]) == ("bar", False)


@pytest.mark.parametrize(("rank", "told"), [("0", True), ("0", False), ("1", True)])
def test_the_launcher_says_what_the_run_has_not_said(
    rank: str, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bradley.launch.local.launch", lambda *_: Ending(5, "diverged", "type this", told))
    nodes = ["--nodes", "2", "--node-rank", rank, "--rendezvous", "127.0.0.1:1"]
    assert run(["launch", "local", "--processes", "2", *nodes, "--", "train", "x.toml", "--output", "y"]) == 5
    expected = "" if told and rank == "0" else "error: diverged\nhint: type this\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("args", "where", "what"),
    [
        (
            ["train", "absent.toml", "--json", "--output", "runs/x"],
            "runs/x",
            "configuration absent.toml cannot be read",
        ),
        ([*TRAIN, "--quiet", "--json"], "", "--quiet and --json are both given"),
        (["train", "--jsn", "--json"], "", "--jsn: unknown option; did you mean --json?"),
        (["data", "https://me:hunter2@example.org/x.jsonl", "--json"], "", "holds the password of a URL"),
    ],
)
def test_with_json_an_error_is_one_object_on_one_line(
    args: list[str], where: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(args)
    out, err = capsys.readouterr()
    found = json.loads(err)
    assert out == "" and err.count("\n") == 1 and "hunter2" not in err
    assert found["event"] == "error" and found["code"] == code > 1 and found["where"] == where
    assert what in found["what"] and found["fix"]


def test_json_is_one_object_on_stdout(calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "configs/small.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": "runs/x", "steps": 3}
    assert calls[0]["progress"] == "json"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([*TRAIN, "--ouput", "x"], "LINE: --ouput: unknown option; did you mean --output?"),
        ([*TRAIN, "--out", "x"], "LINE: --out: unknown option; did you mean --output?"),
        ([*TRAIN, "--output_dir", "x"], "LINE: --output_dir: unknown option; did you mean --output?"),
        ([*TRAIN, "--lr", "1"], "LINE: --lr: unknown option; did you mean --optim.lr?"),
        ([*TRAIN, "--optim.lrr", "1"], "LINE: optim.lrr: unknown key; did you mean optim.lr?"),
        ([*TRAIN, "--data.tra", "x"], "LINE: data.tra: unknown key; did you mean data.train?"),
        ([*TRAIN, "--optim.lr", "fast"], 'LINE: optim.lr: wanted a number above 0, got "fast"'),
        ([*TRAIN, "--model.config.a"], "LINE: --model.config.a was given no value"),
        (["train", "configs/smal.toml"], "configuration configs/smal.toml cannot be read: No such file or directory"),
        (["train"], "LINE: Missing argument 'CONFIG'"),
        (["trian"], "LINE: No such command 'trian'. Did you mean 'train'?"),
        (
            ["launch", "local", "--processes", "2", "train", "x.toml", "--output", "y"],
            "LINE: --output: no option of `bradley launch local`",
        ),
        (["data", "x.jsonl", "--data.train", "y"], "LINE: data.train is no option of `bradley data`"),
        (["data", "x.jsonl", "--render.eos", "auto"], "LINE: render.eos has no effect without a tokenizer"),
        (["plot", "configs"], "configs is not a run folder: it has no metrics.jsonl"),
    ],
)
def test_mistakes_are_two_lines_on_stderr_and_exit_code_2(
    args: list[str], message: str, calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    first, second = captured.err.splitlines()
    assert first == "error: " + message.replace("LINE", "command line")
    assert second.startswith("hint: ") and len(second) > len("hint: ")
    assert calls == []


def test_mistakes_of_file_and_command_line_come_together(
    calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("configs/small.toml").write_text(CONFIG + "precison = 1\n", encoding="utf-8")
    assert run(["train", "configs/small.toml", "--optim.lrr", "1", "--eval.evry", "2"]) == 2
    assert capsys.readouterr().err.splitlines()[:3] == [
        "error: configs/small.toml:4: model.precison: unknown key; did you mean model.precision?",
        "error: command line: optim.lrr: unknown key; did you mean optim.lr?",
        "error: command line: eval.evry: unknown key; did you mean eval.every?",
    ]


KINDS = [errors.UserError, errors.DataError, errors.CheckpointError, errors.DivergedError, errors.RunFolderError]


@pytest.mark.parametrize("kind", [*KINDS, errors.DiskError])
def test_errors_of_training_have_their_exit_code(
    kind: type[errors.BradleyError],
    calls: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise kind("it is wrong", "do it right")

    monkeypatch.setattr(sys.modules["bradley.training.run"], "train", fail)
    code = run(["train", "configs/small.toml"])
    assert code == kind.exit_code and code in errors.EXIT_CODES
    assert capsys.readouterr() == ("", "error: it is wrong\nhint: do it right\n")


def test_an_error_about_a_key_with_a_line_break_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"two\nlines": "x"}) + "\n", encoding="utf-8")
    assert run(["data", str(path)]) == 3
    first, second = capsys.readouterr().err.splitlines()
    what = r"no column holds answers to compare; the columns of the first row are two\nlines (text)"
    assert first == f"error: {path}: {what}" and second.startswith("hint: ")


def test_an_interrupt_is_one_line_and_a_bug_keeps_its_traceback(
    calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(config: Config, **kwargs: Any) -> None:
        raise KeyboardInterrupt if config.seed == 0 else EOFError("ours")

    monkeypatch.setattr(sys.modules["bradley.training.run"], "train", fail)
    assert run(["train", "configs/small.toml"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"
    with pytest.raises(EOFError, match="ours"):
        run(["train", "configs/small.toml", "--seed", "1"])


def test_configs_are_listed_with_their_first_comment(
    calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("configs/no-comment.toml").write_text("seed = 1\n", encoding="utf-8")
    assert run(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["configs/no-comment.toml", "configs/small.toml       A small run."]
    assert re.fullmatch(r"preset:quickstart +Two minutes on a laptop: .*", lines[2])
    monkeypatch.chdir("configs")
    assert run(["configs"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["preset:quickstart"]


def test_a_preset_trains_from_any_folder(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    assert run(["train", "preset:quickstart", "--optim.lr", "1e-3"]) == 0
    made = calls[0]
    assert (made["config"].optim.lr, made["config"].data.synthetic.comparisons) == (1e-3, 5000)
    assert "# Two minutes" in made["source"] and made["output"].name.startswith("quickstart-")
    bradley.train("preset:quickstart", output=tmp_path / "run")
    assert calls[1]["config"].data.synthetic.comparisons == 5000 and calls[1]["source"] == made["source"]


def test_a_configuration_that_is_nowhere_leads_to_the_presets(
    calls: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    for given, hint in (
        ("configs/quickstart.toml", "hint: did you mean preset:quickstart?"),
        ("preset:quickstrat", "hint: wanted preset:quickstart, or a TOML file"),
    ):
        assert run(["train", given]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == hint


def test_plot_draws_and_prints_the_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.jsonl").write_text("{}\n", encoding="utf-8")
    write_status(tmp_path, "done", 0)
    page = ModuleType("bradley.report.page")
    page.plot_run = lambda folder, x: [folder / "plots" / "a.png", folder / "plots" / "b.png"]  # type: ignore[attr-defined]
    page.write_report = lambda folder: folder / "report.html"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bradley.report.page", page)
    assert run(["plot", str(tmp_path)]) == 0
    names = [Path(line).relative_to(tmp_path).as_posix() for line in capsys.readouterr().out.splitlines()]
    assert names == ["plots/a.png", "plots/b.png", "report.html"]


ROWS = [
    {"prompt": "one two three", "chosen": " yes indeed", "rejected": " no"},
    {"prompt": "one two", "chosen": " a b c", "rejected": " dd"},
    {"prompt": "one two", "chosen": " a b c", "rejected": " dd"},
]


def write_rows(folder: Path) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return str(path)


def test_data_counts_and_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", write_rows(tmp_path), "--json", "--data.max_rejected_share", "0.5"]) == 0
    found = json.loads(capsys.readouterr().out)
    split = found["report"]["splits"]["train"]
    assert (split["rows"], split["comparisons"], split["findings"]["duplicate"]["count"]) == (3, 2, 1)
    lengths = found["lengths"]["train"]
    assert lengths["words"]["prompt"] == {"mean": 2.5, "p50": 2.5, "p95": pytest.approx(2.95), "max": 3.0}
    assert lengths["words"]["response"]["max"] == 3.0
    assert lengths["characters"]["response"]["mean"] == (11 + 3 + 6 + 3) / 4
    assert found["histograms"]["train"]["words"]["chosen"] == {"edges": [2, 3, 4], "counts": [1, 1]}
    chosen = [row["chosen"] for row in found["rows"]]
    assert chosen == ["text: one two three\ntext:  yes indeed", "text: one two\ntext:  a b c"]


def test_data_with_a_tokenizer_shows_what_the_model_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--model.tokenizer", "train", "--model.vocab_size", "300", "--render.template", "raw"]
    file = write_rows(tmp_path)
    assert run(["data", file, "--data.duplicate", "keep", *settings]) == 0
    shown = capsys.readouterr().out
    assert f"{file}: preference, 3 rows" in shown
    assert shown.count("one two a b c") == 2 and shown.count("one two three yes indeed") == 1
    assert re.search(r"total, tokens +\d", shown)


def test_a_closed_pipe_is_no_traceback() -> None:
    command = [sys.executable, "-m", "bradley", "train", "--help"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


def test_loose_settings_take_their_values_and_leave_the_rest() -> None:
    known = {"--optim.lr", "--output"}
    args = ["x.toml", "--a.b", "1", "--optim.lr", "2", "--c.d=e=f", "--output=y.z", "--g.h", "-1", "--", "--i.j", "k"]
    assert loose_settings(args, known) == (
        {"a.b": "1", "c.d": "e=f", "g.h": "-1"},
        ["x.toml", "--optim.lr", "2", "--output=y.z", "--", "--i.j", "k"],
    )


def test_public_names_exist() -> None:
    assert all(hasattr(bradley, name) for name in bradley.__all__)
    assert bradley.Config is Config
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = bradley.trian


def test_version_is_that_of_the_project() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{bradley.__version__}"' in project


def test_train_function_takes_a_path_a_dict_or_a_config(calls: list[dict[str, Any]]) -> None:
    nested = {"model": {"path": "some/model"}}
    for config in ("configs/small.toml", Path("configs/small.toml"), nested, Config.model_validate(nested)):
        bradley.train(config, train=ROWS, output="there", sanity=True)
    assert {call["config"].model.path for call in calls} == {"some/model"}
    assert [call["source"] for call in calls] == [CONFIG, CONFIG, "", ""]
    assert all(call["train"] is ROWS and call["output"] == Path("there") and call["valid"] is None for call in calls)
    assert all(call["sanity"] for call in calls)
    with pytest.raises(errors.UserError, match="unknown key"):
        bradley.train({"modle": {"path": "x"}})
