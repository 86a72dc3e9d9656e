"""Files of rows with planted faults, and audits of such files."""

import json

import numpy as np

from bradley.audit.rows import read_set
from bradley.common.console import Console
from bradley.config import Data

VOCABULARY = [first + last for first in ("ba", "ke", "lo", "mi", "nu", "sar", "tel", "vo") for last in "aeioulmnrst"]


def text(rng, words=40):
    return " ".join(rng.choice(VOCABULARY, size=words))


def pair(id, prompt, chosen, rejected, **more):
    return {"id": id, "prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def clean_rows(count, seed=0):
    """Rows without a fault: every text is another one."""
    rng = np.random.default_rng(seed)
    return [pair(f"clean{i}", text(rng, 30), text(rng), text(rng)) for i in range(count)]


def turned(row, **changes):
    return {**row, "chosen": row["rejected"], "rejected": row["chosen"], **changes}


def planted_rows():
    """Rows, and the ids that each finding must name."""
    rng = np.random.default_rng(1)
    rows = clean_rows(40)
    base = dict(enumerate(rows))
    swapped = " ".join(["changed", *base[5]["chosen"].split()[1:]])
    cycle, order = [[text(rng) for _ in range(3)] for _ in range(2)]
    rows += [
        {**base[3], "id": "exact1"},
        {**base[3], "id": "exact2"},
        {**base[5], "id": "near", "chosen": swapped},
        turned(base[7], id="opposite"),
        pair("ab", "In a circle?", cycle[0], cycle[1]),
        pair("bc", "In a circle?", cycle[1], cycle[2]),
        pair("ca", "In a circle?", cycle[2], cycle[0]),
        pair("same", text(rng), base[9]["chosen"], base[9]["chosen"]),
        pair("blank", text(rng), text(rng), " "),
        # Rows that look alike, and have no fault.
        pair("other answers", base[11]["prompt"], text(rng), text(rng)),
        pair("other prompt", text(rng), base[13]["chosen"], base[13]["rejected"]),
        pair("one other answer", base[15]["prompt"], base[15]["chosen"], text(rng)),
        *(pair(f"order{a}{b}", "In order?", order[a], order[b]) for a, b in ((0, 1), (1, 2), (0, 2))),
    ]
    found = {
        "exact": {"exact1", "exact2"},
        "near": {"near"},
        "contradictions": {"clean7", "opposite"},
        "intransitive": {"ab", "bc", "ca"},
        "identical": {"same"},
        "empty": {"blank"},
    }
    return rows, found


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path, name="set"):
    return read_set(name, str(path), Data(), Console("quiet"))


def ids(rows, numbers):
    return {rows.id(number) for number in numbers}
