# %% [markdown]
# # 07 · RLVR: convergence from several starts
#
# Mid-training is not the end. After it a model is trained by *reinforcement learning from verifiable rewards* (RLVR):
# it writes programs, tests decide, and what passed becomes likelier. The claim behind RA3 is about this stage: a model
# that has learned good abstractions starts higher and climbs faster. Here you see what the stage does, token by token,
# and how to compare starts without being fooled.
#
# **After this notebook you can** compute a group's advantages by hand; say which groups teach nothing and why; read
# ratio and KL of an update; and compare learning curves from several starts fairly.
#
# About half a minute on two CPU cores, 1 GB of memory, no network. Read 06 first.

# %%
from ra3_lab.explore.session import start

lab = start("07 RLVR", minutes=0.5, memory_gb=1, preset="embedded")

# %% [markdown]
# ## A group and its verdicts
#
# - The **policy** is the model as it writes programs; π(o | prompt) is the probability of an answer o.
# - A **group** is G answers to the same task. The **judge** runs each on the task's tests: reward 1 or 0.
# - The **advantage** of an answer is its reward minus the mean reward of its group.
#
# By hand, for four answers of which one passed: the mean is 0.25, so the advantages are +0.75, −0.25, −0.25, −0.25.
# One success is pushed up three times as hard as each failure is pushed down; together they add up to 0.
# (GRPO, without dividing by the group's deviation: `ra3_lab/rlvr/advantages.py`.)
#
# **Predict:** what are the advantages if all four passed? If none did?

# %%
import torch

for rewards in ([1.0, 0, 0, 0], [1.0, 1, 1, 1], [0.0, 0, 0, 0]):
    reward = torch.tensor(rewards)
    print(rewards, "->", (reward - reward.mean()).tolist())

# %% [markdown]
# All zero, both times: a **zero-variance group** has no gradient, however good or bad it is. A task that is always
# solved or never solved costs sampling and teaches nothing. So a start that solves *some* of everything learns fastest,
# and that is one way in which mid-training helps RL.
#
# ## Sample a group, live
#
# **Predict:** of eight answers of the base model to a task of five to seven steps, how many pass?

# %%
from ra3_lab.commands.rlvr import read_task_set
from ra3_lab.models.decoder import Decoder
from ra3_lab.models.generation import Sampling
from ra3_lab.rlvr.groups import draw_groups

tasks = list(read_task_set("pipelines:rlvr"))[:2]
groups, seconds = draw_groups(Decoder(lab.model), lab.tokenizer, tasks, 8, Sampling(), seed=0, update=0)
for group in groups:
    print(group.task_id, [(answer.status, answer.reward) for answer in group.answers])

# %% [markdown]
# The programs ran outside this process: the judge holds the tests, the program never sees them. A program's own output
# cannot become a verdict (`docs/sandbox.md`).
#
# ## What one update does to every token
#
# The update raises the log-probability of each token in proportion to the answer's advantage. Two numbers tell what
# came of it: the **ratio**, the token's probability after the update divided by that before (GRPO clips it, so that one
# batch cannot move the policy far), and the **KL** from the initial policy, the distance travelled so far.
#
# **Try:** open a passed answer, then a failed one. Choose *surprise* to see where the answer could have gone another
# way. **Predict:** which tokens move most, those of thoughts or those of code?

# %%
from ra3_lab.explore.groups import group_browser
from ra3_lab.rlvr.rollouts import read_rollouts

browser = group_browser(read_rollouts("hacking", "tests"))
browser

# %% [markdown]
# Tokens that were certain cannot move: a probability of 0.999 has no room above and next to no gradient. What moves are
# the decisions, and in this world those are the letter and the words of a step, in a thought or at the first line of a
# block. RL sharpens choices that the policy already makes sometimes. It cannot reward what is never sampled.
#
# ## Five starts
#
# GRPO ran from five models: the *base* as it is, and the base after next-token prediction on expert code (*ntp*),
# after thoughts of its own without an E-step (*prior*), after *RA3*, and after the true thought before every step
# (*annotator*, which nobody has on real code), with as many updates each. Same tasks in the same order (5 to 7 steps),
# three seeds of mid-training and RL; validation has 8 and 9 steps. Every start had four trials for its learning rate.
# The first line printed below is the command.
#
# **Predict** the order at the first update, and at the last. Which start gains most? Then look at *lines with a
# thought* for each.

# %%
from ra3_lab.explore.rewards import rlvr_curves

starts = lab.record("starts")
print("made by:", starts["command"], "from base", starts["base"])
curves = rlvr_curves(starts)
curves

# %%
from ra3_lab.explore.rewards import draw_curves

draw_curves(starts["rlvr_runs"], "zero_variance")

# %% [markdown]
# Compare the share of groups that taught nothing with where each start stands: near reward 0 or 1 most groups are
# uniform, and the same number of samples buys fewer gradients.
#
# What happened: RA3's start is ahead of all but the annotator's before the first update and stays ahead. The base
# gains more than it: RL alone teaches it to think, since it does so sometimes already. The annotator's start has little
# left to gain. NTP's start earns reward on the lengths it was trained on,
# but it has unlearnt to think, so no thought is ever sampled, none is reinforced, and longer programs stay out of
# reach: exactly point 2 below.
#
# ## Curves, as they should be compared
#
# By hand: a curve through (0, 0), (10, 0.4) and (20, 0.8) has mean height 0.4, and reaches 0.6 after 15 updates. Now
# the recorded ones, with the interval that three seeds allow (Student's t).

# %%
from ra3_lab.rlvr.curves import Curve, CurveGroup

groups: dict = {}
for run in starts["rlvr_runs"]:
    updates, values = zip(*run["validation"], strict=True)
    groups.setdefault(run["label"], []).append(Curve(run["config"]["seed"], updates, values))
for label, curves_of in groups.items():
    found = CurveGroup(label, tuple(curves_of)).summary(level=0.3)
    area, final, steps = found["area"], found["final"], found["steps_to_level"]
    ends = f"final {final['mean']:.2f} [{final['low']:.2f}, {final['high']:.2f}]"
    print(f"{label:<9} mean height {area['mean']:.2f}   {ends}   updates to 0.3: {steps:.0f}")

# %% [markdown]
# **How not to be fooled.** Look at how many seeds, updates and validation tasks there are. At pass@1 = 0.5 the
# standard error over 120 tasks is √(0.25/120) = 0.05, so two single curves 0.1 apart have not been told apart; and
# three seeds give wide intervals: Student's t with two degrees of freedom is 4.3. A fair comparison gives every start
# the same number of trials to choose its learning rate on validation data, several seeds, and the same budget.
# Counted from the *base* the budget here is not the same: mid-training had its own updates before. `docs/results.md`
# says what that leaves open. `ra3-lab compare` draws such curves with bands, areas and the updates to reach a level.
#
# ## What to remember
#
# 1. Advantage = reward − mean of the group; a uniform group teaches nothing.
# 2. RL makes likelier what is sampled already; a better start samples right programs *sometimes, everywhere*.
# 3. Read several curves at once: reward, groups without variance, length, thoughts, KL. 11 shows why.
# 4. Starts are compared over seeds, at equal budgets, with tuned settings, or not at all.
#
# **Where to look next:** 11 for runs that went wrong. Code: `ra3_lab/rlvr/update.py` (the whole update on one page),
# `ra3_lab/rlvr/losses.py` (six losses), `ra3_lab/rlvr/kl.py`; `docs/rlvr.md` for the command.
#
# **Sources.** GRPO: Shao et al., *DeepSeekMath*, 2024. Without the deviation and the length: Liu et al.,
# *Understanding R1-Zero-Like Training*, 2025. Clipping: Schulman et al., *Proximal Policy Optimization*, 2017. KL
# estimators: Schulman, *Approximating KL Divergence*, 2020. RA3: arXiv 2509.25810.
