"""What a run says of itself on the screen."""

from bradley.common.console import Console
from bradley.config import Render
from bradley.data.render import Renderer
from bradley.training.announce import _stop, announce, decoded, show_samples
from bradley.training.build import prepare
from bradley.training.evaluation import Evaluator
from tests.helpers import comparisons, tokenizer_for
from tests.training.jobs import config

SAMPLE = {"id": "a", "prompt": "user: Why?", "chosen": "Because.", "rejected": "So.", "correct": False}
ROWS = {"train": comparisons(12), "valid": comparisons(4, seed=3), "test": comparisons(3, seed=4)}


class Heard(Console):
    """A console that keeps what was said."""

    def __init__(self):
        super().__init__("quiet")
        self.lines = []

    def say(self, text):
        self.lines += text.split("\n")


def evaluator(shown):
    made = Evaluator({}, config().train, config().loss, None)
    made.best_step, made.shown["best"] = 40, shown
    return made


def test_the_samples_of_the_best_step_are_shown_of_the_set_that_chose_it():
    console, row = Heard(), {**SAMPLE, "chosen_score": -1.25, "rejected_score": 0.5}
    show_samples(evaluator({"train_probe": [], "valid": [row, row]}), console)
    assert console.lines[0] == "samples      of valid at step 40: score of chosen, of rejected, texts"
    assert console.lines[1:] == ["    -1.250   +0.500  wrong  user: Why? | Because. | So."] * 2
    other = Heard()
    show_samples(evaluator({"train_probe": [row]}), other)
    assert other.lines[0].startswith("samples      of train_probe at step 40") and len(other.lines) == 2


def test_without_samples_nothing_is_said():
    console = Heard()
    show_samples(evaluator({}), console)
    assert console.lines == []


def test_the_plan_says_where_it_will_be_cut_short_and_every_split_is_decoded():
    settings = config(
        train={"stop_after": 3}, data={"leaked": "keep"}, model={"vocab_size": 320}, render={"max_tokens": 200}
    )
    console, prepared = Heard(), prepare(settings, ROWS, None)
    announce(prepared, console)
    (plan,) = [line for line in console.lines if line.startswith("plan")]
    assert plan.startswith("plan         6 steps of 8 comparisons") and plan.endswith("seed 0; stops after 3")
    (engine,) = [line for line in console.lines if line.startswith("engine")]
    assert engine.startswith("engine       segments, proven on this model: largest difference from plain ")
    samples = decoded(prepared, 2)
    assert {name: [row["id"] for row in rows] for name, rows in samples.items()} == {
        name: [row.id for row in rows[:2]] for name, rows in ROWS.items()
    }


def test_the_screen_says_where_a_policy_stops_before_the_scored_token():
    """Only where the template writes blanks after the end token, and only for a decoder, scored at the last token."""
    tokenizer = tokenizer_for(comparisons(2))
    decoder, encoder = (Renderer(tokenizer, Render(), causal=causal) for causal in (True, False))
    assert _stop(decoder, "Yes.<|end|>\n") == "; a policy stops before '\\n', which is added to its text"
    assert _stop(decoder, "Yes.<|end|>") == _stop(decoder, "<|user|>Yes.") == _stop(encoder, "Yes.<|end|>\n") == ""
