"""A run that is cut off and goes on ends with the bytes of one that was not."""

import json
import signal
from types import SimpleNamespace

import pytest

from bradley.config import Config
from bradley.data.token_store import store_of
from bradley.data.truncate import Fitted
from bradley.errors import Preempted, RunFolderError, UserError
from bradley.training.checkpoints.identity import (
    ADDED,
    FREE,
    RULES,
    check_identity,
    settings_that_count,
    trained_on,
)
from bradley.training.checkpoints.store import Checkpoints
from tests.faults.results import record
from tests.helpers import changed, comparisons
from tests.model.adapted import base_model
from tests.training.interrupted import DATA, SETTINGS, Cut, cut_run, fingerprint, quick_runs, run


@pytest.fixture(autouse=True)
def quick(tmp_path_factory, monkeypatch):
    """One cache of tokens for all runs; figures and report left out, which take longer than the run."""
    quick_runs(monkeypatch, tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return base_model(tmp_path_factory.mktemp("base") / "gpt2", SETTINGS["model"]["config"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of `SETTINGS` without an interruption; never changed."""
    with pytest.MonkeyPatch.context() as patch:
        quick_runs(patch, tmp_path_factory.getbasetemp())
        return run(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture
def cut(monkeypatch):
    return Cut(monkeypatch)


def kinds(base):
    """Settings of full training and of an adapter, both with dropout."""
    adapter = {"path": str(base), "dropout": True, "adapter": {"kind": "lora", "rank": 4, "dropout": 0.1}}
    return {"full": SETTINGS, "lora": {**SETTINGS, "model": adapter}}


@pytest.mark.parametrize("kind", ["full", pytest.param("lora", marks=pytest.mark.nightly)])
def test_interrupted_and_resumed_equals_uninterrupted_byte_for_byte(tmp_path, cut, base, whole, kind):
    settings = kinds(base)[kind]
    uninterrupted = whole.folder if kind == "full" else run(tmp_path / "whole", settings).folder
    for looks in (7, 25, 9):  # while step 0 is evaluated, within a step, soon after a start
        assert cut_run(tmp_path / "cut", cut, looks, settings=settings)
    run(tmp_path / "cut", settings)
    assert fingerprint(tmp_path / "cut") == fingerprint(uninterrupted)
    starts = json.loads((tmp_path / "cut" / "run.json").read_text())["starts"]
    assert len(starts) == 4 and starts[-1]["step"] > 0


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_every_place_to_interrupt_is_a_good_one(tmp_path, cut, base, kind):
    settings = kinds(base)[kind]
    run(tmp_path / "whole", settings)
    expected, looks = fingerprint(tmp_path / "whole"), 1
    while cut_run(tmp_path / f"cut-{looks}", cut, looks, settings=settings):
        run(tmp_path / f"cut-{looks}", settings)
        assert fingerprint(tmp_path / f"cut-{looks}") == expected, looks
        looks += 1
    assert looks > 50
    goal = "weights, optimizer and metrics.jsonl equal, byte for byte"
    record("G4", f"interrupted and resumed, {kind}, dropout on, 3 epochs", goal, f"{looks - 1} of {looks - 1} places")


def test_no_line_of_the_metrics_is_missing_or_doubled(tmp_path, cut):
    for looks in (18, 12, 12):
        cut_run(tmp_path / "run", cut, looks)
    run(tmp_path / "run")
    events = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    places = [(e["kind"], e["step"], e.get("set")) for e in events]
    assert len(places) == len(set(places))
    assert [step for kind, step, _ in places if kind == "train"] == [1, 3, 4, 6, 8, 9, 12, 15]
    assert [step for kind, step, name in places if name == "valid"] == [0, 4, 8, 12, 15]
    timing = [json.loads(line) for line in (tmp_path / "run" / "timing.jsonl").read_text().splitlines()]
    seconds = [entry["seconds_since_start"] for entry in timing]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGUSR1,  # the others are sent by day in faults/test_stop.py and faults/test_hangup.py
        *(pytest.param(number, marks=pytest.mark.nightly) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)),
    ],
)
def test_each_signal_saves_the_last_whole_step_and_exits_with_75(tmp_path, monkeypatch, number):
    cut = Cut(monkeypatch, number)
    cut.after(25)
    with pytest.raises(Preempted, match=f"{signal.Signals(number).name} after step [1-9]") as error:
        run(tmp_path / "run")
    assert error.value.exit_code == 75 and "--resume" in error.value.hint
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "preempted"
    assert signal.getsignal(number) is not None and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_time_limit_stops_like_a_signal(tmp_path):
    settings = {**SETTINGS, "train": {**SETTINGS["train"], "time_limit": 1e-4}}
    with pytest.raises(Preempted, match="the time limit"):
        run(tmp_path / "run", settings)


@pytest.mark.parametrize(("grace", "warned"), [(1e-4, ["step-000000"]), (30.0, []), (0.0, [])])
def test_a_checkpoint_that_takes_longer_than_a_scheduler_waits_is_warned_about_once(
    tmp_path, monkeypatch, grace, warned
):
    said = []

    def warn(console, text):
        assert f"checkpoint.grace_seconds = {grace:g}" in text
        said.extend(sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")))

    monkeypatch.setattr("bradley.common.console.Console.warn", warn)
    run(tmp_path / "run", changed(SETTINGS, checkpoint={"grace_seconds": grace}, train={"stop_after": 5}))
    assert said == warned


@pytest.mark.parametrize(
    ("optimizer", "first", "grace", "warned"),
    [
        ("AdamW", 4.0, 11.0, ["will take about 12.0 s with the optimizer's state"]),
        ("AdamW", 4.0, 13.0, []),
        ("AdamW", 1.0, 11.0, []),
        ("SGD", 4.0, 11.0, []),
    ],
)
def test_what_a_checkpoint_will_take_is_told_by_the_first_which_has_no_optimizer_state(
    tmp_path, monkeypatch, optimizer, first, grace, warned
):
    """AdamW keeps two numbers for each weight. By this clock a save takes `first`, later 4 s, all else nothing."""
    said, now, commit = [], [0.0], Checkpoints.commit

    def committed(*given):
        commit(*given)
        now[0] += 4.0 if now[0] else first

    monkeypatch.setattr(Checkpoints, "commit", committed)
    monkeypatch.setattr("bradley.training.saver.time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr("bradley.common.console.Console.warn", lambda console, text: said.append(text))
    settings = {**SETTINGS, "optim": {"lr": 1e-3, "name": optimizer}, "checkpoint": {"grace_seconds": grace}}
    run(tmp_path / "run", changed(settings, train={"stop_after": 2}))
    assert len(said) == len(warned) and all(word in text for word, text in zip(warned, said, strict=True))


def test_a_run_whose_folder_was_taken_over_writes_no_checkpoint(tmp_path, monkeypatch):
    """As it happens to a process that stood still, on a disk that several machines share."""
    looks = iter(range(10_000))

    def check():
        if next(looks) == 25:
            (tmp_path / "run" / ".lock").write_text(json.dumps({"host": "other", "pid": 7, "started": "later"}))

    monkeypatch.setattr("bradley.common.signals.check", check)
    with pytest.raises(RunFolderError, match=r"taken over by .*other"):
        run(tmp_path / "run")
    newest = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*"))[-1]
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "running"
    assert newest < "step-000015" and json.loads((tmp_path / "run" / ".lock").read_text())["host"] == "other"


def test_going_on_with_a_run_that_has_ended_changes_no_file(whole):
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in whole.folder.rglob("*") if p.is_file()}
    assert run(whole.folder).results == whole.results
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in whole.folder.rglob("*") if p.is_file()}


def test_a_run_that_stopped_early_goes_on_further(tmp_path, whole):
    """With a later end the rest is trained as if the end had always been there, but for the evaluation at the old."""
    train = {**SETTINGS["train"], "stop_after": 8}
    run(tmp_path / "run", {**SETTINGS, "train": train})
    run(tmp_path / "run")
    for name in ("model.safetensors", "training/optimizer.safetensors"):
        last = [folder / "checkpoints" / "step-000015" / name for folder in (tmp_path / "run", whole.folder)]
        assert last[0].read_bytes() == last[1].read_bytes()


CHANGES = {
    "optim.lr": {"optim": {"lr": 5e-4}},
    "seed": {"seed": 1},
    "train.batch_size": {"train": {**SETTINGS["train"], "batch_size": 4}},
    "render.max_tokens": {"render": {"max_tokens": 100}},
    "loss.beta": {"loss": {"beta": 2.0}},
    "dtype.compute": {"model": {**SETTINGS["model"], "precision": "bfloat16"}},
    "tokenizer.template": {"render": {"max_tokens": 128, "template": "raw"}},
    "tokenizer.rules": {"model": {**SETTINGS["model"], "vocab_size": 330}},
    "model.config": {"model": {**SETTINGS["model"], "config": {**SETTINGS["model"]["config"], "n_head": 2}}},
    "eval.every": {"eval": {"every": 5, "train_probe": 8}},
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bradley.training.run.write_pages", lambda folder, console: None)
        assert cut_run(folder, Cut(patch), 30)
    return folder


@pytest.mark.parametrize("name", CHANGES)
def test_another_run_is_refused_with_what_differs(begun, name):
    before = fingerprint(begun, set())
    with pytest.raises(UserError, match="not the run that was begun") as error:
        run(begun, {**SETTINGS, **CHANGES[name]})
    assert any(line.startswith(f"{name} was ") for line in error.value.message.splitlines())
    assert name in error.value.hint
    assert {k: v for k, v in fingerprint(begun, set()).items() if k != "status.json"} == {
        k: v for k, v in before.items() if k != "status.json"
    }


@pytest.mark.parametrize("name", ["train", "valid"])
def test_other_data_are_refused_by_the_name_of_their_split(begun, name):
    changed = [{**row, "chosen": row["chosen"] + " Yes."} if row["id"].endswith("7") else row for row in DATA[name]]
    with pytest.raises(UserError, match=rf"data\.{name} was [0-9a-f]{{12}}\.\.\., and is"):
        run(begun, data={**DATA, name: changed})


def test_other_base_weights_are_refused(tmp_path, cut, base):
    settings = kinds(base)["full"]
    settings = {**settings, "model": {"path": str(base)}}
    assert cut_run(tmp_path / "run", cut, 20, settings=settings)
    other = base_model(tmp_path / "other", SETTINGS["model"]["config"], seed=1)
    (base / "model.safetensors").rename(base / "kept")
    try:
        (base / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
        with pytest.raises(UserError, match=r"base\.weights was"):
            run(tmp_path / "run", settings)
    finally:
        (base / "kept").replace(base / "model.safetensors")


def test_a_change_that_is_allowed_takes_effect_and_is_recorded(tmp_path, cut):
    assert cut_run(tmp_path / "run", cut, 30)
    changed = {**SETTINGS, "optim": {"lr": 5e-4}}
    run(tmp_path / "run", changed, allow_change=["optim.lr"])
    starts = json.loads((tmp_path / "run" / "run.json").read_text())["starts"]
    assert starts[-1]["changed"] == {"optim.lr": [1e-3, 5e-4]}
    events = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = {e["step"]: e["train/rm/lr"] for e in events if e["kind"] == "train"}
    run(tmp_path / "low", changed)
    low = [json.loads(line) for line in (tmp_path / "low" / "metrics.jsonl").read_text().splitlines()]
    expected = {e["step"]: e["train/rm/lr"] for e in low if e["kind"] == "train"}
    assert rates[12] == expected[12] and rates[1] == 2 * expected[1]


def test_an_unknown_name_to_allow_is_an_error(begun):
    with pytest.raises(UserError, match=r"--allow-change optim\.lrr: no such field") as error:
        run(begun, allow_change=["optim.lrr"])
    assert "optim.lr" in error.value.hint


def test_circumstances_are_said_and_recorded_or_refused_where_every_bit_counts(tmp_path, cut, monkeypatch, capsys):
    assert cut_run(tmp_path / "run", cut, 30)
    monkeypatch.setattr("bradley.training.checkpoints.identity.versions", lambda: {"bradley": "99"})
    exact = {**SETTINGS, "checkpoint": {"exact": True}}
    with pytest.raises(UserError, match=r"versions\.bradley was .*, and is 99 now"):
        run(tmp_path / "run", exact)
    run(tmp_path / "run", progress="json")
    assert "versions.bradley" in capsys.readouterr().err
    changed = json.loads((tmp_path / "run" / "run.json").read_text())["starts"][-1]["changed"]
    assert changed["versions.bradley"][1] == "99"


def test_the_number_of_threads_is_that_of_the_beginning(tmp_path, cut):
    import torch

    settings = {**SETTINGS, "train": {**SETTINGS["train"], "threads": 0}}
    torch.set_num_threads(1)
    assert cut_run(tmp_path / "run", cut, 20, settings=settings)
    try:
        torch.set_num_threads(2)
        run(tmp_path / "run", settings)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(1)


def test_every_setting_counts_but_those_named(tmp_path):
    """So that a new setting is compared, until somebody decides that nothing depends on it."""
    names = dict(settings_that_count(Config(**SETTINGS)))
    assert {name.partition(".")[0] for name in names} >= {"data", "render", "model", "loss", "optim", "train", "eval"}
    assert not any(name.startswith(free) for name in names for free in FREE if "." not in free)


def test_a_folder_with_something_else_in_it_is_no_run(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(Exception, match="no run to go on with"):
        run(tmp_path / "run")
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_checkpoints_between_evaluations_come_as_often_as_asked(tmp_path):
    settings = {**SETTINGS, "eval": {"every": 100, "train_probe": 8}, "checkpoint": {"every": 2, "keep": 3}}
    run(tmp_path / "run", {**settings, "train": {**SETTINGS["train"], "stop_after": 7}})
    steps = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*"))
    assert steps[-3:] == ["step-000004", "step-000006", "step-000007"]


@pytest.mark.parametrize(
    "change",
    [
        lambda row: {**row, "id": f"other {row['id']}"},
        pytest.param(lambda row: {**row, "subset": "b"}, marks=pytest.mark.nightly),
    ],
)
def test_other_ids_or_tags_are_other_data_unless_the_record_is_of_an_earlier_version(tmp_path, cut, change):
    assert cut_run(tmp_path / "run", cut, 40)
    other = {**DATA, "valid": [change(row) for row in DATA["valid"]]}
    with pytest.raises(UserError, match=r"labels\.valid was") as caught:
        run(tmp_path / "run", data=other)
    assert caught.value.exit_code == 2 and "labels.valid" in caught.value.hint
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    for field in ADDED:
        del record["identity"][field]
    del record["record_sha256"]
    path.write_text(json.dumps(record))
    assert run(tmp_path / "run", data=other).results["steps"] == 15


def test_a_run_begun_with_other_cuts_is_refused_in_words_and_any_other_run_goes_on():
    """A version that cut a prompt for all responses at once recorded no rules, and the same hash of uncut data."""
    now = {"data": {"train": "a"}, "rules": dict(RULES)}
    assert check_identity({"data": {"train": "a"}}, now, [], exact=True) == {}
    with pytest.raises(
        UserError, match=r"data\.train was b, and is a now\n.*cuts each conversation by itself"
    ) as caught:
        check_identity({"data": {"train": "b"}}, now, [], exact=False)
    assert "--allow-change data.train" in caught.value.hint
    with pytest.raises(UserError) as caught:
        check_identity({**now, "data": {"train": "b"}}, now, [], exact=False)
    assert "by itself" not in str(caught.value)
    rows = comparisons(2, responses=3)
    ids = [[[1, 2, 3], [1, 2, 4, 5], [1, 2, 6]], [[7, 8], [7, 9], [7, 8, 9]]]
    uncut = [(row, Fitted(each, row.judgments, [1, 1, 1], [0, 0, 0])) for row, each in zip(rows, ids, strict=True)]
    assert trained_on(store_of(uncut)) == "115e627d92884b4ab9017127d6dd16d76e012ecb953349b147a00002c4b02d41"
    # The same tokens in the same segments, of other responses.
    orders = ([[1, 2], [3, 4], [5]], [0, 0, 1]), ([[1, 2], [5], [3, 4]], [0, 1, 0])
    one, other = (store_of([(rows[0], Fitted(each, (), [1, 1, 1], cuts))]) for each, cuts in orders)
    assert one.tokens.tolist() == other.tokens.tolist() and one.segments.tolist() == other.segments.tolist()
    assert trained_on(one) != trained_on(other)
