"""Kinds of conversations to score: plain text, messages, token ids.

Rule: a conversation is scored in a kind that the model was trained on. A conversation of another kind is converted,
which is said once, if the two kinds have a form in common; otherwise the conversation is refused. Under a chat template
plain text and messages are one kind, because the template writes both alike.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

from ..data.formats.transcripts import transcript
from ..data.truncate import kind_of
from ..model.folder.save_load import Loaded
from ..records import Candidates, Comparison, Message, Response, prompt_key

log = logging.getLogger("bradley")
Turns = tuple[Message, ...]
NAMES = {"text": "plain text", "ids": "token ids", "messages": "messages"}
"""Kinds in words."""
REFUSED = "kind"
"""Word of a conversation of another kind than in training."""
ADVICE = {
    "text": 'give the texts of training: {"prompt": "...", "response": "..."}, or rank(prompt, responses)',
    "messages": 'give messages: [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]',
    "ids": 'give token ids, made as for training: {"prompt_ids": [...], "response_ids": [...]}',
}
"""Hint by kind of the training rows."""


class Kinds:
    """Kinds of the training rows of a model.

    Args:
        loaded: loaded model folder; a folder that does not name the kinds takes every conversation as given.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.trained = frozenset(loaded.kind.split(" and ") if loaded.kind else ())
        self._raw = loaded.renderer.template is None
        self._said: set[str] = set()

    @property
    def advice(self) -> str:
        """Hint for a refused conversation."""
        return "; or ".join(ADVICE[kind] for kind in sorted(self.trained & ADVICE.keys()))

    def is_foreign(self, row: Comparison | Candidates) -> bool:
        """Return True for a row that training would have written in other tokens."""
        kind = kind_of(row)
        if not self.trained or kind in self.trained:
            return False
        return kind == "ids" or self._raw or self.trained == {"ids"}

    def fitted(self, row: Candidates) -> tuple[Candidates | None, dict[int, str]]:
        """Return candidates in a kind of training, without the refused responses; None if none is left.

        Returns:
            Candidates, and the reason for each refused response, by place in the row.
        """
        if not self.is_foreign(row):
            return row, {}
        kind = kind_of(row)
        if kind == "ids":
            self.say(kind, "as given")
            return row, {}
        if "messages" in self.trained:
            return self._as_messages(row)
        if "text" in self.trained:
            return self._as_text(row)
        return None, self._refused(row, "whose making nobody knows here")

    def say(self, kind: str, how: str) -> None:
        """Log a line about conversations of another kind, once for each kind."""
        if kind not in self._said:
            self._said.add(kind)
            log.warning("%s: scored %s; the model was trained on %s", NAMES[kind], how, self._names)

    @property
    def _names(self) -> str:
        return " and ".join(NAMES.get(kind, kind) for kind in sorted(self.trained))

    def _refused(self, row: Candidates, why: str) -> dict[int, str]:
        """Return the reason for every response of a row."""
        found = f"{REFUSED}: {NAMES[kind_of(row)]}, and the model was trained on {self._names} alone, {why}"
        return dict.fromkeys(range(len(row.responses)), found)

    def _as_text(self, row: Candidates) -> tuple[Candidates | None, dict[int, str]]:
        """Join one turn of the user and one turn of the assistant as training joined prompt and response."""
        every = self._refused(row, "without roles: a system turn, further turns and tools have no place there")
        asks = [message.role for message in row.prompt] in ([], ["user"])
        if not asks or row.template_args or any(message.extra for message in row.prompt):
            return None, every
        refused = {place: every[place] for place, one in enumerate(row.responses) if not _is_plain(one)}
        kept = [response for place, response in enumerate(row.responses) if place not in refused]
        if not kept:
            return None, every
        self.say("messages", "as plain text, the prompt with the response behind")
        return replace(row, prompt=_named("text", row.prompt), responses=_responses("text", kept)), refused

    def _as_messages(self, row: Candidates) -> tuple[Candidates | None, dict[int, str]]:
        """Read a prompt as a turn of the user, and each response as a turn of the assistant."""
        if not row.prompt:
            return self._from_transcripts(row)
        self.say("text", "as messages: a turn of the user, and a turn of the assistant")
        named = replace(row, prompt=_named("user", row.prompt), responses=_responses("assistant", row.responses))
        return named, {}

    def _from_transcripts(self, row: Candidates) -> tuple[Candidates | None, dict[int, str]]:
        """Read texts without a prompt that are transcripts, which `raw` writes as they are."""
        sides = [transcript(response.text) for response in row.responses]
        prompt = sides[0][:-1]
        if not prompt or any(side[:-1] != prompt for side in sides):
            return None, self._refused(row, "where every response has a prompt")
        pairs = zip(row.responses, sides, strict=True)
        responses = tuple(replace(response, messages=side[-1:]) for response, side in pairs)
        return replace(row, prompt=prompt, prompt_key=prompt_key(prompt), responses=responses), {}


def _is_plain(response: Response) -> bool:
    """Return True for a response of one turn of the assistant, without a call or reasoning."""
    return [message.role for message in response.messages] == ["assistant"] and not response.messages[0].extra


def _named(role: str, turns: Turns) -> Turns:
    """Return turns under another role."""
    return tuple(replace(turn, role=role) for turn in turns)


def _responses(role: str, responses: Sequence[Response]) -> tuple[Response, ...]:
    """Return responses with their turns under another role."""
    return tuple(replace(response, messages=_named(role, response.messages)) for response in responses)
