# %% [markdown]
# # A0: a tiny one

# %%
import numpy as np

from ra3_lab.course import begin, check, provided

begin("a0")

# %% [about a0.discount]
# The return of rewards $r_0, r_1, \dots$ is $\sum_t \gamma^t r_t$. By hand: rewards (1, 2) and $\gamma = 0.5$ give
# $1 + 0.5 \cdot 2 = 2$.


# %% [exercise a0.discount]
def discounted_return(rewards: np.ndarray, gamma: float) -> float:
    """The discounted return. rewards: (T,)."""
    # BEGIN SOLUTION
    return float(rewards @ gamma ** np.arange(len(rewards)))
    # END SOLUTION


# %% [hint a0.discount]
# `np.arange` gives the exponents.

# %% [check a0.discount]

# %% [show]
print("The example's return:", provided("a0.discount"))

# %% [question a0.why_gamma]
# Why does a smaller $\gamma$ shorten the horizon?
# RUBRIC
# 1 point: weights fall below any given size after about $1/(1-\gamma)$ steps.

# %% [answer a0.why_gamma]
# Rewards further away than about $1/(1-\gamma)$ steps hardly count.
