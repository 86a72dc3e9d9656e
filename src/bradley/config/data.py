"""Settings of the data: sources of comparisons, policies, and the rendering of messages as token ids."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from .base import LARGEST, MOST_TOKENS, Count, Policy, Section, Share, Tokens, Words

Part = Annotated[float, Field(ge=0.0, le=1.0)]
"""Share of a split, the whole split included."""
SYNTHETIC = "synthetic:"
"""The source of composed training data."""
DiagnosticName = Literal["none", "label_shuffle", "prompt_only", "random_negatives", "length_matched"]


class Synthetic(Section):
    """Preferences composed from a small grammar with a known true reward (source `synthetic:`)."""

    comparisons: Annotated[int, Field(gt=0, le=10_000_000)] = 4000
    """Comparisons to compose, all splits together."""
    responses: Annotated[int, Field(ge=2, le=8)] = 2
    """Responses per prompt."""
    noise: Literal["bradley_terry", "threshold"] = "bradley_terry"
    """Label noise. `bradley_terry` draws each label by the sigmoid of the scaled reward difference, and hard pairs err
    more. `threshold` flips the true order with the same probability everywhere."""
    noise_rate: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.1
    """Expected share of judgments whose label contradicts the true reward."""
    length_weight: Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)] = 0.0
    """Weight of the response's length in the true reward: 0 makes length a pure nuisance."""
    view: Literal["full", "prompt", "response"] = "full"
    """Texts shown to the model. `full`: everything. `prompt`: the prompt only, with unrelated responses. `response`:
    the response only, with the same fixed prompt everywhere. Labels stay the labels of the full text: `prompt` must end
    at chance, and so must `response` if `length_weight` is 0."""


class Data(Section):
    """Sources of comparisons, and policies about faulty comparisons.

    Example:
        rows = [{"prompt": f"Name {n}.", "chosen": f"{n}", "rejected": "No."} for n in range(100)]
        splits = bradley.load_splits(bradley.Data(valid_share=0.2), 0, train=rows)
        print(splits.report["splits"]["train"]["comparisons"])
    """

    train: Words = SYNTHETIC
    """Training data: `synthetic:` alone, or a source, or a list of sources. A source is a file (.jsonl, .json, .csv
    or .tsv, each also .gz or .xz, or .parquet), a glob, or a folder. A folder holds such files, or a dataset saved with
    `datasets`. A dataset of the Hub is `hub:owner/name?config=NAME&data_dir=DIR&revision=REV&split=train[:10%]`, with
    every part after the name optional."""
    valid: Words = ""
    """Validation data, used to select the best checkpoint; sources as for `train`. Empty: split off from `train` by
    prompt."""
    test: Words = ""
    """Test data, read once at the end; sources as for `train`. Empty: split off from `train` if `test_share` is above
    0."""
    eval_sets: dict[str, Words] = {}
    """Further named evaluation sets, reported beside `valid` but never used to select. Names hold letters, digits and
    underscores, because each becomes part of a file name. `benchmark:NAME=PATH` is the authors' file or folder of a
    benchmark, such as `benchmark:rewardbench=filtered.parquet`: every evaluation then gives the benchmark's own
    figures too. PATH may be a source of any kind."""
    mix: dict[str, Annotated[float, Field(gt=0.0, le=1e9, allow_inf_nan=False)]] = {}
    """Amount to use of a source, keyed by the source as `train` spells the name. Up to 1: a share of the source's
    comparisons; above 1: a number of comparisons. Samples are seeded; sources without an amount are used whole."""
    valid_share: Share = 0.05
    """Share of the prompts of `train` held out for validation when `valid` is empty."""
    test_share: Share = 0.0
    """Share of the prompts of `train` held out for the test when `test` is empty."""
    format: str | dict[str, str] = "auto"
    """Shape of the rows. `auto` looks at the first rows of each file. A name is taken from the list in the guide to
    your data. `module:function` is a Python function of your own that takes a row. The function returns a row of a
    known shape, a `bradley.Comparison`, a list of the two, or None to leave the row out. A function with a first
    parameter called `rows` takes all rows of a file, and yields new rows. A table gives each source a format of its
    own, keyed by the source as spelled, or by the split: `format = { valid = "votes" }`."""
    columns: dict[str, str | dict[str, str]] = {}
    """Names of your columns, keyed by the name in the format: `chosen = "better_answer"`. Dots reach into objects:
    `prompt = "info.question"`. `label` names the column that says which answer is better. A table gives a source
    columns of its own, keyed by the source as spelled, or by the split: `valid = { chosen = "good" }`. Such a table
    replaces the names for all sources."""
    ignore: Words = ""
    """Columns left out on purpose; dots reach into objects. A column that no format reads stops the load if it may be
    part of the conversation: long texts, messages, and names such as system, input or context."""
    limit: Count = 0
    """Keep a seeded sample of this many training comparisons (0: all)."""
    eval_limit: Count = 0
    """Keep a seeded sample of this many comparisons of each evaluation set, the test set too (0: all)."""
    max_per_prompt: Count = 0
    """Keep a seeded sample of at most this many training comparisons of each prompt (0: all)."""
    min_score_ratio: Annotated[float, Field(ge=1.0, le=LARGEST, allow_inf_nan=False)] = 1.0
    """Leave out rows whose two scores differ by less than this factor, in every split (format `shp`)."""
    strength_as: Literal["margin", "weight"] = "margin"
    """Use of a preference's strength. `margin`: the judgment's margin, read by the loss if `loss.margin_scale` is set.
    `weight`: the judgment's weight (formats `helpsteer2` and `helpsteer3`)."""
    votes: Literal["share", "majority"] = "share"
    """Use of the votes of several annotators. `share`: a judgment with the share of the votes as its probability.
    `majority`: a judgment for the majority, as if certain (formats `votes` and `multipref`, and gathered `judges`)."""
    judges: Literal["auto", "gather", "apart"] = "auto"
    """Use of training rows that judge the same two responses to the same prompt. `gather`: such rows are votes, and
    become a single comparison by the rule of `votes`. `auto`: the same where several judges are evident, because a
    column such as `annotator` differs within the pair, or the source holds opposite labels of a pair. `apart`: every
    row stays a comparison of its own. Evaluation sets keep every row."""
    group_by: Literal["none", "prompt"] = "none"
    """Merging of training rows. `prompt`: rows with the same prompt become a single comparison, with responses
    deduplicated and every judgment kept."""
    group_max_responses: Annotated[int, Field(ge=2, le=10_000)] = 16
    """Most responses in a comparison merged by `group_by`; a prompt with more responses makes several comparisons."""
    equal_scores: Literal["skip", "tie"] = "skip"
    """Judgment of two responses with equal scores or ranks, or without a preference. `skip`: none. `tie`: a judgment
    with probability 0.5. A pair with a named chosen response keeps its judgment, whatever the scores."""
    faulty: Literal["error", "drop"] = "error"
    """Policy about faulty rows in every split: a missing field, a null, an unknown role, a broken line. `error`: the
    run stops after all rows are read, and the message counts the faulty rows by reason. `drop`: such rows are left
    out, and counted by reason."""
    max_rejected_share: Share = 0.05
    """Largest share of source rows that may be unusable before the run stops. Rows left out by a setting do not count:
    ties, faulty rows with `faulty = "drop"`, and whatever a policy named in the configuration drops."""
    identical: Policy = "drop"
    """Policy about training judgments between two responses with the same text (no gradient). Evaluation sets keep
    such judgments."""
    empty: Policy = "keep"
    """Policy about training comparisons with an empty or blank response. Evaluation sets keep such comparisons."""
    bidirectional: Policy = "keep"
    """Policy about training comparisons with bidirectional marks: characters that make text appear in another order
    than the reading order. Evaluation sets keep such comparisons."""
    duplicate: Policy = "drop"
    """Policy about training comparisons that repeat an earlier comparison: same texts, preferences and weights. Where
    several `judges` are evident, only rows of the same annotator, or else of the same id, are duplicates. Evaluation
    sets keep duplicates."""
    contradictory: Policy = "keep"
    """Policy about training comparisons whose judgment is reversed by another judgment on the same texts. Evaluation
    sets keep such comparisons."""
    leaked: Policy = "error"
    """Policy about training comparisons whose prompt also occurs in an evaluation set: `drop` takes the comparisons out
    of training. The same policy applies to a test prompt that also occurs in `valid` or `eval_sets`. Evaluation rows
    are never dropped, and only `keep` lets such a test prompt pass."""
    diagnostic: DiagnosticName = "none"
    """Change of every split, for a run that shows a fault of the set-up instead of training a model for use; `valid`,
    `eval_sets` and `test` change likewise. `label_shuffle`: labels reversed at random. `prompt_only`: every response
    replaced by a response to another prompt. `random_negatives`: every response but the best replaced by the best
    response to another prompt. `length_matched`: only judgments on responses of like length. The report has the figure
    of a sound set-up, and the verdict."""
    diagnostic_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Probability of reversed labels of a comparison (`label_shuffle`)."""
    diagnostic_threshold: Annotated[int, Field(gt=0, le=MOST_TOKENS)] = 50
    """Tokens by which the lengths of two responses must differ less (`length_matched`), before any truncation."""
    diagnostic_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the draws of a diagnostic, independent of the seed of the run."""
    synthetic: Synthetic = Synthetic()
    """Settings of the `synthetic:` source."""

    def of_source(self, *names: str) -> "Data":
        """Return the settings of a source, with one format and one table of columns.

        Args:
            names: names of the source, such as the source as spelled and the split; the first with an entry counts.
        """
        return self.model_copy(update={"format": self.format_of(*names), "columns": self.columns_of(*names)})

    def format_of(self, *names: str) -> str:
        """Return the format of a source; `names` as for `of_source`, none for settings of a single source."""
        if isinstance(self.format, str):
            return self.format
        return next((self.format[name] for name in names if name in self.format), "auto")

    def columns_of(self, *names: str) -> dict[str, str]:
        """Return the columns of a source, by the name in the format; `names` as for `format_of`."""
        tables = {name: entry for name, entry in self.columns.items() if isinstance(entry, dict)}
        common = {name: entry for name, entry in self.columns.items() if isinstance(entry, str)}
        return next((tables[name] for name in names if name in tables), common)

    def of_sources(self) -> Iterator[tuple[str, str]]:
        """Yield the setting and the source of each entry for a single source."""
        yield from (("data.format", name) for name in ([] if isinstance(self.format, str) else self.format))
        yield from (("data.columns", name) for name, entry in self.columns.items() if isinstance(entry, dict))


class Unread(Section):
    """Largest shares of a split's comparisons with a part that the chat template does not write; above, the run stops.

    Each part is rendered with and without, and a part that changes nothing is counted in the report. A share of 1 never
    stops a run.
    """

    tools: Part = 0.0
    """Share of the comparisons with `tools` that change nothing."""
    tool_calls: Part = 0.0
    """Share of the comparisons with tool calls that change nothing."""
    reasoning: Part = 1.0
    """Share of the comparisons with reasoning that changes nothing: `reasoning_content`, `thinking`, `reasoning` and
    `tool_plan` of a turn."""
    chat_template_kwargs: Part = 1.0
    """Share of the comparisons with an argument of the row that changes nothing, such as a default of the template."""
    contents: Part = 1.0
    """Share of the comparisons with the content of a turn missing in the text, such as `<think>` cut by the template.
    """


class Render(Section):
    """Conversion of messages to token ids: the same rule for training, evaluation, scoring and serving.

    Example:
        plain = bradley.Render(template="raw", max_tokens=512, over_long="truncate_response")
    """

    template: str = "tokenizer"
    """Template that writes messages as text. `tokenizer`: the tokenizer's own chat template. `raw`: plain text
    unchanged, turns as "Human:" and "Assistant:". Named templates: `simple_concat`, `simple_concat_with_space`,
    `simple_concat_with_new_line`, `simple_chat`, `zephyr`, `tulu`, `assistant_only`. Anything else: the path of a Jinja
    file, or a name among the tokenizer's own templates. With `tokenizer`, rows with `tools` get the template `tool_use`
    of the tokenizer, if there is one."""
    system_prompt: str = ""
    """System turn put before every conversation that begins without a system turn."""
    template_kwargs: dict[str, Any] = {}
    """Arguments for the chat template, such as `enable_thinking = false`. The `chat_template_kwargs` of a row win over
    these arguments."""
    date: Annotated[str, Field(pattern=r"^(\d{4}-\d{2}-\d{2})?$")] = ""
    """Date given to a chat template that writes today's date, as 2024-07-26: otherwise scores would drift from day to
    day. Such a template is an error while this setting is empty."""
    refused: Literal["error", "drop"] = "error"
    """Policy about comparisons that cannot be rendered, such as a system turn refused by the chat template. `error`
    stops the run after a count of all such comparisons of a split. `drop` takes the comparisons out of every split, of
    evaluation sets too, and counts each reason."""
    max_unread: Unread = Unread()
    """Limits of what the chat template does not write."""
    control_tokens: Literal["split", "keep"] = "split"
    """Reading of special tokens of the tokenizer written out inside a message. `split`: as plain text, and no content
    can forge a turn. `keep`: as the tokens, for texts rendered in advance."""
    eos: Literal["auto", "always", "never"] = "auto"
    """Append the tokenizer's end-of-sequence token to texts without this token at the end. `auto`: yes with `raw` on
    causal models; no with chat templates, because each template writes its own ending."""
    max_tokens: Annotated[int, Field(ge=8, le=MOST_TOKENS)] = 1024
    """Limit of prompt and response together, in tokens."""
    max_prompt_tokens: Tokens = 0
    """Limit of the prompt alone, in tokens (0: only `max_tokens` counts)."""
    min_response_tokens: Tokens = 0
    """Fewest tokens of a response: training comparisons with a shorter response leave (0: all stay). Evaluation keeps
    such comparisons."""
    over_long: Literal["drop", "truncate_prompt", "truncate_response"] = "truncate_prompt"
    """Treatment of comparisons above a limit. `drop`: the comparison leaves training. `truncate_prompt`: the oldest
    prompt tokens go, for each response only as many as prompt and response are above the limit. If a response alone is
    too long, the comparison leaves training. `truncate_response`: after the whole prompt, the oldest tokens of the
    response go too. Ends are never touched. Evaluation never drops: with `drop` evaluation truncates prompts. In
    evaluation a response that alone is too long stops the run, unless `truncate_response` is set."""
