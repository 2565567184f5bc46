# %% [markdown]
# # A1: option MDPs, pruning and horizon
#
# A language model that writes code chooses token by token: a huge set of actions and a long way to the
# end. **Mid-training** sits between pre-training and reinforcement learning (RL), and the question of this course is
# what it should do so that the RL after it starts high and is fast. RA3 ("Learning to Reason as Action Abstractions",
# arXiv 2509.25810) answers: find *few* actions that last *long*. This assignment makes both words exact in worlds so
# small that everything can be computed.
#
# Words used below. A **task** M is a Markov decision process (MDP): states, actions, rewards; tasks are drawn from
# $p(M)$. A **discount** $\gamma < 1$ says that a reward one step later counts $\gamma$ times as much. An **option** $z$
# (Sutton, Precup and Singh 1999, *Between MDPs and semi-MDPs*) is a way to act for a random number of steps
# $\tau \ge 1$: think of "sort the list" against single lines of code. A **primitive action** is an option with
# $\tau = 1$. $V^*(s)$ is the most return that can be had from state $s$.
#
# Seven exercises, about 2 h 15 min. `check(...)` tries your function on the example and on practice inputs; grading
# uses fresh ones.

# %%
from itertools import combinations
from math import ceil, log

import numpy as np

from ra3_lab.course import begin, check, provided

begin("a1")

# %% [about a1.discount]
# After an option has run for $\tau$ steps, what comes next counts $\gamma^\tau$ times as much. $\tau$ is random, so a
# planner needs its mean, $E[\gamma^\tau]$: the **discount of the option**.
#
# Here $\tau$ is given by **hazards**: `hazard[i]` is the chance that the option stops right after step $i + 1$, *if it
# is still running*. After the last number listed, the option goes on with that same chance at every further step (the
# last one is above 0).
#
# By hand, $\gamma = 0.9$ and hazards (0.5, 1): it stops after one step with chance 0.5, after two otherwise:
# $0.5 \cdot 0.9 + 0.5 \cdot 0.81 = 0.855$. With the one hazard (0.5) it may run for long:
# $\sum_n 0.5^n\, 0.9^n = 0.45 / 0.55 = 0.818$.


# %% [exercise a1.discount]
def option_discount(gamma: float, hazard: list[float]) -> float:
    """E[gamma^tau]. hazard: chances to stop after step 1, 2, ..., if still running; the last one goes on for ever."""
    # BEGIN SOLUTION
    total, alive = 0.0, 1.0
    for step, chance in enumerate(hazard, start=1):
        total += alive * chance * gamma**step
        alive *= 1 - chance
    last = hazard[-1]
    tail = last * gamma / (1 - (1 - last) * gamma)  # E[gamma^tau] of what still runs
    return total + alive * gamma ** len(hazard) * tail
    # END SOLUTION


# %% [hint a1.discount]
# Carry along the chance that the option is *still running*. The rest, after the list, is a geometric series. Or go
# backwards: let $v$ be the discount from some step on; which equation does it satisfy one step earlier?

# %% [check a1.discount]

# %% [show]
print("The example's option stops after exactly two steps:", provided("a1.discount"))

# %% [question a1.why_jensen]
# Two options have the same mean duration 4. One always takes 4 steps, the other 1 or 7 with equal chance. Which has the
# larger $E[\gamma^\tau]$, and which would you rather have in a set of options if you want planning to converge fast?
# RUBRIC
# 1 point: the random one: gamma^tau is convex in tau, Jensen. 1 point: rather the fixed one: a smaller E[gamma^tau]
# contracts faster.

# %% [answer a1.why_jensen]
# $\gamma^\tau$ is convex in $\tau$, so by Jensen $E[\gamma^\tau] \ge \gamma^{E[\tau]}$: the random one is larger (with
# $\gamma = 0.9$: 0.689 against 0.656). Planning contracts by the largest $E[\gamma^\tau]$, so the option of fixed
# length is better.

# %% [about a1.model]
# All that planning needs to know about an option, started in $s$ and stopped in $s_\tau$, is
#
# $$K(s, s') = E\big[\gamma^\tau\, 1\{s_\tau = s'\}\big] \qquad R(s) = E\Big[\sum_{i < \tau} \gamma^i r_i\Big]$$
#
# the **kernel** and the **reward** of one big step. `chain[s, s']` holds the probability of a primitive step from $s$
# to $s'$ under the option's way of acting, `reward[s]` the mean reward of a step that leaves $s$. After each step the
# option stops with probability `stop[s']`, $s'$ being the state where it *arrived*. And it never runs longer than
# `limit` steps: then it stops wherever it is. Rows of `chain` may sum to less than 1; the rest is the end of the
# episode, worth nothing.
#
# By hand: one state with a step back to itself, reward 1, stop 0.5, $\gamma = 0.9$, limit 2. It stops after step 1 with
# chance 0.5, else after step 2. $K = 0.5 \cdot 0.9 + 0.5 \cdot 0.81 = 0.855$; $R = 1 + 0.5 \cdot 0.9 = 1.45$.


# %% [exercise a1.model]
def limited_option(
    chain: np.ndarray, reward: np.ndarray, stop: np.ndarray, gamma: float, limit: int
) -> list[np.ndarray]:
    """[K (S, S), R (S,)]. chain: (S, S); reward, stop: (S,); limit: most steps, 1 or more."""
    # BEGIN SOLUTION
    kernel, within = gamma * chain, reward  # an option of one step
    for _ in range(limit - 1):  # one step more in front of what is there
        on = gamma * chain * (1 - stop)
        kernel = gamma * chain * stop + on @ kernel
        within = reward + on @ within
    return [kernel, within]
    # END SOLUTION


# %% [hint a1.model]
# Start with limit 1. Then let $K$ and $R$ be known for some limit and put one step in front: it ends the option, or
# goes on with what is known. `chain * stop` multiplies column $s'$ by `stop[s']`.

# %% [check a1.model]

# %% [show]
kernel, within = provided("a1.model")
print("From state 0 the option takes two steps: K(0, 2) =", kernel[0][2])

# %% [question a1.why_reduce]
# $K$ and $R$ forget how long the option really ran and which states it crossed. Why do optimal values over options not
# need that? Name a question about the option that can no longer be answered.
# RUBRIC
# 1 point: Markov property at the stopping state: return = R(s) + sum_s' K(s,s') V(s'), tau enters only through
# gamma^tau. 1 point: any sensible example (mean duration, variance of the return, a visited state, another gamma).

# %% [answer a1.why_reduce]
# The return splits into what is collected within the option and $\gamma^\tau V(s_\tau)$, whose mean is
# $\sum_{s'} K(s, s') V(s')$: what comes after depends on the state in which the option stopped, not on the way there.
# Lost are, for example, the mean duration, the variance of the return, and values under another $\gamma$.

# %% [about a1.plan]
# **Value iteration** starts from $V_0 = 0$ and improves all states at once:
#
# $$V_{n+1}(s) = \max_z \Big[ R(s, z) + \sum_{s'} K(s, z, s')\, V_n(s') \Big]$$
#
# Here not every option may start everywhere: `allowed[s, z]` says where it may (an option's *initiation set*). A state
# in which none may start is an end, of value 0. Return $V_N$ after `sweeps` sweeps.
#
# By hand: one state, option A pays -1 and leads back with $K = 0.5$; option B pays -3 and ends.
# $V_1 = \max(-1, -3) = -1$; $V_2 = \max(-1 - 0.5, -3) = -1.5$. If A is forbidden, $V_1 = V_2 = -3$.


# %% [exercise a1.plan]
def plan(kernel: np.ndarray, reward: np.ndarray, allowed: np.ndarray, sweeps: int) -> np.ndarray:
    """(S,) V_N. kernel: (S, Z, S); reward: (S, Z); allowed: (S, Z) bool; sweeps: N, 0 or more."""
    # BEGIN SOLUTION
    values = np.zeros(len(reward))
    for _ in range(sweeps):
        q = np.where(allowed, reward + kernel @ values, -np.inf)  # (S, Z)
        values = np.where(allowed.any(1), q.max(1), 0.0)
    return values
    # END SOLUTION


# %% [hint a1.plan]
# `kernel @ values` has shape (S, Z). Which number never wins a maximum? And what is the maximum of a row in which
# nothing is allowed?

# %% [check a1.plan]

# %% [show]
print("V_2 of the example:", np.round(provided("a1.plan"), 3))

# %% [question a1.why_minus_infinity]
# Somebody gives forbidden options the value 0 and all tests with rewards of 0 or more pass. Why, and when does it go
# wrong?
# RUBRIC
# 1 point: with rewards >= 0 every value is >= 0, so 0 never beats an allowed one; with costs an allowed value may be
# negative and 0 wins.

# %% [answer a1.why_minus_infinity]
# If nothing costs anything, all values are at least 0 and a 0 changes no maximum. As soon as all that is allowed costs
# something, the 0 wins and the plan uses an option that does not exist there.

# %% [about a1.regret]
# Mid-training keeps a subset $Z'$ of all options $Z$; RL then learns a policy $\pi$ over $Z'$. The **regret** splits
# exactly:
#
# $$\underbrace{E_M[V^*_M - V^\pi_M]}_{\text{regret}} =
# \underbrace{E_M[V^*_M - V^*_{M,Z'}]}_{\text{pruning error}} +
# \underbrace{E_M[V^*_{M,Z'} - V^\pi_M]}_{\text{RL error inside } Z'}$$
#
# In this exercise a task is one decision: option $z$ is worth `worth[m, z]` in task $m$, so that $V^*_m$ is the largest
# number of its row, and $V^*_{m,Z'}$ the largest among the kept columns. `policy[m, j]` is the probability with which
# the policy takes option `kept[j]` in task $m$.
#
# By hand: one task, worth (4, 2, 0), kept options 1 and 2, policy (0.5, 0.5). $V^* = 4$, $V^*_{Z'} = 2$, $V^\pi = 1$:
# regret 3 = 2 + 1.


# %% [exercise a1.regret]
def regret_split(worth: np.ndarray, weights: np.ndarray, kept: np.ndarray, policy: np.ndarray) -> list[float]:
    """[regret, pruning error, RL error]. worth: (M, Z); weights: (M,) p(M); kept: (k,) indices; policy: (M, k)."""
    # BEGIN SOLUTION
    best = worth.max(1)  # (M,)
    inside = worth[:, kept].max(1)
    value = (policy * worth[:, kept]).sum(1)
    return [weights @ (best - value), weights @ (best - inside), weights @ (inside - value)]
    # END SOLUTION


# %% [hint a1.regret]
# Three numbers for each task first: the best of all, the best of the kept ones, the mean under the policy. The mean
# over tasks comes last.

# %% [check a1.regret]

# %% [show]
print("regret = pruning + RL:", np.round(provided("a1.regret"), 3))

# %% [question a1.why_two_errors]
# A lab spends ten times as much on RL and the regret hardly falls. Which of the two errors is probably large, what
# would you measure to know, and what can no RL algorithm do about it?
# RUBRIC
# 1 point: pruning error; compare the best value inside Z' (or a bound of it) with the best known overall. 1 point: RL
# over Z' cannot go below the pruning error: the actions that are needed are not there; mid-training has to be changed.

# %% [answer a1.why_two_errors]
# Probably the pruning error: what the kept set can reach at most lies below the optimum. One would compare the best
# policy inside $Z'$, or pass@k at large k as a stand-in, with the best known. RL only lowers the second term.

# %% [about a1.smallest_sets]
# How few options are enough? $\Delta(m, Z') = V^*_m - V^*_{m,Z'}$ is the pruning error of $Z'$ on task $m$ (one
# decision a task, as before). A set is **good enough** if $\Delta \le \varepsilon$ on *every* task. $|Z_\varepsilon|$
# is the size of the smallest such set. Return all good sets of that size, each as a list of option numbers, in any
# order.
#
# By hand: worth (1, 0, 0.75) in task 0 and (0, 1, 0.75) in task 1. With $\varepsilon = 0.25$ option 2 alone is good
# enough, although it is best nowhere: `[[2]]`. With $\varepsilon = 0.1$ it takes `[[0, 1]]`.
#
# (Numbers in the inputs are multiples of 1/4, so that comparisons are exact.)


# %% [exercise a1.smallest_sets]
def smallest_sets(worth: np.ndarray, epsilon: float) -> list[list[int]]:
    """All good-enough sets of the smallest size. worth: (M, Z), at most 7 options."""
    # BEGIN SOLUTION
    options = range(worth.shape[1])
    for size in range(1, len(options) + 1):
        found = []
        for subset in combinations(options, size):
            error = worth.max(1) - worth[:, list(subset)].max(1)
            if (error <= epsilon).all():
                found.append(list(subset))
        if found:
            return found
    # END SOLUTION


# %% [hint a1.smallest_sets]
# `itertools.combinations(range(5), 2)` gives all sets of two out of five. Which size do you try first, and when may you
# stop?

# %% [check a1.smallest_sets]

# %% [show]
print("Smallest sets of the example:", provided("a1.smallest_sets"))

# %% [question a1.why_small]
# As $\varepsilon$ grows, $|Z_\varepsilon|$ falls. What gets better and what gets worse for the whole pipeline of
# mid-training and RL?
# RUBRIC
# 1 point: better: fewer expert tasks are needed to find the set (k in theorem 2), RL has fewer actions to choose from.
# 1 point: worse: up to epsilon of pruning error that RL cannot win back.

# %% [answer a1.why_small]
# A smaller set needs less expert data to be found and less exploration to be used. The price is a pruning error of up
# to $\varepsilon$ that stays for ever.

# %% [about a1.expert_tasks]
# Mid-training does not see all tasks. It draws N expert tasks from $p(M)$ and keeps *any* set with
# $\Delta \le \varepsilon$ on those N. A candidate set is **bad** if it fails often:
# $P_M[\Delta > \varepsilon] \ge \sigma$. How large must N be so that with probability at least $1 - \delta$ no bad set
# is left to be picked?
#
# A bad set that fails on a share $p_b$ of tasks looks fine on all N with probability $(1 - p_b)^N$. The chance
# that *some* bad set does is at most the sum of these (the union bound):
#
# $$\sum_{b \text{ bad}} (1 - p_b)^N \le \delta$$
#
# Return the smallest whole $N \ge 0$ for which that holds. (Theorem 2 of this project's docs/theory.md replaces $p_b$
# by $\sigma$ and the number of bad sets by $|Z|^k$: $N \ge (k \ln|Z| + \ln(1/\delta)) / \sigma$.)
#
# By hand: two bad sets, each failing on half of the tasks, $\delta = 0.1$: $2 \cdot 0.5^N \le 0.1$ first at N = 5.


# %% [exercise a1.expert_tasks]
def expert_tasks(errors: np.ndarray, weights: np.ndarray, epsilon: float, sigma: float, delta: float) -> int:
    """Smallest N by the union bound. errors: (B, M) Delta of candidate set b on task m; weights: (M,) p(M)."""
    # BEGIN SOLUTION
    mass = (errors > epsilon) @ weights  # (B,) P[Delta > epsilon]
    mass = mass[mass >= sigma]
    count = 0
    while ((1 - mass) ** count).sum() > delta:
        count += 1
    return count
    # END SOLUTION


# %% [hint a1.expert_tasks]
# First the share of tasks on which each set fails, weighted by $p(M)$; then only the bad ones. N rarely exceeds a few
# hundred: counting up is fine.

# %% [check a1.expert_tasks]

# %% [show]
print("The example needs", provided("a1.expert_tasks"), "expert tasks")

# %% [question a1.why_log]
# In theorem 2 the number of options enters as $k \ln |Z|$. Compare k = 5 skills out of 50 with k = 40 lines out of 2000
# that can write the same programs: by which factor does the need for expert tasks grow (leave $\delta$ out)? Which of
# the two, k or $|Z|$, does the damage?
# RUBRIC
# 1 point: 40 ln 2000 / (5 ln 50) = 304 / 19.6, about 15.5. 1 point: mostly k (factor 8); the logarithm makes |Z| matter
# little (7.6 against 3.9, factor 2).

# %% [answer a1.why_log]
# $40 \ln 2000 = 304$ against $5 \ln 50 = 19.6$: about 15 times as many. A factor of 8 comes from k, not quite 2 from
# $|Z|$: that *few* actions are needed matters more than that few are there.

# %% [about a1.horizon]
# Value iteration over options contracts: each sweep brings two value functions closer by
# $\bar\gamma = \sup_{s,z} E[\gamma^\tau]$. From $V_0 = 0$ it is within $\varepsilon$ of $V^*$ in every state after
#
# $$N \ge \frac{1}{1 - \bar\gamma} \ln \frac{R_{\max}}{\varepsilon\,(1 - \bar\gamma)}$$
#
# sweeps, where $R_{\max}$ bounds the discounted reward collected *within one option*. Here each option has a fixed
# duration, and a primitive step pays at most `reward` (0 at least), so an option of $\tau$ steps collects at most
# `reward` $\cdot (1 + \gamma + \dots + \gamma^{\tau-1})$. Return the smallest whole N of the bound, 0 where none is
# needed.
#
# By hand: $\gamma = 0.5$, one option of 1 step, reward 1, $\varepsilon = 0.01$: $\bar\gamma = 0.5$, $R_{\max} = 1$,
# $2 \ln 200 = 10.6$, so 11. With 2 steps: $\bar\gamma = 0.25$, $R_{\max} = 1.5$, $\ln(200) / 0.75 = 7.06$, so 8.


# %% [exercise a1.horizon]
def sweeps_needed(gamma: float, durations: list[int], reward: float, epsilon: float) -> int:
    """Sweeps of value iteration that are enough. durations: tau of each option; reward: most that one step pays."""
    # BEGIN SOLUTION
    gbar = gamma ** min(durations)
    most = reward * (1 - gamma ** max(durations)) / (1 - gamma)
    distance = most / (1 - gbar)  # how far V* can be from 0
    return max(0, ceil(log(distance / epsilon) / (1 - gbar)))
    # END SOLUTION


# %% [hint a1.horizon]
# A supremum over options: which duration makes $\gamma^\tau$ largest? And which option collects most?

# %% [check a1.horizon]

# %% [show]
for tau in (1, 2, 4, 8):
    gbar = 0.9**tau
    print(f"tau = {tau}: gbar = {gbar:.2f}, effective horizon 1 / (1 - gbar) = {1 / (1 - gbar):.1f} decisions")

# %% [question a1.why_primitive]
# You have options of 8 steps each and add one primitive action "just in case". What happens to the bound? Does RL on a
# real language model, in which the primitive tokens always stay available, therefore gain nothing from options?
# RUBRIC
# 1 point: gbar jumps back to gamma, the bound is as large as without options. 1 point: the bound is a worst case
# (supremum) for value iteration; if the policy mostly chooses long options, decisions are few in practice, but this
# theorem no longer says so.

# %% [answer a1.why_primitive]
# $\bar\gamma$ is a supremum: one primitive action makes it $\gamma$ again, and the bound falls back. It is a bound for
# the worst case of value iteration, though. A policy that mostly takes long options still decides rarely; that is then
# something to measure, not something that follows.
