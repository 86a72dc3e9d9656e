"""A disk that is full or fails, at any write: the run ends with exit 7 and goes on by itself once there is room."""

import errno
import shutil

import pytest

from bradley.common.files import FULL
from bradley.common.space import check_space
from bradley.errors import DiskError

from . import harness, seam
from .results import record

LARGE = 8192
"""Numbers in a toy that is large enough for a disk to be measured in its checkpoints."""
CHECKPOINT = 2 * 8 * LARGE + 2048
"""Bytes of a checkpoint of such a toy, a little more than it has: weights, momentum, card, state and manifest."""


LARGER = 36 * 1024
"""Numbers in a toy of which eight checkpoints are 64 times 64 KiB and more."""


def trials(points, code, lasting, wanted):
    """Runs in which a call fails, and then one on a disk that is well again.

    Where the call fails once, the second attempt succeeds, and what had to go for it is gone.
    """
    tally, ends = harness.Tally(), []
    for point in points:
        with harness.new_run() as run:
            first = harness.run_toy(run, lambda point=point: seam.fail_at(point, code, lasting=lasting))
            lines = (run / "metrics.jsonl").read_text() if (run / "metrics.jsonl").exists() else ""
            assert not lines or lines.endswith("\n") or code not in FULL, f"torn line at call {point}"
            ends.append((point, first))
            again = harness.run_toy(run)
            left = (
                (harness.bytes_of(run), wanted) if lasting else map(harness.essential, (harness.bytes_of(run), wanted))
            )
            tally.judge(f"call {point}", first, again, *left)
    return tally, ends


def told(ends):
    """Ends that are neither well nor a disk error in words."""
    words = ("could not be", "does not fit")
    return [
        (point, end)
        for point, end in ends
        if end.code != 0 and not (end.code == 7 and any(word in end.of("error")[0] for word in words))
    ]


def failing(calls):
    """How many calls fail on a full disk: those that free space do not."""
    return len([name for name in calls if name not in ("unlink", "rmdir", "cut")])


def test_a_full_disk_ends_the_run_at_any_call_and_room_lets_it_go_on(wanted, calls):
    tally, ends = trials(range(0, failing(calls), 8), errno.ENOSPC, True, wanted)
    assert tally.trials > 20 and not tally.bad and not told(ends), (tally, told(ends))
    assert sum(end.code == 7 for _, end in ends) > 15


@pytest.mark.nightly
@pytest.mark.parametrize("lasting", [True, False])
def test_a_full_disk_at_every_call(lasting, wanted, calls):
    tally, ends = trials(range(failing(calls)), errno.ENOSPC, lasting, wanted)
    fault = f"ENOSPC at every call, {'until there is room' if lasting else 'once'}"
    seen = f"{tally}; {sum(end.code == 7 for _, end in ends)} ended with 7, {len(told(ends))} otherwise"
    record("C9", fault, "exit 7; goes on once there is room, same bytes, no saved step lost", seen)
    kind = "until there is room" if lasting else "once"
    whole = f"{tally.trials - tally.bad} of {tally.trials}"
    record("G9", f"a full disk at any call ({kind}): goes on by itself", "all of 64 or more", whole)
    assert not tally.bad and not told(ends), (tally, told(ends))


@pytest.mark.parametrize(
    "code", [errno.EIO, *(pytest.param(code, marks=pytest.mark.nightly) for code in (errno.EDQUOT, errno.EROFS))]
)
def test_other_failures_of_a_disk_end_the_run_likewise(code, wanted, calls):
    tally, ends = trials(range(code % 12, len(calls), 12), code, True, wanted)
    record("C9", f"{errno.errorcode[code]} at one in twelve calls", "exit 7; goes on afterwards", tally)
    assert tally.trials > 10 and not tally.bad and not told(ends), (tally, told(ends))


def test_a_full_disk_under_the_metrics_ends_the_run_and_leaves_whole_lines(wanted, calls):
    """The calls between two checkpoints are those of the metrics alone."""
    with harness.new_run() as run:
        writes = [at for at, name in enumerate(calls) if name == "write"]
        alone = [at for at in writes if calls[at - 1 : at + 2] == ["write"] * 3]
        first = harness.run_toy(run, lambda: seam.fail_at(alone[0], errno.ENOSPC, lasting=True))
        assert first.code == 7 and "metrics.jsonl" in first.of("error")[0]
        assert harness.run_toy(run).code == 0 and harness.bytes_of(run) == wanted
    record("C9", "disk full under the metrics", "exit 7, never unlogged", "as expected")


def sized(size, wanted, tally):
    """A run on a small disk, and one after it has grown: its end, whether it had to make room."""
    with harness.new_run() as run:
        first = harness.run_toy(run, lambda: seam.small_disk(run, size), size=LARGE)
        left = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
        tally.judge(f"{size} bytes", first, harness.run_toy(run, size=LARGE), harness.bytes_of(run), wanted)
        return first, left


def sizes(count):
    """From one checkpoint to the five that there are at most, one of them half-written, and what is published."""
    return [CHECKPOINT // 2 + CHECKPOINT * 5 * number // count for number in range(count)]


@pytest.mark.parametrize("count", [12, pytest.param(80, marks=pytest.mark.nightly)])
def test_a_disk_of_any_size(count):
    wanted, tally = harness.reference(LARGE), harness.Tally()
    ends = [sized(size, wanted, tally)[0] for size in sizes(count)]
    codes = [end.code for end in ends]
    record(
        "C9", "a disk of 0.5 to 5.5 checkpoints", "ends whole, or with 7 and goes on with more room",
        f"{tally}; {codes.count(0)} ended whole at once, {codes.count(7)} with 7",
    )  # fmt: skip
    assert not tally.bad and set(codes) == {0, 7}, (tally, ends)
    assert codes == sorted(codes, reverse=True)  # what fits on a disk fits on a larger one
    assert all("bytes or more" in end.of("error")[0] and "are free" in end.of("error")[0] for end in ends[1:3])


def test_room_is_made_by_what_may_go_and_the_save_is_tried_once_more():
    """Three checkpoints fit and no fourth: the older of the two newest has to go before the next is there."""
    wanted = harness.essential(harness.reference(LARGE))
    with harness.new_run() as run:
        end = harness.run_toy(run, lambda: seam.small_disk(run, 7 * CHECKPOINT // 2), size=LARGE)
        assert end.code == 0 and harness.essential(harness.bytes_of(run)) == wanted
    with harness.new_run() as run:
        end = harness.run_toy(run, lambda: (no_room_made(), seam.small_disk(run, 7 * CHECKPOINT // 2)), size=LARGE)
        assert end.code == 7  # so it was the second attempt that fitted


def no_room_made():
    """A program that does not try again."""
    rotate = harness.toy.Checkpoints._rotate
    harness.toy.Checkpoints._rotate = lambda self, keep: keep != 1 and rotate(self, keep)


def test_a_save_that_fits_never_is_undone_and_says_what_it_needs():
    with harness.new_run() as run:
        end = harness.run_toy(run, lambda: seam.small_disk(run, 3 * CHECKPOINT // 2), size=LARGE)
        assert end.code == 7 and end.of("saved") == [0]
        message = end.of("error")[0]
        needed, free = (
            int(word.replace(",", "")) for word in message.split() if word.replace(",", "").isdigit() and len(word) > 4
        )
        assert 0.9 * CHECKPOINT < needed < CHECKPOINT and free > 0
        assert not list(run.rglob(".tmp-*")) and not list(run.rglob(".trash-*"))


@pytest.mark.parametrize("count", [6, pytest.param(64, marks=pytest.mark.nightly)])
def test_a_real_disk_of_any_size(count, tmp_path):
    """From one checkpoint to eight; where a run has just made room for itself, it has fewer of them in the end."""
    wanted, tally, codes = harness.essential(harness.reference(LARGER)), harness.Tally(), []
    for number in range(count):
        size = 16 * LARGER + 64 * 1024 * (number * 64 // count)
        with harness.tmpfs(tmp_path, size):
            run = tmp_path / "run"
            run.mkdir()
            codes.append(harness.run_toy(run, size=LARGER).code)
            harness.grow(tmp_path)
            end, found = harness.run_toy(run, size=LARGER), harness.essential(harness.bytes_of(run))
            tally.judge(f"{size} bytes", harness.Ended(0), end, found, wanted)
    record(
        "C9", "a tmpfs, larger in steps of 64 KiB", "ends whole, or with 7 and goes on with more room",
        f"{tally}; {codes.count(0)} ended whole at once, {codes.count(7)} with 7",
    )  # fmt: skip
    assert not tally.bad and set(codes) == {0, 7}, (tally, codes)
    assert codes.count(7) >= count / 4 and codes == sorted(codes, reverse=True)


def test_a_disk_that_cannot_hold_a_run_is_refused_before_it_starts(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    check_space(tmp_path / "not" / "yet", free // 2)
    with pytest.raises(DiskError, match="are needed for") as caught:
        check_space(tmp_path / "not" / "yet", 2 * free)
    assert caught.value.exit_code == 7 and not (tmp_path / "not").exists()
