"""Every name and text of a page comes from data, and none acts: no markup, no formula, no control character."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.common.text import readable
from bradley.report.html import load_template
from bradley.report.page import file_figures, plot_csv, write_report
from bradley.report.plots import style
from bradley.report.plots.drawing import panel_grid, titles
from bradley.report.view import page_context
from bradley.runs.run import read_run
from tests.report.html_page import Page
from tests.report.runs import make_run

HOSTILE = (
    "</script><script>alert(1)</script>", "$x^{", r"$\frac", "a\nb", "\x1b[2J", "\u202egnp.exe", "\ud800", "\x00",
    "x" * 5000, '" onload="alert(1)', "\u2066\u2069", "\x9b31m", "\u2028", "{0}{x}", "%s%n", "\r")  # fmt: skip
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff]")
"""Characters that no page may hold as they are."""


def names(folder, text):
    """Put a text into every place of a run that data, arguments or file names fill."""
    results = json.loads((folder / "results.json").read_text())
    figures = results["sets"]["valid"]
    figures["by_tag"] = {text: {text: figures["accuracy"], "b": figures["accuracy"]}}
    results |= {"sets": {text: figures, "valid": figures}, "engine": text}
    report = json.loads((folder / "data_report.json").read_text())
    split = next(iter(report["splits"].values()))
    split["sources"][0] |= {"path": text, "format": text, "sha256": text}
    split["rejected"] = {text: {"count": 1, "examples": [{"file": text, "row": 1, "detail": text}]}}
    split["findings"] = {text: {"count": 1, "policy": text, "examples": [text]}}
    report["splits"] = {text: split}
    turns = [{"role": text, "content": text}]
    example = {"set": text, "id": text, "tags": {text: text}, "prompt": turns, "chosen": turns, "rejected": turns}
    example |= {"chosen_score": 0.0, "rejected_score": 1.0}
    sample = dict.fromkeys(("id", "prompt", "chosen", "rejected"), text)
    sample |= {"chosen_score": 0.0, "rejected_score": 1.0, "correct": False}
    config = {"model": {"path": text}, text: text}
    for name, value in {"results": results, "data_report": report, "examples": [example], "config": config,
                        "environment": {text: text, "device": text, "list": [text]}}.items():  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "eval/samples.jsonl").write_text(json.dumps({"step": 1, "set": text, "rows": [sample]}) + "\n")
    events = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for event in events:
        if event.get("set") == "valid":
            event |= {"set": text} | {key.replace("/valid/", f"/{text}/"): value for key, value in event.items()
                                      if "/valid/" in key}  # fmt: skip
    events[0][f"train/rm/term/{text}"] = 0.1
    (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run with few rows."""
    made = make_run(tmp_path_factory.mktemp("escapes") / "run")
    for path in made.glob("eval/*-best.jsonl"):
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:30]))
    return made


@pytest.fixture(scope="module")
def shape(folder):
    """Elements and attributes of the page with harmless names."""
    names(folder, "harmless")
    return Page(rendered(folder)).shape | {("details", None), ("details", "class"), ("summary", None), ("span", "dir")}


TEMPLATE = load_template("page.html.jinja")


def rendered(folder):
    return TEMPLATE.render(**page_context(read_run(folder)), figures=[], lengths={})


@settings(suppress_health_check=list(HealthCheck))
@given(st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(), min_size=1, max_size=12),
                 st.tuples(st.sampled_from(HOSTILE), st.text(max_size=4)).map("".join)))  # fmt: skip
def test_no_name_or_text_acts_on_the_page(folder, shape, text):
    names(folder, text)
    page = rendered(folder)
    assert not RAW.search(page.replace("\r\n", "\n")), text
    page.encode("utf-8")
    shown = Page(page)
    assert shown.shape <= shape and shown.open == []
    assert not any("alert" in value for _, value in shown.values)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_acts_in_a_figure(text):
    with style.figure_style():
        figure, (axis,) = panel_grid(1)
        titles(axis, f"Scores of {text}", text, "")
        axis.plot([0, 1], [0, 1], label=text)
        axis.legend()
    assert style.png_bytes(figure, dpi=20)
    svg = style.svg_text(figure)
    svg.encode("utf-8")
    tree = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    assert not RAW.search(svg) and {each.tag.rpartition("}")[2] for each in tree.iter()}.isdisjoint({"script", "a"})
    longest = max(len(each.text or "") for each in tree.iter() if each.tag.endswith("text"))
    assert longest <= style.MOST_CHARACTERS


@pytest.mark.slow
def test_the_whole_report_of_hostile_names_is_written(folder, monkeypatch):
    monkeypatch.setattr(style, "PANEL_SIZE", (1.0, 0.8))
    names(folder, "".join(HOSTILE[:8]))
    page = write_report(folder).read_text("utf-8")
    assert not RAW.search(page) and "<script" not in page
    assert next(iter(file_figures(read_run(folder))))[0] == "training"


@pytest.mark.parametrize("text", [t for t in HOSTILE if t not in ("\ud800", "\r", "\x00", "a\nb")])
def test_a_column_of_any_name_is_drawn(tmp_path, text):
    cell = '"' + text.replace('"', '""') + '"'
    (tmp_path / "t.csv").write_text(f"step,set,{cell}\n1,{cell},2\n2,x,3\n", encoding="utf-8")
    assert plot_csv(tmp_path / "t.csv")[0].stat().st_size > 0


def test_an_escaped_text_stays_readable_and_is_escaped_once():
    text = "a\\b\n\tzwj \U0001f468\u200d\U0001f469 \u202f\xa0 naïve $x$"
    assert readable(text) == text
    assert readable("\x1b[2J\u202e\ud800") == "\\x1b[2J\\u202e\\ud800" == readable(readable("\x1b[2J\u202e\ud800"))
