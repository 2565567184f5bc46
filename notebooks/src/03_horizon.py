# %% [markdown]
# # 03 · Horizon effects: long actions, short problems
#
# Reward often comes at the end: a program passes its tests or not. The longer the way there, the slower its value
# travels back. Actions that last longer shorten the way. This notebook says by how much.
#
# **After this notebook you can** compute the contraction of a set of options and its effective horizon; predict how
# many sweeps of value iteration are needed; and say what one primitive action left in the set does to the guarantee.
#
# About half a minute on two CPU cores, 1 GB of memory, no network. 01 defines options.

# %%
from ra3_lab.explore.session import start

lab = start("03 Horizon effects", minutes=0.5, memory_gb=1)

# %% [markdown]
# ## One number: γ̄
#
# With primitive actions every step discounts the future by γ. An option that lasts τ steps discounts it by γ^τ. Value
# iteration over options contracts by the worst of these,
#
# $$\bar\gamma = \sup_{s,z} \mathbb{E}[\gamma^\tau \mid s, z] \le \gamma,$$
#
# and its **effective horizon**, in decisions, is 1/(1 − γ̄). By hand, γ = 0.95:
#
# - τ = 1: γ̄ = 0.95, horizon 20.
# - τ = 4: γ̄ = 0.95⁴ = 0.815, horizon 5.4.
# - τ = 16: γ̄ = 0.440, horizon 1.8.

# %%
from ra3_lab.theory.closed_forms import duration_discount, effective_horizon, value_iteration_bound

for tau in (1, 4, 16):
    gbar = duration_discount(0.95, [tau], [1.0])
    print(f"tau {tau:2}: gbar {gbar:.3f}, horizon {effective_horizon(gbar):.1f} decisions")

# %% [markdown]
# ## The bound
#
# Start value iteration at V₀ = 0 and let R_max be the largest expected discounted reward *within one option*. Then
# ‖V_N − V*‖ ≤ ε after
#
# $$N \ge \frac{1}{1-\bar\gamma}\,\ln\frac{R_{\max}}{\varepsilon\,(1-\bar\gamma)}$$
#
# sweeps. (‖V*‖ is at most R_max/(1 − γ̄); each sweep shrinks the error by γ̄; and γ̄^N ≤ e^(−N(1−γ̄)).) R_max grows
# with τ, up to (1 − γ^τ)/(1 − γ) times the largest single reward. It stands in a logarithm: that costs little.

# %%
print("tau 1: ", value_iteration_bound(gbar=0.95, r_max=0.93, epsilon=0.01), "sweeps")
print("tau 16:", value_iteration_bound(gbar=0.440, r_max=7.30, epsilon=0.01), "sweeps")

# %% [markdown]
# **Predict before you look:** (1) from τ = 1 to τ = 16, by what factor does the number of sweeps fall? (2) The set
# of long options gets *one* primitive action more. What does that do to the bound, and what to the sweeps that are
# really needed? (3) Does a random τ with the same mean help more or less than a fixed one?

# %%
from ra3_lab.explore.labs import horizon_explorer

horizon = horizon_explorer()
horizon

# %% [markdown]
# 1. By about the factor of τ, as long as γ^τ is not yet small.
# 2. The bound jumps back to that of primitive actions and above it: γ̄ is a supremum, and one action with τ = 1 sets it
#    to γ, while R_max stays that of the long options. The measured number rises little. The guarantee is about the
#    worst case; the policy is not obliged to use the worst action.
# 3. Less: E[γ^τ] is convex in τ, so among laws with the same mean the fixed one has the smallest γ̄ (Jensen).
#
# The figure also shows two learners for which the theorem claims nothing. Look at them before you say "RL is faster
# with long actions": exact policy gradient hardly notices the horizon here, Q-learning does.

# %%
for law in ("fixed", "uniform", "geometric"):
    print(f"{law:10}", horizon.view(law=law).twin.title)

# %% [markdown]
# ## Tokens, lines, steps
#
# For a model that writes code, a primitive action is a token. A line has about seven tokens, a step of the built-in
# world one to six lines. How long would the episode be, counted in each?

# %%
tasks = lab.tasks("expert", 200)
tokens = sum(len(lab.tokenizer.encode_line(line)) for task in tasks for line in task.lines) / len(tasks)
lines = sum(len(task.lines) for task in tasks) / len(tasks)
steps = sum(len(task.steps) for task in tasks) / len(tasks)
print(f"a program in the mean: {tokens:.0f} tokens, {lines:.1f} lines, {steps:.1f} steps")

# %% [markdown]
# A policy that decides once a step, and then carries the step out as a matter of course, has an episode of six
# decisions instead of some 160. It still writes the tokens. What changes is where something is *decided*:
# the tokens after a good thought are nearly certain. Notebook 05 shows that in nats.
#
# ## What to remember
#
# 1. γ̄ = sup E[γ^τ]; effective horizon 1/(1 − γ̄); sweeps needed grow with it.
# 2. One primitive action in the set spoils the guarantee, not necessarily the learning.
# 3. The claim is about value iteration. For learners that sample, it is a reason to measure.
#
# **Where to look next:** 04. Code: `ra3_lab/theory/horizon.py`, `ra3_lab/theory/durations.py`,
# `ra3_lab/theory/learners.py`.
#
# **Sources.** arXiv 2509.25810; Puterman, *Markov Decision Processes*, 1994, chapter 6; Mann and Mannor, *Scaling Up
# Approximate Value Iteration with Options*, 2014.
