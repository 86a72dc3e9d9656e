"""Tools, tool calls and reasoning stand in the preview without a tokenizer: on one line, escaped."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bradley.cli.main import run
from bradley.common.text import visible
from bradley.data.preview import plain_text
from bradley.records import Message

TOOL = {"name": "lookup_shelf", "description": "Find a shelf."}


def call(arguments):
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "lookup", "arguments": arguments}}],
    }


def row(better, **more):
    asked = [{"role": "user", "content": "Where is it?"}]
    return {"prompt": asked, "chosen": [better], "rejected": [{"role": "assistant", "content": "No idea."}], **more}


def shown(capsys, tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    assert run(["data", str(path)]) == 0
    return capsys.readouterr().out.split("\n")


def under(lines, side):
    """The line below the heading of the first row's side."""
    return lines[next(n for n, line in enumerate(lines) if line.endswith(f", {side}")) + 1]


def test_calls_and_tools_are_shown_as_they_stand(tmp_path, capsys):
    lines = shown(capsys, tmp_path, row(call({"shelf": 7}), tools=[TOOL]))
    told = 'assistant, tool_calls: [{"function": {"name": "lookup", "arguments": {"shelf": 7}}}]'
    tools = 'tools: [{"name": "lookup_shelf", "description": "Find a shelf."}]'
    assert under(lines, "chosen") == visible(f"{tools}\nuser: Where is it?\n{told}")
    assert under(lines, "rejected") == visible(f"{tools}\nuser: Where is it?\nassistant: No idea.")


def test_reasoning_and_a_content_beside_are_both_shown():
    turn = Message("assistant", "It is here.", json.dumps({"name": "n", "thinking": "Where then?"}))
    assert plain_text((), (turn,)) == "assistant: It is here.\nassistant, name: n\nassistant, thinking: Where then?"
    assert plain_text((Message("user", ""),), ()) == "user: "


WORD = st.text(st.sampled_from("ab\x1b\x9b\u202e\n\r\u2028\"'\\"), max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(WORD, WORD | st.integers(0, 9), max_size=3), WORD)
def test_every_call_is_on_one_line_without_control_characters(tmp_path, capsys, arguments, reasoning):
    lines = shown(capsys, tmp_path, row(call(arguments) | ({"thinking": f"w{reasoning}"})))
    line = under(lines, "chosen")
    assert all(each.isprintable() for each in lines)
    written = json.dumps([{"function": {"name": "lookup", "arguments": arguments}}], ensure_ascii=False)
    assert visible(f"assistant, thinking: w{reasoning}") in line and visible(f"tool_calls: {written}") in line
