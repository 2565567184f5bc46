# %% [markdown]
# # 11 · When it goes wrong
#
# RL does what you pay for. Here are recorded runs that went wrong in one way each: you look at the record, say what
# happened and why, and only then read on. The signs are the same on large models, and they are visible early if one
# looks at more than the reward.
#
# **After this notebook you can** recognise six failures from a run's record (never thinks, always thinks, thoughts that
# copy the next line, gaming of length, groups without variance, a hacked reward), name the cause, and say what to
# change.
#
# About half a minute on two CPU cores, 0.5 GB of memory, no network. Read 05 and 07 first.

# %%
from ra3_lab.explore.session import start

lab = start("11 When it goes wrong", minutes=0.5, memory_gb=0.5, preset="embedded")
failures = lab.record("failures")
print("made by:", failures["command"], "from base", failures["base"])

# %% [markdown]
# ## Three runs about thoughts
#
# `A` to `C` are short E-steps like that of notebook 05, each with one thing wrong (A also learns five times as fast as
# the others, so that six updates show it), watched on six programs; `healthy` is the first round of notebook 05's own
# record, watched on 24. First the numbers at the first and the last look.
#
# `return`, `line_logp` and, without any thought, `plain_logp` are nats a program; `f1` says how well thoughts stand
# where steps start, `apt` which share of them says exactly the step that starts there, `duration` how many lines one
# lasts.
#
# **Predict** from the table alone what is wrong with each.

# %%
from ra3_lab.explore.view import plain_table

names = {"A": "never thinks", "B": "always thinks", "C": "copies the next line"}
em = lab.record("em")
healthy = em | {"looks": [look for look in em["looks"] if look["round"] == 0]}
runs = {"healthy": healthy} | {letter: failures["runs"][name] for letter, name in names.items()}
keys = ("think_share", "return", "line_logp", "plain_logp", "f1", "apt", "duration")
rows = []
for letter, run in runs.items():
    for look in (run["looks"][0], run["looks"][-1]):
        values = (look["scores"][key] for key in keys)
        rows.append((letter, str(look["update"]), *("-" if v is None else f"{v:.2f}" for v in values)))
print(plain_table(("run", "update", *keys), rows))

# %% [markdown]
# Now line by line. Drag *Training* to the first look and back, and choose more than one program: what is wrong with a
# run may be plainer before its last look. `runs["healthy"]` can be looked at in the same way.

# %%
from ra3_lab.explore.timeline import latent_timeline

latent_timeline(runs["A"])

# %%
latent_timeline(runs["B"])

# %%
latent_timeline(runs["C"])

# %% [markdown]
# ### What happened
#
# **A never thinks.** Its price c is 12 nats. By hand: a line with probability 0.01 has −4.6 nats, so even a thought
# that makes it certain earns 4.6 − 12 < 0. q learns the one thing that pays: silence. *Signs:* the share of lines
# with a thought falls while the return *rises*; likelihood with and without thoughts become equal. *Change:* c to
# well under what a thought can earn here, a nat or two, and look at what it earns before the first update (`gains`).
# The same picture arises without any mistake when the model is sure of the code: then thoughts are worth nothing.
#
# **B always thinks.** It was brought up on programs with a comment before *every* line, and thoughts are free (c = 0).
# *Signs:* a share near 1, durations near 1 line, and thoughts that repeat the one before. They are no help: where the
# repeated thought names a step that is over, π believes it, and the likelihood with thoughts lies far *below* that
# without. No price speaks for silence, and at a share near 1 silence is hardly ever sampled, so RL has nothing to
# compare with. *Change:* a price above 0, and a start that is sometimes silent.
#
# **C copies the next line.** It was brought up on thoughts that *are* the line that comes next, as whoever sees the
# program while annotating it would write them. *Signs:* a thought is code. Where it is the right line, that line
# becomes almost certain; but q does not see the line, so saying it in a comment is as hard as writing it, and where q
# guesses wrong π believes the comment and the expert's line becomes a surprise. By hand: if q says the right line with
# probability 0.2 and π then copies it with 0.99, the program goes on rightly with probability 0.2 × 0.99: no better
# than before. RL notices that it does not pay, and the share falls. If q *could* see the line (a leak), `line_logp`
# would be splendid and pass rates would not rise. *Change:* the annotations; keep q causal; judge by programs, not by
# lines given thoughts.

# %%
for letter, run in runs.items():
    look, programs = run["looks"][-1], run["programs"]
    copied = total = 0
    for fixed, seen in zip(programs, look["programs"], strict=True):
        for line, thought in seen["latents"].items():
            total += 1
            copied += thought.strip() == fixed["lines"][int(line)].strip()
    print(f"{letter:8} {total:3} thoughts, {copied} of them equal to the line after them")

# %% [markdown]
# ## Two runs about rewards
#
# `D` and `E` are GRPO runs. **Predict** from the reward alone: which is the better run? Then choose *length*, and
# *groups whose answers all earned the same*.

# %%
from ra3_lab.explore.rewards import rlvr_curves

labels = {"pays for length": "D", "too hard": "E"}
renamed = [{**run, "label": labels[run["label"]]} for run in failures["rlvr_runs"]]
rlvr_curves({"title": "Two runs about rewards", "rlvr_runs": renamed})

# %%
from ra3_lab.explore.groups import group_browser
from ra3_lab.rlvr.rollouts import read_rollouts

group_browser(read_rollouts("failures", "pays for length"))

# %% [markdown]
# ### What happened
#
# **D games length.** Its rule gives 1 to programs of 640 characters or more, whatever they do (the reason beside each
# verdict says what the tests would have said). *Signs:* reward and length rise together, the share that is right does
# not. Real rewards do this more quietly: a mean over tokens makes long wrong answers cheap, a cut-off answer that
# is not punished pays for rambling. *Change:* the rule; a loss without length in it (`dr_grpo`); overlong shaping;
# and always plot length beside reward.
#
# **E learns nothing.** Its tasks have eight and nine steps, and the base hardly ever solves one. *Signs:* nearly all
# groups earned the same, so there is no gradient; the loss looks calm, hours pass. By hand: if a task is solved with
# probability p = 0.01, a group of 8 has a success with probability 1 − 0.99⁸ = 0.08. *Change:* easier tasks first,
# larger groups, a better start. `ra3-lab rlvr` samples a group before it starts and refuses such a run in plain words.
#
# ## A hacked reward
#
# The same GRPO run twice: once the tests decide, once only whether the program ends without an error. **Predict** the
# two curves *share that passes the tests* for both runs.

# %%
hacking = lab.record("hacking")
rlvr_curves(hacking)

# %%
group_browser(read_rollouts("hacking", "exit code"))

# %% [markdown]
# In the run rewarded by exit code the reward is high from the start and rises until nearly every program runs, while
# the share that passes the tests falls to almost none. An answer judged *passed* carries its true story in the
# reason: "no error (call 0: ... gave 333, expected 538)". Its programs still look like programs, but they get shorter
# and think half as often. The run rewarded by tests thinks twice as often and learns the task. Fewer of its programs
# run than before, mostly because longer ones reach the limit of 256 tokens and are cut.
#
# *Signs:* reward rises and a second, independent measure does not. So have one: validation by the real tests, answers
# read by eye, the share of each verdict. *Change:* the judge. That is why programs here are judged outside the process
# that runs them, and why "it ran" is no verdict (`docs/sandbox.md`).
#
# ## What to remember
#
# | sign | look at | likely cause |
# |---|---|---|
# | return up, thoughts down to none | price against `gains` | c too high, or nothing to explain |
# | a thought at each line, worth nothing or less | durations | c too low, silence never sampled |
# | thoughts that are code; likelihood and pass rate disagree | thoughts beside lines | copying, or a leak |
# | reward and length up together | length by verdict | length in loss or reward |
# | nothing moves | zero-variance groups | tasks too hard or too easy |
# | reward up, tests not | a second judge | the reward is not the goal |
#
# **Where to look next:** the code that made all this is `benchmarks/failures.py` and `benchmarks/hacking.py`, short
# enough to change one number and try. `ra3_lab/rlvr/preflight.py` has the checks before a run.
#
# **Sources.** Reward hacking: Amodei et al., *Concrete Problems in AI Safety*, 2016; Skalse et al., *Defining and
# Characterizing Reward Hacking*, 2022. Length in GRPO: Liu et al., *Understanding R1-Zero-Like Training*, 2025.
