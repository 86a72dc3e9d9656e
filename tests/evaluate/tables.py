"""Scored rows for the tests of the number arm."""

from dataclasses import replace

from hypothesis import strategies as st

from bradley.records import Comparison, Judgment, Message, Response, ScoredComparison, prompt_key


def scored(id, scores, judgments=((0, 1),), prompt="p", lengths=None, **rest):
    """A row from scores and (better, worse[, probability[, weight]]) tuples."""
    lengths = tuple(lengths or [10] * len(scores))
    return ScoredComparison(
        id=id,
        prompt_key=prompt,
        scores=tuple(scores),
        tokens=tuple(7 + length for length in lengths),
        response_tokens=lengths,
        truncated=rest.pop("truncated", (False,) * len(scores)),
        judgments=tuple(
            Judgment(j[0], j[1], j[2] if len(j) > 2 else 1.0, None, j[3] if len(j) > 3 else 1.0) for j in judgments
        ),
        **rest,
    )


def swap(row):
    """The same row with its responses in reverse order."""
    last = len(row.scores) - 1
    columns = ("scores", "tokens", "response_tokens", "truncated", "source_scores")
    turned = {name: values[::-1] for name in columns if (values := getattr(row, name)) is not None}
    judgments = tuple(replace(j, better=last - j.better, worse=last - j.worse) for j in row.judgments)
    return replace(row, judgments=judgments, **turned)


def flip(row):
    """The same row with every preference reversed."""
    return replace(row, judgments=tuple(replace(j, better=j.worse, worse=j.better) for j in row.judgments))


@st.composite
def tables(draw, min_rows=1):
    """Rows with ties in scores, labels and lengths, soft labels, weights, K from 2 to 4, tags and sources."""
    rows = []
    for number in range(draw(st.integers(min_rows, 8))):
        k = draw(st.integers(2, 4))
        pairs = st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)).filter(lambda pair: pair[0] != pair[1])
        labels = st.tuples(st.sampled_from([0.5, 0.7, 1.0]), st.sampled_from([0.5, 1.0, 3.0]))
        rows.append(
            scored(
                f"row {number}",
                draw(st.lists(st.sampled_from([-2.5, -1.0, 0.1, 0.3, 4.0]), min_size=k, max_size=k)),
                [(*draw(pairs), *draw(labels)) for _ in range(draw(st.integers(1, 4)))],
                prompt=draw(st.sampled_from("pqr")),
                lengths=draw(st.lists(st.integers(1, 3), min_size=k, max_size=k)),
                source_scores=tuple(draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=k, max_size=k))),
                source=draw(st.sampled_from(["one", "two"])),
                tags={"subset": draw(st.sampled_from(["x", "y"]))},
            )
        )
    return rows


def written(row, texts, question="Why?"):
    """The comparison of a scored row, with a text for each response."""
    prompt = (Message("user", question),)
    answers = tuple(Response((Message("assistant", text),)) for text in texts)
    return Comparison(row.id, row.prompt_key, prompt, answers, row.judgments, source=row.source, tags=row.tags)


def words(count):
    """A text of `count` plain words."""
    return " ".join(["word"] * count)


@st.composite
def written_tables(draw, min_rows=1):
    """Rows of `tables` and their comparisons, with markdown, code, refusals and words of the prompt."""
    rows = draw(tables(min_rows))
    texts = st.sampled_from(["", "yes", "# a\n- b\n- c", "**x** why", "I can't.", "```\n- a\n```", "why not"])
    return rows, [
        written(row, draw(st.lists(texts, min_size=len(row.scores), max_size=len(row.scores)))) for row in rows
    ]


def real_pairs(pairs):
    """Rows of public pairs, scored by their length alone, and the comparisons; lengths are close to token counts."""
    rows, comparisons = [], []
    for number, pair in enumerate(pairs):
        prompt, *sides = (
            tuple(Message(turn["role"], turn["content"]) for turn in pair[name])
            for name in ("prompt", "chosen", "rejected")
        )
        answers = tuple(Response(side) for side in sides)
        lengths = [len(answer.text.split()) + len(answer.text) // 10 for answer in answers]
        rows.append(scored(f"{number}", lengths, prompt=prompt_key(prompt), lengths=lengths))
        comparisons.append(Comparison(f"{number}", prompt_key(prompt), prompt, answers, rows[-1].judgments))
    return rows, comparisons


def numbers(figures):
    """Every number of nested figures by its path."""
    if isinstance(figures, dict):
        return {(key, *path): value for key, inner in figures.items() for path, value in numbers(inner).items()}
    return {(): figures}
