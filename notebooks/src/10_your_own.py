# %% [markdown]
# # 10 · Your own model, data and benchmarks on one GPU
#
# Everything so far ran on the built-in world. Here you take the whole way with things of your own: plan the memory,
# read a folder of code, mid-train with RA3 and with next-token prediction, compare them on held-out code, judge
# programs on tasks you wrote, and export the result for plain transformers. Without a GPU the same cells run on the
# embedded model; with one, change `preset` in the first cell.
#
# **After this notebook you can** say before a run whether it fits; put your code, model and tasks in the three places
# where the library expects them; and know which numbers to quote.
#
# About half a minute on two CPU cores, 1 GB of memory, no network (hub models need it once). Read 06 first.

# %%
from ra3_lab.explore.session import start

lab = start("10 Your own model, data and benchmarks", minutes=0.5, memory_gb=1, preset="embedded")

# %% [markdown]
# ## 1 · Does it fit?
#
# `ra3-lab plan` computes memory by stage from a model's configuration; nothing is downloaded or loaded. By hand, for
# 1.5 billion weights: 3 GB in bf16; with AdamW in full training another 4 bytes for the gradient and 8 for two moments
# in fp32, about 18 GB more; in 4 bits the base is 1.1 GB (embeddings stay in 16 bits) and only adapters have moments.
#
# **Predict:** which setting is the first that fits 12 GB for 1.5 billion weights?

# %%
lab.command("plan", "--model", "qwen2.5-1.5b", "--preset", "12gb")

# %% [markdown]
# What was refused stands above what fits. In Python the setting is a `Variant`:
# `load_model("qwen2.5-coder-1.5b", variant=Variant(quant="nf4", adapter="lora", checkpointing=True))`; on the command
# line `--quant nf4 --adapter lora --checkpointing` (09 says what four bits change).
#
# ## 2 · Your code
#
# Any folder of Python: every function with a docstring, or simply every function, becomes a program. We write a small
# one, so that this notebook needs nothing from outside. Put your own path in its place.

# %%
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
body = '''def {name}(xs):
    """Sum the {what} of xs."""
    total = 0
    for x in xs:
        if x % {n} == {r}:
            total += x
    return total
'''
code = [body.format(name=f"sum_{i}", what=f"numbers that leave {i % 3}", n=i + 3, r=i % 3) for i in range(24)]
(folder / "sums.py").write_text("\n\n".join(code))

# %%
import ra3_lab

traces = ra3_lab.load_traces(folder)
print(len(traces), "programs; the first, as the model reads it:\n")
print(traces[0].text)

# %% [markdown]
# A real corpus needs more care: duplicates, licences, problems of a benchmark among them. `ra3-lab corpus DIR... --out
# FILE.jsonl` does that and reports what it left out (`docs/corpus.md`).
#
# ## 3 · Mid-train: RA3 and next-token prediction on the same programs
#
# Two updates here and four there show the shape, not the effect: a run worth reading has a hundred or more. Settings
# are plain data, so `config` is the run's record. `floor=None`: by default a line counts at least −10 nats, which
# suits the built-in tasks; on code that is strange to the model nearly all lines are below, and no thought could earn
# its price.
#
# **Predict:** which of the two is ahead on held-out lines after so few updates?

# %%
config = ra3_lab.MidtrainConfig(
    rounds=1,
    estep=ra3_lab.EStepConfig(updates=2, programs=2, group=4, floor=None),
    mstep=ra3_lab.MStepConfig(updates=4, programs=8),
)
training, held_out = traces[4:], traces[:4]
ntp = ra3_lab.ntp(lab.model, lab.tokenizer, training, config)
ra3 = ra3_lab.em(lab.model, lab.tokenizer, training, config, out=folder / "run")
for name, model in (("base", lab.model), ("ntp", ntp.model), ("ra3", ra3.model)):
    print(f"{name:5}", {k: round(v, 3) for k, v in ra3_lab.evaluate(model, lab.tokenizer, held_out, k=(1, 4)).items()})

# %% [markdown]
# `no_thought` and `k4` are nats a line: without thoughts, and the bound with four sampled sequences of thoughts (06).
# RA3 is ahead where its `k4` is above the other's `no_thought` *and* `k4`. Here it is not: NTP spent all six updates on
# the code, RA3 two of them on an E-step, and this base writes no thoughts on such code. With four held-out programs
# nothing is decided.
#
# The run is a folder. Killed at any moment it goes on to the same weights: the same call with `resume=True` (a run of
# `ra3-lab midtrain` by that command's `--resume`). Metrics are written update by update, so the curves come from the
# folder: restart the kernel or reload the page, and they are still there.

# %%
from ra3_lab.explore.curves import draw_estep
from ra3_lab.records import run_record

print(sorted(path.name for path in (folder / "run").iterdir()))
draw_estep(run_record(folder / "run"))

# %% [markdown]
# ## 4 · Your tasks, judged
#
# A task is one JSON object a line: a prompt, an entry point, and tests. `docs/benchmarks.md` has the format; this is
# one of our own. The reference solution is judged first: where it fails, the task or the machine is wrong.

# %%
import json

task = {
    "schema_version": 1,
    "task_id": "mine/double",
    "prompt": 'def double(x):\n    """Return twice x."""\n',
    "entry_point": "double",
    "pairs": [[[2], 4], [[-3], -6]],
    "solution": "def double(x):\n    return 2 * x\n",
}
(folder / "tasks.jsonl").write_text(json.dumps(task) + "\n")
lab.command("judge", "--bench", "own", "--path", folder / "tasks.jsonl", "--canonical")

# %% [markdown]
# Now a model writes programs for tasks and the judge counts. For benchmarks such as HumanEval+ it is the same command
# with `--bench humaneval+ --path FILE`. **Predict:** what interval do 6 tasks allow?

# %%
which = ("--bench", "pipelines", "--split", "validation", "--tasks", 6)
lab.command("eval", *which, "--n", 2, "--k", 1, "--threads", 1)

# %% [markdown]
# pass@k = 1 − C(n − c, k)/C(n, k) without bias, for c of n samples right. By hand: n = 4, c = 1, k = 2 gives
# 1 − C(3, 2)/C(4, 2) = 1 − 3/6 = 0.5. The interval is over tasks.
#
# ## 5 · Take the result elsewhere
#
# Merged weights are an ordinary transformers folder, with a card that says how they were made.

# %%
lab.command("export", folder / "run", "--out", folder / "exported", "--form", "merged")

from transformers import AutoModelForCausalLM

plain = AutoModelForCausalLM.from_pretrained(folder / "exported")
print(type(plain).__name__, sum(p.numel() for p in plain.parameters()), "weights")

# %% [markdown]
# ## On a GPU
#
# 1. `ra3-lab plan --model NAME --preset 12gb` first; take the flags that it prints.
# 2. `preset="qwen-0.5b"` in the first cell (downloads it once), or `--model qwen2.5-coder-0.5b` on the command line.
# 3. Hold out hundreds of programs (`--heldout FILE`), run several seeds, and tune each arm with the same number of
#    trials on validation.
#
# Nobody has run these presets on a GPU yet with this version; `plan` is computed, not measured.
#
# ## What to remember
#
# 1. Plan before loading; 4 bits and adapters are one setting.
# 2. Code is a folder, tasks are JSON lines, a model is a transformers folder, a run is a folder.
# 3. Reference solutions are judged before samples; every rate has its interval.
#
# **Where to look next:** `docs/your_code.md` does this from the command line, `docs/real_code.md` shows a run on the
# standard library. Code: `ra3_lab/api.py`.
#
# **Sources.** pass@k: Chen et al., *Evaluating Large Language Models Trained on Code*, 2021. QLoRA: Dettmers et al.,
# 2023.
