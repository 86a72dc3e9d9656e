"""Messages to token ids, through one function, for training, evaluation, scoring and serving alike.

A response is always rendered whole, prompt and response together, because templates may treat the last turn specially.
The prompt alone is rendered too, only to learn how many leading tokens may be cut when a limit asks for it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..config import Render
from ..errors import CheckpointError, DataError, UserError, one_line
from ..records import Comparison, Message

Turns = tuple[Message, ...]
HINT = "give another template with render.template"
MARKERS = {
    "user": "\n\nHuman: ",
    "assistant": "\n\nAssistant: ",
    "system": "\n\nSystem: ",
    "tool": "\n\nTool: ",
    "text": "",
}


class Rendered(NamedTuple):
    """One comparison as token ids, before any limit.

    Attributes:
        ids: the full rendering of each of the K responses, prompt included.
        prompt_tokens: leading tokens that belong to the prompt in every rendering.
        protected: of these, the leading special tokens (BOS, CLS) that are never cut.
    """

    ids: list[list[int]]
    prompt_tokens: int
    protected: int


class Renderer:
    """Turns conversations into ids by one template and one set of rules.

    `raw` writes plain text as it is and turns as an Anthropic transcript, with the tokenizer's own special tokens
    around it. Every other template writes its own special tokens, so none are added: no second BOS can appear.

    Raises:
        CheckpointError: `template = "tokenizer"` on a tokenizer without a chat template.
        UserError: a Jinja file that does not exist or is not UTF-8.
    """

    def __init__(self, tokenizer: Any, settings: Render, *, causal: bool) -> None:
        self.tokenizer = tokenizer
        self.settings = settings
        self.template = template_text(tokenizer, settings.template)
        wants_eos = settings.eos == "always" or (settings.eos == "auto" and causal and self.template is None)
        if settings.eos == "always" and tokenizer.eos_token_id is None:
            raise CheckpointError("render.eos = always, but the tokenizer has no end token", "set render.eos to never")
        self.eos = tokenizer.eos_token_id if wants_eos else None
        self.starts = {tokenizer.bos_token_id, tokenizer.cls_token_id} - {None}

    def text(self, prompt: Turns, response: Turns) -> str:
        """The text of one conversation; with an empty response, of the prompt as it stands before one.

        Raises:
            DataError: the template refuses the conversation.
            UserError: the template is not Jinja.
        """
        if self.template is None:
            turns = "".join(MARKERS[message.role] + message.content for message in (*prompt, *response))
            opens = not response and prompt and prompt[-1].role != "text"
            return turns + "\n\nAssistant:" if opens else turns
        messages = [_as_dict(m, "user") for m in prompt] + [_as_dict(m, "assistant") for m in response]
        if not messages:
            return ""
        from jinja2 import TemplateSyntaxError

        try:
            return str(
                self.tokenizer.apply_chat_template(
                    messages, chat_template=self.template, tokenize=False, add_generation_prompt=not response
                )
            )
        except TemplateSyntaxError as error:
            raise UserError(f"the chat template is not Jinja: line {error.lineno}: {error.message}", HINT) from error
        except Exception as error:  # jinja2 raises whatever the template raises
            roles = ", ".join(message["role"] for message in messages)
            why = one_line(error)
            raise DataError(f"the chat template refuses a conversation with the roles {roles}: {why}", HINT) from error

    def ids(self, texts: Sequence[str], *, whole: bool = True) -> list[list[int]]:
        """Token ids of rendered texts; `whole = False` for prompts, which get no ending."""
        if not texts:
            return []
        special = self.template is None
        rows: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=special, verbose=False)["input_ids"]
        if whole and self.eos is not None:
            rows = [row if row and row[-1] == self.eos else [*row, self.eos] for row in rows]
        return rows

    def comparisons(self, comparisons: Sequence[Comparison]) -> list[Rendered]:
        """Each comparison as ids; one call to the tokenizer for all of them, which is where the time goes.

        Raises:
            DataError: the template refuses a conversation; the message names its comparison.
        """
        texts = [self._text_of(c, response.messages) for c in comparisons for response in c.responses]
        full = iter(self.ids(texts))
        prompts = self.ids([self._text_of(c, ()) for c in comparisons], whole=False)
        return [
            self._rendered([next(full) for _ in comparison.responses], prompt)
            for comparison, prompt in zip(comparisons, prompts, strict=True)
        ]

    def _text_of(self, comparison: Comparison, response: Turns) -> str:
        try:
            return self.text(comparison.prompt, response)
        except DataError as error:
            raise DataError(f"comparison {comparison.id}: {error.message}", error.hint) from error

    def _rendered(self, ids: list[list[int]], prompt: list[int]) -> Rendered:
        shared = min(common_prefix(prompt, row) for row in ids)
        protected = 1 if shared and prompt[0] in self.starts else 0
        return Rendered(ids, shared, protected)

    def pooled_token(self, ids: Sequence[int]) -> str:
        """The token whose hidden state is scored, as text."""
        return repr(self.tokenizer.decode([ids[-1]]))


def template_text(tokenizer: Any, template: str) -> str | None:
    """The Jinja text of a template name; None for `raw`."""
    if template == "raw":
        return None
    if template == "tokenizer":
        if not tokenizer.chat_template:
            raise CheckpointError(
                "render.template = tokenizer, but this tokenizer has no chat template",
                "use --render.template raw, or name a Jinja file",
            )
        return str(tokenizer.chat_template)
    file = Path(template)
    if not file.is_file():
        raise UserError(f"render.template {template} is not a file", 'give a Jinja file, "tokenizer" or "raw"')
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"render.template {template} is not UTF-8 at byte {error.start}", "save it as UTF-8") from error


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of leading elements that two sequences share."""
    length = min(len(a), len(b))
    if a[:length] == b[:length]:
        return length
    return next(i for i in range(length) if a[i] != b[i])


def _as_dict(message: Message, plain_role: str) -> dict[str, str]:
    return {"role": plain_role if message.role == "text" else message.role, "content": message.content}
