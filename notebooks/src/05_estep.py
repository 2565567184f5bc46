# %% [markdown]
# # 05 · The E-step: discovering latents by reinforcement learning
#
# RA3 looks for the reasoning behind expert code. Nobody wrote that reasoning down, so it has to be *discovered*: the
# E-step trains a policy that decides, before every line, whether a short thought pays, and what it says.
#
# **After this notebook you can** say what a thought earns and why; compute an advantage by hand; run one E-step update
# and read its numbers; tell from a run's record whether thoughts have found the structure of the programs.
#
# About half a minute on two CPU cores, 1 GB of memory, no network. Read 04 first if the words "latent" and "lower
# bound" are new to you.

# %%
from ra3_lab.explore.session import start

lab = start("05 The E-step", minutes=0.5, memory_gb=1, preset="embedded")

# %% [markdown]
# ## The words
#
# - An **expert program** is a prompt and lines a₀ … a_T. We never change its lines.
# - Before each line stands a **latent** z_t. It is either `act` (write the line, go on under the last thought) or
#   `think`: one comment line, a **thought**, which begins with `#` at the very left.
# - **π** is the model that writes lines. In the E-step it is frozen: it only says how likely the expert's lines are.
# - **q** is a copy of π that chooses the latents. The E-step trains q.
#
# Here is an expert program of the built-in world. Its docstring lists steps out of order; the letters give the order
# in which they are carried out. The comments are the *true* thoughts, which we know here and nowhere else.

# %%
from ra3_lab.evaluate.latents import trace_of, true_trace

task = lab.tasks("expert")[3]
print(true_trace(task).text)

# %% [markdown]
# ## What does a thought earn?
#
# A line's **reward** is its log-likelihood under π, in nats, minus a price c if a thought stands before it:
#
# $$r_t = \log \pi(a_t \mid s_t, z_t) - c\,[\text{thought at } t]$$
#
# By hand: a line with probability ½ has log-likelihood ln ½ = −0.69 nats. If a thought raises its probability to 0.95,
# the line now has ln 0.95 = −0.05. The thought has bought 0.64 nats. At c = 0.1 it pays; at c = 1 it does not.
# (Method: the temporal ELBO with its KL term tuned to a constant price; `ra3_lab/midtrain/elbo.py`, `rewards`.)
#
# **Predict before you run the next cell:** we put four thoughts before the second step of this program: the true one
# (*as it is*), one that names another step (*random*), the true words in a wrong order (*shuffled*), and dots
# (*filler*). Which help? Can a thought do *harm*?

# %%
from ra3_lab.explore.counterfactual import draw_comparison
from ra3_lab.explore.variants import controls, score_thoughts

program = true_trace(task)
line = task.starts[1]
others = [step.thought for other in lab.tasks("expert")[4:24] for step in other.steps]
tried = controls(program.latents[line], others, lab.tokenizer)
comparison = score_thoughts(lab.model, lab.tokenizer, program, line, tried)
draw_comparison(comparison)

# %% [markdown]
# A thought with the wrong words costs more than silence: π believes its comments, so after "# something else" the
# expert's line becomes a surprise. That is why thinking must be *learned*: a policy that thinks often and badly loses.
# The dots show that a thought does not help by merely being there. The true words in a wrong order help as much here as
# in the right one: to this small model, it is which words stand there that counts.
#
# ## A group, and who did better than the rest
#
# The E-step draws a **group** of G latent sequences for the same program and compares them with each other. The
# **return** of a choice is the sum of all rewards from its line on. The **advantage** is the return minus the mean
# return of the *others* (leave-one-out). By hand, for three sequences with returns −2, −4 and −9:
#
# - the first: −2 − (−4 − 9)/2 = −2 + 6.5 = **+4.5**
# - the second: −4 − (−2 − 9)/2 = −4 + 5.5 = **+1.5**
# - the third: −9 − (−2 − 4)/2 = −9 + 3 = **−6**

# %%
import torch

from ra3_lab.midtrain.elbo import leave_one_out

returns = torch.tensor([[-2.0], [-4.0], [-9.0]])
print(returns - leave_one_out(returns, group=3))

# %% [markdown]
# **Predict:** among six sequences for our program, will the one with the most thoughts earn most?

# %%
import copy

from ra3_lab.explore.rollouts import draw_group
from ra3_lab.midtrain.estep import EStep, EStepConfig

config = EStepConfig(programs=2, group=6, cost=0.1, temperature=1.0)
estep = EStep(copy.deepcopy(lab.model), lab.model, lab.tokenizer, config, seed=0, precision="fp32")
draw_group(estep, trace_of(task))

# %% [markdown]
# Where the returns differ, compare the rows: a low return usually comes from a thought with wrong words, or from one in
# the middle of a step. (We draw at temperature 1 here, to see differences; runs draw cooler.) Both kinds of choice
# enter the gradient: the words of a thought, through log q(thought), and the decision *not* to think, through log(1
# − q(#)). If only thoughts were trained, q could learn what to say but not when to be silent.
#
# ## One update, live
#
# The update raises the log-probability of each latent in proportion to its advantage (`EStep.update`, one page of code:
# sample, score, credit, step). Programs 40 and 41 stand for the batch; a real update takes sixteen programs.

# %%
batch = [trace_of(one) for one in lab.tasks("expert")[40:42]]
record = estep.update(batch, number=1)
for name, value in record.items():
    print(f"{name:14} {value:8.3f}")

# %% [markdown]
# `return` is the mean over the batch, in nats a program; `think_share` the share of lines with a thought. (A line
# counts at least −10 nats in the return, so that one hopeless line does not drown the rest, `floor`; so a return can
# lie above `line_logp`.) One update on two programs says nothing about progress: returns differ far more between
# programs than between updates. To see progress, the *same* held-out programs must be looked at again and again, with
# the same draws.
#
# ## Twenty updates, recorded
#
# `ra3-lab record` did that: two EM rounds of ten E-step updates each, and before, between and after them a look at 24
# programs that were never trained on. Views read records, so the figure below is the same whether the run is live or
# replayed.
#
# **Predict:** over the run, does the share of lines with a thought rise or fall? And the precision of where they stand?

# %%
from ra3_lab.explore.curves import draw_estep

run = lab.record("em")
print("recorded from base model", run["base"], "by", run["command"])
draw_estep(run)

# %% [markdown]
# F1 compares where thoughts stand with where the true steps start: 1 would be every step announced and no thought
# anywhere else. Nothing in the reward mentions steps. q is paid for making the expert's lines likelier at a price, and
# a thought can be worth its price where something is decided, at the start of a step: before any other line the rest of
# the block already says what comes next. Whether it *is* worth it depends on the model. If π writes these programs
# surely without thoughts, they buy nothing, q rightly stops thinking, and share and F1 fall to 0. The figure's title
# says what happened here; `run["base"]` says which base model it was.
#
# ## The latents, line by line
#
# **Try:** choose a program, then drag *Training* to the left and to the right. Click the number of a line without a
# thought of its own. What does that line owe to the thought above it?

# %%
from ra3_lab.explore.timeline import latent_timeline

timeline = latent_timeline(run)
timeline

# %% [markdown]
# *renew* marks a new thought, *keep* a line written under the last one: this is the choice that the temporal prior of
# notebook 04 prices. The same view as text, for a screen reader or a terminal:

# %%
print(timeline.to_text())

# %% [markdown]
# ## What to remember
#
# 1. A thought is worth the nats it adds to the lines *after* it, minus c.
# 2. Wrong thoughts cost more than silence, so q must learn content and decision together.
# 3. Judge an E-step on fixed held-out programs: return, share of thoughts, and, where the truth is known, F1.
# 4. q is causal: it sees the prompt and the lines so far, never the line it is about to explain. So it can be run
#    when the model writes code on its own.
#
# **Where to look next:** 06 puts these latents into the expert code and fine-tunes π on it; 08 lets you edit
# thoughts. Code: `ra3_lab/midtrain/estep.py` (the update), `ra3_lab/midtrain/elbo.py` (rewards, returns, baseline),
# `ra3_lab/models/rollout.py` (latents between forced lines).
#
# **Sources.** *Learning to Reason as Action Abstractions with Scalable Mid-Training RL*, arXiv 2509.25810. The
# leave-one-out baseline: Kool, van Hoof and Welling, *Buy 4 REINFORCE Samples, Get a Baseline for Free!*, 2019.
