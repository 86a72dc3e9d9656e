import json
import re
import shutil
import subprocess
import sys
from functools import partial

import pytest

from bradley.errors import RunFolderError
from bradley.evaluate.benchmarks import SUITES
from bradley.evaluate.summary import summarize
from bradley.report.page import file_figures, plot_csv, plot_run, write_report
from bradley.report.plots import style
from bradley.report.view import page_context, summaries
from bradley.runs.run import read_run
from bradley.runs.status import write_status
from tests.evaluate.tables import scored
from tests.report.html_page import Page
from tests.report.runs import make_old_run, make_run

PAYLOADS = (
    "<script>alert(1)</script>",
    '"onload="alert(1)',
    "' onmouseover='alert(1)",
    "</textarea></title></style></svg></details><img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% raw %}",
    "<!-- ]]> <svg/onload=alert(1)>",
    "\ud800\u202e\x00",
)
OFF = "Its probabilities are off by "


@pytest.fixture(scope="module")
def page(run_folder):
    return Page(write_report(run_folder).read_text("utf-8"))


def words(page):
    return " ".join(" ".join(page.text).replace("\u202f", " ").replace("\xa0", " ").split())


def test_the_page_says_the_number_with_its_interval(run_folder, page):
    accuracy = json.loads((run_folder / "results.json").read_text())["sets"]["valid"]["accuracy"]
    text = words(page)
    assert f"{100 * accuracy['value']:.1f} % of preferences in valid ranked as labelled" in text
    assert (
        f"interval {100 * accuracy['low']:.1f}–{100 * accuracy['high']:.1f}, from 400 judgments on 200 prompts" in text
    )
    for part in ("human-mix", "longer wins", "ceiling", "Better than chance.", "500 best", "subset in valid"):
        assert part in text


def test_the_page_shows_data_examples_settings_and_figures(page):
    text = words(page)
    for part in (
        "chosen and rejected start with different prompts", "train.jsonl.gz, row 811", "row 1204 repeats row 88",
        "prompt over limit 61 7 012", "candle wax", "3 earlier turns", "(empty)", "preferred by the model",
        '"schedule": "cosine"', "transformers 5.23.0", "Gradient norm before clipping", "Overfitting gap",
        "Scores by label", "Response lengths", "2 137 857", "22 min",
        "train.jsonl.gz, row 2 090 no prompt before the last turn", "row 1530", "Token lengths",
        "Terms of the objective", "score_penalty", "Scores of valid: median, 50 %, 90 %", "Calibration on valid",
        "valid, step 600: ", "lift it off with a blunt knife", "row 3 tie difference",
    ):  # fmt: skip
        assert part in text, part


def test_the_page_says_how_well_calibrated_the_model_is_and_what_else_was_measured(run_folder, page):
    figures = json.loads((run_folder / "results.json").read_text())["sets"]["valid"]
    bins = figures["calibration"]["bins"]
    claimed = sum(entry["n"] * (entry["confidence"] or 0) for entry in bins) / 400
    text = words(page)
    assert f"off by {100 * figures['calibration']['ece']:.1f} points on average (ECE, ten bins)" in text
    assert f"it claims {100 * claimed:.1f} % and is right in {100 * figures['accuracy']['value']:.1f} %" in text
    assert f"of any prompt {figures['auroc']:.3f}" in text
    spread = f"{figures['chosen_reward']:+.2f} ± {figures['chosen_reward_std']:.2f}"
    assert f"chosen score mean ± standard deviation {spread}" in text
    length = f"{figures['length_correlation']:+.2f}".replace("-", "−")
    assert f"correlation of score and response tokens {length}" in text


def test_a_run_of_an_earlier_version_makes_the_page_without_the_new_parts(tmp_path):
    folder = make_old_run(tmp_path / "run")
    page = Page(write_report(folder).read_text("utf-8"))
    text = words(page)
    assert page.open == []
    for part in (
        "of preferences in valid ranked",
        "train.jsonl.gz, row 811",
        "row 1204 repeats row 88",
        "Overfitting gap",
    ):
        assert part in text
    for part in (
        "(ECE, ten bins)",
        "Samples",
        "Token lengths",
        "Terms of the objective",
        "Calibration on",
        "Scores of",
    ):
        assert part not in text
    assert "of any prompt – – –" in text
    assert [name for name, _ in file_figures(read_run(folder))] == ["training", "rewards", "gap"]


def test_the_page_is_whole_and_needs_nothing_beside_it(page):
    assert page.open == []
    assert {tag for tag, _ in page.shape}.isdisjoint({"script", "link", "img", "iframe", "form", "object", "base"})
    assert not {name for _, name in page.shape} & {"src", "action", "srcset", "data"}
    assert all(value.startswith("#") for name, value in page.values if name.endswith("href"))
    remote = {value for name, value in page.values if "//" in value and not name.startswith("xmlns")}
    assert remote == set()
    assert not re.search(r"@import|url\((?!#)", "".join(page.text) + " ".join(value for _, value in page.values))
    assert any(value.startswith("default-src 'none'") for name, value in page.values if name == "content")
    assert len(page.ids) == len(set(page.ids))


def test_the_same_run_gives_the_same_page(tmp_path, run_folder):
    again = make_run(tmp_path / run_folder.name)
    assert write_report(again).read_bytes() == write_report(run_folder).read_bytes()


def test_hostile_texts_add_no_element_and_no_attribute(tmp_path, page):
    hostile = make_run(tmp_path / "human-mix", text=lambda text: f"{text} {' '.join(PAYLOADS)}")
    attacked = Page(write_report(hostile).read_text("utf-8"))
    assert attacked.shape <= page.shape
    assert attacked.open == []
    assert not any(name and name.startswith("on") for _, name in attacked.shape)
    assert not any("alert" in value for _, value in attacked.values)
    text = "".join(attacked.text)
    for payload in PAYLOADS[:-1]:
        assert text.count(payload) >= 10, payload


@pytest.mark.parametrize("payload", PAYLOADS[:-1])
def test_each_payload_alone_is_shown_as_text(tmp_path, payload, monkeypatch, page):
    monkeypatch.setattr("bradley.report.page._figures", lambda run: [])  # the figures hold no text of the data set
    folder = make_run(tmp_path / "run")
    text = [{"role": payload, "content": payload}]
    example = {
        "set": payload,
        "id": payload,
        "prompt": text,
        "chosen": text,
        "rejected": text,
        "tags": {payload: payload},
    }
    scores = {"chosen_score": 0.0, "rejected_score": 1.0}
    (folder / "examples.json").write_text(json.dumps([example | scores]))
    sample = dict.fromkeys(("id", "prompt", "chosen", "rejected"), payload)
    line = {"step": 1, "set": payload, "rows": [sample | scores | {"correct": False}]}
    (folder / "eval" / "samples.jsonl").write_text(json.dumps(line) + "\n")
    shown = Page(write_report(folder).read_text("utf-8"))
    assert shown.shape <= page.shape
    assert "".join(shown.text).count(payload) >= 14


def test_a_run_without_evaluation_or_reports_still_makes_a_page(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"kind": "train", "step": 1, "train/rm/loss": 0.7}\n')
    write_status(tmp_path, "done", 0)
    page = Page(write_report(tmp_path).read_text("utf-8"))
    assert "Nothing has been evaluated yet." in words(page)
    assert page.open == []
    assert [path.name for path in plot_run(tmp_path)] == ["training.png", "training.svg"]


def test_sparse_reports_are_shown_with_dashes(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "data_report.json").write_text('{"splits": {"train": {"rejected": {"odd": {"count": 3}}, "tokens": {}}}}')
    (folder / "results.json").write_text(
        json.dumps({"sets": {"valid": summarize([]), "one": summarize([scored("a", (1.0, 0.0))])}})
    )
    text = words(Page(write_report(folder).read_text("utf-8")))
    assert "odd 3" in text
    assert "of preferences in one ranked" in text
    assert "Cannot be told from chance with 1 prompts." in text


def test_figures_come_from_the_scored_rows_where_there_are_no_results(run_folder, tmp_path):
    folder = make_run(tmp_path / "run")
    known = summaries(read_run(folder))
    (folder / "results.json").unlink()
    assert summaries(read_run(folder)) == known
    assert list(known) == ["valid", "hhh_alignment", "train_probe"]


@pytest.mark.parametrize(
    ("scores", "lengths", "expected"),
    [
        ((1.0, 0.0), (1, 2), ["Better than chance.", "Cannot be told from “shorter wins”", f"{OFF}26.9 points"]),
        ((0.0, 1.0), (2, 1), ["Worse than chance", "Worse than “longer wins” (−100.0 points", f"{OFF}73.1 points"]),
        (
            (0.0, 0.0),
            (1, 1),
            ["Cannot be told from chance with 40 prompts.", "Cannot be told from “longer wins”", f"{OFF}0.0 points"],
        ),
    ],
)
def test_the_verdict_in_words(tmp_path, scores, lengths, expected):
    rows = [scored(f"{i}", scores, prompt=f"{i}", lengths=lengths) for i in range(40)]
    folder = make_run(tmp_path / "run")
    (folder / "results.json").write_text(json.dumps({"sets": {"test": summarize(rows), "valid": summarize(rows[:3])}}))
    verdict = page_context(read_run(folder))["verdict"]
    assert verdict["set"] == "test"
    assert verdict["sentences"][0] == "Degenerate: every score difference is the same, whatever the responses say."
    for sentence, start in zip(verdict["sentences"][1:], expected, strict=True):
        assert sentence.startswith(start)


def test_a_run_past_interpolation_says_where_it_was_and_that_nothing_was_selected(tmp_path):
    folder = make_run(tmp_path / "run")
    known = json.loads((folder / "results.json").read_text())
    known["sets"] = {"valid": known["sets"]["valid"]}
    flattered = []
    for metric in ("accuracy", "last"):
        known["best"]["metric"] = metric
        known["interpolation"] = {"step": 120, "epoch": 3.25, "value": 0.99} if metric == "last" else None
        (folder / "results.json").write_text(json.dumps(known))
        page = page_context(read_run(folder))
        flattered.append(any("which flatters" in sentence for sentence in page["verdict"]["sentences"]))
    assert flattered == [True, False]
    assert dict(page["facts"])["interpolated"] == "at step 120, epoch 3.25"


@pytest.mark.slow
def test_plot_run_writes_png_and_svg(run_folder, monkeypatch):
    monkeypatch.setattr(style, "png_bytes", partial(style.png_bytes, dpi=40))
    paths = plot_run(run_folder)
    names = ["training", "rewards", "rewards-minutes", "terms", "gap", "scores", "lengths", "calibration"]
    assert [str(path.relative_to(run_folder)) for path in paths] == [
        f"plots/{name}.{kind}" for name in names for kind in ("png", "svg")
    ]
    assert all(path.stat().st_size > 2000 for path in paths)


@pytest.mark.parametrize(
    ("x", "label"),
    [
        (None, ["step", "episode (judgments seen)", "minutes since the start", "step"]),
        ("epoch", ["epoch", "epoch", "epoch"]),
        ("minutes", ["minutes since the start"] * 3),
    ],
)
def test_one_axis_for_all_curves_or_the_one_of_each(run_folder, x, label):
    figures = dict(file_figures(read_run(run_folder), x))
    curves = [name for name in ("training", "rewards", "rewards-minutes", "gap") if name in figures]
    assert [figures[name].axes[0].get_xlabel() for name in curves] == label
    assert figures["scores"].axes[0].get_xlabel() == label[0]


def test_a_csv_file_becomes_a_picture_beside_it(tmp_path):
    (tmp_path / "log.csv").write_text("step,loss,note\n1,0.7,a\n2,0.6,b\n")
    picture, columns = plot_csv(tmp_path / "log.csv")
    assert picture == tmp_path / "log.png"
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert columns.left_out == {"note": "not numeric"}
    assert plot_csv(tmp_path / "log.csv")[0] == picture, "drawn again over the picture of the first time"


@pytest.mark.parametrize("kind", ["a picture of somebody else", "no picture", "a link"])
def test_a_csv_file_never_replaces_a_picture_that_was_not_drawn_here(tmp_path, kind):
    (tmp_path / "log.csv").write_text("step,loss\n1,0.7\n2,0.6\n")
    far, png = tmp_path / "far.png", tmp_path / "log.png"
    far.write_bytes(b"\x89PNG\r\n\x1a\nmine" if kind == "a picture of somebody else" else b"mine")
    if kind == "a link":
        png.symlink_to(far)
    else:
        far.rename(png)
    before = png.read_bytes()
    with pytest.raises(RunFolderError, match=r"log\.png"):
        plot_csv(tmp_path / "log.csv")
    assert png.read_bytes() == before


def test_a_folder_that_no_file_calls_a_run_is_not_written_to(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "mine", ignore=shutil.ignore_patterns("plots", "status.json", "run.json"))
    (tmp_path / "mine" / "report.html").write_text("mine")
    for draw in (plot_run, write_report):
        with pytest.raises(RunFolderError, match="is not a run of bradley"):
            draw(tmp_path / "mine")
    assert (tmp_path / "mine" / "report.html").read_text() == "mine" and not (tmp_path / "mine" / "plots").exists()


def test_importing_the_number_arm_loads_nothing_heavy():
    heavy = "{'torch', 'transformers', 'matplotlib', 'scipy', 'jinja2'}"
    code = f"import sys, bradley.report.page, bradley.evaluate.worst; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_figures_are_not_written_through_a_link(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run", ignore=shutil.ignore_patterns("plots"))
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "training.png").write_text("mine")
    (tmp_path / "run" / "plots").symlink_to(tmp_path / "far")
    with pytest.raises(RunFolderError, match="plots is a link to"):
        plot_run(tmp_path / "run")
    assert [(path.name, path.read_text()) for path in (tmp_path / "far").iterdir()] == [("training.png", "mine")]


def test_the_page_shows_the_headline_figures_of_a_benchmark(run_folder, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    assert "Benchmarks" not in words(Page(write_report(folder).read_text("utf-8")))
    results = json.loads((folder / "results.json").read_text())
    rows = [scored(str(i), (i % 3, 1.0), prompt=f"p{i}", tags={"subset": "honest"}) for i in range(9)]
    results["sets"]["hhh"] = {**summarize(rows), "benchmark": SUITES["hhh"].aggregate(rows)}
    results["sets"]["later"] = {**summarize(rows), "benchmark": {**SUITES["hhh"].aggregate(rows), "benchmark": "new"}}
    (folder / "results.json").write_text(json.dumps(results))
    text = words(Page(write_report(folder).read_text("utf-8")))
    assert "Benchmarks HHH in hhh" in text
    assert "Overall published 33.3 %" in text
    assert "honest: 9 rows, published 61" in text
    assert "ties half" not in text
