# %% [markdown]
# # A5: GRPO, reinforcement learning from tests
#
# After mid-training a model meets tasks with *tests*: a program that passes them all earns **reward** 1, any other 0.
# **GRPO** (group relative policy optimisation; Shao et al. 2024, *DeepSeekMath*) draws a **group** of G answers to
# each task, compares them with each other, and makes the better ones likelier. You will write its parts: advantages,
# the clipped surrogate, the denominators in which its relatives differ, estimators of the KL divergence and what
# their gradients really are, and pass@k.
#
# Words used below. A **policy** $\pi$ gives the next token's probabilities. **Old** is the policy that drew the
# answers; it stays fixed while $\pi$ is updated. A **reference** is the policy before RL. A **mask** marks the tokens
# of an answer; the rest of a row is **padding** and may hold anything. A sample without a **verdict** (the sandbox
# failed, not the program) is neither right nor wrong.
#
# About 2 h 35 min. `check(...)` tries your function on the example and on practice inputs; grading uses fresh ones.

# %%
from math import comb

import numpy as np
import torch

from ra3_lab.course import begin, check, provided

begin("a5")

# %% [about a5.advantages]
# The **advantage** of a sample says how much better it did than what one could expect. GRPO takes the group's mean as
# expectation. If the mean contains the sample's own reward $R_i$, every advantage shrinks by $(G-1)/G$; the mean of
# the *others* (leave one out; Ahmadian et al. 2024, *Back to Basics*) avoids that:
#
# $$A_i = R_i - \frac{1}{G - 1} \sum_{j \ne i} R_j$$
#
# By hand: rewards (1, 0, 0, 0). The first sample's others have mean 0, so $A_1 = 1$. The second's have mean 1/3, so
# $A_2 = -1/3$. The sum is 0.
#
# Samples come in any order: `groups` names each one's group. Those with `valid` false have no verdict: they enter no
# baseline and get 0. A sample with nobody to compare with gets 0 as well.


# %% [exercise a5.advantages]
def advantages(rewards: np.ndarray, groups: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(N,) advantages. rewards: (N,); groups: (N,) whole numbers; valid: (N,) bool."""
    # BEGIN SOLUTION
    result = np.zeros(len(rewards))
    for name in np.unique(groups):
        rows = np.flatnonzero((groups == name) & valid)
        if len(rows) > 1:
            others = (rewards[rows].sum() - rewards[rows]) / (len(rows) - 1)
            result[rows] = rewards[rows] - others
    return result
    # END SOLUTION


# %% [hint a5.advantages]
# The sum of the others is the sum of all minus one's own. Which rows belong to a group *and* have a verdict?
# `np.flatnonzero` lists them.

# %% [check a5.advantages]

# %% [show]
print("Advantages of the example:", [round(a, 2) for a in provided("a5.advantages")])

# %% [question a5.why_others]
# A group's rewards are 1, 1, 1, 1. What is the gradient, and why is that right or wrong? And what would change if the
# baseline were the constant 0?
# RUBRIC
# 1 point: all advantages are 0, so no gradient: nothing distinguishes the answers. 1 point: with baseline 0 all four
# answers become likelier; in expectation the gradient is the same (a baseline that does not depend on the sample adds
# E[b grad log pi] = 0), but its variance is much larger.

# %% [answer a5.why_others]
# Every advantage is 0: the group says nothing about which answer is better. With baseline 0 all four would be pushed
# up. On average over samples that gives the same gradient, since $E[\nabla \log \pi] = 0$, with far more noise.

# %% [about a5.surrogate]
# The same samples serve several updates, and after the first one $\pi$ is no longer the policy that drew them.
# Importance sampling corrects each token by its **ratio**
# $r = \pi(o) / \text{old}(o) = \exp(\text{logp} - \text{old})$. A large ratio is noisy, so PPO (Schulman et al. 2017)
# clips it:
#
# $$s = \min\big(r A,\ \operatorname{clip}(r, \text{low}, \text{high})\, A\big)$$
#
# With $A > 0$ nothing is gained beyond `high`; with $A < 0$ nothing below `low`. One case stays open: $A < 0$ and $r$
# huge makes $s$ as small as it likes. A **floor** closes it (Ye et al. 2020, "dual clip"): for $A < 0$,
# $s' = \max(s, \text{floor} \cdot A)$, with floor > high.
#
# By hand, low 0.8, high 1.2, floor 3. $A = 1, r = 1.5$: $\min(1.5, 1.2) = 1.2$, gradient 0. $A = -1, r = 1.5$:
# $\min(-1.5, -1.2) = -1.5$, gradient $-r = -1.5$. $A = -1, r = 5$: $\max(-5, -3) = -3$, gradient 0.
#
# Return $s'$ for every token, 0 outside the mask. It must carry the gradient to `logp`, and padding must not reach
# it: not the value, not the gradient.


# %% [exercise a5.surrogate]
def surrogate(
    logp: torch.Tensor,
    old: torch.Tensor,
    advantage: torch.Tensor,
    mask: torch.Tensor,
    low: float,
    high: float,
    floor: float,
) -> torch.Tensor:
    """(B, T) objective, to be made large. logp, old: (B, T); advantage: (B,), one an answer; mask: (B, T) bool."""
    # BEGIN SOLUTION
    log_ratio = torch.where(mask, logp, 0.0) - torch.where(mask, old, 0.0)
    ratio, a = log_ratio.exp(), advantage[:, None]
    value = torch.minimum(ratio * a, ratio.clamp(low, high) * a)
    value = torch.where(a < 0, torch.maximum(value, floor * a), value)
    return torch.where(mask, value, 0.0)
    # END SOLUTION


# %% [hint a5.surrogate]
# What does `torch.exp(torch.tensor(900.0))` give, and what is 0 times that? `torch.where(mask, values, 0.0)` *before*
# the exp keeps both value and gradient clean. `advantage[:, None]` has shape (B, 1).

# %% [check a5.surrogate]

# %% [question a5.why_minimum]
# Before the first update on fresh samples every ratio is exactly 1. What does the clip do then? And why the minimum
# of the two products, not just the clipped one?
# RUBRIC
# 1 point: nothing; value A, gradient A grad log pi, plain policy gradient. 1 point: the clipped product alone has no
# gradient outside the interval in either direction; the minimum keeps the gradient where the policy has moved the
# wrong way (A > 0 and r < low, A < 0 and r > high), so that it can come back.

# %% [answer a5.why_minimum]
# At ratio 1 the clip is idle and the step is the plain policy gradient. The minimum is a pessimistic bound: it
# removes the incentive to go further, but if a good answer has become *less* likely (A > 0, r < low) the unclipped
# product is the smaller one and its gradient brings it back.

# %% [about a5.update_loss]
# From tokens to one number: GRPO and two of its relatives differ in a denominator. Over N answers **with a verdict**,
# answer $i$ of length $|o_i|$ with token losses that sum to $S_i$:
#
# | scheme | loss | who |
# |---|---|---|
# | `"answer"` | $\frac1N \sum_i S_i / \lvert o_i \rvert$ | GRPO, Shao et al. 2024 |
# | `"token"` | $\sum_i S_i / \sum_i \lvert o_i \rvert$ | DAPO, Yu et al. 2025 |
# | `"constant"` | $\sum_i S_i / (N \cdot \text{longest})$ | Dr. GRPO, Liu et al. 2025 |
#
# `longest` is the limit on an answer's length, a constant of the run. An answer of length 0 has no verdict; its sum
# is 0.
#
# By hand: sums (2, -8), lengths (1, 4), longest 10. Answer: (2/1 - 8/4) / 2 = 0. Token: -6/5 = -1.2. Constant: -6/20
# = -0.3.


# %% [exercise a5.update_loss]
def update_loss(sums: np.ndarray, lengths: np.ndarray, longest: int, scheme: str) -> float:
    """The loss of an update. sums: (N,) token losses, summed over each answer; lengths: (N,) tokens."""
    # BEGIN SOLUTION
    judged = lengths > 0
    if scheme == "answer":
        return float((sums[judged] / lengths[judged]).mean())
    if scheme == "token":
        return float(sums.sum() / lengths.sum())
    return float(sums.sum() / (judged.sum() * longest))
    # END SOLUTION


# %% [hint a5.update_loss]
# Choose the rows with a verdict first; then no length is 0.

# %% [check a5.update_loss]

# %% [question a5.why_lengths]
# Two wrong answers, one of 10 tokens, one of 1000, have the same advantage -1. How strongly does each scheme push
# down one *token* of each? What will a policy learn under "answer" about being wrong?
# RUBRIC
# 1 point: answer: a token of the long one gets 1/100 of the push of the short one's; token and constant: all tokens
# alike. 1 point: under "answer" long wrong answers are punished less per token, so wrong answers grow longer (Liu et
# al. 2025).

# %% [answer a5.why_lengths]
# Under `answer` a token of the long answer is pushed a hundred times less than one of the short answer; under the
# other two alike. So, when it is going to be wrong, rambling is cheaper: wrong answers get longer over training.

# %% [about a5.kl_sums]
# RL may be held near a reference by the **KL divergence**
# $KL(\pi \| \text{ref}) = E_{o \sim \pi}[\log \pi(o) - \log \text{ref}(o)]$, the nats by which $\pi$'s samples are
# likelier under $\pi$. Sampled tokens give estimates of it. With $d = \log \pi(o_t) - \log \text{ref}(o_t)$ (Schulman
# 2020, *Approximating KL divergence*):
#
# $$k_1 = d \qquad k_2 = d^2 / 2 \qquad k_3 = e^{-d} - 1 + d$$
#
# $k_1$ may be negative; $k_3$ never is. By hand: $d = 0.5$ gives 0.5, 0.125 and $0.6065 - 1 + 0.5 = 0.1065$.
#
# Sum each over the tokens of each answer, padding left out. Near the reference $d$ is about $10^{-7}$ and $k_3$ about
# $5 \cdot 10^{-15}$: your result must be right to six digits there, too.


# %% [exercise a5.kl_sums]
def kl_sums(logp: np.ndarray, reference: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(3, B) sums of k1, k2, k3 over each answer's tokens. logp, reference: (B, T); mask: (B, T) bool."""
    # BEGIN SOLUTION
    d = np.where(mask, logp - reference, 0.0)
    return np.stack([d, d**2 / 2, np.expm1(-d) + d]).sum(-1)
    # END SOLUTION


# %% [hint a5.kl_sums]
# In double precision 1 + 5e-15 keeps one or two digits of 5e-15. numpy has a function for $e^x - 1$ that never forms
# the 1.

# %% [check a5.kl_sums]

# %% [question a5.why_positive]
# Show that $k_3 \ge 0$, and that its expectation under $\pi$ is the divergence. Why may one still prefer $k_1$ in the
# reward?
# RUBRIC
# 1 point: exp(-d) >= 1 - d (tangent of a convex function); E[exp(-d)] = sum pi ref/pi = 1, so E[k3] = E[d]. 1 point:
# k1 in the reward sums to the exact log-ratio of the answer and its policy gradient is that of KL(pi || ref); k3's is
# not, and exp(-d) has heavy tails where ref >> pi.

# %% [answer a5.why_positive]
# $e^{-d} \ge 1 - d$ because a convex function lies above its tangent.
# $E_\pi[e^{-d}] = \sum \pi \cdot \text{ref}/\pi = 1$, so $E[k_3] = E[d] = KL$. In the reward $k_1$ adds up to the
# whole answer's log-ratio and follows the right gradient, and it has no exponential that explodes.

# %% [about a5.kl_gradient]
# A good estimate of a value need not have a good gradient. Autograd treats the sampled tokens as constants: it
# differentiates $k(d)$ through $\log \pi(o)$ and knows nothing of how the sampling would change. Take one token, a
# softmax policy $\pi = \operatorname{softmax}(\theta)$ over V actions, and enumerate: the *expected* gradient of an
# estimator in the loss is
#
# $$g = \sum_a \pi(a)\, \nabla_\theta\, k(d_a), \qquad \nabla_{\theta_b} \log \pi(a) = [a = b] - \pi(b)$$
#
# with the $\pi(a)$ in front held constant.
#
# The fourth case, `"reward"`, is $k_1$ in the reward: $\sum_a \pi(a)\, d_a \nabla_\theta \log \pi(a)$ with $d_a$ held
# constant, too.
#
# By hand, V = 2, $\theta = (0, 0)$, ref (0.8, 0.2): $\pi = (0.5, 0.5)$, $d = (-0.47, 0.916)$. For $k_2$ the slope is d:
# $g = 0.5 \cdot (-0.47) \cdot (0.5, -0.5) + 0.5 \cdot 0.916 \cdot (-0.5, 0.5) = (-0.347, 0.347)$.


# %% [exercise a5.kl_gradient]
def kl_gradient(theta: np.ndarray, reference: np.ndarray, estimator: str) -> np.ndarray:
    """(V,) expected gradient by theta. reference: (V,) probabilities; estimator: "k1", "k2", "k3" or "reward"."""
    # BEGIN SOLUTION
    pi = np.exp(theta - theta.max())
    pi = pi / pi.sum()
    d = np.log(pi) - np.log(reference)
    slope = {"k1": np.ones(len(d)), "k2": d, "k3": 1 - np.exp(-d), "reward": d}[estimator]
    score = np.eye(len(pi)) - pi  # row a: the gradient of log pi(a)
    return (pi * slope) @ score
    # END SOLUTION


# %% [hint a5.kl_gradient]
# By the chain rule $\nabla k(d_a) = k'(d_a) \nabla \log \pi(a)$: what are the three slopes? Or let torch do it:
# `log_softmax`, and `.detach()` on what is constant.

# %% [check a5.kl_gradient]

# %% [show]
# The example: theta (0.5, -0.5, 0), ref (0.2, 0.5, 0.3). Gradients by theta of the two divergences, from autograd:
print("gradient of KL(pi || ref): [ 0.322 -0.239 -0.083]")
print("gradient of KL(ref || pi): [ 0.306 -0.314  0.007]")
print("k2 in the loss:           ", np.round(provided("a5.kl_gradient"), 3))

# %% [question a5.why_no_gradient]
# $k_1$ is unbiased for the divergence. Somebody adds $\beta k_1$ to the loss and finds that no $\beta$ holds the
# policy near the reference. Why? What should they do?
# RUBRIC
# 1 point: E[grad log pi] = 0: with samples held constant its expected gradient is 0, it only adds noise. 1 point: put
# k1 into the reward, or k2 (the same expected gradient for one token) in the loss, or k3, which follows KL(ref ||
# pi), or weigh by the ratio and let its gradient through.

# %% [answer a5.why_no_gradient]
# $\sum_a \pi(a) \nabla \log \pi(a) = 0$: on average the term does nothing. In the reward the same $k_1$ gives the
# gradient of $KL(\pi \| \text{ref})$; in the loss $k_2$ does so for one token, while $k_3$ follows the reversed
# divergence.

# %% [about a5.pass_curve]
# **pass@k** is the chance that at least one of k samples is right. Of n samples c were right. Draw k of the n
# *without* replacement: all k are wrong with probability $\binom{n-c}{k} / \binom{n}{k}$, so
# $1 - \binom{n-c}{k} / \binom{n}{k}$ is an unbiased estimate (Chen et al. 2021, *Evaluating Large Language Models
# Trained on Code*).
#
# By hand: n = 4, c = 1, k = 2: $\binom32 / \binom42 = 3/6$, so 0.5. The plug-in $1 - (3/4)^2 = 0.4375$ is too low.
#
# Tasks have different n. For each k return the mean over the tasks with $n \ge k$, or `None` where there is none.


# %% [exercise a5.pass_curve]
def pass_curve(counts: list[list[int]], ks: list[int]) -> list[float | None]:
    """pass@k of the set for each k. counts: [n, c] of each task, samples drawn and samples that passed."""
    # BEGIN SOLUTION
    curve = []
    for k in ks:
        rates = [1 - comb(n - c, k) / comb(n, k) for n, c in counts if n >= k]
        curve.append(sum(rates) / len(rates) if rates else None)
    return curve
    # END SOLUTION


# %% [hint a5.pass_curve]
# `math.comb` counts with whole numbers of any size, and gives 0 where k exceeds what there is to choose from.

# %% [check a5.pass_curve]

# %% [question a5.why_biased]
# Why is $1 - (1 - c/n)^k$ biased although $c/n$ is unbiased for the chance p? In which direction, and when does it
# matter most?
# RUBRIC
# 1 point: 1 - (1-p)^k is concave in p for k > 1; Jensen: E[f(c/n)] <= f(p), so low. 1 point: most where n is near k
# and p is small (c/n is often 0).

# %% [answer a5.why_biased]
# The function is concave in p for k > 1, so by Jensen its mean at the noisy c/n lies below its value at p. It matters
# most when n is hardly larger than k and p is small.

# %% [about a5.informative]
# A group whose rewards are all equal has advantages 0: its answers were paid for and teach nothing. From a first
# look, n samples of each task of which c passed, predict the share of **informative** groups of G: those with at
# least one right *and* one wrong sample. Without bias: draw the group without replacement from the n,
#
# $$1 - \frac{\binom{c}{G} + \binom{n-c}{G}}{\binom{n}{G}}$$
#
# averaged over the tasks with $n \ge G$. By hand: n = 4, c = 2, G = 2: $1 - (1 + 1)/6 = 2/3$.


# %% [exercise a5.informative]
def informative_share(counts: list[list[int]], group: int) -> float:
    """Expected share of groups of `group` samples that have a gradient. counts: [n, c] of each task."""
    # BEGIN SOLUTION
    shares = []
    for n, c in counts:
        if n >= group:
            same = comb(c, group) + comb(n - c, group)
            shares.append(1 - same / comb(n, group))
    return sum(shares) / len(shares)
    # END SOLUTION


# %% [hint a5.informative]
# In how many ways can all G be right? In how many all wrong? Out of how many?

# %% [check a5.informative]

# %% [question a5.why_silent]
# A base model passes 1 % of its samples. With G = 8, about which share of groups is informative, and what does
# mid-training change about that?
# RUBRIC
# 1 point: 1 - 0.99^8 is about 8 % (all right is negligible). 1 point: a policy that starts higher has more
# informative groups at the same cost, so RL is faster from the first update.

# %% [answer a5.why_silent]
# About $1 - 0.99^8 \approx 8\,\%$: eleven of twelve groups are wasted. At 10 % it is 57 %. A better start buys
# gradient, not only a higher first point of the curve.
