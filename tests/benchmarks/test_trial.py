import json
import sys
from pathlib import Path

import numpy as np
import pytest
import trial
from trial import Trial, data_settings, every_judgment, render_settings, set_up, write_pairs
from turns import Arm

from bradley.data.token_store import TokenStore
from tests.helpers import LLAMA

SETTINGS = {"device": "cpu", "precision": "float32", "threads": 1, "lr": 1e-3, "seed": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trial, TokenStore]:
    folder = tmp_path_factory.mktemp("trial")
    rng = np.random.default_rng(0)
    words = ["river", "stone", "bird", "tree", "bridge", "nobody"]

    def text() -> str:
        return " ".join(rng.choice(words, int(rng.integers(2, 12))))

    rows = [{"prompt": f"{n} {text()}", "chosen": f"yes {text()}", "rejected": f"no {text()}"} for n in range(40)]
    rows.append({"prompt": "far", "chosen": "too " * 200, "rejected": "long"})
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return set_up(str(file), folder, {**LLAMA, "max_position_embeddings": 256}, 128, 6, **SETTINGS)


def test_a_trial_says_what_its_model_and_steps_are(made: tuple[Trial, TokenStore]) -> None:
    found, store = made
    assert (found.batch_size, found.step_judgments) == (6, 6)
    assert (len(store), store.ledger.dropped) == (40, 1)
    layer = 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64  # two query heads to a key head
    assert found.parameters == 2 * layer  # neither norms nor the head
    assert trial.read_trial(found.folder) == found


@pytest.mark.nightly
def test_the_bradley_arm_counts_what_its_steps_hold(made: tuple[Trial, TokenStore]) -> None:
    found, store = made
    script = Path(trial.__file__).with_name("arm_bradley.py")
    with Arm("bradley", [sys.executable, str(script), found.folder], found.path("errors.txt")) as arm:
        first, rest = arm.turn(), arm.turn(judgments=31)
        steps = arm.ask(do="steps", count=7)["steps"]
    assert (first.units, first.judgments, rest.units, rest.judgments) == (1, 6, 6, 34)  # the seventh step has four
    assert sorted(g for step in steps for g in step) == list(range(40))
    assert first.tokens + rest.tokens == len(store.tokens)
    assert first.tokens == sum(len(once(store, g)) for g in steps[0])
    lines = map(json.loads, found.path("run").joinpath("metrics.jsonl").read_text().splitlines())
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 8))


def once(store: TokenStore, comparison: int) -> list[int]:
    """The tokens of a pair, its common beginning once."""
    chosen, rejected = (store.response_ids(comparison, side).tolist() for side in (0, 1))
    shared = next(i for i, (one, other) in enumerate(zip(chosen, rejected, strict=False)) if one != other)
    return chosen + rejected[shared:]


def test_pairs_hold_the_ids_of_the_store(made: tuple[Trial, TokenStore], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    _, store = made
    judgments = every_judgment(store, np.array([5, 2, 7]))
    assert [g for g, _, _ in judgments] == [5, 2, 7]
    write_pairs(store, judgments, tmp_path / "pairs")
    rows = datasets.load_from_disk(str(tmp_path / "pairs"))
    for row, (g, better, worse) in zip(rows, judgments, strict=True):
        assert row["chosen_ids"] == store.response_ids(g, better).tolist()
        assert row["rejected_ids"] == store.response_ids(g, worse).tolist()
        assert row["length"] == max(len(row["chosen_ids"]), len(row["rejected_ids"]))


def test_settings_keep_rows_by_their_length_alone() -> None:
    assert data_settings("pairs.jsonl").valid_share == 0.0
    assert render_settings(64).over_long == "drop"
