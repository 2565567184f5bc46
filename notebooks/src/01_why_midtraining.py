# %% [markdown]
# # 01 · Why mid-training: regret splits in two
#
# Between pre-training and reinforcement learning (RL) stands *mid-training*. What should it do, so that the RL after
# it starts high, learns fast and ends high? RA3's answer: choose a good set of *actions* for the RL to work with.
# This notebook makes that precise in a world of four rooms, where every number is exact.
#
# **After this notebook you can** say what an option is; split the regret of an agent into what its actions cannot do
# and what it has not learned; and explain why a small set of long actions may be worth an error that never goes
# away.
#
# About half a minute on two CPU cores, 0.5 GB of memory, no network.

# %%
from ra3_lab.explore.session import start

lab = start("01 Why mid-training", minutes=0.5, memory_gb=0.5)

# %% [markdown]
# ## The words
#
# - A **task** M is a Markov decision process: states, actions, rewards, a discount γ. Tasks are drawn from a family
#   p(M).
# - A **primitive action** lasts one step. For code: one line (or one token).
# - An **option** (or *action abstraction*) z runs primitive actions for τ steps, then gives control back. For code:
#   carrying out one step of the plan, several lines long. A thought names it.
# - Z is the set of all options, primitive ones among them. **Mid-training keeps a subset Z′.** RL then learns over
#   Z′ only.
# - V*_M is the best possible return in task M; V*_{M,Z′} the best possible with Z′ only; V^π_M what the agent π gets.
#
# ## Regret splits in two
#
# Put V*_{M,Z′} in and take it out again:
#
# $$V^*_M - V^\pi_M = \underbrace{(V^*_M - V^*_{M,Z'})}_{\text{pruning error }\Delta(M, Z')} +
# \underbrace{(V^*_{M,Z'} - V^\pi_M)}_{\text{RL error inside } Z'}$$
#
# By hand: the best return is 10; with the kept actions 9 is possible; the agent gets 6. Regret 4 = 1 + 3. More RL
# can win the 3, never the 1. The identity is trivial. What is not trivial: the choice of Z′ moves *both* terms, in
# opposite directions.

# %% [markdown]
# ## Four rooms
#
# A walk is an option: "go to the door between two rooms". `dig` is the primitive that ends the episode with a
# reward, where the treasure is. Tasks differ in where that is.

# %%
from ra3_lab.theory.mdp import option_model
from ra3_lab.theory.worlds import PLAN, rooms_family, walks

print("\n".join(PLAN))
family = rooms_family(gamma=0.95, slip=0.1)
model = option_model(family, walks(family))
print(len(family.tasks), "tasks,", len(family.states), "states,", len(model.options), "walks")

# %% [markdown]
# **Predict before you look:** three sets are compared: single steps; four of the seven walks; all seven walks. Which
# has a pruning error? Which has learned its best first? After two sweeps of learning, which one has the smallest
# regret?

# %%
from ra3_lab.explore.labs import regret_explorer

rooms = regret_explorer()
rooms

# %% [markdown]
# - **Single steps** can do everything, so their pruning error is 0, and they take many sweeps to learn: value
#   travels one step a sweep.
# - **Four walks** are quick and pay for it for ever: some treasures cannot be reached well.
# - **All seven walks** lose nothing here and learn as quickly. This is the set that mid-training should find.
#
# **Try:** keep six walks instead of four. Then raise the chance to slip to 0.3: does a walk still help when steps go
# astray?

# %%
for kept in (1, 4, 6):
    row = rooms.table(kept_walks=kept)[1]
    name, error, sweeps = row["kept set"], row["pruning error"], row["sweeps to its best"]
    print(f"{name:10} pruning error {error}, at its best after {sweeps} sweeps")

# %% [markdown]
# ## What this has to do with code
#
# Next-token prediction keeps *all* primitive actions, tens of thousands of tokens, and a horizon of thousands of steps:
# the worst case for the second term. RA3 tries to find, in expert code, few actions that last many tokens each. The
# next two notebooks look at the two sides separately: 02 asks how many expert tasks it takes to find a good Z′, 03 how
# much faster RL is inside it.
#
# **What this does not say.** The world is tiny, the RL error is that of value iteration, and a large network that
# learns from samples is neither. The split itself holds for any agent, but V* is not known for real code, and so
# neither are its parts. What can be measured there is V^π, before RL and along it: notebook 07, by running programs.
#
# ## What to remember
#
# 1. Regret = pruning error + RL error, exactly.
# 2. Fewer actions raise the first and lower the second. RL can only ever repair the second.
# 3. Long options are worth much where they fit the family of tasks, and cost for ever where they do not.
#
# **Where to look next:** 02 and 03. Code: `ra3_lab/theory/regret.py` (`decompose`), `ra3_lab/theory/mdp.py` (options as
# semi-Markov kernels), `ra3_lab/theory/worlds.py`.
#
# **Sources.** arXiv 2509.25810 (RA3), the regret decomposition; Sutton, Precup and Singh, *Between MDPs and semi-MDPs*,
# Artificial Intelligence, 1999 (options and four rooms).
