# %% [markdown]
# # A2: the temporal ELBO and its KL split
#
# Expert code shows *what* was written, not *why*. RA3 (arXiv 2509.25810) puts a **latent** $z_t$ before each line
# $a_t$: the intent behind it, which mostly stays the same from line to line and sometimes changes. How good is a guess
# of the latents? The **temporal ELBO** (evidence lower bound) answers with one number:
#
# $$\log p(a_{0:T}) \ \ge\ E_q \Big[ \sum_t \log \pi(a_t \mid z_t) -
# KL\big( q(z_t \mid z_{t-1}) \,\|\, p(z_t \mid z_{t-1}) \big) \Big]$$
#
# Words used below. $\pi$ gives the probability of a line, given its latent. The **prior** $p$ says how latents move
# before any code is seen; the **posterior** $q$ is our guess after seeing code. The **Kullback-Leibler divergence**
# $KL(q \| p) = \sum_z q(z) \log (q(z)/p(z))$ is at least 0, and 0 only if q = p; where $q(z) = 0$ the term is 0.
# Logarithms are natural, so all is measured in **nats**. $H[q] = -\sum q \log q$ is the **entropy**.
#
# You will write the prior, its price, both parts of the KL, and then the bound, what it is a bound of, and the q that
# makes it tight. Seven exercises, about 2 h 35 min.

# %%
import math

import numpy as np

from ra3_lab.course import begin, check, provided

begin("a2")

# %% [about a2.path_prior]
# The **temporal consistency prior** says: keep the latent with probability $\alpha$, else draw a new one evenly from
# the set Z of thoughts (the draw may give the old thought again):
#
# $$p(z_t \mid z_{t-1}) = \alpha\, 1\{z_t = z_{t-1}\} + (1 - \alpha)\, \frac{1}{|Z|}$$
#
# Thoughts are numbered 1 to `size`. 0 is "no thought": it stands before the first line, can be *kept*, and is no member
# of Z, so that no draw gives it. A path never goes back to 0.
#
# By hand, $\alpha = 0.5$, size 4, path (0, 2, 2): keep "no thought" 0.5; draw thought 2: 0.5/4 = 0.125; stay at
# 2: 0.5 + 0.125 = 0.625. The log of the product is -3.243.


# %% [exercise a2.path_prior]
def path_log_prior(path: list[int], alpha: float, size: int) -> float:
    """log p(z_0, ..., z_T), 0 standing before z_0. path: latents, 0 to size; it may have thousands."""
    # BEGIN SOLUTION
    fresh, before, total = (1 - alpha) / size, 0, 0.0
    for z in path:
        chance = fresh if z > 0 else 0.0
        if z == before:
            chance += alpha
        total += math.log(chance)
        before = z
    return total
    # END SOLUTION


# %% [hint a2.path_prior]
# Which two ways lead from thought 2 to thought 2? And how many from "no thought" to "no thought"? The product of 600
# small numbers is 0 in floating point; the sum of their logarithms is not.

# %% [check a2.path_prior]

# %% [show]
for alpha in (0.1, 0.5, 0.9):
    kept, changed = alpha + (1 - alpha) / 4, (1 - alpha) / 4
    print(f"alpha = {alpha}: staying costs {-math.log(kept):.2f} nats, a given new thought {-math.log(changed):.2f}")

# %% [question a2.why_sticky]
# What would the best latents of a program look like under $\alpha = 0$, and what as $\alpha \to 1$? Why is neither
# an *abstraction*?
# RUBRIC
# 1 point: alpha = 0: a latent of its own for every line, nothing lasts; alpha -> 1: one latent (or none) for all lines,
# a change costs infinitely much. 1 point: an abstraction lasts for several lines (reuse) and yet tells parts of a
# program apart.

# %% [answer a2.why_sticky]
# With $\alpha = 0$ staying is no cheaper than changing: each line gets the latent that fits it alone. As $\alpha \to 1$
# nothing is worth a change. An abstraction lies between: it lasts for some lines, and it changes where the intent does.

# %% [about a2.alpha_of_cost]
# Drawing *one particular* new thought costs
#
# $$c = \log \frac{\alpha\,|Z|}{1 - \alpha}$$
#
# nats more than keeping (against keeping "no thought": $\log \alpha - \log \frac{1-\alpha}{|Z|}$). In training on
# text, |Z| has no meaning, and RA3 uses a constant price c for each thought instead. Which $\alpha$ is behind a price?
# Solve for it.
#
# By hand: c = 0 and |Z| = 4 give $\alpha = 1/5$: then keeping and each of the four thoughts have the same chance. c =
# ln 4 gives 1/2.
#
# Prices may be large (c = 800 all but forbids thinking); the result must still be right.


# %% [exercise a2.alpha_of_cost]
def alpha_of_cost(cost: float, size: int) -> float:
    """alpha of the sticky prior under which a new thought costs `cost` nats. size: |Z|."""
    # BEGIN SOLUTION
    return 1 / (1 + size * math.exp(-cost))
    # END SOLUTION


# %% [hint a2.alpha_of_cost]
# $e^c (1 - \alpha) = \alpha |Z|$. Divide by what may become huge.

# %% [check a2.alpha_of_cost]

# %% [show]
print("alpha of the example:", round(provided("a2.alpha_of_cost"), 3))

# %% [question a2.why_constant]
# The paper tries c = 0.01, 0.05 and 0.2. With a set of 1000 thoughts, which $\alpha$ would these be? What does that say
# about reading c as a KL?
# RUBRIC
# 1 point: alpha about 0.001 (1/(1 + 1000 e^-c)), i.e. a prior that nearly always redraws. 1 point: c is a tuned price,
# not the KL of a sticky prior over a countable set; it depends on how log-likelihoods are scaled (sum or mean over
# tokens).

# %% [answer a2.why_constant]
# $1 / (1 + 1000 e^{-0.05}) \approx 0.001$ for all three: hardly any stickiness. So c is not the KL of such a prior but
# a price tuned by hand, and it depends on the scale in which log-likelihoods are counted.

# %% [about a2.kl_parts]
# Think of the choice at a line as a pair: renew or keep, then which thought. Let q renew with probability $\rho$ and
# then draw from $q(z \mid \text{renew})$. By the chain rule the KL of the pair from the prior is
#
# $$\underbrace{KL\big(\mathrm{Bern}(\rho) \,\|\, \mathrm{Bern}(1 - \alpha)\big)}_{\text{when to think}} +
# \underbrace{\rho\,\big(\log |Z| - H[q(z \mid \text{renew})]\big)}_{\text{what to think}}$$
#
# Networks give **logits**: $\rho = 1 / (1 + e^{-x})$ for `renew_logit` x, and $q(z \mid \text{renew})$ is the softmax
# of `choice_logits`. A trained q is often sure: x may be 900 or -800. Return both parts, finite and right there, too.
#
# By hand: x = 0, so $\rho = 0.5$; $\alpha = 0.9$: $0.5 \ln \frac{0.5}{0.1} + 0.5 \ln \frac{0.5}{0.9} = 0.511$. Choice
# logits (0, 0): entropy $\ln 2 = \log |Z|$, so the second part is 0.


# %% [exercise a2.kl_parts]
def kl_parts(renew_logit: float, choice_logits: np.ndarray, alpha: float) -> list[float]:
    """[when to think, what to think], in nats. choice_logits: (|Z|,)."""
    # BEGIN SOLUTION
    log_renew = -np.logaddexp(0.0, -renew_logit)  # log rho
    log_keep = -np.logaddexp(0.0, renew_logit)  # log(1 - rho)
    renew, keep = np.exp(log_renew), np.exp(log_keep)
    when = renew * (log_renew - np.log(1 - alpha)) + keep * (log_keep - np.log(alpha))
    logp = choice_logits - np.logaddexp.reduce(choice_logits)
    what = np.log(len(logp)) + np.exp(logp) @ logp
    return [when, renew * what]
    # END SOLUTION


# %% [hint a2.kl_parts]
# $\log \rho = -\log(1 + e^{-x})$ and $\log (1 - \rho) = -\log(1 + e^{x})$: never form $1 - \rho$. `np.logaddexp(0, x)`
# is $\log(1 + e^x)$ without overflow, `np.logaddexp.reduce` the log of a sum of exponentials.

# %% [check a2.kl_parts]

# %% [show]
print("when, what:", np.round(provided("a2.kl_parts"), 4))

# %% [question a2.why_two_parts]
# During training the first part falls to 0 and the second stays high. What has q learned about its thoughts, and what
# not? And what if it is the other way round?
# RUBRIC
# 1 point: it renews as often as the prior, independent of fit; when it does, it chooses few particular thoughts. 1
# point: the other way round: it knows when (rho far from the prior's), but what it draws is as spread out as the prior:
# the thought carries no information.

# %% [answer a2.why_two_parts]
# First case: it thinks as often as the prior would, whatever the place, but chooses particular thoughts. Second: it has
# learned places, not contents; its thoughts are drawn evenly and tell the lines nothing.

# %% [about a2.overcharge]
# The split is exact on the pair (renewed?, z). On $z_t$ alone it is an upper bound: a renewal may draw the old thought,
# and then nobody can see from z that it was one. By the chain rule the difference is the KL of what stays hidden:
#
# $$KL_{\text{pair}} - KL_{z} = q(z_t = z_{t-1}) \cdot KL\big( \mathrm{Bern}(b_q) \,\|\, \mathrm{Bern}(b_p) \big)$$
#
# where $b$ is the probability that it *was* a renewal, given that z stayed the same: under q,
# $b_q = \rho\, q(z_{t-1} \mid \text{renew}) \,/\, q(z_t = z_{t-1})$; under the prior alike with $1 - \alpha$ and
# $1/|Z|$. What q never sees costs nothing.
#
# By hand, |Z| = 2, $\alpha = 0.5$, $\rho = 0.5$, q always renews to the old thought: $q(z_t = z_{t-1}) = 1$,
# $b_q = 0.5$, $b_p = 0.25 / 0.75 = 1/3$. $0.5 \ln \frac{1/2}{1/3} + 0.5 \ln \frac{1/2}{2/3} = 0.0589$.


# %% [exercise a2.overcharge]
def overcharge(renew: float, choice: np.ndarray, alpha: float, previous: int) -> float:
    """KL of the pair minus KL of z alone. renew: rho, 0 to 1; choice: (|Z|,) q(z | renew); previous: index."""
    # BEGIN SOLUTION
    back = renew * choice[previous]
    stays = 1 - renew + back  # q(z_t = z_{t-1})
    if stays == 0:
        return 0.0
    fresh = (1 - alpha) / len(choice)
    under_q, under_p = back / stays, fresh / (alpha + fresh)
    pairs = ((under_q, under_p), (1 - under_q, 1 - under_p))
    return float(stays * sum(a * math.log(a / b) for a, b in pairs if a > 0))
    # END SOLUTION


# %% [hint a2.overcharge]
# First $q(z_t = z_{t-1})$: two ways lead there. When is it 0, and when is $b_q$ 0? Or compute both KLs and subtract:
# the pair has $1 + |Z|$ outcomes, z has $|Z|$.

# %% [check a2.overcharge]

# %% [show]
print("Charged too much in the example:", round(provided("a2.overcharge"), 4), "nats")

# %% [question a2.why_pair]
# Why does RA3's text rendering have no such gap? Think of what is written when a thought is the same as the one before.
# RUBRIC
# 1 point: a renewal is visible: it writes a comment line, even if its text repeats; act writes none. So the pair itself
# is the latent.

# %% [answer a2.why_pair]
# A thought is a line of text. Thinking the same again writes the line again and can be told from not thinking: the pair
# is what is observed.

# %% [about a2.elbo]
# Now the whole bound. Let there be K latents, and let the latent before the first line be number 0. Given are
# `loglik[t, z]` $= \log \pi(a_t \mid z)$ for the lines of one program, `prior[z, z']` $= p(z' \mid z)$, any matrix, and
# `q[t, z, z']` $= q(z_t = z' \mid z_{t-1} = z)$. Return the two terms
#
# $$E_q \Big[\sum_t \log \pi(a_t \mid z_t)\Big] \qquad
# E_q \Big[\sum_t \log \frac{q(z_t \mid z_{t-1})}{p(z_t \mid z_{t-1})}\Big]$$
#
# There are $K^T$ sequences of latents. Do not list them: carry along the distribution of the latent before the line.
#
# By hand, K = 2, two lines, q moves from 0 to 1 and then stays: the sequence is (1, 1) for sure. First term: loglik[0,
# 1] + loglik[1, 1]. With prior ((0.9, 0.1), (0.1, 0.9)) the KL is $-\ln 0.1 - \ln 0.9 = 2.408$.


# %% [exercise a2.elbo]
def elbo_terms(loglik: np.ndarray, prior: np.ndarray, q: np.ndarray) -> list[float]:
    """[expected log-likelihood, KL]; the ELBO is their difference. loglik: (T, K); prior: (K, K); q: (T, K, K)."""
    # BEGIN SOLUTION
    seen = np.zeros(len(prior))  # distribution of the latent before the line
    seen[0] = 1.0
    likelihood = divergence = 0.0
    for t in range(len(loglik)):
        joint = seen[:, None] * q[t]  # (K, K) of the latents before and at the line
        likelihood += (joint * loglik[t]).sum()
        ratio = np.log(np.where(q[t] > 0, q[t], prior) / prior)
        divergence += (joint * ratio).sum()
        seen = joint.sum(0)
    return [likelihood, divergence]
    # END SOLUTION


# %% [hint a2.elbo]
# The chance of the pair (z before, z' at the line) is that of z times `q[t, z, z']`. Sum it over z and you have the
# distribution for the next line. `0 * np.log(0)` is nan: replace the zeros before the log.

# %% [check a2.elbo]

# %% [show]
likelihood, divergence = provided("a2.elbo")
print(f"ELBO of the example: {likelihood:.3f} - {divergence:.3f} = {likelihood - divergence:.3f}")

# %% [question a2.why_direction]
# The KL in the bound is $KL(q \| p)$. What would $KL(p \| q)$ be for a q that never draws some thought, and what would
# it force q to do?
# RUBRIC
# 1 point: infinite: p > 0 where q = 0. 1 point: it would force q to cover every thought the prior may draw, also
# useless ones, whereas KL(q||p) lets q leave thoughts out.

# %% [answer a2.why_direction]
# Infinite. q would have to give every thought some probability, however badly it fits. $KL(q \| p)$ only asks that q
# does not go where the prior never does.

# %% [about a2.evidence]
# The bound bounds the **evidence**: the log-probability of the program, all latent sequences summed,
#
# $$\log p(a_{0:T}) = \log \sum_{z_{0:T}} \prod_t p(z_t \mid z_{t-1})\, \pi(a_t \mid z_t)$$
#
# Again without listing them: let $\beta_t(z)$ be the probability of all lines from t on, given $z_{t-1} = z$. Then
# $\beta_t(z) = \sum_{z'} p(z' \mid z)\, \pi(a_t \mid z')\, \beta_{t+1}(z')$. Lines of code have log-likelihoods of -20
# or -1500, so work with logarithms.
#
# By hand: one line, prior row (0.75, 0.25), $\pi$ = (0.4, 0.8): $\log(0.75 \cdot 0.4 + 0.25 \cdot 0.8) = \log 0.5$.


# %% [exercise a2.evidence]
def log_evidence(loglik: np.ndarray, prior: np.ndarray) -> float:
    """log p(a_0, ..., a_T), latent 0 standing before the first line. loglik: (T, K); prior: (K, K)."""
    # BEGIN SOLUTION
    value = np.zeros(len(prior))  # log beta after the last line
    for scores in loglik[::-1]:
        ahead = np.log(prior) + scores + value  # (K, K)
        value = np.logaddexp.reduce(ahead, axis=1)
    return float(value[0])
    # END SOLUTION


# %% [hint a2.evidence]
# From the last line to the first. `np.logaddexp.reduce(x, axis=1)` is $\log \sum \exp$ along rows, without underflow.

# %% [check a2.evidence]

# %% [show]
likelihood, divergence = provided("a2.elbo")  # the same line and prior, q = (0.5, 0.5)
print(f"evidence {provided('a2.evidence'):.3f} >= ELBO {likelihood - divergence:.3f}")

# %% [question a2.why_not_best]
# Somebody replaces the sum by the maximum over sequences: "the best explanation is what counts". Is the result still a
# lower bound of the evidence? When is it far away?
# RUBRIC
# 1 point: yes, a sum of non-negative terms is at least its largest. 1 point: far where many sequences explain the
# program about equally well (up to log of their number).

# %% [answer a2.why_not_best]
# It is: one term of a sum of positive terms. The gap is large where many sequences do equally well, up to the logarithm
# of how many there are; long programs have many.

# %% [about a2.posterior]
# The gap between evidence and ELBO is exactly $KL(q \| \text{true posterior})$. So the q that closes it is the
# posterior of the latents given the *whole* program:
#
# $$q(z_t = z' \mid z_{t-1} = z) = \frac{p(z' \mid z)\, \pi(a_t \mid z')\, \beta_{t+1}(z')}{\beta_t(z)}$$
#
# Return it for all t, z and z' as an array (T, K, K), also for latents z that are never reached. Work with logarithms,
# as before.
#
# By hand: one line, prior row (0.75, 0.25), $\pi$ = (0.4, 0.8), $\beta = 1$: $(0.3, 0.2) / 0.5 = (0.6, 0.4)$.


# %% [exercise a2.posterior]
def tight_q(loglik: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """(T, K, K) posterior over the next latent, given the one before and all lines. loglik: (T, K); prior: (K, K)."""
    # BEGIN SOLUTION
    q = np.zeros((len(loglik), *prior.shape))
    value = np.zeros(len(prior))  # log beta of the lines after t
    for t in reversed(range(len(loglik))):
        ahead = np.log(prior) + loglik[t] + value
        value = np.logaddexp.reduce(ahead, axis=1)
        q[t] = np.exp(ahead - value[:, None])
    return q
    # END SOLUTION


# %% [hint a2.posterior]
# The recursion of the exercise before, with the rows kept. Which axis does `value[:, None]` divide along? Each row of q
# must sum to 1.

# %% [check a2.posterior]

# %% [show]
q = np.array(provided("a2.posterior"))
print("q of the example:", q.round(3).tolist(), "; rows sum to", q.sum(-1).round(6).tolist())

# %% [question a2.why_causal]
# This q reads lines that are not written yet. RA3's q is **causal**: it sees the code before the line only. What does
# it lose in the bound, and why is that a price worth paying?
# RUBRIC
# 1 point: the bound is no longer tight: it loses the KL from the true posterior, i.e. what later lines say about z. 1
# point: a causal q can be run when the model writes new code, where nothing later exists; thoughts that can only be had
# in hindsight are of no use then.

# %% [answer a2.why_causal]
# It loses what later lines would have told about the latent; the ELBO of the best causal q lies below the evidence by
# that much. But when the model writes code itself there are no later lines, and only a causal q can think then.
