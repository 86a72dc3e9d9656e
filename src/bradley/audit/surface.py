"""Surface of texts: words, style, refusals and scripts, from one pass over the rows."""

from array import array
from typing import Any

import numpy as np

from ..data.columns import Columns
from ..data.report import quantiles
from ..evaluate.features import TextFeatures, split_words, text_features, word_set
from ..evaluate.intervals import interval_figures
from ..evaluate.judgments import half_ties
from ..evaluate.moments import mean
from ..evaluate.shortcuts import SHORTCUTS
from ..records import Comparison
from .languages import NONE, script_of

PARTS = ("prompt", "chosen", "rejected")


class Surface:
    """Features of every response and prompt, fed row by row.

    Attributes:
        features: features of the responses, `TextFeatures` one after another.
        prompt_words: words of each prompt.
        scripts: numbers of the scripts of responses; `prompt_scripts` of prompts; `names`, script by number.
        margins: every margin; `unmarked`, judgments without a margin.
    """

    def __init__(self) -> None:
        self.features, self.prompt_words = array("f"), array("l")
        self.scripts, self.prompt_scripts = array("H"), array("H")
        self.names: dict[str, int] = {}
        self.margins, self.unmarked = array("d"), 0

    def add(self, comparison: Comparison) -> None:
        """Read a row."""
        asked = "\n".join(message.content for message in comparison.prompt)
        self.prompt_words.append(len(split_words(asked)))
        self.prompt_scripts.append(self._number(script_of(asked)))
        last = word_set(comparison.prompt[-1].content) if comparison.prompt else frozenset()
        for response in comparison.responses:
            text = response.text
            self.features.extend(text_features(text, last))
            self.scripts.append(self._number(script_of(text)))
        for judgment in comparison.judgments:
            if judgment.margin is None:
                self.unmarked += 1
            else:
                self.margins.append(judgment.margin)

    def feature(self, name: str) -> np.ndarray:
        """Return a feature of every response [R]."""
        table = np.frombuffer(self.features, dtype=np.float32).reshape(-1, len(TextFeatures._fields))
        return table[:, TextFeatures._fields.index(name)].astype(np.float64)

    def lengths(self, columns: Columns) -> dict[str, Any]:
        """Quantiles of the words of prompts, chosen and rejected responses."""
        words, decided = self.feature("words"), columns.probability != 0.5
        sides = (columns.better[decided], columns.worse[decided])
        values = (np.asarray(self.prompt_words), *(words[side] for side in sides))
        return {part: quantiles(each) for part, each in zip(PARTS, values, strict=True) if len(each)}

    def shortcuts(self, columns: Columns) -> dict[str, Any]:
        """Accuracy of each rule on the surface alone, with the share of pairs that the rule says nothing about."""
        decided = columns.probability != 0.5
        prompt = columns.of_judgments(columns.topic)[decided]
        found = {}
        for name, feature in SHORTCUTS.items():
            values = self.feature("words" if feature == "length" else feature)
            more = values[columns.better[decided]] - values[columns.worse[decided]]
            found[name] = {"alone": interval_figures(half_ties(more), prompt), "equal_share": mean(more == 0.0)}
        return found

    def languages(self, columns: Columns) -> dict[str, Any]:
        """Prompts by script, and responses in another script than their prompt.

        Returns:
            `prompts`, {script: share of the rows}, the most frequent first; `chosen` and `rejected`, shares of decided
            judgments whose response has another script than the prompt, texts without letters left out.
        """
        asked, answered = np.asarray(self.prompt_scripts), np.asarray(self.scripts)
        count = np.bincount(asked, minlength=len(self.names))
        order = sorted(self.names, key=lambda name: (-count[self.names[name]], name))
        shares = {
            name: interval_figures(asked == self.names[name], columns.topic)
            for name in order
            if count[self.names[name]]
        }
        decided = columns.probability != 0.5
        topic = columns.of_judgments(columns.topic)[decided]
        before = columns.of_judgments(asked)[decided]
        found: dict[str, Any] = {"prompts": shares}
        for part, side in (("chosen", columns.better), ("rejected", columns.worse)):
            after = answered[side[decided]]
            lettered = np.ones(len(after), dtype=bool)
            if NONE in self.names:
                lettered = (before != self.names[NONE]) & (after != self.names[NONE])
            found[part] = interval_figures((before != after)[lettered], topic[lettered], empty="no letters")
        return found

    def _number(self, script: str) -> int:
        return self.names.setdefault(script, len(self.names))
