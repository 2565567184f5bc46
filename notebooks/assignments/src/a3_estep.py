# %% [markdown]
# # A3: the E-step
#
# RA3 (arXiv 2509.25810) learns the thoughts behind expert code by turns. In the **E-step** the model $\pi$ that writes
# lines is fixed, and a policy q learns, by reinforcement learning, which thoughts make the expert's lines likelier. You
# will write one whole update: the rollout, what each line earns, who gets the credit, the baseline, the probability of
# both branches, the gradient, and the loss.
#
# Words used below. An expert **program** is a prompt and lines $a_0, \dots, a_T$; its lines are **forced**: never
# sampled, never changed. Before each line stands a **latent** $z_t$: either *act* (write the line) or *think* (write
# one comment line first, a **thought**). q draws the latents; $\pi$ says how likely the expert's lines become.
# A **rollout** is one sequence of latents along a program; the G rollouts of one program are a **group**. The
# **marker** is the token `#` that begins a thought. Log-probabilities are in **nats**.
#
# Seven exercises, about 2 h 35 min. `check(...)` tries your function on the example and on practice inputs; grading
# uses fresh ones.

# %%
import numpy as np
import torch

from ra3_lab.course import begin, check, provided

begin("a3")

# %% [about a3.trace]
# A rollout is kept as text: prompt, then the expert's lines, each with its thought (if any) on a line before it: `#`,
# the thought, a newline. The marker stands at the very left. Taking the thoughts out again must give the expert's
# program back, character for character. But the expert writes comments, too! So the places of the thoughts are
# recorded, rather than guessed from the text.
#
# One thing must be decided before: where the expert's line itself begins with `#` at the very left, the model could not
# tell *its* `#` from a thought's. There **no latent is offered**: whatever `thoughts` holds for that line is not
# written. An *indented* comment is a line like any other.
#
# Return the text and the list of `[start, end]` spans of the thoughts, in characters, from `#` to behind the newline. A
# thought may be empty (`""`, written as `#` and a newline); `None` means that there is none.
#
# By hand: prompt `"p\n"`, lines `["a\n", "b\n"]`, thoughts `[None, "x"]`: text `"p\na\n#x\nb\n"`, spans `[[4, 7]]`.


# %% [exercise a3.trace]
def write_trace(prompt: str, lines: list[str], thoughts: list[str | None]) -> list:
    """[text, spans]. lines: each ends with a newline; thoughts: one for each line, without '#' and newline."""
    # BEGIN SOLUTION
    text, spans = prompt, []
    for line, thought in zip(lines, thoughts, strict=True):
        if thought is not None and not line.startswith("#"):
            start = len(text)
            text += f"#{thought}\n"
            spans.append([start, len(text)])
        text += line
    return [text, spans]
    # END SOLUTION


# %% [hint a3.trace]
# Grow the text from left to right: `len(text)` before and after a thought gives its span. What is `bool("")`?

# %% [check a3.trace]

# %% [show]
text, spans = provided("a3.trace")
print(text)
print("thoughts:", [text[start:end] for start, end in spans])

# %% [question a3.why_marker]
# Why not simply take out every line that begins with `#` to have the expert's program back?
# RUBRIC
# 1 point: the expert's own comments would go, too; the program would no longer be the expert's, byte for byte (and raw
# actions would be lost from the M-step's data).

# %% [answer a3.why_marker]
# The expert's own comments are part of the program: they are raw actions. They would be lost, and the forced lines
# would no longer be the expert's.

# %% [about a3.reward]
# What does a line earn? Its log-likelihood under $\pi$, minus a price c if there is a thought before it. Three details
# decide whether the numbers mean what they should.
#
# - **Sum over tokens.** $\log \pi(a_t \mid s_t, z_t)$ is the sum of the line's token log-probabilities.
# - **The first token.** Where a latent is offered, choosing *act* or *think* has already decided that the line itself
# does not begin with the marker. So the first token's distribution is renormalised without the marker (and only the
# first one's). Where no latent is offered nothing has been decided, and it is scored like any other.
# - **The floor.** A hopeless line shall not drown the rest: its log-likelihood counts as at least `floor`. The price
# comes on top of that.
#
# By hand: one token, probabilities (0.2, 0.3, 0.5), marker 2, token 1, offered: $\ln(0.3 / 0.5) = -0.511$. With a
# thought at c = 0.1: -0.611. Not offered: $\ln 0.3 = -1.204$.


# %% [exercise a3.reward]
def line_reward(
    logits: np.ndarray, tokens: np.ndarray, marker: int, offered: bool, think: bool, cost: float, floor: float
) -> float:
    """Reward of one line in nats. logits: (n, V), before each of its tokens; tokens: (n,); floor: negative."""
    # BEGIN SOLUTION
    logits = logits.copy()
    if offered:
        logits[0, marker] = -np.inf  # z_t has chosen: the line does not begin with it
    total = 0.0
    for row, token in zip(logits, tokens, strict=True):
        total += row[token] - np.logaddexp.reduce(row)
    return float(max(total, floor) - cost * think)
    # END SOLUTION


# %% [hint a3.reward]
# $\log p_k = x_k - \log \sum_j e^{x_j}$. To renormalise without the marker, leave its logit out of the sum; a logit of
# $-\infty$ does that. Dividing by $1 - p_\#$ is the same on paper, but what if $p_\#$ rounds to 1?

# %% [check a3.reward]

# %% [show]
print("The example's line earns", round(provided("a3.reward"), 3), "nats")

# %% [question a3.why_renormalise]
# Suppose the first token were *not* renormalised, and q always thinks before a certain line, because thinking there
# helps $\pi$. What happens to the rewards of act and think once $\pi$ (in the M-step) has learned to think there?
# RUBRIC
# 1 point: pi then gives '#' a high probability at that place, so the line's first token gets log(1 - p#) on top, very
# negative. 1 point: acting would be punished twice (the choice of the latent is already in log q / log p of z); rewards
# would depend on how likely pi finds thinking, not on how well the line fits.

# %% [answer a3.why_renormalise]
# $\pi$ would expect `#` there, and any line written without a thought would pay $\log(1 - p_\#)$ in its first token,
# although that is the price of the *choice*, not of the line. Rewards would then favour whatever $\pi$ does already.

# %% [about a3.credit]
# A thought helps the lines that are written under it. Its **return** adds the rewards from its line on. The usual
# reward-to-go runs to the end of the program; here is the version that ends where the *next thought* begins, since from
# there on another latent is in force:
#
# $$R_t = \sum_{k=t}^{n_t - 1} \gamma^{k - t}\, r_k, \qquad
# n_t = \text{the first line after } t \text{ with a thought, or the end}$$
#
# The same holds for a line without a thought (*act* keeps the intent): its credit, too, ends before the next thought.
# Rows of a batch are padded: program b has `lengths[b]` lines, what stands beyond may be anything, and the result there
# is 0.
#
# By hand, $\gamma = 0.5$, rewards (-1, -2, -4), a thought before line 2 (counted from 0):
# $R_0 = -1 - 0.5 \cdot 2 = -2$, $R_1 = -2$, $R_2 = -4$.


# %% [exercise a3.credit]
def credit(reward: np.ndarray, thoughts: np.ndarray, lengths: np.ndarray, discount: float) -> np.ndarray:
    """(B, L) returns. reward: (B, L); thoughts: (B, L) bool, a thought before that line; lengths: (B,)."""
    # BEGIN SOLUTION
    result = np.zeros_like(reward)
    for b, length in enumerate(lengths):
        later = 0.0  # return of the line after, if it is under the same latent
        for t in reversed(range(length)):
            result[b, t] = reward[b, t] + discount * later
            later = 0.0 if thoughts[b, t] else result[b, t]
    return result
    # END SOLUTION


# %% [hint a3.credit]
# From the last line to the first: $R_t = r_t + \gamma R_{t+1}$, except where line $t + 1$ begins a new thought.

# %% [check a3.credit]

# %% [show]
print("Returns of the example:", provided("a3.credit"))

# %% [question a3.why_truncate]
# Credit to the end of the program and credit until the next thought: which has the larger variance, which may be
# biased, and why?
# RUBRIC
# 1 point: to the end has the larger variance: it contains later rewards that mostly depend on later latents. 1 point:
# until the next thought may be biased: a latent also changes the text that later thoughts and lines read, and that
# effect is cut off.

# %% [answer a3.why_truncate]
# To the end: unbiased, but it carries the noise of all later choices. Until the next thought: less noise, but what a
# thought does to lines beyond the next thought (they still read its text) is not credited.

# %% [about a3.baseline]
# A return of -6 nats: good or bad? That depends on the program and on the place. So a return is compared with what
# the *other* rollouts of the same program earned **at the same line** (leave one out; Kool et al. 2019, *Buy 4
# REINFORCE samples, get a baseline for free*):
#
# $$A_{p,g,t} = R_{p,g,t} - \text{mean of } R_{p,h,t} \text{ over } h \ne g$$
#
# Some rollouts have no decision at a line (a thought before it was cut off, say): `decided` is false there. They enter
# no baseline and get 0. Where nobody else decided, the advantage is 0, too. No division by a standard deviation.
#
# By hand: returns at one line (-6, -3, -3), all decided: $A = (-6 + 3,\ -3 + 4.5,\ -3 + 4.5) = (-3, 1.5, 1.5)$. If the
# third did not decide: (-3, 3, 0).


# %% [exercise a3.baseline]
def line_advantages(returns: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """(P, G, L) advantages. returns: (P, G, L), P programs, G rollouts of each, L lines; decided: (P, G, L) bool."""
    # BEGIN SOLUTION
    total = np.where(decided, returns, 0.0).sum(1, keepdims=True)  # (P, 1, L)
    others = decided.sum(1, keepdims=True) - 1
    baseline = (total - returns) / np.maximum(others, 1)
    return np.where(decided & (others > 0), returns - baseline, 0.0)
    # END SOLUTION


# %% [hint a3.baseline]
# The sum of the others is the sum of all that decided minus one's own. Along which axis do the rollouts of a program
# lie?

# %% [check a3.baseline]

# %% [show]
print("Advantages of the example:", np.round(provided("a3.baseline"), 2).ravel())

# %% [question a3.why_same_line]
# Why compare at the same line, instead of with one number for the whole rollout? And why may the baseline not contain
# the rollout itself?
# RUBRIC
# 1 point: returns shrink towards the end of a program (fewer lines left), so that one number would make early decisions
# look bad and late ones good whatever was chosen. 1 point: a baseline must not depend on the sample it is subtracted
# from; with its own return in it, the expected gradient shrinks by (G-1)/G.

# %% [answer a3.why_same_line]
# A reward-to-go at the first line sums over many lines, at the last over one: a common baseline would measure the
# place, not the choice. With the own return in it the baseline depends on the sample, and the gradient is scaled down
# by (G-1)/G.

# %% [about a3.branch]
# q's latent at a line is *one* choice with two kinds of outcome, and both have a probability:
#
# $$\log q(z_t) = \begin{cases}
# \log q(\#) + \sum \log q(\text{the thought's tokens}) & \text{if it thinks} \\
# \log (1 - q(\#)) & \text{if it does not} \end{cases}$$
#
# $q(\#)$ is the marker's softmax probability among all V tokens. `thought_logp` holds the sum over the thought's tokens
# (its newline included); at lines without a thought it may hold anything.
#
# By hand: logits (0, 0, 0), marker 0: $q(\#) = 1/3$. Not thinking: $\ln(2/3) = -0.405$. Thinking, with a thought
# of -1.5: $\ln(1/3) - 1.5 = -2.599$.
#
# A trained q is often all but sure. With logits (90, 0, 0) the chance *not* to think is $2 e^{-90}$, and its log -89.3,
# not $-\infty$. The result must carry the right gradient to the logits, there too.


# %% [exercise a3.branch]
def latent_logp(logits: torch.Tensor, marker: int, think: torch.Tensor, thought_logp: torch.Tensor) -> torch.Tensor:
    """(L,) log q(z_t). logits: (L, V); think: (L,) bool; thought_logp: (L,)."""
    # BEGIN SOLUTION
    everything = logits.logsumexp(1)
    is_marker = torch.arange(logits.shape[1]) == marker
    no_thought = logits.masked_fill(is_marker, float("-inf")).logsumexp(1) - everything
    thought = logits[:, marker] - everything + torch.where(think, thought_logp, 0.0)
    return torch.where(think, thought, no_thought)
    # END SOLUTION


# %% [hint a3.branch]
# $1 - q(\#)$ is the sum of the other tokens' probabilities: a log-sum-exp over them minus one over all. `masked_fill`
# with `-inf` leaves a token out; its gradient is 0.

# %% [check a3.branch]

# %% [show]
values, gradient = provided("a3.branch")
print("log q of the example:", np.round(values, 3))

# %% [question a3.why_both]
# A student leaves the act branch out: "where nothing is written there is nothing to learn". Suppose all thoughts cost
# more than they help. What does q learn with, and what without that branch?
# RUBRIC
# 1 point: with both: acting has positive advantage, its log-probability rises, the share of thoughts falls to 0. 1
# point: without: only the thoughts that were drawn are pushed down (or, worse than the group, up), nothing raises
# acting directly; the gradient is biased: sum over outcomes of q(z) grad log q(z) is no longer 0, so even a constant
# return moves the policy.

# %% [answer a3.why_both]
# With both branches acting, which earns more than the group's mean, becomes likelier and thinking dies out. Without it
# the estimate is no gradient of anything: $E[\nabla \log q] \ne 0$, so even a constant added to all returns pushes q
# somewhere.

# %% [about a3.gradient]
# Now the gradient. Let q at line t be a softmax over K latents with a **temperature** $\tau$:
# $q_t = \operatorname{softmax}(x_t / \tau)$. G rollouts drew `choices[g, t]` and have advantages $A_{g,t}$. REINFORCE
# (Williams 1992) climbs
#
# $$g = \nabla_x\, \frac1G \sum_g \sum_t A_{g,t} \log q_t(z_{g,t})$$
#
# with A constant. Derive it by hand; use no autograd if you want to learn something. What is
# $\partial \log q(z) / \partial x_k$?
#
# By hand: one line, one rollout, logits (0, 0), $\tau = 1$, choice 0, advantage 2:
# $2 \cdot (1 - 0.5,\ 0 - 0.5) = (1, -1)$. With $\tau = 0.5$ it is twice that.


# %% [exercise a3.gradient]
def policy_gradient(logits: np.ndarray, choices: np.ndarray, advantage: np.ndarray, temperature: float) -> np.ndarray:
    """(L, K) gradient by the logits. logits: (L, K), may be large; choices: (G, L) latents; advantage: (G, L)."""
    # BEGIN SOLUTION
    x = logits / temperature
    q = np.exp(x - x.max(1, keepdims=True))
    q = q / q.sum(1, keepdims=True)  # (L, K)
    chosen = np.eye(logits.shape[1])[choices]  # (G, L, K)
    score = chosen - q
    return (advantage[:, :, None] * score).mean(0) / temperature
    # END SOLUTION


# %% [hint a3.gradient]
# $\log q(z) = x_z/\tau - \log \sum_k e^{x_k/\tau}$. The derivative by $x_k$ has two parts, one of them only for k = z,
# and a factor in front of both. `np.eye(K)[choices]` gives one-hot rows.

# %% [check a3.gradient]

# %% [show]
print("Gradient of the example:", np.round(provided("a3.gradient"), 3))

# %% [question a3.why_temperature]
# A student draws latents at temperature 0.5 but computes $\log q$ at temperature 1. Is the gradient still right? When
# does it matter most?
# RUBRIC
# 1 point: no: REINFORCE needs the gradient of the distribution that the samples were drawn from; this one is off-policy
# without a correction. 1 point: it matters most where the two distributions differ, i.e. for logits far apart (nearly
# sure choices); for equal logits they agree up to the factor 1/tau.

# %% [answer a3.why_temperature]
# It is the gradient of another distribution than the one that drew the samples: biased. For nearly equal logits both
# agree up to a factor, for large differences between logits the sampled choices are much surer than the
# log-probabilities say.

# %% [about a3.loss]
# Put it together, as a loss whose `backward()` gives the policy gradient. Besides the line's log-likelihood the reward
# has a pull towards $\pi$'s own latents (the ELBO's KL, sampled):
#
# $$r_t = \log \pi(a_t) - \text{kl} \cdot \big(\log q(z_t) - \log \pi(z_t)\big), \qquad
# R_t = \sum_{k \ge t} r_k, \qquad
# \text{loss} = -\frac1B \sum_b \sum_t A_{b,t} \log q(z_{b,t})$$
#
# $A$ is $R$ minus the mean R at the same line of the other rows of the program; a program's `group` rows lie side by
# side. At lines where no latent is offered there is no KL term and no term in the loss (`q_logp` and `pi_logp` may hold
# any number there), but the line itself still earns. Rewards and advantages are *constants* to the gradient, although
# $\log q$ stands in them. Lines beyond a program's end have `line_logp` 0 and offer nothing.
#
# By hand: two rows, one line, kl = 0, log-likelihoods (-3, -4): A = (1, -1). With $\log q$ = (-1, -0.5): loss =
# $-(1 \cdot (-1) + (-1) \cdot (-0.5)) / 2 = 0.25$, gradient $(-0.5, 0.5)$.


# %% [exercise a3.loss]
def estep_loss(
    q_logp: torch.Tensor,
    pi_logp: torch.Tensor,
    line_logp: torch.Tensor,
    offered: torch.Tensor,
    group: int,
    kl: float,
) -> torch.Tensor:
    """The loss, one number. q_logp, pi_logp: (B, L) log q, log pi of z_t; line_logp: (B, L); offered: (B, L) bool."""
    # BEGIN SOLUTION
    pull = torch.where(offered, q_logp.detach() - pi_logp, 0.0)
    reward = line_logp - kl * pull
    returns = reward.flip(1).cumsum(1).flip(1)  # (B, L)
    grouped = returns.view(-1, group, returns.shape[1])
    others = (grouped.sum(1, keepdim=True) - grouped) / (group - 1)
    advantage = (grouped - others).view_as(returns)
    return -(advantage * q_logp * offered).sum() / len(q_logp)
    # END SOLUTION


# %% [hint a3.loss]
# `x.detach()` has x's values and no gradient. `x.flip(1).cumsum(1).flip(1)` sums from each place to the end.
# `view(-1, group, L)` puts a program's rows together.

# %% [check a3.loss]

# %% [show]
loss, gradient = provided("a3.loss")
print(f"loss {loss}, gradient {np.ravel(gradient)}")

# %% [question a3.why_constant_reward]
# Suppose the gradient flows through the reward as well. Then A brings $-\text{kl}\, \nabla \log q(z_k)$ of the row's
# own line t, of its later lines and of the other rows, each times $\log q(z_t)$. Which of these vanish in expectation,
# and what does the one that stays do to q?
# RUBRIC
# 1 point: later lines and other rows vanish: given what came before, E[grad log q] = 0 and log q(z_t) does not depend
# on them. 1 point: the own line stays: E[log q grad log q] = grad E[log q] = -grad H, so that the entropy part of the
# KL counts twice and q is pushed to be more random than the objective asks.

# %% [answer a3.why_constant_reward]
# For later lines and other rows $E[\nabla \log q] = 0$, times a factor that does not depend on them: only noise. The
# own line stays: $E[\log q\, \nabla \log q] = \nabla E[\log q] = -\nabla H[q]$. The REINFORCE term holds that part of
# the KL already, so it counts twice, and q is pushed to more entropy than the objective asks for.
