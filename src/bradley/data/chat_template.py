"""Chat templates: compile a Jinja template once, and render conversations as transformers does.

The template runs in transformers' own sandboxed environment and gives the text of `apply_chat_template`. Copies, checks
and span tracking, repeated by `apply_chat_template` on every call, are left out. Two rules are added. A template never
reads the clock. A turn's reasoning has every name known to templates, with any installed version of transformers.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from ..common.json_files import read_bytes
from ..common.text import nearest
from ..config import Render
from ..errors import CheckpointError, UserError
from ..records import Message
from .rows import on_one_line, quoted
from .sandbox import compiled, rendered
from .skeleton import Skeletons

Turn = dict[str, Any]
CLOCK = "strftime_now"
CALL = re.compile(rf"{CLOCK}\(\s*(?P<quote>['\"])(?P<format>.*?)(?P=quote)\s*\)")
REASONING = ("reasoning_content", "thinking", "reasoning")
"""Names of a turn's reasoning, the standard name first."""
MOST_BYTES = 2**24
"""Largest template file; real templates take kilobytes."""
RESERVED = ("messages", "add_generation_prompt", CLOCK)
"""Template variables closed to settings and rows."""
PAIR_ROLES = ("query", "document")
"""Roles under which sentence-transformers and the `/score` of vLLM pass a prompt and a response to a chat template."""
PAIR = (
    "{{% if messages and messages[-1]['role'] == 'document' %}}{{% set pair = namespace(turns=[]) %}}"
    "{{% for turn in messages %}}{{% set pair.turns = pair.turns + [{{'role': {roles}.get(turn['role'], turn['role']), "
    "'content': turn['content']}}] %}}{{% endfor %}}{{% set messages = pair.turns %}}{{% endif %}}\n"
)
"""Jinja code renaming the roles of a pair, for `str.format`: doubled braces become the braces of Jinja."""


MARKERS = {
    "user": "\n\nHuman: ",
    "assistant": "\n\nAssistant: ",
    "system": "\n\nSystem: ",
    "tool": "\n\nTool: ",
    "text": "",
}
"""Texts before the turns of a transcript, as `raw` writes these."""


class ChatTemplate:
    """Compiled Jinja templates, with the variables shared by all conversations.

    Args:
        text: the template.
        names: special tokens of the tokenizer by name, such as `bos_token`.
        settings: further variables, from `render.template_kwargs`.
        day: ISO date for `strftime_now`; empty for an error on use.
        tool_use: template of conversations with tools; None for the same template.

    Raises:
        UserError: a text is not Jinja, or no template reads a setting.
    """

    def __init__(
        self,
        text: str,
        names: Mapping[str, Any],
        settings: Mapping[str, Any],
        day: str,
        tool_use: str | None = None,
    ) -> None:
        texts = [text] if tool_use is None else [text, tool_use]
        templates = [_compiled(each) for each in texts]
        self._template, self._tool_use = templates[0], templates[-1]
        self.wants_clock = any(CLOCK in each for each in texts)
        # `apply_chat_template` always passes `documents` and `tools`; a template that tests them for None needs both.
        self._always = {"documents": None, "tools": None, **names, **settings, CLOCK: frozen_clock(day)}
        _check_read(dict(zip(texts, templates, strict=True)), settings, day)
        place = -1 if self._always["tools"] is not None else 0
        self._skeletons = Skeletons(templates[place], texts[place], self._always)

    def fill(self, roles: tuple[str, ...], contents: Sequence[str], opens: bool) -> str | None:
        """Render turns with role and content alone by a skeleton; None where only a full rendering gives the text.

        Args:
            roles, contents: role and content of each turn.
            opens: True to end the text where a response begins.
        """
        return self._skeletons.fill(roles, contents, opens)

    def __call__(
        self, turns: Sequence[Turn], args: Mapping[str, Any], opens: bool, with_tools: bool | None = None
    ) -> str:
        """Render a conversation to text.

        Args:
            turns: messages as `turn` builds each of these.
            args: further variables; these win over the settings.
            opens: True to end the text where a response begins.
            with_tools: True for the template of conversations with tools; None to choose by `args`.

        Raises:
            UserError: the template goes beyond a limit of `sandbox`.
            Exception: any other error raised by the template.
        """
        values = {**self._always, **args} if args else self._always
        # The rule of transformers: any list of tools, even an empty one, chooses `tool_use`.
        with_tools = values["tools"] is not None if with_tools is None else with_tools
        return rendered(
            self._tool_use if with_tools else self._template,
            {**values, "messages": list(turns), "add_generation_prompt": opens},
        )


def template_text(tokenizer: Any, template: str) -> str | None:
    """Return the Jinja text for a value of `render.template`; None for `raw`.

    An existing file wins over a template's name, and a name of bradley over a name among the tokenizer's templates.

    Raises:
        CheckpointError: the tokenizer has no chat template, or no end token for a named template to write.
        UserError: `template` is neither a file nor a known name, or the file is not UTF-8.
    """
    if template == "raw":
        return None
    if template == "tokenizer":
        return _own_template(tokenizer)
    if _names_file(template):
        return _read(Path(template))
    own = tokenizer.chat_template if isinstance(tokenizer.chat_template, dict) else {}
    if template not in TEMPLATES and template in own:
        return str(own[template])
    if template not in TEMPLATES:
        names = ["tokenizer", "raw", *TEMPLATES, *own]
        near = nearest(template, names)
        guess = f"did you mean {near}? " if near else ""
        raise UserError(
            f"render.template {quoted(template, str)} is not a file, and no template has that name",
            f"{guess}give a Jinja file or one of {', '.join(names)}",
        )
    if not (tokenizer.eos_token or tokenizer.sep_token):
        raise CheckpointError(
            f"render.template = {template} closes with an end token, and this tokenizer has none",
            "use --render.template raw, or a Jinja file",
        )
    return TEMPLATES[template]


def tool_template_text(tokenizer: Any, template: str) -> str | None:
    """Return the Jinja text for conversations with tools, if the tokenizer has a chat template of its own for these.

    The choice is that of transformers: the template named `tool_use`, beside a default.
    """
    own = tokenizer.chat_template
    if template != "tokenizer" or not isinstance(own, dict) or "tool_use" not in own:
        return None
    return str(own["tool_use"])


def check_expressible(template: str | None, settings: Render) -> None:
    """Raise `UserError` for settings without a place in the template."""
    name = settings.template
    if template is None and (settings.template_kwargs or settings.date):
        what = "template_kwargs" if settings.template_kwargs else "date"
        raise UserError(f"render.{what} is given with render.template raw, which takes none", "leave one of them out")
    if settings.system_prompt and template == TEMPLATES["assistant_only"]:
        raise UserError(
            f"render.system_prompt has no effect with render.template {name}, which writes no system turn",
            "leave one of them out",
        )
    if reserved := [key for key in RESERVED if key in settings.template_kwargs]:
        raise UserError(f"render.template_kwargs.{reserved[0]} is not for settings to give", "leave it out")


def transcript(prompt: Sequence[Message], response: Sequence[Message]) -> str:
    """Write the text of `raw`: turns after markers, plain text unchanged."""
    turns = "".join(MARKERS[message.role] + message.content for message in (*prompt, *response))
    opens = not response and prompt and prompt[-1].role != "text"
    return turns + "\n\nAssistant:" if opens else turns


def with_pair_roles(template: str, prompt: str = "user", response: str = "assistant") -> str:
    """Let a chat template read the roles of a pair, `query` and `document`, as roles of training.

    Args:
        template: Jinja text. A template naming the roles of a pair stays as given.
        prompt, response: roles written in place of `query` and `document`.
    """
    if any(repr(role) in template or f'"{role}"' in template for role in PAIR_ROLES):
        return template
    return PAIR.format(roles=ascii(dict(zip(PAIR_ROLES, (prompt, response), strict=True)))) + template


def frozen_clock(day: str) -> Callable[[str], str]:
    """Build the `strftime_now` of a template: midnight of `day`, or an error on use if `day` is empty.

    Raises:
        UserError: `day` is not a date; on a call of the clock, no date was set.
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
    """Write the dates of `day` into a template, for programs filling the template in with today's clock."""
    clock = frozen_clock(day)
    return CALL.sub(lambda call: repr(clock(call["format"])), text) if day else text


def turn(role: str, content: str, extra: Mapping[str, Any]) -> Turn:
    """Build a turn for a template: null values left out, reasoning under `thinking` and `reasoning_content`."""
    if not extra:
        return {"role": role, "content": content}
    message = {"role": role, "content": content, **{key: value for key, value in extra.items() if value is not None}}
    # Each model family reads its own name, and older versions of transformers do not copy between them: reasoning under
    # another name would vanish from the text.
    reasoning = next((message[name] for name in REASONING if name in message), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}


def _own_template(tokenizer: Any) -> str:
    """Return the tokenizer's own chat template; of several, the default."""
    own = tokenizer.chat_template
    # transformers keeps several templates as a dict and uses `default` unless a name is given; guessing another would
    # change every score.
    if isinstance(own, dict) and "default" not in own:
        raise CheckpointError(
            f"this tokenizer has the chat templates {', '.join(own)}, and none of them is its default",
            f"name the one you want, such as --render.template {next(iter(own), 'FILE')}",
        )
    if not own:
        raise CheckpointError(
            "render.template = tokenizer, but this tokenizer has no chat template",
            f"use --render.template raw, a named template such as {next(iter(TEMPLATES))}, or a Jinja file",
        )
    return str(own["default"] if isinstance(own, dict) else own)


def _names_file(template: str) -> bool:
    """Return True if a value of `render.template` names something on the disk that is no folder."""
    try:
        return Path(template).exists() and not Path(template).is_dir()
    except PermissionError as error:
        message = f"render.template {quoted(template, str)} cannot be read: {error.strerror}"
        raise UserError(message, "see who may read it: ls -ld") from error
    # A template given in place of a file name is too long for a name, or holds a null character.
    except (OSError, ValueError):
        return False


def _read(file: Path) -> str:
    """Read a template from a UTF-8 file of bounded size."""
    content = read_bytes(file, most=MOST_BYTES, error=UserError, hint="give a readable Jinja file")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        name = on_one_line(file)
        raise UserError(f"render.template {name} is not UTF-8 at byte {error.start}", "save it as UTF-8") from error


def _compiled(text: str) -> Any:
    """Compile a template in a copy of transformers' sandboxed environment, with limits."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    # The environment is taken from an empty template: transformers' own compilation of this text would have no limits.
    template = compiled(_compile_jinja_template("").environment, text)
    # Every rendering copies the globals. Left as a chain of dicts, they are copied key by key, which is much slower.
    template.globals = dict(template.globals)
    return template


def _check_read(templates: Mapping[str, Any], settings: Mapping[str, Any], day: str) -> None:
    """Raise `UserError` for a setting without effect on any of the templates, given by text."""
    from jinja2.meta import find_undeclared_variables

    # Jinja ignores variables that a template does not read, so a misspelt setting would go unnoticed.
    found = (find_undeclared_variables(compiled.environment.parse(text)) for text, compiled in templates.items())
    read = set().union(*found) - set(RESERVED)
    for name in settings:
        if name not in read:
            known = f"it reads {', '.join(sorted(read))}" if read else "it reads none"
            raise UserError(f"render.template_kwargs.{name}: the chat template reads no {name}", known)
    if day and not any(CLOCK in text for text in templates):
        raise UserError(f"render.date = {day} has no effect: the chat template asks for no date", "leave it out")


END = "{% if not add_generation_prompt %}{{ eos_token or sep_token }}{% endif %}"


def _joined(separator: str) -> str:
    """Build a template that puts `separator` between contents, and after a prompt."""
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
"""Named templates. `simple_concat...`: contents with nothing, a blank or a line break between turns. `simple_chat`:
"User: ..." and "Assistant: ...", with a blank line between turns. `zephyr`: a line with the role, then the content; the
end token closes each turn. `tulu`: as `zephyr`, but the end token closes the assistant's turns only. `assistant_only`:
the contents of the assistant's turns."""
