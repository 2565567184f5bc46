# %% [markdown]
# # 04 · The temporal ELBO and the exact oracle
#
# Why should writing thoughts into code be *right*, and not just a trick? Because the code's likelihood, with
# thoughts as hidden variables, has a lower bound that thoughts can raise: the evidence lower bound, ELBO. RA3's two
# steps both raise it. Here we look at the bound where nothing has to be estimated: a world so small that every sum
# can be done.
#
# **After this notebook you can** compute the bound of a two-line program by hand; say what the sticky prior asks for a
# new thought; tell what a causal choice of thoughts loses; and tell the price that alpha and |Z| set from the c of
# training.
#
# About half a minute on two CPU cores, 0.5 GB of memory, no network. You need to know what a logarithm and a
# probability are.

# %%
from ra3_lab.explore.session import start

lab = start("04 The temporal ELBO", minutes=0.5, memory_gb=0.5)

# %% [markdown]
# ## A program with a hidden thought, by hand
#
# Let a program be one line, `a`, and let there be two possible thoughts, each with prior probability ½. Under the first
# thought the line has probability 0.9, under the second 0.1.
#
# - **Evidence.** p(a) = ½ · 0.9 + ½ · 0.1 = 0.5, so log p(a) = −0.69 nats.
# - **A guess q.** Say we choose the first thought with probability 0.8. The expected log-likelihood is
#   0.8 · ln 0.9 + 0.2 · ln 0.1 = −0.084 − 0.461 = −0.545.
# - **What the guess costs.** KL(q ‖ prior) = 0.8 · ln(0.8/0.5) + 0.2 · ln(0.2/0.5) = 0.376 − 0.183 = 0.193.
# - **The bound.** −0.545 − 0.193 = −0.738, below the evidence −0.693 by 0.045 nats.
#
# The gap is KL(q ‖ posterior). With q = posterior = (0.9, 0.1) it closes.

# %%
import numpy as np


def elbo_by_hand(q: float) -> float:
    """Expected log-likelihood minus KL to the prior (½, ½); q is the probability of the first thought."""
    guess, prior, likelihood = np.array([q, 1 - q]), np.array([0.5, 0.5]), np.array([0.9, 0.1])
    return float((guess * np.log(likelihood)).sum() - (guess * np.log(guess / prior)).sum())


for q in (0.5, 0.8, 0.9, 0.99):
    print(f"q = {q:4.2f}: bound {elbo_by_hand(q):7.3f}, evidence {np.log(0.5):7.3f}")

# %% [markdown]
# ## In time
#
# A program has many lines, and a thought should last. So the latent z_t at line t is *kept* from the line before with
# probability α, or *renewed*: drawn afresh, evenly from |Z| thoughts. This is the **temporal consistency prior**
#
# $$p(z_t \mid z_{t-1}) = \alpha\,\delta(z_t = z_{t-1}) + (1-\alpha)\,\mathrm{Uniform}(z_t)$$
#
# and the bound is, summed over lines,
#
# $$\log p(a_{0:T}) \;\ge\; \mathbb{E}_q\Big[\sum_t \log \pi(a_t \mid s_t, z_t) - \mathrm{KL}\big(q(z_t \mid s_t,
# z_{t-1})\,\|\,p(z_t \mid z_{t-1})\big)\Big].$$
#
# Keeping costs −log α, a particular new thought −log((1 − α)/|Z|). The difference is the **price of a thought**:
# log(α |Z| / (1 − α)) nats. By hand: α = 0.8 and |Z| = 3 give log(0.8 · 3 / 0.2) = log 12 = 2.48.

# %%
from ra3_lab.theory.closed_forms import renewal_cost

for alpha, size in ((0.5, 2), (0.8, 3), (0.99, 3), (0.8, 300)):
    print(f"alpha {alpha}, |Z| = {size}: a new thought costs {renewal_cost(alpha, size):.2f} nats more than keeping")

# %% [markdown]
# ## A world where every sum can be done
#
# `skill_world` makes programs whose lines follow hidden skills. From outside one sees the lines only. There are three
# skills, and α = 0.75 made these programs: `u` is the choice behind each line, 0 for keep.

# %%
from ra3_lab.theory.oracle import bound, evidence, posterior, sample_programs, skill_world

world = skill_world(thoughts=3, lines=3, alpha=0.75, noise=0.1)
lines, choices = sample_programs(world, count=4, length=8, rng=np.random.default_rng(1))
for program, chosen in zip(lines, choices, strict=True):
    print("lines", *program, "   hidden choices u", *chosen)

# %% [markdown]
# **Predict:** the exact posterior makes the bound equal to the evidence. What does the prior itself give, if we let it
# choose the thoughts without looking at the lines?

# %%
exact = bound(world, lines, posterior(world, lines))
prior = np.broadcast_to(np.exp(world.log_prior), (*lines.shape, 4, 4))
blind = bound(world, lines, prior.copy())
for i, log_p in enumerate(evidence(world, lines)):
    print(f"program {i}: evidence {log_p:7.3f}   posterior {exact.elbo[i]:7.3f}   prior {blind.elbo[i]:7.3f}")

# %% [markdown]
# The prior pays nothing (its KL is 0) and explains little. The posterior pays and explains: exactly as much as there
# is to explain. Every other choice lies between or below.
#
# ## Turn the knobs
#
# The explorer shows four ways to choose thoughts for all programs of five lines, each counted as often as its world
# writes it, and splits the bound of each: how likely the lines are (blue) and what the thoughts cost (orange, hatched).
# *Causal* means that q does not see the line it explains; RA3's q is causal, so that it can be used when the model
# writes on its own. (Fitted to a sample, q would see it after all: there most beginnings occur once, and whoever knows
# the beginning knows the rest.)
#
# **Predict before you drag:** (1) What happens to thinking when c goes from 0 to 0.5? (2) At which α is the bound
# of the posterior best, if the programs were made with α = 0.75? (3) Does a larger |Z| make thoughts cheaper?

# %%
from ra3_lab.explore.knobs import oracle_knobs

knobs = oracle_knobs()
knobs

# %% [markdown]
# 1. The share of lines with a priced thought falls in steps as c grows; past the largest gain a thought can bring, here
#    less than 0.2 nats, nobody thinks. Even free thoughts are rare, at 6 % of lines: before its line is seen a thought
#    is a guess, and a wrong one costs more than none.
# 2. The evidence itself is best near the α that made the programs. A wrong α costs even the exact posterior.
# 3. Dearer: the price grows with log |Z|. Choosing among more things takes more information.
#
# The causal choice never reaches the evidence. It must guess the skill from the lines before, and pays for that with
# likelihood or with hedging. That gap is not a failure of training: no causal q can close it.
#
# ## From the exact price to a constant one
#
# For thoughts in free text nobody knows |Z|. So RA3 puts a **constant c** in place of the price and tunes it. Let us
# ask of the priced optimum: at which c does it think as often as the exact one? Is it near the exact price, 2.48 nats?

# %%
table = [(cost, row) for cost in (0.0, 0.05, 0.1, 0.2, 0.5) for row in knobs.table(alpha=0.8, size=3, cost=cost)]
for cost, row in table:
    if row["thoughts chosen"].startswith("causal"):
        print(f"c = {cost:4.2f}  {row['thoughts chosen']:20} thinks at {row['lines that think']:>7} of lines")

# %% [markdown]
# Between 0.05 and 0.1, far below it: c takes the price's place, not its value. Under the KL *not* thinking is paid for
# too, −log α a line or 1.12 nats a program, and thoughts drawn as the prior draws them cost nothing. Under c keeping is
# free and every thought costs. So c is not converted from α and |Z|; it is tuned.
#
# ## The same on a real run
#
# The embedded model's recorded run has no |Z|, but each thought has a *gain*: the nats by which it raised the
# likelihood of the lines it governs. A thought pays if its gain is larger than c.
#
# **Predict:** c was 0.1 in this run. Will most thoughts pay? Would they at c = 3?

# %%
from ra3_lab.explore.knobs import recorded_knobs

recorded = recorded_knobs(lab.record("em"))
recorded

# %% [markdown]
# The curve tells what c does in training: it is the level below which thoughts are weeded out. Too low, and q thinks at
# every line, at a cost in computing that buys nothing; too high, and it stops thinking, and RA3 becomes next-token
# prediction. (The paper tries c = 0.01, 0.05 and 0.2 and finds the middle one best; its scale of a line's likelihood
# is not given, so our numbers need not agree with its.)
#
# ## What to remember
#
# 1. log p(lines) ≥ expected log-likelihood − KL; the gap is KL(q ‖ posterior).
# 2. The sticky prior makes thoughts last: a new one costs log(α|Z|/(1−α)) nats.
# 3. A causal q loses something even at its best, and can be run at inference; a hindsight q loses nothing, and cannot.
# 4. c takes that price's place where |Z| has no meaning; its value has to be tuned.
#
# **Where to look next:** 05 trains q by reinforcement learning. Code: `ra3_lab/theory/oracle.py` (forward and backward
# sums), `ra3_lab/theory/estep.py` (best causal choice), `ra3_lab/midtrain/elbo.py` (the same KL for training).
#
# **Sources.** arXiv 2509.25810 (RA3). Jordan, Ghahramani, Jaakkola and Saul, *An Introduction to Variational Methods
# for Graphical Models*, 1999. Hidden semi-Markov models: Yu, *Hidden semi-Markov models*, Artificial Intelligence,
# 2010.
