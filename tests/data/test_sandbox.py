"""A chat template has an end: steps, characters, sizes and depth are bounded; usual templates are unchanged."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bradley.data import sandbox
from bradley.data.chat_template import ChatTemplate
from bradley.errors import UserError

pytestmark = pytest.mark.transformers

TURNS = [{"role": "user", "content": "Is it raining?"}, {"role": "assistant", "content": "Yes."}]
DOUBLED = "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = BY %}{% endfor %}{{ ns.x|length }}"
BOMBS = {
    "power": "{{ 10**(10**8) }}",
    "power of a name": "{% set n = 10 %}{{ n**(n**8) }}",
    "negative power": "{% set n = -10 %}{{ n**(n*n*1000000) }}",
    "repeated text": "{{ 'x' * 10000000000 }}",
    "text repeated": "{{ 10000000000 * 'x' }}",
    "repeated list": "{{ ([0] * 10000000000)|length }}",
    "number by number": "{% set ns = namespace(x=3) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "loops of a list": "{% set s = range(9999)|list %}{% for a in s %}{% for b in s %}{% if 0 %}{% endif %}"
    "{% endfor %}{% endfor %}",
    "output": "{% for a in range(99999) %}{{ messages[0].content * 9999 }}{% endfor %}",
    "fixed output": "{% for a in range(99999) %}" + "word " * 999 + "{% endfor %}",
    "output of a block": "{% set b %}"
    "{% for a in range(99999) %}{{ messages[0].content * 9999 }}{% endfor %}{% endset %}",
    "output of a macro": "{% macro m() %}" + "x" * 9999 + "{% endmacro %}{% set s = [] %}"
    "{% for a in range(99999) %}{{ m() }}{% endfor %}",
    "calls": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "recursive loop": "{% for a in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "doubled by +": DOUBLED.replace("BY", "ns.x + ns.x"),
    "doubled by ~": DOUBLED.replace("BY", "ns.x ~ ns.x"),
    "doubled by join": DOUBLED.replace("BY", "[ns.x, ns.x]|join"),
    "doubled by format": DOUBLED.replace("BY", "'%s%s' % (ns.x, ns.x)"),
    "doubled by method": DOUBLED.replace("BY", "'{0}{0}'.format(ns.x)"),
    "doubled by replace": DOUBLED.replace("BY", "ns.x.replace('a', ns.x)"),
    "doubled by a block": DOUBLED.replace("{% set ns.x = BY %}", "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}"),
    "doubled list": DOUBLED.replace("BY", "[ns.x, ns.x]").replace("|length", ""),
    "doubled list to JSON": DOUBLED.replace("BY", "[ns.x, ns.x]").replace("|length", "|tojson"),
    "center": "{{ 'x'|center(10000000000) }}",
    "center of a name": "{% set n = 9999999999 %}{{ 'x'|center(width=n) }}",
    "ljust": "{{ messages[0].content.ljust(9999999999) }}",
    "zfill": "{{ '7'.zfill(9999999999) }}",
    "tabs": "{{ ('\\t' * 999).expandtabs(99999999) }}",
    "indent": "{{ ('x\\n' * 9999)|indent(999999) }}",
    "indented JSON": "{{ messages|tojson(indent=999999999) }}",
    "format width": "{{ '%9999999999d' % 1 }}",
    "format width of a name": "{{ '%*d' % (9999999999, 1) }}",
    "format filter": "{{ '%9999999999d'|format(1) }}",
    "format method": "{{ '{:>9999999999}'.format(1) }}",
    "nested format": "{{ '{:>{}}'.format(1, 9999999999) }}",
    "nested format as text": "{{ '{:{}}'.format(1, '>9999999999') }}",
    "named format": "{{ '%(a)9999999999d' % {'a': 1} }}",
    "many widths": "{{ ('%99999d' * 9999)|format(1) }}",
    "replace": "{{ ('a' * 99999)|replace('a', 'b' * 99999) }}",
    "separator": "{{ ('a' * 99999).join(range(99999)|map('string')) }}",
    "separator of the filter": "{{ range(99999)|join('a' * 99999) }}",
    "slices": "{{ messages|slice(9999999999)|list|length }}",
    "batch": "{{ messages|batch(9999999999, 'x')|list|length }}",
    "sum of lists": "{{ ([['a'] * 9999] * 99999)|sum(start=[])|length }}",
    "range": "{{ range(9999999999)|list|length }}",
    "lipsum": "{{ lipsum(n=9999999) }}",
}


def template(text):
    return ChatTemplate(text, {}, {}, "")


DEAR = ("doubled list to JSON", "loops of a list", "separator")
"""Bombs whose sisters `doubled list`, `loops` and `separator of the filter` are tried by day."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.nightly if name in DEAR else ()) for name in BOMBS]
)
def test_a_bomb_is_refused_soon(name):
    began = time.monotonic()
    with pytest.raises(Exception) as caught:
        print(template(BOMBS[name])(TURNS, {}, False))
    assert time.monotonic() - began < 30
    if name not in ("recursion", "recursive loop", "range", "lipsum"):
        assert isinstance(caught.value, UserError), caught.value
        assert str(caught.value).startswith("the chat template ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{% for a in b %}" * 25 + "{% endfor %}" * 25,
        "{% for a in b %}{% if a %}" * 30 + "{% endif %}{% endfor %}" * 30,
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ " + "[" * 5000 + "]" * 5000 + " }}",
        "{{ " + "not " * 5000 + "1 }}",
        "{{ 1" + "+ 1" * 20000 + " }}",
        "{% if a %}" * 3000 + "{% endif %}" * 3000,
        "{% set x %}" * 500 + "{% endset %}" * 500,
        "{% if",
        "{{ x|nosuchfilter }}",
        "{% include 'x' %}{% extends y %}{% block",
    ],
)
def test_deep_or_broken_templates_are_told_in_one_line(text):
    with pytest.raises(UserError, match=r"^the chat template ") as caught:
        template(text)(TURNS, {}, False)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_the_seconds_are_bounded(monkeypatch):
    monkeypatch.setattr(sandbox, "MOST_SECONDS", 0.05)
    with pytest.raises(UserError, match=r"more than 0\.05 seconds"):
        template(BOMBS["loops"])(TURNS, {}, False)


PIECES = [
    "{{ bos_token }}",
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m.content|trim + eos_token }}{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }}{% else %}-{% endfor %}",
    "{% macro show(m, deep=1) %}[{{ m.content }}]{{ caller() if caller else '' }}{% endmacro %}{{ show(messages[0]) }}",
    "{% set ns = namespace(n=0, text='') %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
    "{% set ns.text = ns.text ~ m.role ~ ns.n %}{% endfor %}{{ ns.text }}",
    "{{ messages | map(attribute='role') | join(', ') }}",
    "{{ messages | tojson(indent=2) }}{{ messages|length * 2 }}{{ 2 ** 10 }}{{ 7 % 4 }}{{ [1, 2] * 2 }}",
    "{{ '%s: %05d' % (messages[0].role, 42) }}{{ '{:>8}|{}'.format('a', 1.5) }}{{ 'ab'|center(10) }}",
    "{% generation %}{{ messages[-1].content }}{% endgeneration %}",
    "{{ messages[0].content.split(' ')[-1].replace('?', '!') | upper | indent(2) }}{{ undefined_name }}",
    "{% filter upper %}{% for m in messages %}{{ m.role }}{{ loop.last }}{% endfor %}{% endfilter %}",
    "{%- set x -%} a {%- endset -%}{{ x }}{% if messages is sequence and x is defined %}{{ none }}{% endif %}",
]


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4), st.lists(st.text(max_size=20), max_size=4))
def test_usual_templates_write_what_transformers_writes(pieces, texts):
    from transformers.utils.chat_template_utils import _compile_jinja_template

    turns = [*TURNS, *({"role": "user", "content": text} for text in texts)]
    text, names = "".join(pieces), {"bos_token": "<s>", "eos_token": "</s>"}
    wanted = _compile_jinja_template(text).render(messages=turns, add_generation_prompt=False, **names)
    assert ChatTemplate(text, names, {}, "")(turns, {}, False) == wanted
