"""The rendering of a model as one chat template that depends on nothing but the messages.

Other programs know no settings of ours: they fill the tokenizer's chat template with the messages. So the system turn,
the template arguments, the date, the special tokens around a raw text and its end token are written into the template.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..common.text import one_line
from ..data.chat_template import CALL, CLOCK, frozen_clock, without_clock
from ..data.encoder import common_prefix
from ..data.render import MARKERS, Renderer
from ..errors import CheckpointError, UserError

Turns = Sequence[Mapping[str, str]]
DAYS = "2024-02-29", "2031-11-05"
"""Two days that differ in every part of a date."""
NO_DATE = "raise_exception('the chat template writes a date, and the model was trained without one')"
"""What stands for a date where training had none, and a conversation that asks for it was refused."""
OPENING = MARKERS["assistant"].rstrip()
"""What `raw` writes before a response that is still to come."""
RAW = (
    "{{% set markers = {markers} %}}{{{{ {start} }}}}"
    "{{% for message in messages %}}{{{{ markers[message['role']] + message['content'] }}}}{{% endfor %}}"
    "{{% if not add_generation_prompt %}}{{{{ {end} }}}}"
    "{{% elif messages and messages[-1]['role'] != 'text' %}}{{{{ {opening} }}}}{{% endif %}}"
)


def frozen_chat_template(renderer: Renderer) -> str:
    """A chat template that needs neither settings nor a clock to render conversations as `renderer` does.

    What a row of data gives the template besides its messages still wins over the arguments of the settings.
    """
    if renderer.template is None:
        return _system(renderer) + _raw(renderer)
    day = renderer.settings.date
    text = without_clock(renderer.template, day) if day else CALL.sub(NO_DATE, renderer.template)
    if renderer.eos is not None:
        text = _ended(text, str(renderer.tokenizer.eos_token))
    return "".join(_argument(*item) for item in renderer.settings.template_kwargs.items()) + _system(renderer) + text


def _raw(renderer: Renderer) -> str:
    """The transcript of `raw`, with the special tokens that the tokenizer puts around a text."""
    tokenizer = renderer.tokenizer
    bare, whole = (list(tokenizer("a", add_special_tokens=special)["input_ids"]) for special in (False, True))
    place = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
    start, end = whole[:place], whole[place + len(bare) :]
    if renderer.eos is not None and end[-1:] != [renderer.eos]:
        end.append(renderer.eos)
    before, after = (ascii("".join(tokenizer.convert_ids_to_tokens(ids))) for ids in (start, end))
    return RAW.format(markers=ascii(MARKERS), start=before, end=after, opening=ascii(OPENING))


def _system(renderer: Renderer) -> str:
    prompt = renderer.settings.system_prompt
    if not prompt:
        return ""
    turn = ascii({"role": "system", "content": prompt})
    return (
        "{% if not messages or messages[0]['role'] != 'system' %}"
        f"{{% set messages = [{turn}] + messages %}}{{% endif %}}\n"
    )


def _argument(name: str, value: Any) -> str:
    return f"{{% if {name} is not defined or {name} is none %}}{{% set {name} = {value!a} %}}{{% endif %}}\n"


def _ended(text: str, end: str) -> str:
    """A template that writes `end` where its text does not end with it, except before a response."""
    whole = text.removesuffix("\n")  # which Jinja takes off the end of a template, but not off the end of a block
    close = f"{{{{ '' if add_generation_prompt or rendered.endswith({end!a}) else {end!a} }}}}"
    return f"{{% set rendered %}}\n{whole}{{%+ endset %}}{{{{ rendered }}}}{close}"


def check_clock(template: str, conversations: Sequence[Turns], names: Mapping[str, Any]) -> None:
    """Render conversations on two days.

    Args:
        names: the special tokens, as transformers gives them to a template.

    Raises:
        UserError: the texts differ.
        CheckpointError: the template refuses a conversation.
    """
    for turns in conversations:
        for opens in (False, True):
            if len({_on_day(template, turns, names, day, opens) for day in DAYS}) > 1:
                raise UserError(
                    "the chat template writes today's date, so scores would drift from day to day",
                    "write a date into a copy of the template, and train with that: --render.template FILE",
                )


def _on_day(template: str, turns: Turns, names: Mapping[str, Any], day: str, opens: bool) -> str:
    from transformers.utils.chat_template_utils import _compile_jinja_template

    values = {"documents": None, "tools": None, **names, CLOCK: frozen_clock(day), "add_generation_prompt": opens}
    try:
        return str(_compile_jinja_template(template).render(values, messages=[dict(turn) for turn in turns]))
    except Exception as error:  # jinja2 raises whatever the template raises
        roles = ", ".join(turn["role"] for turn in turns)
        raise CheckpointError(
            f"the chat template refuses a conversation with the roles {roles}: {one_line(error)}",
            "train with another template: --render.template FILE",
        ) from error


def check_ids(tokenizer: Any, conversations: Sequence[Turns], expected: Sequence[Sequence[int]]) -> None:
    """Compare what transformers alone makes of conversations with their ids at training.

    Raises:
        CheckpointError: they differ: no chat template can say how the texts of this model are read.
    """
    for turns, ids in zip(conversations, expected, strict=True):
        found = tokenizer.apply_chat_template([dict(turn) for turn in turns], return_dict=True)["input_ids"]
        if list(found) != list(ids):
            alike = common_prefix(list(found), list(ids))
            raise CheckpointError(
                f"transformers alone reads a conversation of {len(turns)} turns as other tokens than training did: "
                f"they are alike up to the {alike}th of {len(ids)}",
                "use the model folder through bradley, which reads it as training did",
            )
