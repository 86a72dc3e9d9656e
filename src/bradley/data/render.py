"""Render messages to token ids: a single path for training, evaluation, scoring and serving.

Prompt and response are always rendered together, because templates may treat the last turn specially. The prompt alone
is rendered too, to count the leading tokens open to truncation.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from ..common.text import one_line
from ..config import Render
from ..errors import BradleyError, CheckpointError, DataError
from ..records import Comparison, Message
from .chat_template import (
    RESERVED,
    TEMPLATES,
    ChatTemplate,
    check_expressible,
    template_text,
    tool_template_text,
    transcript,
    turn,
)
from .dropped import Parts, parts_of
from .encoder import Encoder, Ids, given_ids
from .encoder import common_prefix as common_prefix
from .prefetch import Encoded, Prefetch
from .special_tokens import Piece, SpecialTokens, free_mark, messages_of, unmarked

Turns = tuple[Message, ...]
Args = Mapping[str, Any]
Chunk = Sequence[Comparison]
HINT = "give another template with render.template"
REFUSES = "the chat template refuses a conversation with the roles"
PROBE = (Message("user", "Yes?"),), (Message("assistant", "Yes."),)


class Rendered(NamedTuple):
    """A comparison as token ids, before any limit.

    Attributes:
        ids: full rendering of each of the K responses, prompt included.
        prompt_tokens: K numbers of leading tokens belonging to the prompt, each of its own rendering alone.
        protected: leading special tokens of the prompt (BOS, CLS), never cut.
        control_tokens: special tokens spelled out by messages in the K texts and read as plain text.
    """

    ids: list[Ids]
    prompt_tokens: list[int]
    protected: int
    control_tokens: int = 0


class Written(NamedTuple):
    """A comparison as text, before the tokenizer.

    Attributes:
        texts: rendering of each response with the prompt, then of the prompt alone; empty for token ids.
        special: True for a comparison of token ids, or with possible control tokens.
        rows: ids of the texts, if prefetched.
    """

    texts: list[str]
    special: bool
    rows: list[Ids] | None = None


class Outcome(NamedTuple):
    """Result of rendering a comparison of a split.

    Attributes:
        rendered: the token ids; None for a comparison that cannot be rendered.
        parts: see `dropped.parts_of`.
        refused: the error of a comparison that cannot be rendered.
    """

    rendered: Rendered | None
    parts: Parts
    refused: DataError | None = None


class Renderer:
    """Renderer of conversations to ids, by one template and one set of rules.

    `raw` keeps plain text unchanged and writes turns as an Anthropic transcript, with the tokenizer's own special
    tokens around the text. Every other template writes special tokens explicitly; the tokenizer then adds none, and no
    second BOS can appear.

    Args:
        tokenizer: a transformers tokenizer.
        settings: template, end token, system prompt and limits.
        causal: True for a decoder, scored at the last token; False for an encoder, scored at the first.
        tool_template: Jinja text for conversations with tools; None for the tokenizer's own `tool_use`, or without it
            for the same template.
        prefetch: comparisons encoded while rows were read, by a renderer of the same tokenizer and settings.

    Raises:
        CheckpointError: `template = "tokenizer"` on a tokenizer without a chat template, or no end token for `eos =
            "always"`.
        UserError: a Jinja file is missing, not UTF-8 or not Jinja; a template asks for today's date without a `date`;
            or a setting has no place in the template.
    """

    def __init__(
        self,
        tokenizer: Any,
        settings: Render,
        *,
        causal: bool,
        tool_template: str | None = None,
        prefetch: Prefetch | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.prefetch = prefetch
        self.settings = settings
        self.causal = causal
        self.template = template_text(tokenizer, settings.template)
        self.tool_template = tool_template or tool_template_text(tokenizer, settings.template)
        # A plain text needs an end token to be scored at; a template already says how a response ends.
        wants_eos = settings.eos == "always" or (settings.eos == "auto" and causal and self.template is None)
        if settings.eos == "always" and tokenizer.eos_token_id is None:
            raise CheckpointError("render.eos = always, but the tokenizer has no end token", "set render.eos to never")
        self.eos = tokenizer.eos_token_id if wants_eos else None
        self.starts = {tokenizer.bos_token_id, tokenizer.cls_token_id} - {None}
        self._size = len(tokenizer)
        self._system = (Message("system", settings.system_prompt),) if settings.system_prompt else ()
        self._plain = self.template is None or self.template in TEMPLATES.values()
        self._control = SpecialTokens(tokenizer) if settings.control_tokens == "split" else None
        self._encoder = Encoder(tokenizer, special=self.template is None)
        check_expressible(self.template, settings)
        names = dict(tokenizer.special_tokens_map)
        given = (settings.template_kwargs, settings.date)
        chat = None if self.template is None else ChatTemplate(self.template, names, *given, self.tool_template)
        self._chat = chat
        # A template asking for today's date is found now, before any data are read.
        if self._chat is not None and self._chat.wants_clock and not settings.date:
            # The template may refuse the probe itself; then the first real conversation meets the clock's error.
            with suppress(DataError):
                self.text(*PROBE)

    def text(self, prompt: Turns, response: Turns, args: Args | None = None) -> str:
        """Render a conversation to text; with an empty response, the prompt up to the response.

        Args:
            prompt: turns before the response.
            response: turns of the response; empty for the prompt alone.
            args: `Comparison.template_args`.

        Raises:
            DataError: the template refuses the conversation, or cannot express the contents.
            UserError: the template asks for a date, and no date is set.
        """
        return self._text(prompt, response, args or {}, None)

    def _text(self, prompt: Turns, response: Turns, args: Args, with_tools: bool | None) -> str:
        """Render as `text`, by the template for conversations with or without tools; None chooses by `args`."""
        if any(message.role == "ids" for message in (*prompt, *response)):
            return str(self.tokenizer.decode(given_ids((*prompt, *response), self._size)))
        prompt = self._with_system(prompt, response)
        # `raw` and named templates would drop tools and tool calls without a word, and the model would score half a
        # conversation.
        if self._plain and (args or any(message.extra for message in (*prompt, *response))):
            raise DataError(
                "tools, tool calls and template arguments cannot be written by raw or a named template",
                "use --render.template tokenizer or a Jinja file, or leave them out of the rows",
            )
        if self._chat is None:
            return transcript(prompt, response)
        if not args and with_tools is None and (text := self._quick(prompt, response)) is not None:
            return text
        turns = [_as_turn(m, "user") for m in prompt] + [_as_turn(m, "assistant") for m in response]
        return self._filled(turns, args, opens=not response, with_tools=with_tools) if turns else ""

    def _quick(self, prompt: Turns, response: Turns) -> str | None:
        """Render turns by a skeleton of the template; None where only a full rendering gives the text."""
        assert self._chat is not None
        roles, contents = [], []
        for turns, plain_role in ((prompt, "user"), (response, "assistant")):
            for message in turns:
                if message.extra:
                    return None
                roles.append(plain_role if message.role == "text" else message.role)
                contents.append(message.content)
        return self._chat.fill(tuple(roles), contents, opens=not response) if roles else None

    def _with_system(self, prompt: Turns, response: Turns) -> Turns:
        """Put the system prompt of the settings first, unless the conversation has a system turn."""
        first = next(iter((*prompt, *response)), None)
        return prompt if first is not None and first.role == "system" else (*self._system, *prompt)

    def _filled(self, turns: list[dict[str, Any]], args: Args, opens: bool, with_tools: bool | None) -> str:
        """Fill in the chat template, and turn template errors into `DataError`."""
        assert self._chat is not None
        if reserved := [name for name in RESERVED if name in args]:
            raise DataError(f"the row gives the template its own {reserved[0]}", "take it out of chat_template_kwargs")
        try:
            return self._chat(turns, args, opens, with_tools)
        except BradleyError:
            raise
        except Exception as error:  # jinja2 raises whatever the template raises
            roles = ", ".join(message["role"] for message in turns)
            why = one_line(error)
            raise DataError(f"{REFUSES} {roles}: {why}", HINT) from error

    def ids(self, texts: Sequence[str], *, whole: bool = True) -> list[Ids]:
        """Encode rendered texts.

        Special tokens spelled in a text are encoded as special tokens; `comparisons` handles special tokens spelled by
        messages.

        Args:
            texts: rendered texts.
            whole: False for prompts, which get no end token.
        """
        rows = self._encoder.ids(texts)
        return [self._ended(row) for row in rows] if whole else rows

    def _ended(self, row: Ids) -> Ids:
        """Append the end token, unless already last."""
        return row if self.eos is None or (row and row[-1] == self.eos) else [*row, self.eos]

    def comparisons(self, comparisons: Sequence[Comparison]) -> list[Rendered]:
        """Render comparisons to ids, all in a single call of the tokenizer, because tokenizing takes most of the time.

        Raises:
            DataError: the template refuses a conversation, or given token ids are invalid; the message names the
                comparison.
            UserError: as `text`.
        """
        written = [self._written(comparison) for comparison in comparisons]
        return self._read_all(comparisons, written)

    def outcomes(self, comparisons: Chunk) -> list[Outcome]:
        """Render comparisons, and keep each refusal apart.

        Raises:
            UserError: as `text`.
        """
        return self._outcomes(comparisons, [self._tried(comparison) for comparison in comparisons])

    def _written(self, comparison: Comparison) -> Written:
        """Render the texts of a comparison."""
        messages, control = messages_of(comparison), self._control
        if any(message.role == "ids" for message in messages):
            return Written([], special=True)
        suspect = control is not None and control.suspects(messages, comparison.template_args)
        return Written(self._texts(comparison), suspect)

    def _tried(self, comparison: Comparison) -> tuple[Written, Parts] | DataError:
        """Render the texts of a comparison, and find what the template drops; return a refusal."""
        if self.prefetch is not None and (known := self.prefetch.pop(comparison)) is not None:
            return Written([], special=False, rows=known.rows), known.parts
        try:
            written = self._written(comparison)
        except DataError as error:
            return error
        # `raw` writes every content, and refuses everything else.
        if self._chat is None or not written.texts:
            return written, {}
        return written, parts_of(comparison, written.texts, self._text, self.settings.template_kwargs.keys())

    def _outcomes(
        self, comparisons: Sequence[Comparison], tried: Sequence[tuple[Written, Parts] | DataError]
    ) -> list[Outcome]:
        """Encode what was rendered, and keep each refusal apart."""
        fine = [(c, found[0]) for c, found in zip(comparisons, tried, strict=True) if not isinstance(found, DataError)]
        read = iter(self._read_each([c for c, _ in fine], [written for _, written in fine]))
        found = []
        for each in tried:
            ids = each if isinstance(each, DataError) else next(read)
            refused = ids if isinstance(ids, DataError) else None
            parts = {} if isinstance(each, DataError) else each[1]
            found.append(Outcome(None if isinstance(ids, DataError) else ids, parts, refused))
        return found

    def _read_all(self, comparisons: Sequence[Comparison], written: Sequence[Written]) -> list[Rendered]:
        """Encode rendered comparisons; raise the first refusal."""
        found = []
        for each in self._read_each(comparisons, written):
            if isinstance(each, DataError):
                raise each
            found.append(each)
        return found

    def _read_each(self, comparisons: Sequence[Comparison], written: Sequence[Written]) -> list[Rendered | DataError]:
        """Encode rendered comparisons. The tokenizer allows a single thread at a time."""
        usual = iter(self._encoder.groups([each.texts for each in written if not each.special and each.rows is None]))
        return [
            self._special_case(comparison, each.texts)
            if each.special
            else self._rendered(next(usual) if each.rows is None else each.rows)
            for comparison, each in zip(comparisons, written, strict=True)
        ]

    def encode(self, comparisons: Sequence[Comparison]) -> list[Encoded | None]:
        """Render and encode comparisons for `Prefetch`; None for a refusal, token ids or possible control tokens.

        Raises:
            UserError: as `text`.
            CheckpointError: the tokenizer fails at a text.
        """
        tried = [self._tried(comparison) for comparison in comparisons]
        usual = [None if isinstance(each, DataError) or each[0].special else each for each in tried]
        rows = iter(self._encoder.groups([each[0].texts for each in usual if each is not None]))
        return [None if each is None else Encoded(next(rows), each[1]) for each in usual]

    def _special_case(self, comparison: Comparison, texts: list[str]) -> Rendered | DataError:
        """Render a comparison of token ids (without texts), or with possible control tokens; return a refusal."""
        try:
            if not texts:
                return self._given(comparison)
            assert self._control is not None
            return self._with_control_tokens(comparison, texts, self._control)
        except DataError as error:
            return error

    def _texts(self, comparison: Comparison) -> list[str]:
        """Render the text of each response, then the text of the prompt."""
        endings = [*(response.messages for response in comparison.responses), ()]
        try:
            return [self.text(comparison.prompt, messages, comparison.template_args) for messages in endings]
        except DataError as error:
            raise DataError(f"comparison {comparison.id}: {error.message}", error.hint) from error

    def _rendered(self, rows: Sequence[Ids], control_tokens: int = 0) -> Rendered:
        """Build the result from the ids of each response, followed by the ids of the prompt."""
        prompt, ids = rows[-1], [self._ended(row) for row in rows[:-1]]
        # A token at the end of the prompt may merge with the response, so the prompt ends where both ids still agree.
        # Another response may merge otherwise, and must not move the end of this prompt.
        shared = [common_prefix(prompt, row) for row in ids]
        return Rendered(ids, shared, self._protected(prompt), control_tokens)

    def _protected(self, prompt: Ids) -> int:
        """Count the leading special tokens of a prompt."""
        return 1 if prompt and prompt[0] in self.starts else 0

    def _with_control_tokens(self, comparison: Comparison, texts: list[str], control: SpecialTokens) -> Rendered:
        """Encode a comparison with the special tokens spelled by messages read as plain text."""
        mark = free_mark(comparison, texts)
        rows, forged = [], 0
        for place, marked in enumerate(self._texts(control.marked(comparison, mark))):
            # If the marks change more than themselves, the template reacts to the content, and the pieces would be
            # wrong.
            if unmarked(marked, mark)[0] != texts[place]:
                raise DataError(
                    f"comparison {comparison.id}: the template treats special tokens in a message as its own",
                    "take them out of the row, or use --render.control_tokens keep",
                )
            pieces, count = control.pieces(marked, mark)
            forged += count if place < len(comparison.responses) else 0
            rows.append(self._read(pieces, texts[place]))
        return self._rendered(rows, forged)

    def _read(self, pieces: Sequence[Piece], text: str) -> Ids:
        """Encode the pieces of a text."""
        # The tokenizer of `raw` adds special tokens around the text; read in pieces, each piece would get its own.
        if self.template is None:
            return self._encoder.ids([text], plain=any(piece.plain for piece in pieces))[0]
        return [id for text, plain in pieces for id in self._encoder.ids([text], plain)[0]]

    def _given(self, comparison: Comparison) -> Rendered:
        """Use the given token ids of a comparison unchanged."""
        try:
            if any(message.role != "ids" for message in messages_of(comparison)):
                raise DataError("mixes token ids with texts", "give either for the whole row")
            if comparison.template_args or self._system:
                raise DataError("is made of token ids, to which no template argument and no system turn can be added")
            prompt = given_ids(comparison.prompt, self._size)
            ids = [prompt + given_ids(response.messages, self._size) for response in comparison.responses]
        except DataError as error:
            raise DataError(f"comparison {comparison.id}: {error.message}", error.hint) from error
        return Rendered(ids, [len(prompt)] * len(ids), self._protected(prompt))

    def pooled_place(self, ids: Sequence[int]) -> int:
        """Return the place of the scored token: the last for a causal model, the first for an encoder."""
        return len(ids) - 1 if self.causal else 0

    def pooled_token(self, ids: Sequence[int]) -> str:
        """Return the scored token as text."""
        return repr(self.tokenizer.decode([ids[self.pooled_place(ids)]]))


def _as_turn(message: Message, plain_role: str) -> dict[str, Any]:
    """Build a template's turn from a message; plain text takes the role `plain_role`."""
    role = plain_role if message.role == "text" else message.role
    return turn(role, message.content, json.loads(message.extra) if message.extra else {})
