"""Frozen chat templates: the rendering of a model as a single template depending on the messages alone.

Other programs know no settings of bradley, and fill the chat template of the tokenizer with the messages. The export
therefore writes all settings into the template: the system turn, the template arguments, the date, the end token, and
the special tokens around a raw text.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..common.text import one_line
from ..data.chat_template import CALL, CLOCK, MARKERS, frozen_clock, with_pair_roles, without_clock
from ..data.encoder import common_prefix
from ..data.ending import Ending, find_ending
from ..data.render import Renderer
from ..errors import CheckpointError, UserError

DAYS = "2024-02-29", "2031-11-05"
"""Two days with different values in every part of a date."""
NO_DATE = "raise_exception('the chat template writes a date, and the model was trained without one')"
"""Replacement of a date call in a template trained without a date: training refused conversations asking for a date."""
PLAIN_TEXT = "text"
"""Kind of training rows of plain texts alone."""
OPENING = MARKERS["assistant"].rstrip()
"""Text of `raw` before a response still to be written."""
RAW = (
    "{guard}{{% set markers = {markers} %}}{{{{ {start} }}}}"
    "{{% for message in messages %}}{{{{ markers[message['role']] + message['content'] }}}}{{% endfor %}}"
    "{{% if not add_generation_prompt %}}{{{{ {end} }}}}"
    "{{% elif messages and markers[messages[-1]['role']] %}}{{{{ {opening} }}}}{{% endif %}}"
)
"""Chat template of `raw`, for `str.format`: doubled braces become the braces of Jinja."""
ONE_TEXT = (
    "{% set turns = messages | map(attribute='role') | list %}"
    "{% if turns[BEFORE:] | length > 2 or 'system' in turns[BEFORE:] or turns[BEFORE + 1:] == ['user'] %}"
    "{{ raise_exception('the model was trained on plain texts: one prompt and one response') }}{% endif %}"
)
"""Jinja code of `raw` refusing conversations without a form in plain text, behind BEFORE turns of the settings."""


def frozen_chat_template(renderer: Renderer, template: str | None = None, kind: str = "") -> str:
    """Write a chat template rendering conversations like `renderer`, without settings and without a clock.

    Template arguments given by a row of data still override the arguments of the settings. A pair of a prompt and a
    response, in the roles `query` and `document`, is read as these texts were in training.

    Args:
        template: a template of the renderer; None for `renderer.template`.
        kind: kinds of the training rows, see `Loaded.kind`. Under `raw`, a model of plain text alone reads turns of
            user and assistant as the text.
    """
    template = renderer.template if template is None else template
    if template is None:
        # Plain texts have no markers under `raw`, unlike turns.
        roles = ("text", "text") if kind == PLAIN_TEXT else ("user", "assistant")
        return with_pair_roles(_system(renderer) + _raw(renderer, kind), *roles)
    return with_pair_roles(_settled(renderer, template))


def _settled(renderer: Renderer, template: str) -> str:
    """Write a chat template with all settings inside."""
    day = renderer.settings.date
    # Dates are frozen first: later steps add text around the template, and a system prompt may quote a date call.
    text = without_clock(template, day) if day else CALL.sub(NO_DATE, template)
    if renderer.eos is not None:
        text = _ended(text, str(renderer.tokenizer.eos_token))
    return "".join(_argument(*item) for item in renderer.settings.template_kwargs.items()) + _system(renderer) + text


def check_clock(template: str, row: Mapping[str, Any], names: Mapping[str, Any]) -> None:
    """Render a conversation on two days and compare the texts.

    Args:
        template: Jinja text.
        row: row of a card's sample: `messages`, and perhaps `args` of the template.
        names: special tokens by name, as given to a template by transformers.

    Raises:
        UserError: the texts differ.
        CheckpointError: the template refuses a conversation.
    """
    # A call through another name escapes the replacement of date calls. Moving the clock finds every case.
    for opens in (False, True):
        if len({_on_day(template, row, names, day, opens) for day in DAYS}) > 1:
            raise UserError(
                "the chat template writes today's date, so scores would drift from day to day",
                "write a date into a copy of the template, and train with that: --render.template FILE",
            )


def check_ids(tokenizer: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Compare the token ids of transformers alone with the ids of training.

    Args:
        tokenizer: tokenizer with the frozen chat template.
        rows: rows of a card's sample: `messages`, `ids` of training, and perhaps `args` of the template.

    Raises:
        CheckpointError: ids differ: no chat template can express the rendering of this model.
    """
    for row in rows:
        turns, ids = [dict(turn) for turn in row["messages"]], row["ids"]
        found = tokenizer.apply_chat_template(turns, return_dict=True, **row.get("args", {}))["input_ids"]
        if list(found) != list(ids):
            alike = common_prefix(list(found), list(ids))
            raise CheckpointError(
                f"transformers alone reads a conversation of {len(turns)} turns as other tokens than training did: "
                f"they are alike up to the {alike}th of {len(ids)}",
                "use the model folder through bradley, which reads it as training did",
            )


def find_written_ending(tokenizer: Any, rows: Sequence[Mapping[str, Any]]) -> Ending:
    """Find the end of the conversations that a frozen chat template writes.

    Args:
        tokenizer: tokenizer with the frozen chat template.
        rows: parity sample. A template may refuse other conversations than those of the sample.
    """
    given = [row for row in rows if row["messages"][-1]["role"] != "ids"]
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    if not given:
        # Rows of token ids were never rendered, and end as their source ended them.
        return Ending("", "")
    turns, args = given[0]["messages"], given[0].get("args", {})

    def render(text: str) -> str:
        asked = [*turns[:-1], {**turns[-1], "content": text}]
        return str(tokenizer.apply_chat_template(asked, tokenize=False, **args))

    return find_ending(render, special)


def _raw(renderer: Renderer, kind: str) -> str:
    """Template of the transcript of `raw`, with the special tokens added by the tokenizer around a text."""
    tokenizer = renderer.tokenizer
    # Tokenizers do not say which tokens they add, so the two encodings of a letter are compared.
    bare, whole = (list(tokenizer("a", add_special_tokens=special)["input_ids"]) for special in (False, True))
    place = next((i for i in range(len(whole)) if whole[i : i + len(bare)] == bare), 0)
    start, end = whole[:place], whole[place + len(bare) :]
    if renderer.eos is not None and end[-1:] != [renderer.eos]:
        end.append(renderer.eos)
    before, after = (ascii("".join(tokenizer.convert_ids_to_tokens(ids))) for ids in (start, end))
    markers = MARKERS | (dict.fromkeys(("user", "assistant"), MARKERS["text"]) if kind == PLAIN_TEXT else {})
    guard = ONE_TEXT.replace("BEFORE", str(int(bool(renderer.settings.system_prompt)))) if kind == PLAIN_TEXT else ""
    return RAW.format(guard=guard, markers=ascii(markers), start=before, end=after, opening=ascii(OPENING))


def _system(renderer: Renderer) -> str:
    """Jinja code putting the system prompt before conversations without a system turn, or ""."""
    # `ascii` escapes quotes, newlines and non-ASCII text into a literal read by Jinja like by Python.
    prompt = renderer.settings.system_prompt
    if not prompt:
        return ""
    turn = ascii({"role": "system", "content": prompt})
    return (
        "{% if not messages or messages[0]['role'] != 'system' %}"
        f"{{% set messages = [{turn}] + messages %}}{{% endif %}}\n"
    )


def _argument(name: str, value: Any) -> str:
    """Jinja code setting a template argument unless the caller gave a value."""
    return f"{{% if {name} is not defined or {name} is none %}}{{% set {name} = {value!a} %}}{{% endif %}}\n"


def _ended(text: str, end: str) -> str:
    """Add the token `end` to texts not ending with this token, except before a response."""
    # Jinja removes a newline at the end of a template, but not at the end of a block, so the newline goes here.
    whole = text.removesuffix("\n")
    close = f"{{{{ '' if add_generation_prompt or rendered.endswith({end!a}) else {end!a} }}}}"
    return f"{{% set rendered %}}\n{whole}{{%+ endset %}}{{{{ rendered }}}}{close}"


def _on_day(template: str, row: Mapping[str, Any], names: Mapping[str, Any], day: str, opens: bool) -> str:
    from transformers.utils.chat_template_utils import _compile_jinja_template

    values = {"documents": None, "tools": None, **names, CLOCK: frozen_clock(day), "add_generation_prompt": opens}
    turns = [dict(turn) for turn in row["messages"]]
    try:
        return str(_compile_jinja_template(template).render({**values, **row.get("args", {})}, messages=turns))
    # jinja2 lets every exception of a template through, of any class.
    except Exception as error:
        roles = ", ".join(turn["role"] for turn in turns)
        raise CheckpointError(
            f"the chat template refuses a conversation with the roles {roles}: {one_line(error)}",
            "train with another template: --render.template FILE",
        ) from error
