from pathlib import Path

import pytest

from bradley.cli.main import run
from bradley.runs.status import write_status
from tests.report.runs import make_run


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    """A run folder that gives few figures, so that drawing them takes no time."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "small")
    for path in [folder / "data_report.json", folder / "results.json", folder / "timing.jsonl", *folder.glob("eval/*")]:
        path.unlink()
    line = '{"kind": "train", "step": 1, "epoch": 0.5, "train/rm/loss": 0.7}\n'
    (folder / "metrics.jsonl").write_text(line)
    write_status(folder, "done", 0)
    return folder


def test_a_run_is_drawn_over_the_axis_that_is_asked_for(small_run, capsys):
    assert run(["plot", str(small_run), "--x", "epoch"]) == 0
    written = [Path(line).relative_to(small_run).as_posix() for line in capsys.readouterr().out.splitlines()]
    assert written == ["plots/training.png", "plots/training.svg", "report.html"]
    assert ">epoch</text>" in (small_run / "plots" / "training.svg").read_text()


def test_an_axis_without_data_is_refused_with_a_hint(small_run, capsys):
    assert run(["plot", str(small_run), "--x", "minutes"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: the run does not say at which minutes its steps lie",
        "hint: give --x step",
    ]


def test_a_csv_file_is_drawn_and_what_is_left_out_is_said(tmp_path, capsys):
    (tmp_path / "log.csv").write_text("step,epoch,loss,note\n1,0.1,0.7,a\n2,0.2,0.6,b\n")
    assert run(["plot", str(tmp_path / "log.csv"), "--x", "epoch"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{tmp_path / 'log.png'}\n"
    assert shown.err == "not drawn: note, not numeric\n"
    assert run(["plot", str(tmp_path / "log.csv"), "--x", "minutes"]) == 2
    assert "its columns are step, epoch, loss, note" in capsys.readouterr().err
