"""The page of a comparison: paired differences with their tests, what changed, and texts that act nowhere."""

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.errors import RunFolderError
from bradley.evaluate.compare import compare
from bradley.evaluate.evaluation import evaluation
from bradley.records import Message, Response
from bradley.report import evaluation_page
from bradley.report.comparison_page import write_comparison
from bradley.report.evaluation_page import write_evaluation
from tests.evaluate.tables import scored, tables
from tests.report.evaluations import real_evaluation, words
from tests.report.html_page import Page

HOSTILE = '<script>alert(1)</script>" onload="alert(1)\x1b[2J\u202e\ud800{{ 7 * 7 }}'
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
NO_VALUE = re.compile(r"\b(nan|NaN|None|undefined|Undefined|inf)\b")


def points(value):
    return f"{100 * value:+.1f}".replace("-", "−")


def p(value):
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def page_of(folder, comparison, facts=(), texts=None):
    return Page(write_comparison(folder / "page.html", comparison, facts, texts).read_text("utf-8"))


def hand_made(right, prompts=40, **rest):
    """Rows of one judgment a prompt, of which the first `right` are ranked as labelled."""
    return [scored(f"{i}", (1.0 + i if i < right else -1.0 - i, 0.0), prompt=f"{i}", **rest) for i in range(prompts)]


@pytest.fixture(scope="module")
def real():
    """Comparison of a length-only scorer with its opposite where the responses are short, and the texts."""
    comparisons, rows, _ = real_evaluation()
    other = [
        replace(row, scores=tuple(-score for score in row.scores)) if sum(row.response_tokens) < 150 else row
        for row in rows
    ]
    return compare({"long": rows, "mixed": other}, draws=50), {one.id: one for one in comparisons}


@pytest.fixture(scope="module")
def page(real, tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("page"), real[0], [("data", "pairs.jsonl")], real[1])


def test_each_number_of_a_pair_is_the_number_of_the_dict(real, page):
    (pair,), text = real[0]["pairs"], words(page)
    one, power = pair["accuracy"], pair["smallest_difference"]
    span = f"{points(one['low'])} to {points(one['high'])}"
    for part in (
        f"{points(one['value'])} percentage points: accuracy of mixed minus accuracy of long on the same 221 items. 95 "
        f"% interval {span}, from {one['n']} judgments on {one['clusters']} prompts.",
        f"({points(one['value'])} points, 95 % interval {span}, p {p(one['p'])}).",
        f"items can show is {100 * power['paired']:.1f} points (80 % power, 95 % confidence); two sets of other items "
        f"would need {100 * power['unpaired']:.1f} points",
        f"{pair['changed']['gained']['judgments']} better with mixed than with long",
        f"{pair['changed']['lost']['judgments']} better with long than with mixed",
        f"{pair['changed']['same']} judgments are as right or wrong with either model",
    ):  # fmt: skip
        assert part in text, part
    for name, one in real[0]["models"].items():
        span = f"{100 * one['low']:.1f}–{100 * one['high']:.1f}"
        assert f"{name} {100 * one['value']:.1f} % {span} {one['n']} {one['clusters']}" in text
    for value, one in pair["by_tag"]["subset"].items():
        span = f"{points(one['low'])} to {points(one['high'])}"
        assert f"{value} {points(one['value'])} {span} {one['n']} {one['clusters']}" in text
    first = pair["changed"]["gained"]["largest"][0]
    assert f"Texts of {first['id']}" in text and real[1][first["id"]].responses[0].text.split("\n")[0] in "".join(
        page.text
    )
    assert "McNemar" not in text, "several judgments of a prompt are not independent"


def test_the_page_is_whole_and_needs_nothing_beside_it(page):
    assert page.open == []
    assert {tag for tag, _ in page.shape}.isdisjoint({"script", "link", "img", "iframe", "form", "object", "base"})
    assert {value for name, value in page.values if "//" in value and not name.startswith("xmlns")} == set()
    assert any(value.startswith("default-src 'none'") for name, value in page.values if name == "content")
    assert len(page.ids) == len(set(page.ids))
    assert "prefers-color-scheme: dark" in "".join(page.text)


def test_several_models_are_told_apart_by_adjusted_p_values_only(tmp_path):
    found = compare({"a": hand_made(28), "b": hand_made(33), "c": hand_made(40)}, draws=20)
    by_name = {(pair["a"], pair["b"]): pair for pair in found["pairs"]}
    near = by_name["a", "b"]["accuracy"]
    assert near["p"] < 0.05
    # The interval lies beside 0, and the adjusted value says that the difference may be chance.
    near["p_holm"] = 0.2
    text = words(page_of(tmp_path, found))
    assert f"b and a cannot be told apart ({points(near['value'])} points" in text
    assert f"p {p(near['p'])}, adjusted for 3 pairs = 0.200)" in text
    far = by_name["a", "c"]
    assert f"c is better than a ({points(far['accuracy']['value'])} points" in text
    assert (
        f"{far['mcnemar']['gained']} judgments are right only with c, {far['mcnemar']['lost']} only with a; p " in text
    )
    assert f"McNemar's exact test: {far['mcnemar']['gained']} judgments" in text
    assert "p-values are adjusted for the number of pairs (holm 1979)" in text.lower()


def test_seeds_are_listed_and_their_spread_stands_beside_the_spread_over_prompts(tmp_path):
    found = compare({"a": [hand_made(20), hand_made(24)], "b": [hand_made(30), hand_made(34)]}, draws=20)
    text, both = words(page_of(tmp_path, found)), found["pairs"][0]["seeds"]["both"]
    assert "50.0 %, 60.0 %" in text and "75.0 %, 85.0 %" in text
    assert "Seeds: 2 of a, 2 of b. The accuracy of a model is the mean over its seeds." in text
    assert f"{points(both['value'])} {points(both['low'])} to {points(both['high'])}" in text
    single = words(page_of(tmp_path, compare({"a": [hand_made(20)], "b": [hand_made(30), hand_made(30)]}, draws=20)))
    assert "Seeds: 1 of a, 2 of b. The spread over seeds is unknown" in single


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([scored("a", (1.0, 0.0), [(0, 1, 0.5)])], "no judgment prefers a response, and there is nothing to compare"),
        ([scored("a", (1.0, 0.0))], "all judgments share one prompt"),
        (hand_made(9, 9), "cannot be told apart"),
    ],
)
def test_items_that_say_nothing_still_make_a_page(tmp_path, rows, says):
    page = page_of(tmp_path, compare({"a": rows, "b": rows}, draws=20))
    assert says in words(page) and page.open == []
    assert not NO_VALUE.search(words(page))


def test_hostile_names_and_texts_act_nowhere(tmp_path, real):
    def attacked(text):
        rows = hand_made(20, tags={text: text})
        rows = [replace(row, id=f"{text}{row.id}", source=text, tags={text: "b"} if i % 2 else row.tags)
                for i, row in enumerate(rows)]  # fmt: skip
        other = [replace(row, scores=row.scores[::-1]) for row in rows]
        known = next(iter(real[1].values()))
        message = (Message("user", text),)
        texts = {
            row.id: replace(known, id=row.id, source=text, prompt=message, responses=(Response(message),) * 2)
            for row in rows
        }
        return page_of(tmp_path, compare({text: rows, "b": other}, draws=20), [(text, text)], texts)

    harmless, hostile = attacked("harmless"), attacked(HOSTILE)
    assert hostile.shape <= harmless.shape and hostile.open == []
    assert not any("alert" in value for _, value in hostile.values)
    written = (tmp_path / "page.html").read_text("utf-8")
    assert not RAW.search(written) and "49" not in words(hostile).split() and "<script" not in written
    assert "".join(hostile.text).count("<script>alert(1)</script>") > 40


def test_texts_of_another_source_are_not_shown(tmp_path, real):
    known = next(iter(real[1].values()))
    rows = [replace(row, source="mine") for row in hand_made(20)]
    other = [replace(row, scores=row.scores[::-1]) for row in rows]
    texts = {row.id: replace(known, id=row.id, source="yours") for row in rows}
    assert "Texts of" not in words(page_of(tmp_path, compare({"a": rows, "b": other}, draws=20), (), texts))


def test_a_file_that_bradley_did_not_write_is_never_replaced(tmp_path, real):
    (tmp_path / "page.html").write_text("<html>mine</html>")
    with pytest.raises(RunFolderError, match=r"page\.html"):
        write_comparison(tmp_path / "page.html", real[0], [])
    assert (tmp_path / "page.html").read_text() == "<html>mine</html>"


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables(), st.randoms(use_true_random=False))
def test_any_scores_make_whole_pages(tmp_path, monkeypatch, rows, random):
    monkeypatch.setattr(evaluation_page, "evaluation_figures", lambda found: [])
    other = [replace(row, scores=tuple(random.sample(row.scores, len(row.scores)))) for row in rows]
    pages = [
        page_of(tmp_path, compare({"a": rows, "b": other}, draws=10)),
        Page(write_evaluation(tmp_path / "e.html", {"set": evaluation(rows, draws=10)}, []).read_text("utf-8")),
    ]
    for page in pages:
        assert page.open == [] and not NO_VALUE.search(words(page))
