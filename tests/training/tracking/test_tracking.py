"""Writers: what a run computed is what each of them holds, read back by something else."""

import csv
import importlib.util
import json
import math
import re
import struct

import numpy as np
import pytest

from bradley.common import disk
from bradley.config import Log
from bradley.errors import DiskError, UserError
from bradley.training.loop import fit
from bradley.training.tracking import TRACKERS, check_trackers, open_writers
from bradley.training.tracking.jsonl_csv import COLUMNS, JsonLines
from bradley.training.tracking.samples import choose
from bradley.training.tracking.tensorboard import markdown_table
from tests.training.finished import Finished, numbers
from tests.training.jobs import VALID, config, job

GPT2 = ["step", "loss", "avg_loss", "acc", "avg_acc", "grad_norm", "lr", "eval_loss", "eval_acc"]
LUD = [
    "step",
    "train_loss",
    "train_acc",
    "train_margin",
    "eval_loss",
    "eval_acc",
    "eval_margin",
    "eval_pairs",
    "eval_ece",
    "eval_roc_auc",
    "eval_delta_mean",
    "eval_delta_std",
    "eval_delta_p05",
    "eval_delta_p50",
    "eval_delta_p95",
    "eval_delta_neg_rate",
    "eval_reward_chosen_mean",
    "eval_reward_chosen_std",
    "eval_reward_rejected_mean",
    "eval_reward_rejected_std",
    "eval_reward_abs_max",
    "eval_reward_len_corr",
    "eval_delta_len_diff_corr",
    "eval_len_diff_mean",
    "eval_len_diff_std",
    "eval_calib_bins_json",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    import wandb

    folder = tmp_path_factory.mktemp("writers")
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in {"WANDB_MODE": "offline", "WANDB_CACHE_DIR": str(folder), "WANDB_SILENT": "true"}.items():
            monkeypatch.setenv(name, value)
        wandb.teardown()  # it reads its environment once
        yield Finished(folder, ["tensorboard", "wandb"])


def test_the_table_has_the_columns_of_the_older_systems(finished):
    header = (finished.folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert header == list(COLUMNS) and {*GPT2, *LUD, "episode", "epoch", "set"} == set(header)


def test_every_cell_of_the_table_is_the_value_of_its_event(finished):
    with (finished.folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(finished.events) == 6 + 3  # three evaluations of two sets, steps 1, 2 and 4
    for row, event in zip(rows, finished.events, strict=True):
        of_set = f"eval/{event.get('set')}/rm/"
        for column, key in COLUMNS.items():
            value = event.get(key.replace("eval/{set}/rm/", of_set))
            if value is None:
                assert row[column] == "", column
            elif column == "set":
                assert row[column] == value
            else:
                assert json.loads(row[column]) == value, column
        written = {column for column in row if row[column]} - {"step", "episode", "epoch", "set"}
        assert written and all(column.startswith("eval_") == (event["kind"] == "eval") for column in written)
    valid = [row for row in rows if row["set"] == "valid"]
    assert [row["step"] for row in valid] == ["0", "2", "4"] and all(row["eval_pairs"] == "9" for row in valid)
    assert {row["set"] for row in rows} == {"", "valid", "harder"}


def test_the_aliases_of_the_table_say_what_their_systems_said(finished):
    """Against the scored rows of the last evaluation, computed by hand."""
    with (finished.folder / "metrics.csv").open(newline="") as file:
        last = [row for row in csv.DictReader(file) if row["set"] == "valid"][-1]
    rows = finished.read("eval/valid-last.jsonl")
    scores = [row["scores"] for row in rows]
    margins = sorted(better - worse for better, worse in scores)
    mean = sum(margins) / 9
    assert float(last["eval_acc"]) == pytest.approx(sum(margin > 0 for margin in margins) / 9)
    assert float(last["eval_loss"]) == pytest.approx(sum(math.log1p(math.exp(-margin)) for margin in margins) / 9)
    assert float(last["eval_margin"]) == pytest.approx(mean) == float(last["eval_delta_mean"])
    assert float(last["eval_delta_std"]) == pytest.approx(math.sqrt(sum((m - mean) ** 2 for m in margins) / 9))
    for name, share in {"p05": 0.05, "p50": 0.5, "p95": 0.95}.items():
        assert float(last[f"eval_delta_{name}"]) == pytest.approx(np.quantile(margins, share))
    assert float(last["eval_delta_neg_rate"]) == pytest.approx(sum(margin < 0 for margin in margins) / 9)
    for side, values in zip(("chosen", "rejected"), np.array(scores).T, strict=True):
        assert float(last[f"eval_reward_{side}_mean"]) == pytest.approx(values.mean())
        assert float(last[f"eval_reward_{side}_std"]) == pytest.approx(values.std())
    assert float(last["eval_reward_abs_max"]) == pytest.approx(np.abs(scores).max())
    lengths = np.array([row["response_tokens"] for row in rows])
    extra, margin = lengths[:, 0] - lengths[:, 1], np.array(scores)[:, 0] - np.array(scores)[:, 1]
    correlation = np.corrcoef(np.ravel(scores), lengths.ravel())[0, 1]
    assert float(last["eval_reward_len_corr"]) == pytest.approx(correlation)
    assert float(last["eval_delta_len_diff_corr"]) == pytest.approx(np.corrcoef(margin, extra)[0, 1])
    assert float(last["eval_len_diff_mean"]) == pytest.approx(extra.mean())
    assert float(last["eval_len_diff_std"]) == pytest.approx(extra.std())
    better = np.array(scores)[:, 0][:, None] > np.array(scores)[:, 1][None, :]
    assert float(last["eval_roc_auc"]) == pytest.approx(better.mean())
    bins = json.loads(last["eval_calib_bins_json"])
    errors = [bin["n"] * abs(bin["confidence"] - bin["accuracy"]) for bin in bins if bin["n"]]
    assert float(last["eval_ece"]) == pytest.approx(sum(errors) / sum(bin["n"] for bin in bins))


def test_tensorboard_holds_every_number_the_configuration_samples_and_histograms(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(
        str(finished.folder / "tensorboard"), size_guidance={"tensors": 0, "histograms": 0}
    ).Reload()
    held = {(tag, point.step): point.value for tag in read.Tags()["scalars"] for point in read.Scalars(tag)}
    for event in finished.events:
        for key, value in numbers(event).items():
            if key != "step":
                assert held[key, event["step"]] == pytest.approx(value, rel=1e-6), key
    assert held["data/train/prompt_tokens_mean", 0] == 12.5
    text = read.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert json.loads(text.strip("`").removeprefix("json")) == finished.config.model_dump(mode="json")
    samples = [point.tensor_proto.string_val[0].decode() for point in read.Tensors("samples/valid/text_summary")]
    assert len(samples) == 3
    assert all(row["chosen"] in samples[2] for row in finished.read("eval/samples.jsonl")[2]["rows"])
    drawn = read.Histograms("scores/valid/chosen")
    expected = [line["chosen"] for line in finished.read("eval/distributions.jsonl") if line["set"] == "valid"]
    for point, scores in zip(drawn, expected, strict=True):
        value = point.histogram_value
        counts = dict(zip(value.bucket_limit, value.bucket, strict=True))  # empty outer ones are not kept
        assert {edge: n for edge, n in counts.items() if n} == {
            edge: n for edge, n in zip(scores["edges"][1:], scores["counts"], strict=True) if n
        }
        assert (value.num, value.sum) == (9, pytest.approx(9 * scores["mean"]))


def wandb_records(data):
    """The records of a wandb file: LevelDB's log format, blocks of 32 KiB, after 7 bytes of its own."""
    place, record = 7, b""
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def logged_by_wandb(folder):
    """The history and the configuration of an offline run, from its own record file."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    steps, settings = {}, {}
    for data in wandb_records(path.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            steps.setdefault(row.get("_step", record.history.step.num), {}).update(row)
        changes = [*record.run.config.update, *record.config.update]
        settings |= {item.key or item.nested_key[0]: json.loads(item.value_json) for item in changes}
    return steps, settings


def test_wandb_holds_every_number_the_configuration_samples_and_histograms(finished):
    steps, settings = logged_by_wandb(finished.folder)
    for event in finished.events:
        for key, value in numbers(event).items():
            if key != "step":
                assert steps[event["step"]][key] == pytest.approx(value), key
    assert steps[0]["data/train/prompt_tokens_mean"] == 12.5
    assert {name: settings[name] for name in ("seed", "train")} == {
        "seed": finished.config.seed,
        "train": finished.config.train.model_dump(mode="json"),
    }
    assert steps[4]["samples/valid/_type"] == "table-file" and steps[4]["samples/valid/nrows"] == 2
    last = finished.read("eval/distributions.jsonl")[-1]
    assert steps[4]["scores/harder/rejected/values"] == last["rejected"]["counts"]


def test_wandb_disabled_writes_nothing(tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_MODE", "disabled")
    wandb.teardown()  # it reads its environment once
    fit(job(tmp_path / "run", config(train={"max_steps": 1}, log={"trackers": "wandb"})))
    assert not (tmp_path / "run" / "wandb").exists()


def test_a_wandb_that_cannot_start_is_said(tmp_path, monkeypatch):
    import wandb

    def refuse(**settings):
        raise wandb.errors.UsageError("api_key not configured (no-tty)")

    monkeypatch.setattr(wandb, "init", refuse)
    made = job(tmp_path / "run", config(log={"trackers": "wandb"}))
    with pytest.raises(UserError, match="api_key not configured") as caught:
        fit(made)
    assert "WANDB_MODE=offline" in caught.value.hint


def test_a_run_that_fails_is_failed_for_wandb_and_every_writer_is_closed(tmp_path, monkeypatch):
    codes, closed = [], []

    class Broken:
        def event(self, event):
            raise ZeroDivisionError

        def close(self):
            closed.append(True)

    class Fake:
        def finish(self, exit_code):
            codes.append(exit_code)

        def log(self, fields, step):
            pass

    import wandb

    monkeypatch.setattr(wandb, "init", lambda **settings: Fake())
    monkeypatch.setitem(TRACKERS, "rm_diag", lambda folder, config, at: Broken())
    (tmp_path / "eval").mkdir()
    with pytest.raises(ZeroDivisionError), open_writers(tmp_path, config(log={"trackers": ["rm_diag", "wandb"]})) as w:
        w.write({"kind": "train", "step": 1})
    assert codes == [1] and closed == [True]


def test_an_unknown_tracker_is_said_with_the_nearest():
    with pytest.raises(UserError, match="tensorbord") as caught:
        check_trackers(Log(trackers=["rm_diag", "tensorbord"]))
    assert caught.value.hint == "did you mean tensorboard?"
    with pytest.raises(UserError, match="names wandb twice"):
        check_trackers(Log(trackers=["wandb", "wandb"]))
    check_trackers(Log(trackers=list(TRACKERS)))


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_said_with_its_extra(monkeypatch, name):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *rest: None if n == name else find(n, *rest))
    with pytest.raises(UserError, match=f"{name} is not installed") as caught:
        check_trackers(Log(trackers=name))
    assert f'"bradley[{name}]"' in caught.value.hint


def test_a_full_disk_is_a_disk_error_and_leaves_no_half_line(tmp_path, monkeypatch):
    lines = JsonLines(tmp_path / "full.jsonl")
    lines.event({"step": 1})
    write, room = disk.write, [5, 0]

    def almost_full(handle, data):
        if not (left := room.pop(0)):
            raise OSError(28, "No space left on device")
        return write(handle, data[:left])

    with monkeypatch.context() as patched, pytest.raises(DiskError, match="No space left"):
        patched.setattr(disk, "write", almost_full)
        lines.event({"step": 2})
    assert room == [] and (tmp_path / "full.jsonl").read_text() == '{"step": 1}\n'
    lines = JsonLines(tmp_path / "a.jsonl", ("train",))
    lines.event({"kind": "eval"})
    lines.event({"kind": "train", "step": 1})
    assert (tmp_path / "a.jsonl").read_text() == '{"kind": "train", "step": 1}\n'  # before it is closed


def test_a_table_of_samples_keeps_its_shape_whatever_the_texts_hold():
    table = markdown_table([{"a": "x|y\\|\nz", "b": 1.5}, {"a": "", "b": None}])
    rows = table.splitlines()
    assert len(rows) == 4 and all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3 for row in rows)


def test_the_files_of_two_runs_have_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        made = job(tmp_path / name, config(train={"max_steps": 2}))
        made.evaluator.samples = choose({"valid": VALID}, 3, 0)
        fit(made)
    for file in ("metrics.jsonl", "metrics.csv", "eval/samples.jsonl", "eval/distributions.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file
