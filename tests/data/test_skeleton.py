"""Skeletons of chat templates: a filled skeleton is the full rendering, to the character; anything else has none."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data import skeleton
from bradley.data.chat_template import TEMPLATES, ChatTemplate

pytestmark = pytest.mark.transformers
NAMES = {"bos_token": "<s>", "eos_token": "</s>"}
FILES = sorted((Path(__file__).parent / "templates").glob("*.jinja"))
LOOP = "{% for m in messages %}BODY{% endfor %}"
ALIKE = [
    "{{ m.role ~ ': ' ~ m.content ~ '\n' }}",
    "{{ '<|' + m['role'] + '|>' + m['content'] | trim + eos_token }}",
    "{% set text = '[' + m.content.strip() %}{% if loop.first %}{% set text = bos_token + text %}{% endif %}{{ text }}",
    "{% if m.content is string and m.content is not none %}{{ m.content }}{% endif %}",
    "{% if m.content %}{{ loop.index }}{{ m.content }}{% endif %}",
    "{% set ns = namespace(last='') %}{% set ns.last = m.content %}{{ ns.last }}{{ messages | length }}",
]
"""Bodies that treat all contents alike."""
DIFFERENT = [
    "{{ m.content | length }}",
    "{{ m.content | upper }}",
    "{{ m.content[0] }}",
    "{{ m.content.split('a')[-1] }}",
    "{{ '%s!' % m.content }}{{ m.content * 2 }}",
    "{% if 'a' in m.content %}yes{% endif %}",
    "{% if m.content == 'ab' or m.content < 'b' %}yes{% endif %}",
    "{% if m.content in ['a', 'ab'] %}yes{% endif %}{{ {m.content: 1} }}",
    "{% if m.content is mapping or m.content is eq('ab') %}yes{% endif %}",
    "{{ m | tojson }}{{ messages | map(attribute='content') | join('|') }}",
    "{% set kept %}{{ m.content }}{% endset %}{{ kept | length }}",
    "{% filter upper %}{{ m.content }}{% endfilter %}",
    "{% macro show(x) %}{{ x }}{% endmacro %}{{ show(m.content) | length }}",
    "{{ ['a', 'b'] | random }}{{ m.content }}",
    "{{ m.content or 'none' | upper }}{{ (m.content ~ 'x') | trim }}",
    "{{ m.content | default('x') }}{{ m }}{{ m.content.nothing }}",
]
"""Bodies with a use that may depend on the content; a skeleton has to be refused, or right."""
CONTENTS = st.lists(st.text("ab \n<é", min_size=1, max_size=6), min_size=1, max_size=4)


def full(text, contents, opens=False):
    """(filled skeleton or None, full rendering)."""
    template = ChatTemplate(text, NAMES, {}, "")
    roles = tuple(("user", "assistant")[place % 2] for place in range(len(contents)))
    turns = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
    return template.fill(roles, contents, opens), template(turns, {}, opens)


@pytest.mark.parametrize("text", [*TEMPLATES.values(), *(file.read_text() for file in FILES)])
def test_usual_templates_have_a_skeleton(text):
    for contents in (["a"], [" a b ", "c\n"], ["a", "b", "a"]):
        found, wanted = full(text, contents, opens=len(contents) % 2 == 1)
        assert found == wanted


@given(st.lists(st.sampled_from(ALIKE), min_size=1, max_size=3), CONTENTS, st.booleans())
def test_bodies_that_treat_contents_alike_have_a_skeleton(bodies, contents, opens):
    found, wanted = full(LOOP.replace("BODY", "".join(bodies)), contents, opens)
    if all(content.strip() for content in contents):
        assert found == wanted
    else:
        assert found is None


@pytest.mark.parametrize("body", DIFFERENT)
def test_a_use_of_a_content_has_no_skeleton(body, monkeypatch):
    # Without the comparison of the first conversation: the placeholders have to notice it by themselves.
    monkeypatch.setattr(skeleton, "rendered", lambda template, values: found[0])
    template = ChatTemplate(LOOP.replace("BODY", body), NAMES, {}, "")
    monkeypatch.setattr(skeleton, "_filled", lambda parts, contents: found[0])
    found = ["the same"]
    assert template.fill(("user",), ["ab"], False) is None


@given(st.lists(st.sampled_from([*ALIKE, *DIFFERENT[:13]]), min_size=1, max_size=3), st.lists(CONTENTS, max_size=3))
def test_no_skeleton_gives_another_text(bodies, conversations):
    template = ChatTemplate(LOOP.replace("BODY", "".join(bodies)), NAMES, {}, "")
    for contents in conversations:
        roles = ("user",) * len(contents)
        found = template.fill(roles, contents, False)
        turns = [{"role": "user", "content": content} for content in contents]
        assert found is None or found == template(turns, {}, False)


def test_a_template_that_doubles_its_text_has_no_skeleton():
    doubled = "{% set ns = namespace(x=messages[0].content) %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}"
    template = ChatTemplate(doubled + "{% endfor %}{{ ns.x }}", NAMES, {}, "")
    assert template.fill(("user",), ["a"], False) is None
    fixed = ChatTemplate(
        "{% for i in range(2000) %}{{ 'x' * 1000 }}{% endfor %}{{ messages[0].content }}", NAMES, {}, ""
    )
    assert fixed.fill(("user",), ["a"], False) is None


def test_a_refused_order_of_roles_has_no_skeleton():
    template = ChatTemplate(FILES[0].read_text(), NAMES, {}, "")
    assert template.fill(("assistant", "assistant"), ["a", "b"], False) is None
