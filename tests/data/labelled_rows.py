"""Rows of two answers beside a label, in many forms: names of columns, alphabets of labels, containers of labels."""

from bradley.config import Data
from bradley.data.formats import choose_format, convert_rows
from bradley.data.rows import RowPlace
from bradley.records import Comparison

GOOD, BAD = "Put the box on a shelf and close it well.", "Nobody can say, so leave it as it is."
AGAINST = [
    *(
        {"winner": word}
        for word in ("rejected", "Rejected", "rejected_response", "rejected wins", "chosen is worse", BAD)
    ),
    *(
        {"label": value}
        for value in (
            False,
            0,
            "0",
            0.0,
            "I prefer B",
            "I think the second one is better",
            ["rejected"],
            "rejected>chosen",
            "chosen < rejected",
            "B",
            "[[B]]",
            2,
        )
    ),
    *({"preference": value} for value in (-1, 0.1, 0.5, "0.2", "tie", {"chosen": 0.1, "rejected": 0.9})),
    *({"chosen_is_better": False}, {"rejected_is_better": True}, {"winner_is_rejected": True}, {"result": "loss"}),
    *({"chosen_votes": 0, "rejected_votes": 3}, {"chosen_rank": 2, "rejected_rank": 1}, {"overall": -2}),
    *({"ranking": ["rejected", "chosen"]}, {"rank": [2, 1]}, {"scores": [1, 5]}, {"preferred_over_chosen": True}),
    *(
        {"annotations": [{"label": "rejected"}]},
        {"agree": False},
        {"disagree": True},
        {"is_tie": 1},
        {"both_bad": True},
    ),
    {"winner": "m2", "chosen_model": "m1", "rejected_model": "m2"},
]
"""Columns beside a chosen and a rejected answer that agree with every row."""
FOR = [
    *({"winner": word} for word in ("chosen", "chosen wins", "rejected is worse", "A", GOOD)),
    *({"label": value} for value in (True, ["chosen"], "chosen>rejected", 1, "math", "I prefer A", "A better plan")),
    *({name: 0} for name in ("winner", "best_index", "chosen_position")),
    *({"preference": value} for value in (1, 3, 0.9, "0.8", {"chosen": 0.9, "rejected": 0.1})),
    *({"chosen_is_better": True}, {"rejected_is_worse": True}, {"rejected_is_better": False}, {"result": "win"}),
    *({"chosen_votes": 3, "rejected_votes": 0}, {"chosen_rank": 1, "rejected_rank": 2}, {"overall": 4}),
    *({"ranking": ["chosen", "rejected"]}, {"rank": [1, 2]}, {"scores": [5, 1]}, {"preferred_over_rejected": True}),
    *(
        {"annotations": [{"label": "chosen"}]},
        {"agree": True},
        {"disagree": False},
        {"is_tie": 0},
        {"loser": "rejected"},
    ),
    *({"chosen_score": 1, "rejected_score": 4}, {"token_counts": [3, 90]}, {"preference_strength": 2}, {"score": -3.0}),
    *(
        {"winner": "m1", "chosen_model": "m1", "rejected_model": "m2"},
        {"label": float("nan")},
        {"votes_label": 10**401},
    ),
    *({"gold_answer": "B"}, {"gold_answer": "42"}, {"result": "17"}, {"target_answer": 2}),
]
"""Columns that contradict every row."""
MARKS = [("a", "b"), ("A", "B"), ("1", "2"), ("0", "1"), ("left", "right"), ("first", "second"), ("x", "y")]
STEMS = [
    "response_{}",
    "{}_answer",
    "output{}",
    "model_{}_completion",
    "orig_response_{}",
    "data.summary_{}",
]
QUESTIONS = ["prompt", "question", "instruction", "orig_instruction", "query", "data.prompt", "problem"]
NAMES = ["label", "winner", "preference", "better", "human_verdict", "info.choice", "Preferred"]
ALPHABETS = {
    "index from 0": lambda side, names, marks: side,
    "index from 1": lambda side, names, marks: side + 1,
    "index as text": lambda side, names, marks: str(side + 1),
    "index with a fraction": lambda side, names, marks: float(side),
    "letters": lambda side, names, marks: "AB"[side],
    "small letters": lambda side, names, marks: "ab"[side],
    "brackets": lambda side, names, marks: f"[[{'AB'[side]}]]",
    "model": lambda side, names, marks: f"model_{'ab'[side]}",
    "Assistant": lambda side, names, marks: f"Assistant {'AB'[side]}",
    "is better": lambda side, names, marks: f"{'AB'[side]} is better",
    "comparison": lambda side, names, marks: ["A>B", "B>A"][side],
    "reversed comparison": lambda side, names, marks: ["B < A", "A < B"][side],
    "left and right": lambda side, names, marks: ["left", "right"][side],
    "first and second": lambda side, names, marks: ["First", "second"][side],
    "names": lambda side, names, marks: names[side].split(".")[-1],
    "names in another case": lambda side, names, marks: names[side].split(".")[-1].upper(),
}
TIES = ["tie", "Tie", "tie (bothbad)", "both_bad", "equal", "neither", "draw", "A=B", "no preference", "both are good"]


def put(row, name, value):
    """Set a value in a row; dots reach into objects."""
    *outer, last = name.split(".")
    for key in outer:
        row = row.setdefault(key, {})
    row[last] = value


def sided(values, label, names, question="prompt", sides=lambda text: text):
    """Rows whose answers stand under two names, the better at the place that `values` says; None is a tie."""
    rows = []
    for number, side in enumerate(values):
        row = {}
        put(row, question, f"How do I keep box {number} dry?")
        for place, name in enumerate(names):
            put(row, name, sides(GOOD if place == (side or 0) else BAD))
        label(row, side, names)
        rows.append(row)
    return rows


def read(rows, **settings):
    place = RowPlace("x.jsonl", "x", settings=Data(**settings))
    reading, numbered = choose_format(enumerate(rows, 1), place)
    return reading, list(convert_rows(numbered, reading, place, set()))


def check(rows, values, **settings):
    """Every row with a better answer is read so; a tie is no win. Return the reading."""
    reading, results = read(rows, **settings)
    assert len(results) == len(values)
    for number, (result, side) in enumerate(zip(results, values, strict=True)):
        if side is None:
            assert not isinstance(result, Comparison) and result.reason == "no_judgment"
            continue
        (judgment,) = result.judgments
        better, worse = (result.responses[place].messages[-1].content for place in (judgment.better, judgment.worse))
        assert (better, worse) == (GOOD, BAD) and judgment.weight == 1.0
        assert [turn.content for turn in result.prompt] == [f"How do I keep box {number} dry?"]
    return reading


def scores(row, side, names):
    for place, name in enumerate(names):
        row[f"{name}_rating"] = 3.0 if side is None else 5.0 - 3 * (place != side)


def votes(row, side, names):
    row["votes_a"], row["votes_b"] = (2, 2) if side is None else (5 - 4 * side, 1 + 4 * side)


def outcomes(row, side, names):
    row |= {"winner_a": int(side == 0), "winner_b": int(side == 1), "winner_tie": int(side is None)}


def ranks(row, side, names):
    row["ranks"] = [1, 1] if side is None else [1 + side, 2 - side]


def ranked_names(row, side, names):
    order = names if side == 0 else names[::-1]
    row["preference"] = [{"user_id": "u", "value": {"rank": [1, 2], "value": order}, "status": "submitted"}]


def truth(row, side, names):
    row["correct_a"], row["correct_b"] = side in (0, None), side in (1, None)


def annotations(row, side, names):
    result = {"type": "pairwise", "to_name": ",".join(names), "value": {"selected": ["left", "right"][side]}}
    row["annotations"] = [{"id": 1, "was_cancelled": False, "result": [result]}]


def shares(row, side, names):
    row["preference"] = {"a": 0.5, "b": 0.5} if side is None else {"a": 0.9 - 0.8 * side, "b": 0.1 + 0.8 * side}


def text_of_the_better(row, side, names):
    row["best"] = GOOD


def one_side(row, side, names):
    row["a_is_better"] = side == 0


def models(row, side, names):
    row |= (
        {"model_a": "kimi", "model_b": "claude"}
        if row["prompt"][-6] in "02468"
        else {"model_a": "q", "model_b": "kimi"}
    )
    row["winner"] = row["model_b" if side else "model_a"]


TIED = (scores, votes, outcomes, ranks, truth, shares)
OTHERS = (*TIED, ranked_names, annotations, text_of_the_better, one_side, models)
