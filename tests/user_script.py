"""A user's script, for `mypy --strict` alone: what works has no error, and every ignored line is a mistake.

An unused `type: ignore` is an error under strict, so a mistake that mypy no longer finds is one too.
"""

from pathlib import Path

import bradley

rows = [{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}]
config = bradley.Config(model=bradley.Model(path="model"), data=bradley.Data(train="train.jsonl", valid_share=0.1))

run: bradley.Run = bradley.train(config, train=rows, valid=rows, output="runs/x", progress="bar")
run = bradley.train({"model": {"path": "model"}}, train=rows, output=Path("runs/y"))
run = bradley.read_run("runs/x")
accuracy: float = run.results["sets"]["valid"]["accuracy"]["value"]
texts: list[str] = [row.prompt[0].content for row in run.splits().evals["valid"]]
scores: list[list[float]] = [list(row.scores) for row in run.rows("valid", "best")]
print(run.summary(), run, accuracy, texts, scores, run.events[-1], bradley.__version__)

model: bradley.RewardModel = run.reward_model()
model = bradley.RewardModel.from_pretrained("runs/x/model", "cpu", over_long="truncate_prompt")
ranked: list[tuple[int, float]] = model.rank("2 + 2?", ["4", "5"])
rewards = model.as_reward_func(faulty="none")(prompts=["2 + 2?"], completions=["4"])
loaded = bradley.load_model("runs/x/model", engine="segments")
scored = bradley.score_comparisons(loaded, run.splits().evals["valid"])
print(ranked, rewards, bradley.summarize(scored, weight_by="pair"))
print(bradley.export_model("runs/x", "exported", dtype="bfloat16").folder)
print(bradley.plot_run("runs/x", x="epoch"), bradley.write_report(Path("runs/x")))

try:
    bradley.train("preset:quickstart")
except bradley.BradleyError as error:
    print(error.message, error.hint, error.exit_code)

bradley.train(config, progress="loud")  # type: ignore[arg-type]
bradley.train(config, outptu="runs/x")  # type: ignore[call-arg]
bradley.RewardModel.from_pretrained("runs/x/model", over_long="cut")  # type: ignore[arg-type]
bradley.load_model("runs/x/model", engine="fast")  # type: ignore[arg-type]
bradley.export_model("runs/x", "exported", dtype="int8")  # type: ignore[arg-type]
bradley.plot_run("runs/x", x="hours")  # type: ignore[arg-type]
bradley.tarin(config)  # type: ignore[attr-defined]
