# %% [markdown]
# # A4: the M-step and EM, against next-token prediction
#
# RA3 treats the reasoning before each line of expert code as a **latent**: something that is not in the data and has
# to be inferred. Its loop is **EM** (expectation maximisation; Dempster, Laird and Rubin 1977). The **E-step** finds
# a distribution $q$ of latents for the expert's programs (assignment A3). The **M-step**, your subject here, writes
# latents drawn from $q$ into the code and fine-tunes the policy $\pi$ on the result by plain **next-token
# prediction** (NTP). The baseline is NTP on the same code without latents.
#
# Words used below. A **thought** is a latent with text: a comment line before a line of code; `None` means that no
# thought stands there. **Evidence** is the log-probability of the code itself, latents summed out. **Counted** tokens
# enter the loss. A **nat** is the unit of log-probabilities with base e. An **arm** is one of the methods that are
# compared.
#
# The method: *Learning to Reason as Action Abstractions with Scalable Mid-Training RL* (arXiv 2509.25810). About 2 h
# 30 min. `check(...)` tries your function on the example and on practice inputs; grading uses fresh ones.

# %%
import numpy as np
import torch

from ra3_lab.course import begin, check, provided

begin("a4")

# %% [about a4.weave]
# The M-step's data: prompt, then for each line its thought, if there is one, and the line; last `<end>`. A thought is
# written as `#`, its words and a newline; a line gets a newline at its end. Everything but the prompt is counted, the
# newlines and `<end>` too.
#
# By hand: prompt (`def`), one line (`return`, `x`), thought (`done`) give the tokens `def # done ⏎ return x ⏎ <end>`,
# counted from `#` on.
#
# An *empty* thought `[]` is a thought without words; it still writes `#` and a newline.


# %% [exercise a4.weave]
def weave(prompt: list[str], lines: list[list[str]], thoughts: list[list[str] | None]) -> tuple[list[str], list[bool]]:
    """The tokens, and for each whether it is counted. The newline token is "\\n"."""
    # BEGIN SOLUTION
    tokens = list(prompt)
    for line, thought in zip(lines, thoughts, strict=True):
        if thought is not None:
            tokens += ["#", *thought, "\n"]
        tokens += [*line, "\n"]
    tokens.append("<end>")
    return tokens, [i >= len(prompt) for i in range(len(tokens))]
    # END SOLUTION


# %% [hint a4.weave]
# What is `bool([])`? Compare with `None` by `is`. Which tokens are counted follows from their place alone.

# %% [check a4.weave]

# %% [question a4.why_own_weights]
# After an E-step the M-step fine-tunes $\pi$ from $\pi$'s own weights, not from $q$'s, although $q$ has just been
# trained by RL. Why? And why are thoughts counted in the loss?
# RUBRIC
# 1 point: q was trained for the reward only, its likelihood of code may have suffered; pi must be a model of code and
# thoughts, and q is only the distribution that latents are drawn from. 1 point: the policy has to produce thoughts
# itself when RL starts or code is written; uncounted, p(z) would not be learned (the KL term of the bound).

# %% [answer a4.why_own_weights]
# $q$ is a tool for drawing latents; RL tuned it for one reward and may have spoilt it as a model of code. $\pi$ keeps
# what it knows and learns from the annotated programs. Thoughts are counted because $\pi$ must later think by itself.

# %% [about a4.micro_loss]
# An update's batch rarely fits into memory; it is cut into **micro-batches** whose gradients are added. The mean loss
# over the *whole* update's counted tokens must not depend on the cut: each part sums its tokens and divides by the
# whole update's number, `total`.
#
# A model's logits at position t are for the token at position t + 1; the first token is predicted by nothing, so
# never counted.
#
# $$\text{loss} = -\frac{1}{\text{total}} \sum_{b} \sum_{t \ge 1} [\text{counted}_{bt}] \,
# \log \operatorname{softmax}(\text{logits}_{b,t-1})[\text{token}_{bt}]$$
#
# By hand: one row, tokens (0, 1), logits at position 0 (0, 0): the second token has probability 1/2. With total 4 the
# loss is $0.693 / 4 = 0.173$. Four such parts add up to 0.693.
#
# Logits may be large: hundreds apart.


# %% [exercise a4.micro_loss]
def micro_loss(logits: torch.Tensor, tokens: torch.Tensor, counted: torch.Tensor, total: int) -> torch.Tensor:
    """This part of the loss. logits: (B, T, V); tokens: (B, T); counted: (B, T) bool; total: of all parts."""
    # BEGIN SOLUTION
    logp = logits[:, :-1].log_softmax(-1)
    chosen = logp.gather(-1, tokens[:, 1:, None])[..., 0]
    return -(chosen * counted[:, 1:]).sum() / total
    # END SOLUTION


# %% [hint a4.micro_loss]
# Tokens from position 1 on, logits up to the last but one. `log_softmax` is not the same as `softmax(...).log()` in
# floating point. `gather` picks one number a token.

# %% [check a4.micro_loss]

# %% [question a4.why_total]
# Two micro-batches hold 10 and 1000 counted tokens. If each were divided by its own count and the two averaged, how
# much would a token of the first weigh against one of the second? What does this do when programs with thoughts are
# longer than those without?
# RUBRIC
# 1 point: a hundred times as much. 1 point: short programs (without thoughts) dominate, and RA3 and NTP would be
# trained with different weights per token, so the comparison of arms would be unfair.

# %% [answer a4.why_total]
# A hundred times. Programs that think are longer, so their tokens would count less, and arms would differ by more
# than their latents.

# %% [about a4.mstep_table]
# Where latents are symbols $z$ and lines are kinds $a$, the M-step has a closed form. It maximises the expected
# log-likelihood $\sum_{n,t} \sum_z q_{nt}(z) \log p(a_{nt} \mid z)$; the solution counts, with each latent weighed by
# its probability:
#
# $$p(a \mid z) = \frac{c_{za} + \text{pseudo}}{\sum_{a'} (c_{za'} + \text{pseudo})}, \qquad
# c_{za} = \sum_{n} \sum_{t < \text{length}_n} q_{nt}(z)\, [a_{nt} = a]$$
#
# By hand: two lines, kinds 0 and 1, with q = (0.75, 0.25) and (0.25, 0.75). Latent 0 has counts (0.75, 0.25): that is
# its row. Latent 1's row is (0.25, 0.75).
#
# Programs have different lengths; what stands beyond is padding. A latent whose row of counts plus pseudo-counts is
# all zero keeps its row of `previous`.


# %% [exercise a4.mstep_table]
def mstep_table(
    actions: np.ndarray, lengths: np.ndarray, q: np.ndarray, previous: np.ndarray, pseudo: float
) -> np.ndarray:
    """(Z, A) rows p(a | z). actions: (N, L) kinds; lengths: (N,); q: (N, L, Z); previous: (Z, A)."""
    # BEGIN SOLUTION
    exists = np.arange(actions.shape[1]) < lengths[:, None]
    seen = np.eye(previous.shape[1])[actions] * exists[..., None]  # (N, L, A)
    counts = np.einsum("nlz,nla->za", q, seen) + pseudo
    totals = counts.sum(1, keepdims=True)
    return np.where(totals > 0, counts / np.where(totals > 0, totals, 1), previous)
    # END SOLUTION


# %% [hint a4.mstep_table]
# Three loops are fine. `np.eye(A)[actions]` is a one-hot array, and `np.einsum` sums over programs and lines at once.

# %% [check a4.mstep_table]

# %% [question a4.why_soft]
# Neural RA3 draws *one* latent sequence for each program and trains on it. The table above uses all of $q$. What is
# the relation of the two, and what is lost?
# RUBRIC
# 1 point: a sample's gradient is an unbiased estimate of the expected one (Monte Carlo EM). 1 point: variance; rare
# good latents are seen seldom; drawing again each round helps. Taking only the likeliest latent instead would be
# biased (hard EM).

# %% [answer a4.why_soft]
# A sampled annotation gives the right gradient on average (Monte Carlo EM) with noise. Always taking the likeliest
# latent would be another algorithm, hard EM, with another fixed point.

# %% [about a4.em_evidence]
# The whole loop, exactly: each program $n$ has *one* latent $z$ with shares $p(z)$ (`mix`), and its lines are drawn
# independently from $p(a \mid z)$ (`emission`).
#
# - Evidence: $\sum_n \log \sum_z p(z) \prod_t p(a_{nt} \mid z)$.
# - E-step: $q_n(z) \propto p(z) \prod_t p(a_{nt} \mid z)$.
# - M-step: new emission by weighted counts (no pseudo-count), new mix $p(z) = \frac1N \sum_n q_n(z)$.
#
# Return the evidence of the model as given and after each of the `rounds`: rounds + 1 numbers, which never fall.
# Programs may have hundreds of lines.
#
# By hand: one program with lines (0, 1), mix (0.5, 0.5), emissions (0.6, 0.4) and (0.4, 0.6): evidence
# $\log(0.5 \cdot 0.24 + 0.5 \cdot 0.24) = -1.427$; $q = (0.5, 0.5)$; both new rows are (0.5, 0.5), evidence
# $\log 0.25 = -1.386$.


# %% [exercise a4.em_evidence]
def em_evidence(actions: np.ndarray, mix: np.ndarray, emission: np.ndarray, rounds: int) -> list[float]:
    """Evidence in nats, rounds + 1 values. actions: (N, L) kinds; mix: (Z,); emission: (Z, A)."""
    # BEGIN SOLUTION
    seen = np.eye(emission.shape[1])[actions].sum(1)  # (N, A): how often each kind occurs
    trace = []
    for _ in range(rounds + 1):
        joint = np.log(mix) + seen @ np.log(emission).T  # (N, Z)
        evidence = np.logaddexp.reduce(joint, axis=1, keepdims=True)
        trace.append(float(evidence.sum()))
        q = np.exp(joint - evidence)
        counts = q.T @ seen
        emission = counts / counts.sum(1, keepdims=True)
        mix = q.mean(0)
    return trace
    # END SOLUTION


# %% [hint a4.em_evidence]
# $0.2^{700}$ is 0 in floating point. Stay with logarithms: `np.logaddexp.reduce(x, axis=1)` is $\log \sum \exp$. A
# program's log-likelihood needs only how often each kind occurs in it.

# %% [check a4.em_evidence]

# %% [show]
print("Evidence by round:", [round(value, 4) for value in provided("a4.em_evidence")])

# %% [question a4.why_climbs]
# Why does exact EM never lower the evidence? Name one reason why RA3's loop may.
# RUBRIC
# 1 point: the E-step makes the ELBO equal the evidence, the M-step raises the ELBO, and the evidence is never below
# it. 1 point: any of: q is trained by noisy RL and not the exact posterior (bound not tight); latents are sampled;
# the M-step takes a few gradient steps that may overshoot; held-out data.

# %% [answer a4.why_climbs]
# After the exact E-step the bound touches the evidence; the M-step lifts the bound; the evidence lies above it. RA3's
# $q$ is an approximation, so its bound does not touch, and the M-step is a few noisy gradient steps.

# %% [about a4.bound]
# How likely is held-out code under a policy that thinks? Latents have to be summed out:
# $\log p(\text{lines}) = \log E_{z \sim q}\left[\frac{p(\text{lines} \mid z)\, p(z)}{q(z)}\right]$. With K sequences
# of thoughts drawn from $q$ for each program, and one number a line:
#
# $$\log \frac1K \sum_k \exp\Big(\sum_{l} \log p(a_l \mid z_k) + \log p(z_{kl}) - \log q(z_{kl})\Big)$$
#
# In expectation this is a lower bound that rises with K (Burda, Grosse and Salakhutdinov 2016, *Importance Weighted
# Autoencoders*). K = 1 gives the ELBO's integrand.
#
# By hand, K = 2, totals $\log 0.1$ and $\log 0.3$: $\log 0.2 = -1.609$. The mean of the logarithms would be $-1.753$.
#
# Lines that a program does not have (`exists` false) count nothing, whatever the arrays hold. Totals may be $-2000$
# nats.


# %% [exercise a4.bound]
def evidence_bound(lines: np.ndarray, prior: np.ndarray, proposal: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """(N,) nats. lines, prior (log p of thoughts), proposal (log q): (N, K, L); exists: (N, L) bool."""
    # BEGIN SOLUTION
    total = np.where(exists[:, None], lines + prior - proposal, 0.0).sum(-1)
    return np.logaddexp.reduce(total, axis=1) - np.log(lines.shape[1])
    # END SOLUTION


# %% [hint a4.bound]
# First the sum over lines, then the mean over samples. For the mean of tiny numbers take out the largest:
# $\log \frac1K \sum e^{x_k} = m + \log \frac1K \sum e^{x_k - m}$.

# %% [check a4.bound]

# %% [question a4.why_causal]
# Somebody draws thoughts with a $q$ that has *seen* the line, forgets the weights p/q, and reports a far better
# likelihood than NTP's. What is wrong? And what does K = 1 do to RA3 in the comparison?
# RUBRIC
# 1 point: the thought may contain the line (it leaks the answer): p(lines | z) is near 1, the price is hidden in
# p(z)/q(z). 1 point: K = 1 gives a lower bound with a gap, so RA3 is under-estimated while NTP's value is exact;
# larger K closes the gap.

# %% [answer a4.why_causal]
# Such a thought can quote the line. The weight p(z)/q(z) charges for that; without it the number means nothing. With
# K = 1 RA3's value is a loose lower bound, NTP's is exact; so K should be large, and the remaining gap counts against
# RA3.

# %% [about a4.worth]
# Did a thought pay? Compare the log-likelihood of each line with the thoughts (`informed`) and without any (`plain`).
# A thought *governs* the lines from its own on, up to the line before the next thought, at most `horizon` of them.
# Its gain is the sum of informed − plain over these, minus its price c (`cost`), once.
#
# By hand: thoughts before lines 0 and 2 of 3, informed (−1, −1, −2), plain (−2, −1.5, −2.5), c = 0.2, horizon 3.
# First: 1 + 0.5 − 0.2 = 1.3. Second: 0.5 − 0.2 = 0.3.
#
# Return one gain a thought, in order.


# %% [exercise a4.worth]
def thought_gains(
    thought: np.ndarray, informed: np.ndarray, plain: np.ndarray, cost: float, horizon: int
) -> np.ndarray:
    """Gains in nats, one a thought. thought: (L,) bool, whether one stands before the line; others: (L,) nats."""
    # BEGIN SOLUTION
    starts = np.flatnonzero(thought)
    ends = [*starts[1:], len(thought)]
    gain = informed - plain
    sums = [gain[s : min(e, s + horizon)].sum() for s, e in zip(starts, ends, strict=True)]
    return np.array(sums) - cost
    # END SOLUTION


# %% [hint a4.worth]
# The next thought's line is where this one stops: `starts[1:]`, and the program's end for the last.

# %% [check a4.worth]

# %% [question a4.why_price]
# With c = 0 a policy thinks before nearly every line, with large c never. Which arm does the second become? Why is
# "think always" no bargain even if every thought gains a little?
# RUBRIC
# 1 point: NTP. 1 point: thoughts cost tokens (time, context) in training and at every later sample, and rarely used
# specific ones are not abstractions: few reusable actions need less data, long ones shorten the horizon.

# %% [answer a4.why_price]
# It becomes NTP. Each thought costs tokens each time code is written, and a thought for every line neither shortens
# the horizon nor is reused; the price selects those that carry several lines.

# %% [about a4.paired]
# Both arms were trained with the same S seeds and tested on the same T tasks. Luck of a seed (data order, sampling)
# is shared by both arms of a pair, and so is a task's difficulty; differences remove it. The unit that was drawn
# independently is the *training run*:
#
# - the gain is the mean of RA3 − NTP over seeds and tasks;
# - its standard error is the standard deviation (dividing by S − 1) of the S seeds' mean differences, over $\sqrt S$.
#
# By hand: mean differences of three seeds 0.02, 0.04, 0.06: gain 0.04, deviation 0.02, standard error
# $0.02 / \sqrt 3 = 0.0115$.


# %% [exercise a4.paired]
def paired_gain(ra3: np.ndarray, ntp: np.ndarray) -> tuple[float, float]:
    """Gain and standard error. ra3, ntp: (S, T) pass rates; row i of both was trained with seed i."""
    # BEGIN SOLUTION
    by_seed = (ra3 - ntp).mean(1)
    return by_seed.mean(), by_seed.std(ddof=1) / np.sqrt(len(by_seed))
    # END SOLUTION


# %% [hint a4.paired]
# Differences first, then the mean over tasks; numpy's `std` divides by S unless told otherwise.

# %% [check a4.paired]

# %% [question a4.why_paired]
# One run on 10 000 tasks gives RA3 a lead of 3 points with an error over tasks of 0.3. May one say that RA3 beats
# NTP? And what must be equal between the arms besides seeds and tasks?
# RUBRIC
# 1 point: only that this run beats that one: the spread over training runs is unknown, and one seed says nothing
# about it. 1 point: the budget: E-step updates must be given to NTP as further updates (or equal tokens or time), the
# tuning effort, the decoding settings.

# %% [answer a4.why_paired]
# One may say that this model beats that one. Another seed may turn it round. Equal must also be the budget, NTP
# getting RA3's E-step updates on top, the trials of tuning, and how samples are drawn.
