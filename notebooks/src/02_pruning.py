# %% [markdown]
# # 02 · Pruning efficiency: how many expert tasks to find the right actions?
#
# Mid-training sees N expert tasks and keeps a set of actions that can do all of them. Will that set also do the tasks
# that come later? This notebook counts how many tasks it takes, by theorem and by experiment.
#
# **After this notebook you can** derive the bound N ≥ (k ln|Z| + ln(1/δ)) / σ; say what each letter is; and tell the
# difference between what a bound asks for and what is needed.
#
# About half a minute on two CPU cores, 0.5 GB of memory, no network. 01 defines the words.

# %%
from ra3_lab.explore.session import start

lab = start("02 Pruning efficiency", minutes=0.5, memory_gb=0.5)

# %% [markdown]
# ## The argument, in four steps
#
# Let k be the size of the smallest set with pruning error at most ε on all tasks. We keep *any* set of size k that
# does all N expert tasks.
#
# 1. Call a set **bad** if it fails (Δ > ε) on a share of at least σ of all tasks.
# 2. A given bad set survives one task with probability at most 1 − σ, and N tasks with at most (1 − σ)^N ≤ e^(−σN).
# 3. There are at most |Z|^k sets of size k. So *some* bad set survives with probability at most |Z|^k e^(−σN).
# 4. Ask that this be at most δ and solve: **N ≥ (k ln|Z| + ln(1/δ)) / σ.**
#
# By hand: 5 actions needed of 7, σ = 0.1, δ = 0.05. k ln|Z| = 5 · 1.946 = 9.73; ln(1/δ) = 3.00; N ≥ 12.73 / 0.1 =
# 127.3.

# %%
from ra3_lab.theory.closed_forms import expert_tasks_bound, expert_tasks_sharp

print("theorem:", expert_tasks_bound(k=5, options=7, sigma=0.1, delta=0.05))
print("without rounding up the counts:", expert_tasks_sharp(k=5, options=7, sigma=0.1, delta=0.05))
print("lines instead of skills, k = 12 of 15:", expert_tasks_bound(12, 15, 0.1, 0.05))

# %% [markdown]
# ## The experiment
#
# Small programs made of skills; the rarest needed skill occurs in a share σ of the tasks. Expert tasks are drawn
# again and again, and each time we check whether *any* bad set is consistent with all of them. Once with Z made of
# skills, once with Z made of single lines.
#
# **Predict before you look:** (1) Will fewer tasks do than the theorem asks for? (2) Lines are finer than skills, so
# the theorem asks for more tasks. Will the experiment need more, too?

# %%
from ra3_lab.explore.labs import pruning_explorer

pruning = pruning_explorer()
pruning

# %% [markdown]
# 1. Yes: a union bound counts every bad set as if it survived by itself, and rounds at each step.
# 2. **No**, and this is worth a moment. A task that shows a rare skill shows its lines as well, so the finer set is
#    pinned down by the same tasks. The theorem's advantage for few, large actions is one of the *guarantee*; in
#    this world the draws do not show it. A bound tells what is enough, not what is needed.
#
# **Try:** let σ fall from 0.1 to 0.05. By what factor does the measured number grow? And if δ falls from 0.1 to 0.01?

# %%
for sigma in (0.05, 0.1, 0.2):
    print(pruning.view(sigma=sigma).twin.title, f"(sigma {sigma})")

# %% [markdown]
# ## Where the assumptions break
#
# The theorem wants independent tasks and experts without mistakes. What if expert programs come in batches that are
# alike? What if experts err?

# %%
from ra3_lab.explore import theory
from ra3_lab.theory.violations import violations_lab

theory.view(violations_lab())

# %% [markdown]
# Tasks that repeat each other count for less than their number. That is one reason why a corpus is cleared of
# near-duplicates. Mistakes are worse in kind: "does all N tasks" is a condition that one wrong program can make
# impossible, so real methods must score instead of exclude. RA3's likelihood does.
#
# ## On the pipelines themselves
#
# The built-in tasks let us ask the question where it matters: how many expert programs until the next step of a
# *held-out* program is among the first k choices? The policies here are mere counts of what the expert programs
# showed, once with thoughts as choices, once with lines, once with tokens.
#
# **Predict:** which alphabet needs the fewest programs?

# %%
from ra3_lab.theory.choices import choices_lab

theory.view(choices_lab())

# %% [markdown]
# Counts do not read the docstring, so this is about the size of what has to be learned, not about who writes better
# programs.
#
# ## What to remember
#
# 1. N ≥ (k ln|Z| + ln(1/δ)) / σ is enough. k is how many actions are needed, |Z| among how many, σ how rare the
#    rarest is.
# 2. N grows like 1/σ: rare skills need data. It grows only with the logarithm of 1/δ.
# 3. Few large actions lower k ln|Z|. Whether fewer tasks are *needed* depends on the world: measure.
#
# **Where to look next:** 03. Code: `ra3_lab/theory/pruning.py`, `ra3_lab/theory/closed_forms.py`,
# `ra3_lab/theory/violations.py`.
#
# **Sources.** arXiv 2509.25810 states the order k log(|Z|/δ)/σ. The union bound over hypotheses: Valiant, *A Theory
# of the Learnable*, 1984; Haussler, 1988.
