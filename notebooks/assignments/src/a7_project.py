# %% [markdown]
# # A7: a project, better abstractions under a fixed budget
#
# RA3 discovers thoughts that make expert code likelier. Which thoughts it finds depends on choices: the price of a
# thought, the size of groups, how far a thought is credited, how many rounds. **Your task**: with at most **1 500 000
# training tokens**, mid-train the embedded model so that it solves more of the long tasks it has never seen. The
# result is *ranked* on fresh tasks, not marked; marks are given for the milestones below, which a program checks, and
# for your report, which a person reads.
#
# ## Rules
#
# 1. Start from the embedded model; its size and its tokenizer stay. Train on the shipped `expert` split only.
#    Thoughts must be discovered: nothing that knows the true steps may write them.
# 2. The budget counts tokens trained on, E-step rollouts included, of the *one* run that you hand in. Trials before
#    it are free; say how many you made.
# 3. Choose by the `validation` split. Look at `test` once, at the end, for your report. The ranking draws tasks of
#    its own: the length of the test split's, none of its programs.
# 4. Hand in two files, `model.safetensors` and `submission.json`; they are read as data, never run.
#
# ## Way
#
# ```
# ra3-lab midtrain --method ra3 --data pipelines --out runs/first --estep.cost 0.2
# ra3-lab eval --model runs/first --bench pipelines --split validation --tasks 50 --n 4 --k 1
# ra3-lab eval --model embedded --bench pipelines --split validation --tasks 50 --n 4 --k 1
# ```
#
# A run at the full budget takes minutes on two cores, its summary says how many tokens it used.
# `ra3-lab midtrain --help` lists every choice; a loop of your own is fine, too (`ra3_lab.estep`, `ra3_lab.mstep`).
# The milestones give you the instruments: do them first (about 1 h 40 min). Plan some ten hours for the rest.
#
# Words used below. **Discovered abstraction**: a kind of thought that the trained policy uses. **Step**: a part of a
# task's true structure, in lines *start* to the next start; it is known here because the tasks are made by a program.

# %%
import re
from collections import Counter

import numpy as np
import torch

from ra3_lab.course import begin, check, provided

begin("a7")

# %% [show]
# The embedded model's own thoughts on eight expert programs, before any mid-training, and the line each precedes.
from ra3_lab import load_model, load_traces
from ra3_lab.models.decoder import Decoder
from ra3_lab.models.rollout import LatentSampling, sample_latents

model, tokenizer = load_model("embedded", "cpu")
traces, how = load_traces("pipelines")[:8], LatentSampling(temperature=1.0)
for rollout in sample_latents(Decoder(model), tokenizer, traces, how, seed=0, update=0):
    for line, thought in zip(rollout.trace.lines, rollout.trace.latents, strict=True):
        if thought is not None:
            print(f"#{thought:<36} before   {line.strip()}")

# %% [about a7.affordable]
# A plan is a list of updates `[stage, programs, group, tokens]`, `tokens` being those of one annotated program. Their
# price:
#
# - `"estep"`: each program is rolled out `group` times: programs · group · tokens;
# - `"mstep"`: programs · tokens (`group` means nothing here);
# - `"validation"`: nothing.
#
# Updates are done in order until one would break the budget; there the run ends. Return how many updates are done,
# and what they cost together.
#
# By hand, budget 1000: `["estep", 2, 4, 100]` costs 800; `["mstep", 2, 4, 100]` costs 200, which uses the budget up
# exactly; the next update of any price ends the run: (2, 1000).


# %% [exercise a7.affordable]
def affordable(plan: list[list], budget: int) -> tuple[int, int]:
    """Updates done and tokens spent. plan: [stage, programs, group, tokens] of each update."""
    # BEGIN SOLUTION
    count = spent = 0
    for stage, programs, group, tokens in plan:
        price = {"estep": programs * group * tokens, "mstep": programs * tokens, "validation": 0}[stage]
        if spent + price > budget:
            break
        count, spent = count + 1, spent + price
    return count, spent
    # END SOLUTION


# %% [hint a7.affordable]
# `break` ends a loop, `continue` leaves one round out. Which of the two is "the run ends"?

# %% [check a7.affordable]

# %% [question a7.why_rollouts]
# Why must rollouts of the E-step count, although only $q$ is trained on them and you hand in $\pi$? What would a
# ranking reward otherwise?
# RUBRIC
# 1 point: they cost time and energy as every token does, and pi profits from them through the latents. 1 point:
# otherwise huge groups and endless E-steps would be free: whoever has more hardware wins, and NTP could not be
# compared fairly.

# %% [answer a7.why_rollouts]
# The latents that $\pi$ is trained on were bought with these tokens. Were they free, the best strategy would be
# endless E-steps with huge groups, which says nothing about the method at a cost.

# %% [about a7.boundaries]
# Good abstractions should begin where the program's steps begin. For each program you get the lines before which
# thoughts stand and the lines at which true steps start. A thought **hits** a start that is at most `tolerance` lines
# away (to either side); each start can be hit once. Take thoughts in order of lines, and give each the first free
# start that is near enough.
#
# Line 0 starts a step in every program: leave it out of both lists. Add up over all programs, then
#
# precision = hits / thoughts, recall = hits / starts, F1 = 2 hits / (thoughts + starts), and 0/0 is 0.
#
# By hand, tolerance 1: thoughts (0, 3, 4), starts (0, 3, 9). Without line 0: thought 3 hits start 3, thought 4 finds
# it taken. Precision 1/2, recall 1/2, F1 1/2.


# %% [exercise a7.boundaries]
def boundary_scores(thoughts: list[list[int]], starts: list[list[int]], tolerance: int) -> tuple[float, float, float]:
    """Precision, recall, F1. thoughts, starts: for each program, the lines (from 0)."""
    # BEGIN SOLUTION
    hits = placed = true = 0
    for own, real in zip(thoughts, starts, strict=True):
        own, free = sorted(set(own) - {0}), sorted(set(real) - {0})
        placed, true = placed + len(own), true + len(free)
        for line in own:
            near = [start for start in free if abs(start - line) <= tolerance]
            if near:
                hits += 1
                free.remove(near[0])
    precision = hits / placed if placed else 0.0
    recall = hits / true if true else 0.0
    return precision, recall, 2 * hits / (placed + true) if placed + true else 0.0
    # END SOLUTION


# %% [hint a7.boundaries]
# Keep a list of free starts for each program and remove what was hit. Three counters for all programs; divide once,
# at the end.

# %% [check a7.boundaries]

# %% [question a7.why_tolerance]
# A policy thinks before *every* line. What are its recall and its precision? Why is a random policy that thinks
# equally often the right thing to compare an F1 with, rather than 0?
# RUBRIC
# 1 point: recall 1, precision the share of lines that are starts. 1 point: placing thoughts at random at the same
# rate already earns an F1 well above 0; only what lies above that shows that the places mean something.

# %% [answer a7.why_tolerance]
# Recall 1, precision the share of starts among lines. Chance alone earns an F1 that depends on the rate of thoughts
# (and grows with the tolerance), so the gain over chance is what counts.

# %% [about a7.vocabulary]
# Few abstractions, often reused, need little data to learn. How many does a policy have? Thoughts look like ` c add 3`:
# a letter that names the step, then what is asked for. A *kind* is the thought without its first word, and with every
# number (also a negative one) replaced by the word N: `add N`. Counting distinct kinds gives a kind used once the same
# weight as one used a hundred times. The **effective number** weighs by use: with shares $p_i$ of kinds,
# $\exp\big(-\sum_i p_i \ln p_i\big)$, the exponential of the entropy.
#
# By hand: kinds used 1, 1 times: shares 1/2, 1/2, entropy 0.693, effective number 2. Used 9, 1 times: entropy 0.325,
# effective number 1.38.
#
# No thought at all gives 0.


# %% [exercise a7.vocabulary]
def effective_number(thoughts: list[str]) -> float:
    """The exponential of the entropy of kinds, in nats. thoughts: texts like " c add 3"."""
    # BEGIN SOLUTION
    kinds = Counter(
        " ".join("N" if re.fullmatch(r"-?\d+", word) else word for word in thought.split()[1:]) for thought in thoughts
    )
    if not kinds:
        return 0.0
    share = np.array(list(kinds.values())) / len(thoughts)
    return float(np.exp(-(share * np.log(share)).sum()))
    # END SOLUTION


# %% [hint a7.vocabulary]
# `thought.split()` gives words; the first is the letter. `re.fullmatch(r"-?\d+", word)` recognises a whole number.

# %% [check a7.vocabulary]

# %% [question a7.why_few]
# Policy A has an effective number of 1.2, policy B of 12, and the tasks are made of 14 kinds of steps. Which would
# you expect to be better at long tasks? What does the theory of pruning say, and where does it stop?
# RUBRIC
# 1 point: B: its thoughts can tell steps apart; A says nearly always the same, which carries no information about the
# next block. 1 point: pruning: a smaller set needs fewer expert tasks, but only among sets that still hold a good
# policy (small pruning error); too few abstractions have a large one.

# %% [answer a7.why_few]
# B. A's thoughts hardly depend on the situation, so they cannot say which step comes next. Pruning favours small sets
# *among those without loss*: with too few abstractions the pruning error is what one pays.

# %% [about a7.choose]
# You will try several settings, each with a few seeds, and look at validation. The best mean of many is partly luck.
# The **one-standard-error rule** (Breiman et al. 1984, *Classification and Regression Trees*) prefers the cheap:
# among the trials within the budget find the one with the best mean $m$; its standard error is $s / \sqrt n$, $s$ the
# deviation of its $n$ scores (dividing by $n - 1$). Of all trials within the budget with a mean of at least
# $m - s/\sqrt n$, take the one that spent the fewest tokens.
#
# By hand: scores (0.30, 0.34, 0.32): mean 0.32, deviation 0.02, error 0.0115, mark 0.308. A cheaper trial with mean
# 0.31 wins.


# %% [exercise a7.choose]
def choose(trials: list[list], budget: int) -> str:
    """The chosen trial's name. trials: [name, tokens, scores] of each; at least one is within the budget."""
    # BEGIN SOLUTION
    fit = [trial for trial in trials if trial[1] <= budget]
    best = max(fit, key=lambda trial: np.mean(trial[2]))[2]
    mark = np.mean(best) - np.std(best, ddof=1) / np.sqrt(len(best))
    near = [trial for trial in fit if np.mean(trial[2]) >= mark]
    return min(near, key=lambda trial: trial[1])[0]
    # END SOLUTION


# %% [hint a7.choose]
# Leave out what is too dear *before* looking for the best. The mark comes from the best trial's scores alone.

# %% [check a7.choose]

# %% [question a7.why_validation]
# You tried 30 settings that are in truth all equal, each scored with a standard error of 2 points. By how much will
# the best seem to beat the average? What does that mean for the number in your report?
# RUBRIC
# 1 point: about two standard errors (the expected maximum of 30 normal draws is 2.04), so 4 points. 1 point: the
# chosen setting's validation score is biased upwards; report a score on data that was not used to choose (the test
# split, once).

# %% [answer a7.why_validation]
# The largest of 30 draws lies about two standard errors up: 4 points out of nothing. So the validation score of the
# winner is no estimate of anything; the test split, looked at once, is.

# %% [about a7.paired_interval]
# Last instrument: how sure is a gain? Both models answered the same tasks with n samples each; `own` and `other` hold
# 1 for a program that passed. The gain of a task is the difference of the two shares. The **bootstrap** draws tasks
# again, with replacement: row $i$ of `chosen` lists the tasks of draw $i$. Each draw has a mean gain; the interval of
# level 0.95 goes from the 2.5 % to the 97.5 % quantile of these means (`np.quantile`, its default).
#
# By hand, two tasks with gains 0.5 and 0, draws (0, 0), (0, 1), (1, 1): means 0.5, 0.25, 0; mean gain 0.25; the
# interval of level 0.5 goes from 0.125 to 0.375.


# %% [exercise a7.paired_interval]
def paired_interval(own: np.ndarray, other: np.ndarray, chosen: np.ndarray, level: float) -> tuple[float, float, float]:
    """Gain, lower and upper end. own, other: (tasks, n) of 0 and 1; chosen: (draws, tasks) task numbers."""
    # BEGIN SOLUTION
    gain = own.mean(1) - other.mean(1)
    means = gain[chosen].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return gain.mean(), low, high
    # END SOLUTION


# %% [hint a7.paired_interval]
# `gain[chosen]` has shape (draws, tasks): an array indexed by an array.

# %% [check a7.paired_interval]

# %% [question a7.why_fresh]
# Why is the ranking made on tasks drawn from the teacher's secret rather than on the shipped test split? And why may
# two places in the ranking be marked as equal although their rates differ?
# RUBRIC
# 1 point: the shipped split is public: one could train or choose on it, knowingly or by looking often. 1 point: with
# 200 tasks a rate has an error of a few points; where the paired interval contains 0 the difference may be chance,
# and one training run says nothing about the next.

# %% [answer a7.why_fresh]
# The test split is in everybody's hands, so a score on it may be fitted. A rate over 200 tasks has an error of some
# points: where the interval of the paired difference contains 0, the order may be chance. (The first of m was chosen as
# the best, so the ranking's intervals against it have the level 1 - 0.05/(m - 1).)

# %% [markdown]
# ## The project
#
# Keep a log of every run: what you expected, what came out. Then answer the three questions below (one page each at
# most, a table or figure where it helps) and hand in the weights:
#
# ```python
# from ra3_lab.course.project import hand_in
#
# changes = "What was changed, in two or three sentences."
# hand_in("runs/final", "handed_in/my_name", title="A short name", changes=changes)
# ```
#
# It copies the weights of a finished `ra3-lab midtrain` run that began at the embedded model, writes
# `submission.json` with the tokens of the run's summary, and checks both as the ranking will. With a loop of your own
# write the file yourself: `schema_version` 1, `title`, `tokens` (of all training since the embedded model), `seed`,
# `changes`.
#
# Directions to try, none of them a promise: another price per thought, or one that falls with the rounds;
# credit over the next few lines only; larger groups of fewer programs, or the reverse; more rounds with shorter
# E-steps; a lower temperature when thoughts are written into the corpus; several annotations of each program, the
# best by the lines' likelihood kept; leaving out programs on which thoughts gain nothing.

# %% [question a7.plan]
# **Plan** (written before your first run): which one or two choices will you change, what do you expect to happen to
# thoughts (number, places, kinds) and to pass rates, and why? What result would show you wrong?
# RUBRIC
# 2 points: a clear, testable expectation with a reason from the method (ELBO, price, credit, horizon, pruning). 2
# points: what is held equal, and how many seeds. 2 points: a result named in advance that would refute it.

# %% [answer a7.plan]
# Example. The base thinks before steps but often about the wrong one. I halve the groups and double the programs of
# an E-step at equal tokens. I expect the same number of thoughts, more kinds, and 2 points more on validation, since
# advantages of more programs average over more situations. Equal: tokens, M-step, three seeds. Fewer kinds or no gain
# over three seeds would refute it.

# %% [question a7.evidence]
# **Evidence**: the table of your runs (settings, seeds, tokens, validation pass@1 with intervals, F1 of boundaries,
# effective number), the choice you made and by which rule, the test score of the chosen run beside base and NTP *at
# the same budget*, paired with intervals.
# RUBRIC
# 2 points: all runs are there, failed ones too, with seeds and tokens. 2 points: chosen by validation and a stated
# rule. 2 points: base and NTP at equal budget, paired intervals. 2 points: thoughts are described by numbers and
# read: examples of good and bad ones.

# %% [answer a7.evidence]
# A table of that form; the choice by the one-standard-error rule; test looked at once; NTP trained with the same
# number of tokens; three annotated programs with a comment on each.

# %% [question a7.failure]
# **What did not work**, and what do you know now? Take your clearest failure: show what happened, give two possible
# causes, and the experiment that would tell them apart. What can your evidence *not* show?
# RUBRIC
# 2 points: an honest failure with its numbers. 2 points: two causes and an experiment that separates them. 2 points:
# limits: one small world, few seeds, budget, intervals that contain 0.

# %% [answer a7.failure]
# Example. With a price of 0.5 thinking stopped within five updates. Either the price exceeded every thought's gain,
# or the first unlucky updates closed the way before good thoughts were found. Raising the price slowly from 0.1 tells
# the two apart. All this is one world of one kind of task, with three seeds.
