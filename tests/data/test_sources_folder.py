"""Folders: data files and nothing else are read, in order; code that comes with data never is."""

import json

import pytest

from bradley.data.sources import resolve
from bradley.errors import DataError, UserError

ROW = '{"chosen": "a", "rejected": "b"}\n'


def laid_out(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(ROW)
    return folder


def fault_of(folder):
    with pytest.raises(DataError) as caught:
        resolve(str(folder))
    assert str(folder) in caught.value.message and caught.value.hint
    return caught.value.message


def stems(folder):
    return [source.stem for source in resolve(str(folder))]


def test_data_files_are_sorted_and_descriptions_passed_by(tmp_path):
    described = ["README.md", "LICENSE", "README", "SOURCE.md", ".gitattributes", ".cache/x.py", "state.json"]
    laid_out(tmp_path, "b.jsonl", "a-2.csv.gz", "a-10.parquet", "notes/x.txt", *described, "dataset_infos.json")
    assert stems(tmp_path) == ["a-10", "a-2", "b"]
    assert {source.given for source in resolve(f"{tmp_path}/")} == {f"{tmp_path}/"}
    assert [source.name for source in resolve(str(tmp_path))][2] == str(tmp_path / "b.jsonl")


def test_folders_inside_are_read_where_the_files_are_only_there(tmp_path):
    laid_out(tmp_path, "README.md", "helpful/train.jsonl", "harmless/part/train.jsonl", "licenses/LICENSE")
    assert stems(tmp_path) == ["harmless/part/train", "helpful/train"]
    laid_out(tmp_path, "more.jsonl")
    assert "holds data files, such as more.jsonl, and a folder with more" in fault_of(tmp_path)


@pytest.mark.parametrize("suffix", [".py", ".pkl", ".pickle", ".pt", ".bin", ".npy", ".npz", ".PKL"])
@pytest.mark.parametrize("place", ["", "deep/"])
def test_code_and_pickles_are_refused_and_not_run(tmp_path, suffix, place):
    laid_out(tmp_path, f"{place}a.jsonl")
    (tmp_path / f"{place}evil{suffix}").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    found = fault_of(tmp_path)
    assert f"evil{suffix} is " in found and "code that comes with data is never run" in found
    assert not (tmp_path / "canary").exists()


def test_files_of_an_unknown_kind_are_named(tmp_path):
    laid_out(tmp_path, "a.jsonl", "b.txt")
    assert "b.txt is not a file of a known kind" in fault_of(tmp_path)


def test_a_folder_without_data_is_an_error(tmp_path):
    laid_out(tmp_path, "README.md", "notes/LICENSE", ".git/a.jsonl")
    assert "is a folder without data files" in fault_of(tmp_path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("train.jsonl", "test.jsonl"),
        ("train-00000-of-00001.parquet", "validation-0.parquet"),
        ("train/a.csv", "val/a.csv"),
    ],
)
def test_training_and_held_out_files_do_not_become_one_set(tmp_path, one, other):
    laid_out(tmp_path, one, other)
    assert f"holds {one} and {other}, and one set is wanted" in fault_of(tmp_path)
    assert len(resolve([str(tmp_path / one), str(tmp_path / other)])) == 2


def test_words_that_begin_alike_are_no_splits(tmp_path):
    laid_out(tmp_path, "trainers.jsonl", "testimony.jsonl", "valuable.jsonl", "train-1.jsonl")
    assert len(stems(tmp_path)) == 4


def test_a_file_named_by_itself_and_by_its_folder_is_given_twice(tmp_path):
    laid_out(tmp_path, "a.jsonl", "b.jsonl")
    with pytest.raises(UserError, match=r"b\.jsonl is given twice"):
        resolve([str(tmp_path), str(tmp_path / "b.jsonl")])


def test_a_folder_that_may_not_be_listed_is_an_error_of_ours(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    assert "cannot be read: Permission denied" in fault_of(tmp_path)


def test_rows_of_a_folder(tmp_path):
    laid_out(tmp_path, "a.jsonl", "b.jsonl")
    assert [list(source.rows()) for source in resolve(str(tmp_path))] == [[(1, json.loads(ROW))]] * 2
