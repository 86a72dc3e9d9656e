import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.evaluate.features import text_features, without_code, word_set

MARKDOWN = st.lists(
    st.sampled_from(["# ", "####### ", "- ", "* ", "12. ", "3) ", " ", "\n", "\n", "**", "__", "```", "x", "é", "'"]),
    max_size=40,
).map("".join)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("# One\ntext\n### Two\n####### seven\n#none", {"headers": 2, "words": 5}),
        ("- a\n  * b\n+ c\n1. d\n22) e\n-f\n1.g\n\n- h", {"list_items": 6, "words": 11}),
        ("**a** and __b__ but ** c\n** and *d*", {"bold": 2, "words": 7}),
        ("x\n```python\n# no\n- no\n**no**\n```\n- yes", {"code_blocks": 1, "list_items": 1, "words": 6}),
        ("before ```\n- open to the end", {"code_blocks": 1, "words": 5}),
        ("I'm sorry, but no.", {"refusal": 1, "words": 5}),
        ("I\u2019M UNABLE TO help", {"refusal": 1, "words": 5}),
        ("x" * 200 + " I cannot", {"words": 3}),
        ("为什么 abc", {"words": 4}),
    ],
)
def test_each_rule_by_hand(text, expected):
    zero = dict.fromkeys(["words", "headers", "bold", "list_items", "code_blocks", "refusal", "overlap"], 0.0)
    assert text_features(text)._asdict() == zero | expected


@pytest.mark.parametrize(
    ("text", "prompt", "share"),
    [
        ("The cat, the CAT sat", "a cat sat down", 2 / 3),
        ("Katze über", "Über", 1 / 2),
        ("caf\u00e9 now", "NOW caf\u00c9!", 1.0),
        ("", "a", 0.0),
        ("a", "", 0.0),
        ("snake_case", "snake", 1 / 2),
        ("天气好", "天气?", 2 / 3),
    ],
)
def test_overlap_is_the_share_of_distinct_words_in_the_prompt(text, prompt, share):
    assert text_features(text, word_set(prompt)).overlap == pytest.approx(share)


@given(MARKDOWN)
def test_counts_are_those_of_plain_patterns_line_by_line(text):
    """The patterns of the Arena's style control, on text without code blocks, which nested loops remove here."""
    found = text_features(text)
    prose, inside = [], False
    for piece in re.split("(```)", text):
        if piece == "```":
            inside = not inside
            prose.append("\n" if not inside else "")
        elif not inside:
            prose.append(piece)
    plain = "".join(prose)
    assert found.headers == len(re.findall(r"^#{1,6}[ \t]", plain, re.MULTILINE))
    assert found.list_items == len(re.findall(r"^[ \t]*(?:\d+[.)]|[-*+])[ \t]", plain, re.MULTILINE))
    assert found.bold == len(re.findall(r"\*\*[^*\n]+\*\*", plain)) + len(re.findall(r"__[^_\n]+__", plain))
    assert found.code_blocks == -(-text.count("```") // 2)
    assert without_code(text)[1] == found.code_blocks
