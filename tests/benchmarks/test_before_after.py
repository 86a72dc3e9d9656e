"""The comparison of two checkouts runs to its end: it runs by hand, so that a fault would be found late."""

import re
import subprocess
import sys
from pathlib import Path

import before_after
import pytest

pytestmark = pytest.mark.nightly

ROOT = Path(__file__).parents[2]


def test_scoring_of_a_checkout_beside_itself():
    words = [str(ROOT), str(ROOT), "--only", "scoring", "--rounds", "2", "--score-rows", "1"]
    done = subprocess.run([sys.executable, before_after.__file__, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rates, differences = done.stdout.splitlines()[::2], done.stdout.splitlines()[1::2]
    for count, rate, difference in zip(before_after.RESPONSES, rates, differences, strict=True):
        assert re.fullmatch(rf"scoring, K = {count}: responses/s: [\d.]+ and [\d.]+, ratio [\d.]+ \(.*\)", rate)
        assert difference.startswith(f"scoring, K = {count}: largest difference 0.0e+00 of scores up to ")


def test_sources_of_another_checkout_are_refused(tmp_path):
    with pytest.raises(SystemExit, match="and not from"):
        before_after.check_sources(tmp_path)
