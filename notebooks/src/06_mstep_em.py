# %% [markdown]
# # 06 · M-step, EM, and next-token prediction side by side
#
# The E-step has found thoughts. Now they are written into the expert code, and the model is trained on the result by
# plain next-token prediction: the M-step. In a further round the E-step starts again from the better model. This
# notebook puts that beside ordinary mid-training, next-token prediction (NTP) on the plain code, at the same number of
# updates.
#
# **After this notebook you can** say what is equal and what differs between the arms; run an M-step by hand; read a
# loss curve of annotated code without being fooled; and measure the likelihood of code under a model that may think.
#
# About 1 minute on two CPU cores, 1.5 GB of memory, no network. 05 explains the E-step.

# %%
from ra3_lab.explore.session import start

lab = start("06 M-step and EM", minutes=1, memory_gb=1.5, preset="embedded")
run = lab.record("em")

# %% [markdown]
# ## What the M-step reads
#
# The same program as NTP reads it, and as it is after an E-step:

# %%
from ra3_lab.evaluate.latents import trace_of
from ra3_lab.models.decoder import Decoder
from ra3_lab.models.rollout import LatentSampling, sample_latents

tasks = lab.tasks("expert")[30:46]
plain = [trace_of(task) for task in tasks]
how = LatentSampling(temperature=1.0)
rollouts = sample_latents(Decoder(lab.model), lab.tokenizer, plain, how, seed=0, update=0)
infused = [rollout.trace for rollout in rollouts]
print(infused[0].text)
print("thoughts in 16 programs:", sum(len(trace.thought_lines) for trace in infused))

# %% [markdown]
# Here the thoughts were sampled from the base model itself at temperature 1, without an E-step. That is an arm of its
# own, **prior**; it tells what the E-step adds. The arms:
#
# | arm | thoughts come from | updates |
# |---|---|---|
# | NTP | nowhere | E-step updates are spent as M-step updates |
# | prior | the base model | the same |
# | RA3 | q, trained by the E-step, anew in each round | both |
#
# All arms meet the same programs in the same order. With thinking masked (c = ∞) RA3's code path gives NTP's batches
# and weights bit for bit; a test of the project holds it to that.

# %%
from ra3_lab.trace import strip

print("expert code is unchanged:", all(strip(a).text == b.text for a, b in zip(infused, plain, strict=True)))

# %% [markdown]
# ## Three M-step updates, live
#
# **Predict:** the annotated programs are *longer*. Will their mean loss per token be higher or lower than that of
# the plain ones?

# %%
import copy

from ra3_lab.midtrain.mstep import FineTuner, MStepConfig

config = MStepConfig(updates=60, programs=16)
losses = {}
for name, traces in (("NTP", plain), ("prior", infused)):
    tuner = FineTuner(copy.deepcopy(lab.model), lab.tokenizer, config, precision="fp32")
    encoded = [lab.tokenizer.encode_trace(trace) for trace in traces]
    losses[name] = [tuner.update(encoded) for _ in range(3)]
    print(
        name, [round(loss, 3) for loss in losses[name]], "nats per token,", sum(len(e.ids) for e in encoded), "tokens"
    )

# %% [markdown]
# Do not be fooled: the loss is a mean over tokens, and the annotated text has *other* tokens. Words of a thought
# that repeat the docstring are easy; lines after a good thought are easy too. A lower loss per token says that the
# text is more predictable, not that the programs will be right.
#
# ## The recorded run
#
# **Predict:** which curve ends lower, and does that decide anything?

# %%
from ra3_lab.explore.compare import run_comparison

comparison = run_comparison([run])
comparison

# %% [markdown]
# ## A fair likelihood
#
# To compare on the same thing, ask each model for the likelihood of the *code alone*, and let it think if it wants to:
#
# $$\log \frac1K \sum_{k=1}^K p(\text{lines} \mid \text{thoughts}_k), \qquad \text{thoughts}_k \text{ sampled by the
# model itself}$$
#
# This is, on average, a lower bound of log p(lines), and rises with K. By hand: two samples of thoughts under which
# the lines have probability 0.5 and 0.01 give log(0.255) = −1.37; the mean of the logs would be −2.65. One good idea
# among K is enough.
#
# **Predict:** for the base model on held-out programs: is K = 8 with thoughts better than no thoughts at all?

# %%
from ra3_lab.evaluate.likelihood import k_sample_bound

held_out = [trace_of(task) for task in lab.tasks("validation", 6)]
for k, think in ((1, False), (1, True), (8, True)):
    nats = k_sample_bound(lab.model, lab.tokenizer, held_out, k, precision="fp32", think=think)
    print(f"K = {k}, {'may think' if think else 'no thoughts'}: {nats.mean():.2f} nats a program")

# %% [markdown]
# With K = 1 a wrong thought weighs fully; with K = 8 the best of eight counts. How much thoughts help depends on how
# often the model's thoughts are right at these lengths, which is what the E-step works on.
#
# ## Rounds
#
# Each round of EM begins with the model that the last M-step left. The looks at the end of round 1 and at the start
# of round 2 differ in that model alone: it pays the rewards, and q begins anew as a copy of it.

# %%
for look in run["looks"]:
    scores = look["scores"]
    told = f"round {look['round'] + 1}, update {look['update']:2}" + (" (after EM)" if "after" in look else "")
    nats = f"with thoughts {scores['line_logp']:6.2f}, without {scores['plain_logp']:7.2f} nats"
    print(f"{told:32} {nats}, F1 {scores['f1']:.2f}")

# %% [markdown]
# With thoughts the code becomes far likelier over the rounds. *Without* them it gains much less, and in longer runs it
# may lose: the model learns to expect a thought where a step begins, and is surprised when there is none. So a model
# trained by RA3 must be allowed to think when it is judged. NTP makes the opposite trade: it learns the code without
# thoughts and unlearns to think. Which is better at the end is decided by running programs on tests, in notebook 07 and
# in the README's table, not by any loss.
#
# How many rounds? With the same updates in all, two passed about as many programs as one in the study's ablations (one
# seed), four far fewer: their first M-steps learn from thoughts that are not ready. So the default is one round.
#
# ## Does it take RL?
#
# An E-step has to find latents under which the lines are likely. RL is one way. Without training anything, one can draw
# several latent sequences a program from the model itself and keep one, the likelier the better it explains the
# expert's lines: *resampled* (sampling/importance resampling). No label is used, but here we know the true steps.
#
# **Predict:** of 2 and of 8 draws a program, how many of the kept thoughts say exactly the step that begins there? How
# many of the steps have one?

# %%
from ra3_lab import EStepConfig
from ra3_lab.evaluate.latents import true_trace
from ra3_lab.midtrain.baselines import resampled

truth = [true_trace(task) for task in tasks]
steps = sum(len(trace.thought_lines) for trace in truth)
for draws in (2, 8):
    kept = resampled(lab.model, lab.tokenizer, plain, EStepConfig(group=draws), 0.5, "fp32", seed=0, update=0)
    pairs = [(a.latents[line], b.latents[line]) for a, b in zip(kept, truth, strict=True) for line in a.thought_lines]
    print(f"{draws} draws: {len(pairs)} thoughts, {sum(a == b for a, b in pairs)} of them right, for {steps} steps")

# %% [markdown]
# What is kept of eight draws is nearly always right, but half of the steps go without: likelihood can only choose among
# what was drawn. A model that has learned from the kept ones draws better ones, so this wants many short rounds. In the
# study, with the same seconds, eight rounds of it and RA3's one E-step were compared twice, with four and five seeds:
# ahead was once the one and once the other, and neither time are they told apart (docs/results.md, "Does it take RL?").
#
# ## What to remember
#
# 1. The M-step is next-token prediction; only the text differs between the arms.
# 2. Losses of different texts do not compare. Likelihood of the code with sampled thoughts does; so does the pass rate.
# 3. *prior* is the baseline that tells what the E-step is worth.
#
# **Where to look next:** 07 trains all arms further by RL with unit tests. Code: `ra3_lab/midtrain/em.py` (the loop),
# `ra3_lab/midtrain/mstep.py`, `ra3_lab/evaluate/likelihood.py`.
#
# **Sources.** arXiv 2509.25810. EM: Dempster, Laird and Rubin, 1977; Neal and Hinton, *A view of the EM algorithm*,
# 1998. The K-sample bound: Burda, Grosse and Salakhutdinov, *Importance Weighted Autoencoders*, 2016.
