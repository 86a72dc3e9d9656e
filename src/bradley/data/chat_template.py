"""Conversations as text: a chat template compiled once, and filled in as transformers fills it in.

It is transformers' own sandboxed environment, so its text is that of `apply_chat_template`; what that does besides on
every call (copies, checks, tracking of spans) is left out. Two things are ours: a template never sees the clock, and a
turn's reasoning has every name that templates know it by, whatever version of transformers is installed.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from ..common.text import nearest
from ..errors import CheckpointError, UserError

END = "{% if not add_generation_prompt %}{{ eos_token or sep_token }}{% endif %}"


def _joined(separator: str) -> str:
    """Contents with a separator between them, and after a prompt."""
    between = "{% if add_generation_prompt or not loop.last %}" + separator + "{% endif %}" if separator else ""
    return "{{ cls_token }}{% for message in messages %}{{ message['content'] }}" + between + "{% endfor %}" + END


TURN = "{{ '<|' + message['role'] + '|>\\n' + message['content'] }}"
OPEN = "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"

TEMPLATES: dict[str, str] = {
    "simple_concat": _joined(""),
    "simple_concat_with_space": _joined("{{ ' ' }}"),
    "simple_concat_with_new_line": _joined("{{ '\\n' }}"),
    "simple_chat": (
        "{{ cls_token }}{% for message in messages %}"
        "{{ message['role'].capitalize() + ': ' + message['content'] }}"
        "{% if add_generation_prompt or not loop.last %}{{ '\\n\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}" + END
    ),
    "zephyr": (
        "{{ cls_token }}{% for message in messages %}" + TURN + "{% if add_generation_prompt or not loop.last %}"
        "{{ (eos_token or sep_token) + '\\n' }}{% endif %}{% endfor %}" + OPEN + END
    ),
    "tulu": (
        "{{ cls_token }}{% for message in messages %}" + TURN + "{% if add_generation_prompt or not loop.last %}"
        "{% if message['role'] == 'assistant' %}{{ eos_token or sep_token }}{% endif %}{{ '\\n' }}{% endif %}"
        "{% endfor %}" + OPEN + END
    ),
    "assistant_only": (
        "{{ cls_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}{{ message['content'] }}"
        "{% endif %}{% endfor %}" + END
    ),
}
"""`simple_concat...`: contents with nothing, a blank or a line break between them. `simple_chat`: "User: ..." and
"Assistant: ...", a blank line between turns. `zephyr`: a line with the role, then the content, each turn closed by the
end token. `tulu`: the same, but only turns of the assistant are closed. `assistant_only`: what the assistant says."""


def template_text(tokenizer: Any, template: str) -> str | None:
    """The Jinja text of a value of `render.template`; None for `raw`. An existing file wins over a template's name.

    Raises:
        CheckpointError: the tokenizer has no chat template, or no end token that a named template could write.
        UserError: neither a file nor a name, or a file that is not UTF-8.
    """
    if template == "raw":
        return None
    if template == "tokenizer":
        return _own_template(tokenizer)
    file = Path(template)
    if file.is_file():
        return _read(file)
    if template not in TEMPLATES:
        names = ["tokenizer", "raw", *TEMPLATES]
        near = nearest(template, names)
        guess = f"did you mean {near}? " if near else ""
        raise UserError(
            f"render.template {template} is not a file, and no template has that name",
            f"{guess}give a Jinja file or one of {', '.join(names)}",
        )
    if not (tokenizer.eos_token or tokenizer.sep_token):
        raise CheckpointError(
            f"render.template = {template} closes with an end token, and this tokenizer has none",
            "use --render.template raw, or a Jinja file",
        )
    return TEMPLATES[template]


def _own_template(tokenizer: Any) -> str:
    own = tokenizer.chat_template
    if isinstance(own, dict) and "default" not in own:
        raise CheckpointError(
            f"this tokenizer has the chat templates {', '.join(own)}, and none of them is its default",
            "write the one you want to a file, and name that with render.template",
        )
    if not own:
        raise CheckpointError(
            "render.template = tokenizer, but this tokenizer has no chat template",
            f"use --render.template raw, a named template such as {next(iter(TEMPLATES))}, or a Jinja file",
        )
    return str(own["default"] if isinstance(own, dict) else own)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"render.template {file} is not UTF-8 at byte {error.start}", "save it as UTF-8") from error


Turn = dict[str, Any]
CLOCK = "strftime_now"
CALL = re.compile(rf"{CLOCK}\(\s*(?P<quote>['\"])(?P<format>.*?)(?P=quote)\s*\)")
REASONING = ("reasoning_content", "thinking", "reasoning")
"""Names of a turn's reasoning, the standard one first."""
RESERVED = ("messages", "add_generation_prompt", CLOCK)
"""Variables of a template that are not for settings or rows to give."""


class ChatTemplate:
    """One Jinja template with everything that is the same for all conversations.

    Raises:
        UserError: the template is not Jinja, or a setting that it does not read.
    """

    def __init__(self, text: str, names: Mapping[str, Any], settings: Mapping[str, Any], day: str) -> None:
        self._template = _compiled(text)
        self.wants_clock = CLOCK in text
        self._always = {"documents": None, "tools": None, **names, **settings, CLOCK: frozen_clock(day)}
        _check_read(self._template, text, settings, day)

    def __call__(self, turns: Sequence[Turn], args: Mapping[str, Any], opens: bool) -> str:
        """The text of a conversation; if it `opens`, up to where a response begins.

        Args:
            args: more variables, which win over those of the settings.

        Raises:
            Exception: whatever the template raises.
        """
        values = {**self._always, **args} if args else self._always
        return str(self._template.render(values, messages=list(turns), add_generation_prompt=opens))


def frozen_clock(day: str) -> Callable[[str], str]:
    """What a template gets for `strftime_now`: midnight of `day`; with an empty one, an error.

    Raises:
        UserError: no such day; from the clock itself, that there is none.
    """

    def refuse(format: str) -> str:
        raise UserError(
            "the chat template writes today's date, so scores would drift from day to day",
            "fix the date it is given: --render.date 2024-07-26",
        )

    if not day:
        return refuse
    try:
        midnight = datetime.combine(date.fromisoformat(day), time())
    except ValueError as error:
        raise UserError(f"render.date {day} is no date: {error}", "give one such as 2024-07-26") from error
    return midnight.strftime


def without_clock(text: str, day: str) -> str:
    """A template with the dates that it is given on `day` written out, for those who fill it in by today's clock."""
    clock = frozen_clock(day)
    return CALL.sub(lambda call: repr(clock(call["format"])), text) if day else text


def turn(role: str, content: str, extra: Mapping[str, Any]) -> Turn:
    """A turn as templates want it: nothing that is null, and reasoning under each of its names."""
    message = {"role": role, "content": content, **{key: value for key, value in extra.items() if value is not None}}
    reasoning = next((message[name] for name in REASONING if name in message), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _compiled(text: str) -> Any:
    from jinja2 import TemplateSyntaxError
    from transformers.utils.chat_template_utils import _compile_jinja_template

    try:
        template = _compile_jinja_template(text)
    except TemplateSyntaxError as error:
        raise UserError(
            f"the chat template is not Jinja: line {error.lineno}: {error.message}",
            "give another template with render.template",
        ) from error
    template.globals = dict(template.globals)  # a chain of dicts, which every rendering would copy key by key
    return template


def _check_read(template: Any, text: str, settings: Mapping[str, Any], day: str) -> None:
    """Whether the template reads everything that the settings give it."""
    from jinja2.meta import find_undeclared_variables

    read = find_undeclared_variables(template.environment.parse(text)) - set(RESERVED)
    for name in settings:
        if name not in read:
            known = f"it reads {', '.join(sorted(read))}" if read else "it reads none"
            raise UserError(f"render.template_kwargs.{name}: the chat template reads no {name}", known)
    if day and CLOCK not in text:
        raise UserError(f"render.date = {day} has no effect: the chat template asks for no date", "leave it out")
