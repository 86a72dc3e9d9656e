"""Texts of messages: one value on one line, never long."""

from hypothesis import given
from hypothesis import strategies as st

from bradley.common.text import cut_middle, message_line, quoted, visible

texts = st.text(st.characters(), max_size=50)


@given(texts)
def test_a_visible_text_is_one_printable_line_and_can_be_read_back(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable() and len(shown.splitlines()) <= 1
    restored = shown.encode("raw_unicode_escape", "surrogatepass").decode("unicode_escape")
    assert restored == text


@given(texts)
def test_a_message_that_was_escaped_stays_as_it_is(text: str) -> None:
    assert message_line(visible(text)) == visible(text)
    assert message_line(message_line(text)) == message_line(text)
    assert message_line(text).isprintable()


@given(texts | st.integers() | st.lists(texts), st.integers(2, 60))
def test_a_quotation_is_short_and_printable(value: object, most: int) -> None:
    assert len(quoted(value, most)) <= 11 * most + 60 and quoted(value, most).isprintable()


def test_a_text_is_cut_in_the_middle_with_the_number_left_out() -> None:
    assert cut_middle("abcdef", 6) == "abcdef"
    assert cut_middle("a" * 10 + "b" * 10, 6) == "aaa ... (14 characters left out) ... bbb"


def test_what_has_no_short_form_is_named_by_its_type() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert quoted(deep) == "a value of type list"
    assert quoted(10**5000) == "a value of type int"
    while deep:  # taken apart step by step: the interpreter frees nested lists by recursion
        deep = deep.pop()  # type: ignore[assignment]
