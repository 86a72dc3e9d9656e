"""Files of benchmarks: the published layouts become comparisons with tags, and other files are refused in one line."""

from collections import Counter

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from bradley import Data
from bradley.data.formats import choose_format, convert_rows
from bradley.data.formats.benchmarks import BENCHMARKS, convert_row
from bradley.data.load import load_splits
from bradley.data.rows import RowPlace
from bradley.data.sources import resolve
from bradley.errors import BradleyError, DataError, UserError
from bradley.evaluate.benchmarks import SUITES
from bradley.records import Comparison, Rejected
from tests.data import benchmark_files as files
from tests.helpers import DATA


def read(given):
    """Comparisons and rejections of a source, as the loader reads a source."""
    found, taken = [], set()
    for source in resolve(given):
        place = RowPlace(source.name, source.stem)
        reading, rows = choose_format(source.rows(), place)
        found += convert_rows(rows, reading, place, taken)
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return files.write_all(tmp_path_factory.mktemp("benchmarks"))


def test_layouts_and_suites_have_the_same_names():
    assert set(BENCHMARKS) == set(SUITES)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_row_becomes_a_comparison_of_its_suite(written, name):
    found = read(written[name])
    assert found
    assert all(isinstance(each, Comparison) for each in found)
    assert {each.tags["benchmark"] for each in found} == {name}
    assert len({each.id for each in found}) == len(found)


def tagged(found, tag):
    return [each.tags.get(tag, "") for each in found]


def better(comparison):
    """Text of the better response of the first judgment."""
    return comparison.responses[comparison.judgments[0].better].text


def test_rewardbench_tags_subset_and_writers(written):
    found = read(written["rewardbench"])
    assert tagged(found, "subset") == ["hep-cpp", "math-prm", "shp"]
    assert found[0].tags["chosen_model"] == "human"
    assert found[0].tags["rejected_model"] == "gpt-4"
    assert (found[0].id, better(found[0]), found[0].prompt[0].role) == ("0", "Right.", "user")


def test_the_prior_sets_of_rewardbench_take_the_subset_from_the_split(tmp_path):
    row = {"prompt": files.turns("Ask?"), "chosen": "Right.", "rejected": "Wrong.", "subset": "a part of the split"}
    (found,) = read(f"benchmark:rewardbench={files.write(tmp_path / 'anthropic_helpful-00000-of-00001.jsonl', [row])}")
    assert found.tags["subset"] == "anthropic_helpful"
    assert [turn.role for turn in (*found.prompt, *found.responses[0].messages)] == ["user", "assistant"]
    assert better(found) == "Right."
    with pytest.raises(DataError, match="no split in the name, wanted a file or split of one of anthropic_harmless"):
        read(f"benchmark:rewardbench={files.write(tmp_path / 'rows.jsonl', [row])}")


def test_rewardbench2_keeps_the_id_that_pairs_prompts(written):
    found = read(written["rewardbench2"])
    assert tagged(found, "tie") == ["", "ref:3", "tied:3"]
    assert [len(each.judgments) for each in found] == [3, 3, 6]


def test_a_folder_of_rm_bench_is_five_files_with_nine_judgments_a_row(written):
    found = read(written["rm-bench"])
    assert Counter(tagged(found, "domain")) == dict.fromkeys(files.RM_BENCH, 2)
    assert len(found[0].responses) == 6
    assert [(j.better, j.worse) for j in found[0].judgments] == [(i, 3 + j) for i in range(3) for j in range(3)]
    assert found[0].responses[4].text == "Wrong, detailed."


def test_rm_bench_in_one_file_names_the_domain_in_its_rows(tmp_path):
    path = files.write(tmp_path / "total_dataset.json", [{**files.rm_bench("7"), "domain": "safety-refuse"}])
    assert tagged(read(f"benchmark:rm-bench={path}"), "domain") == ["safety-refuse"]


def test_rmb_reads_pairs_and_best_of_n(written):
    best, *pairs = read(written["rmb"])
    assert [(t["kind"], t["goal"], t["category"]) for t in (best.tags, pairs[0].tags)] == [
        ("BoN_set", "Harmlessness", "S1"),
        ("Pairwise_set", "Helpfulness", "Chat/Discussion"),
    ]
    assert len(best.responses) == 3
    assert len(best.judgments) == 2
    assert "rejected_model" not in best.tags
    assert pairs[0].tags["rejected_model"] == "two"
    assert better(best) == "Right."


def test_judgebench_reads_label_category_and_response_model(written):
    found = read(written["judgebench"])
    assert [better(each) for each in found] == ["Answer A.", "Answer B."]
    assert tagged(found, "domain") == ["Knowledge", "Coding"]
    assert set(tagged(found, "response_model")) == {"gpt-4o-2024-05-13"}


def test_llmbar_takes_the_set_from_the_folder(written):
    found = read(written["llmbar"])
    assert set(tagged(found, "subset")) == {"Natural", "Neighbor", "GPTInst", "GPTOut", "Manual"}
    assert [better(each) for each in found[:2]] == ["Second.", "First."]


@pytest.mark.parametrize("key", ["targets", "mc_targets", "target_scores"])
def test_hhh_reads_each_spelling_of_its_targets(written, tmp_path, key):
    found = read(written["hhh"])
    assert Counter(tagged(found, "subset")) == {"harmless": 2, "helpful": 2, "honest": 2, "other": 2}
    assert [better(each) for each in found[:2]] == ["Second.", "First."]
    labels = {"First.": 1, "Second.": 0}
    path = files.write(tmp_path / "another" / "honest.jsonl", [{"input": "Ask?", key: labels}])
    (only,) = read(f"benchmark:hhh={path}")
    assert (better(only), only.tags["subset"]) == ("First.", "honest")


def test_evalbiasbench_reads_an_object_of_lists(written):
    found = read(written["evalbiasbench"])
    assert set(tagged(found, "subset")) == set(SUITES["evalbiasbench"].sections)
    assert [better(each) for each in found[:2]] == ["First.", "Second."]


@pytest.mark.skipif(not DATA.exists(), reason="no real data here")
@pytest.mark.parametrize(("name", "folder", "count"), [("hhh", "hhh_alignment", 221), ("evalbiasbench",) * 2 + (80,)])
def test_pairs_of_messages_with_a_subset_have_the_published_counts(name, folder, count):
    found = read(f"benchmark:{name}={DATA / folder}")
    assert len(found) == count
    assert Counter(tagged(found, "subset")) == {"hhh": counts("hhh"), "evalbiasbench": counts("evalbiasbench")}[name]


def counts(name):
    from bradley.evaluate.benchmarks import evalbiasbench, hhh

    return {"hhh": hhh, "evalbiasbench": evalbiasbench}[name].COUNTS


WRONG = [
    ("rewardbench", files.rewardbench2("1"), "found a list in chosen, wanted text"),
    (
        "rewardbench",
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        "wanted the key subset",
    ),
    ("rewardbench2", files.rewardbench(1), "text in chosen, wanted a list of texts"),
    ("rm-bench", {**files.rm_bench("1"), "chosen": ["a", "b"]}, "found 2 chosen and 3 rejected, wanted 3 chosen and 3"),
    ("rm-bench", files.rm_bench("1"), "no domain in row and file name"),
    ("rmb", files.rewardbench(1), "wanted the keys conversation_input, chosen, reject, category_path or"),
    ("rmb", {**files.rmb_pair("1"), "reject": "text"}, "found text in reject"),
    ("rmb", {**files.rmb_pair("1"), "category_path": "Chat"}, "wanted KIND/GOAL/CATEGORY"),
    ("judgebench", files.judgebench("1", "A=B"), "found 'A=B' in label, wanted A>B or B>A"),
    ("llmbar", {**files.llmbar(3), "subset": "Natural"}, "found 3 in label, wanted 1 or 2"),
    ("llmbar", {**files.llmbar(True), "subset": "Natural"}, "found True in label, wanted 1 or 2"),
    ("llmbar", {**files.llmbar(2.0), "subset": "Natural"}, "found 2.0 in label, wanted 1 or 2"),
    ("llmbar", files.llmbar(), "no set in row and path"),
    ("hhh", {**files.hhh((1, 1)), "subset": "honest"}, "wanted 2 texts with labels 1 and 0"),
    ("hhh", files.hhh(), "no subset in row and path"),
    ("evalbiasbench", files.bias("new bias"), "found the bias 'new bias'"),
]


@pytest.mark.parametrize(("name", "row", "message"), WRONG)
def test_another_version_or_layout_is_refused_in_one_line(tmp_path, name, row, message):
    path = files.write(tmp_path / "x.jsonl", [row])
    with pytest.raises(DataError) as caught:
        read(f"benchmark:{name}={path}")
    assert message in caught.value.message
    assert caught.value.message.startswith(f"{path}, row 1: found ")
    assert len(caught.value.lines) == 1
    assert "as its authors publish it" in caught.value.hint


ROWS = {
    "rewardbench": files.rewardbench(1),
    "rewardbench2": files.rewardbench2("ref:1", "Ties"),
    "rm-bench": {**files.rm_bench("1"), "domain": "chat"},
    "rmb": files.rmb_best("1"),
    "judgebench": files.judgebench("1"),
    "llmbar": {**files.llmbar(), "subset": "Natural"},
    "hhh": {**files.hhh(), "subset": "honest"},
    "evalbiasbench": files.bias("concreteness"),
}
SCALARS = st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from([0.5, 1.0, "", "x", "A>B", "a/b"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["answer", "role", "labels"]), inner),
    max_leaves=6,
)


@given(name=st.sampled_from(sorted(ROWS)), data=st.data())
def test_any_value_in_any_field_is_read_or_refused(name, data):
    row = dict(ROWS[name])
    row[data.draw(st.sampled_from(sorted(row)))] = data.draw(VALUES)
    at = RowPlace("x.jsonl", "x", 1)
    try:
        found = convert_row(BENCHMARKS[name], row, at)
    except DataError as error:
        assert error.message.startswith("x.jsonl, row 1: found ")
        return
    assert isinstance(found, Comparison | Rejected)


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("benchmark:hhhh=x", "hhhh is no known benchmark", "did you mean benchmark:hhh=PATH?"),
        ("benchmark:zzzzzz=x", "zzzzzz is no known benchmark", "known benchmarks: rewardbench"),
        ("benchmark:hhh", "names no file of hhh", "write benchmark:hhh=PATH"),
        ("benchmark:hhh=nowhere.json", "does not exist", "see what is there"),
    ],
)
def test_a_source_that_names_no_benchmark_or_file(source, message, hint):
    with pytest.raises(BradleyError) as caught:
        resolve(source)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_document_of_another_shape_and_a_folder_without_files(tmp_path):
    path = files.write(tmp_path / "task.json", {"name": "hhh"})
    with pytest.raises(DataError, match="found an object with the keys name, and the rows of HHH alignment are wanted"):
        read(f"benchmark:hhh={path}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no data file"):
        read(f"benchmark:hhh={tmp_path / 'empty'}")


def test_a_dataset_of_the_hub_or_of_a_saved_folder_is_a_benchmark_too(tmp_path):
    (source,) = resolve("benchmark:hhh=hub:HuggingFaceH4/hhh_alignment?config=honest")
    assert source.identity == "benchmark:hhh=hub:HuggingFaceH4/hhh_alignment?config=honest"
    Dataset.from_list([files.hhh(), files.hhh((1, 0))]).save_to_disk(tmp_path / "honest")
    found = read(f"benchmark:hhh={tmp_path / 'honest'}")
    assert [better(each) for each in found] == ["Second.", "First."]
    assert tagged(found, "subset") == ["honest", "honest"]


def test_unreadable_text_is_counted_and_not_lost(tmp_path):
    path = files.write(tmp_path / "x.jsonl", [{**files.rewardbench(1), "chosen": "a\0b"}, files.rewardbench(2)])
    found = read(f"benchmark:rewardbench={path}")
    assert [type(each) for each in found] == [Rejected, Comparison]
    assert found[0].reason == "bad_characters"


def test_a_benchmark_is_an_evaluation_set_of_a_run(written, tmp_path):
    train = [{"prompt": f"Name {n}.", "chosen": f"{n}", "rejected": "No."} for n in range(40)]
    data = Data(valid_share=0.2, eval_sets={"reasoning": written["rewardbench"], "styles": written["rm-bench"]})
    splits = load_splits(data, 0, train=train, cache=None)
    assert {each.tags["benchmark"] for each in splits.evals["reasoning"]} == {"rewardbench"}
    assert len(splits.evals["styles"]) == 10
    sources = splits.report["splits"]["styles"]["sources"]
    assert [source["rows"] for source in sources] == [2] * 5
    assert all(source["sha256"] for source in sources)


def test_faulty_rows_of_a_benchmark_stop_the_load_whatever_the_policy(tmp_path):
    path = files.write(tmp_path / "x.jsonl", [files.rewardbench(1), {"prompt": "a"}])
    train = [{"prompt": f"Name {n}.", "chosen": f"{n}", "rejected": "No."} for n in range(40)]
    data = Data(valid_share=0.2, faulty="drop", eval_sets={"a": f"benchmark:rewardbench={path}"})
    with pytest.raises(DataError, match="row 2: found the keys prompt, wanted the keys prompt, chosen, rejected"):
        load_splits(data, 0, train=train, cache=None)


def test_a_format_has_no_say_over_a_benchmark(written):
    with pytest.raises(UserError, match="no split and no source"):
        load_splits(Data(train="synthetic:", format={"benchmark:hhh=x": "hh"}), 0, cache=None)
