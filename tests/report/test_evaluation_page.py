"""The page of an evaluation: the numbers of the dict, in words and tables, whatever the set lacks and names say."""

import re

import pytest

from bradley.errors import RunFolderError
from bradley.evaluate.evaluation import evaluation
from bradley.evaluate.temperature import temperature_figures
from bradley.report import evaluation_page, html
from bradley.report.evaluation_page import write_evaluation
from tests.evaluate.tables import scored
from tests.report.evaluations import real_evaluation, words
from tests.report.html_page import Page

HOSTILE = '<script>alert(1)</script>" onload="alert(1)\x1b[2J\u202e\ud800{{ 7 * 7 }}'
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
NO_VALUE = re.compile(r"\b(nan|NaN|None|undefined|Undefined|inf)\b")


def figure(value, n=10, **rest):
    return {"value": value, "low": value - 0.125, "high": value + 0.25, "n": n, "clusters": n - 1} | rest


NO_FIGURE = {"value": None, "low": None, "high": None, "n": 0, "clusters": 0, "reason": "no pairs in one of the groups"}
FURTHER = {
    "shortcuts": {
        "judgments": 12,
        "unit": "words",
        "rules": {"longer": {"alone": figure(0.5), "equal_share": 0.0625, "gap": NO_FIGURE}},
        "slope": figure(0.125, share=0.25),
    },
    "style": {
        "features": {"headers": {"prompts": 1234, "excess": figure(-1.5)}},
        "score": {"deviation": 1.5, "coefficient": figure(0.75, 31)},
    },
    "benchmark": {
        "benchmark": "a suite",
        "scheme": "mean of sections",
        "figures": [{"name": "total", "scheme": "published", **figure(0.5, 77)}],
        "notes": ["none of 9 prompts is in the training data"],
    },
}


def page_of(folder, sets, facts=()):
    path = write_evaluation(folder / "page.html", sets, facts)
    return Page(path.read_text("utf-8"))


def percent(value):
    return f"{100 * value:.1f}"


@pytest.fixture(scope="module")
def found():
    return real_evaluation()[2]


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr(evaluation_page, "evaluation_figures", lambda found: [])


@pytest.fixture(scope="module")
def page(found, tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("page"), {"hhh": found}, [("scores", "a.jsonl")])


def test_each_number_of_the_verdict_is_the_number_of_the_dict(found, page):
    text, accuracy, worst = words(page), found["summary"]["accuracy"], found["worst"]
    calibration, gain = found["calibration"], found["summary"]["above_length"]
    for part in (
        f"{percent(accuracy['value'])} % of preferences in hhh ranked as labelled. 95 % interval "
        f"{percent(accuracy['low'])}–{percent(accuracy['high'])}, from {accuracy['n']} judgments on "
        f"{accuracy['clusters']} prompts.",
        f"Worst subset: “{worst['value']}” with {percent(worst['accuracy']['value'])} % (95 % interval "
        f"{percent(worst['accuracy']['low'])}–{percent(worst['accuracy']['high'])}, {worst['accuracy']['n']} "
        f"judgments), beside {percent(accuracy['value'])} % over all; were all {worst['of']} equally good, the "
        f"worst would still show about {percent(worst['by_chance'])} % by chance, so no value stands out as worse.",
        f"has to differ by {percent(found['power']['unpaired'])} points to be told apart (80 % power, 95 % confidence)",
        f"off by {percent(calibration['debiased']['value'])} points (debiased ECE, 95 % interval "
        f"{percent(calibration['debiased']['low'])} to {percent(calibration['debiased']['high'])}): it is too sure, by "
        f"{percent(calibration['overconfidence']['value'])} points",
        f"({100 * gain['value']:+.1f} points, 95 % interval ",
        "scores a.jsonl",
    ):  # fmt: skip
        assert part in text, part


def test_each_slice_and_each_figure_stands_with_its_interval_and_count(found, page):
    text = words(page)
    for values in found["slices"].values():
        for value, one in values.items():
            accuracy = one["accuracy"]
            span = f"{percent(accuracy['low'])}–{percent(accuracy['high'])}"
            assert f"{value} {percent(accuracy['value'])} % {span} {accuracy['n']} {accuracy['clusters']}" in text
    for name in ("nll", "brier", "auroc"):
        one = found["figures"][name]
        assert f"{one['value']:.3f} {one['low']:.3f} to {one['high']:.3f} {one['n']} {one['clusters']}" in text
    mass = found["calibration"]["equal_mass"]
    assert f"a calibrated model: ECE {mass['calibrated']:.3f}" in text
    assert f"Calibration, ECE of equal-mass bins {mass['ece']:.3f}" in text
    for title in ("Scores and margin", "Accuracy by length", "Bins of equal mass"):
        assert title in text


def test_the_page_is_whole_and_needs_nothing_beside_it(page):
    assert page.open == []
    assert {tag for tag, _ in page.shape}.isdisjoint({"script", "link", "img", "iframe", "form", "object", "base"})
    assert {value for name, value in page.values if "//" in value and not name.startswith("xmlns")} == set()
    assert all(value.startswith("#") for name, value in page.values if name.endswith("href"))
    assert any(value.startswith("default-src 'none'") for name, value in page.values if name == "content")
    assert len(page.ids) == len(set(page.ids))
    css = "".join(page.text)
    assert "prefers-color-scheme: dark" in css and css.count("--blue:") == 2
    assert not NO_VALUE.search(css)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "No judgment prefers a response: there is no accuracy."),
        ([scored("a", (1.0, 0.0), [(0, 1, 0.5)])], "No accuracy: no judgment in set prefers a response."),
        ([scored("a", (1.0, 0.0))], "All judgments share one prompt: the interval knows nothing."),
        ([scored(f"{i}", (0.0, 0.0), prompt=f"{i}") for i in range(40)], "Degenerate: every score difference"),
        ([scored(f"{i}", (i, 0), prompt=f"{i}", lengths=(0, 0)) for i in range(9)], "or lengths are unknown"),
    ],
)
def test_a_set_that_lacks_something_still_makes_a_page(tmp_path, rows, says):
    text = words(
        Page(write_evaluation(tmp_path / "p.html", {"set": evaluation(rows, draws=20)}, []).read_text("utf-8"))
    )
    assert says in text
    assert not NO_VALUE.search(text)
    assert "–" in text


def test_further_parts_become_tables_and_several_sets_are_listed(tmp_path, found, no_figures):
    rows = [scored(f"{i}", ((-1.5) ** (i % 3), 0), prompt=f"{i}") for i in range(40)]
    ranked = [scored(f"{i}", (i % 5, 1, 2), [(0, 1), (1, 2)], prompt=f"{i}") for i in range(40)]
    writers = [
        scored(f"{i}", (i % 3, 1), prompt=f"{i}", tags={"chosen_model": "one", "rejected_model": "two"})
        for i in range(40)
    ]
    first = evaluation(rows, draws=20) | FURTHER | {"temperature": temperature_figures(rows, name="valid")}
    sets = {"first": first, "second": evaluation(ranked, draws=20), "third": evaluation(writers, draws=20)}
    page = page_of(tmp_path, sets)
    text = words(page)
    assert page.open == [] and not NO_VALUE.search(text)
    assert [value for name, value in page.values if name == "href"] == ["#set-1", "#set-2", "#set-3"]
    warm, top = first["temperature"], sets["second"]["ranking"]["top1"]
    excess = sets["third"]["writers"]["one"]["excess"]
    for part in (
        "longer the longer response wins 50.0 % 37.5–75.0 n 10 6.2 % – n 0 no pairs in one of the groups",
        "between responses to one prompt +0.125 +0.00 to +0.375 10 9",
        "headers 1 234 −1.50 −1.62 to −1.25 n 10",
        "score, coefficient weight of the score beside style, in logits for one standard deviation +0.750",
        "total published 50.0 % 37.5–75.0 77 76",
        "none of 9 prompts is in the training data",
        f"Temperature {warm['temperature']:.3g} (95 % interval {warm['low']:.3g} to {warm['high']:.3g}), fitted on ",
        f"NLL before negative log-likelihood, in nats {warm['before']['nll']['value']:.3f}",
        f"a best response {percent(top['value'])} % {percent(top['low'])}–{percent(top['high'])} 40 40",
        f"{100 * excess['value']:+.1f}".replace("-", "−"),
        "40 comparisons of three or more responses",
    ):
        assert part in text, part


def test_the_title_names_few_sets_and_counts_many(tmp_path, found, no_figures):
    for number, title in ((3, "Evaluation on set 0, set 1, set 2"), (4, "Evaluation on 4 sets")):
        assert words(page_of(tmp_path, {f"set {i}": found for i in range(number)})).startswith(title)


def test_hostile_names_act_nowhere(tmp_path, found, no_figures):
    def sets(name):
        worst = found["worst"] | {"tag": name, "value": name}
        slices = {name: dict.fromkeys((name, "b"), found["slices"]["subset"]["other"])}
        further = {name: {name: {name: {name: figure(0.5)}}}, "style": {name: name, "notes": [name]}}
        return {name: found | {"worst": worst, "slices": slices, "warnings": [name]} | further}

    harmless, hostile = (page_of(tmp_path, sets(name), [(name, name)]) for name in ("harmless", HOSTILE))
    assert hostile.shape <= harmless.shape and hostile.open == []
    assert not any("alert" in value and not name.startswith("aria") for name, value in hostile.values)
    written = (tmp_path / "page.html").read_text("utf-8")
    assert not RAW.search(written) and "49" not in words(hostile).split() and "<script" not in written


@pytest.mark.parametrize("kind", ["a file", "a link", "a folder"])
def test_a_file_that_bradley_did_not_write_is_never_replaced(tmp_path, found, no_figures, kind):
    page, far = tmp_path / "page.html", tmp_path / "far.html"
    # Behind a link, even a page of bradley belongs to another place.
    mine = f"<html>{html.MARK.decode()}" if kind == "a link" else "<html>mine</html>"
    far.write_text(mine)
    if kind == "a link":
        page.symlink_to(far)
    elif kind == "a folder":
        page.mkdir()
    else:
        far.rename(page)
    with pytest.raises(RunFolderError, match=r"page\.html"):
        write_evaluation(page, {"hhh": found}, [])
    assert page.is_dir() or page.read_text() == mine


def test_a_page_is_replaced_by_the_next_and_equal_figures_give_equal_pages(tmp_path, found, no_figures):
    first = write_evaluation(tmp_path / "page.html", {"hhh": found}, []).read_bytes()
    assert write_evaluation(tmp_path / "page.html", {"hhh": found}, []).read_bytes() == first
