# %% [markdown]
# # 08 · Exploring latents
#
# Training curves say *that* thoughts help. This notebook is for looking at *which* thoughts, *where*, and whether it is
# really what they say that helps. Everything comes from one recorded run and the embedded model.
#
# **After this notebook you can** read a latent timeline; test a claim about a thought against controls; measure a
# thought by likelihood and by pass rate, and say why the two may disagree; and describe what kinds of thoughts a run
# found.
#
# About half a minute on two CPU cores, 1 GB of memory, no network. 05 explains how the thoughts were found.

# %%
from ra3_lab.explore.session import start

lab = start("08 Exploring latents", minutes=0.5, memory_gb=1, preset="embedded")
run = lab.record("em")

# %% [markdown]
# ## The timeline
#
# One program, line by line, at every look that was taken during the run. *renew* marks a new thought, *keep* a line
# written under the last one. The bar beside a thought says how many nats it raised the likelihood of the lines from
# it to the next thought; hatched bars to the left are losses.
#
# **Predict:** drag *Training* to the first look. Will there be more thoughts than at the end, or fewer?

# %%
from ra3_lab.explore.timeline import latent_timeline

timeline = latent_timeline(run)
timeline

# %% [markdown]
# Clicking a line number opens its account and sets `timeline.state`, so that you can go on in Python from what you
# clicked:

# %%
print(timeline.state)
seen = run["looks"][timeline.state["look"]]["programs"][timeline.state["program"]]
print("log-likelihood of the chosen line:", seen["logp"][timeline.state["line"]], "nats")

# %% [markdown]
# ## Is it what the thought says?
#
# A comment might help for dull reasons: it takes up room, it ends a block, it gives the model more steps to compute in.
# So a thought is always compared with **controls**: a thought of another step (*swapped*) or another program
# (*random*), its own words in another order (*shuffled*), dots of the same length (*filler*). If they help as much, the
# words are not what helps.
#
# Click a line in the program below, type a thought, press Enter. **Predict** first: what happens if you announce the
# wrong step? What if you announce the right step with a wrong letter?

# %%
from ra3_lab.explore.editor import counterfactual_editor, workbench

bench = workbench(lab.model, lab.tokenizer, run, lab.tasks("expert"))
editor = counterfactual_editor(bench)
editor

# %% [markdown]
# The button below the drawing asks the question that counts in the end: if the model writes the rest of the program
# after this thought, how often does the program pass its tests? It samples 24 programs after each thought and runs
# them in the sandbox, which takes some seconds. The same from Python, with fewer samples:

# %%
from ra3_lab.explore.editor import draw_rates

draw_rates(bench, program=0, line=editor.state["line"], text="", samples=6)

# %% [markdown]
# **Likelihood and pass rate answer different questions.** Likelihood asks how well the thought predicts *this expert's*
# lines. Pass rate asks whether programs written after it are *right*. A thought may do nothing for the likelihood
# because the next line was clear anyway, and a wrong thought may be repaired: the model can think again later. With
# 6 or 24 samples the intervals are wide; look at them before you tell a story.
#
# ## Which thoughts are there?
#
# The map puts all thoughts of a look together by what they ask for, whatever the letters and numbers in them: how
# often each kind occurs, how many lines it lasts (τ), what it buys, and which code follows. Click a kind for
# examples.
#
# **Predict:** which kind of step gets a thought most reliably, and which is left without before the first update?

# %%
from ra3_lab.explore.abstractions import abstraction_map

abstractions = abstraction_map(run)
abstractions

# %%
for row in abstractions.table()[:5]:
    print(row)

# %% [markdown]
# Compare the first look with the last. Kinds that were rare before the E-step and are common after it are what RL
# found; kinds that were there already are what pre-training brought along. Both are worth knowing: RA3 cannot
# discover a thought that the base would never sample.
#
# ## Take it with you
#
# Each explorer writes a page that works without a kernel and without a network, and says everything in words too.

# %%
import tempfile
from pathlib import Path

page = timeline.save(Path(tempfile.mkdtemp()) / "timeline.html")
print(f"{page} has {page.stat().st_size / 1e6:.1f} MB; copy it wherever you like")
print(timeline.to_text()[:400])

# %% [markdown]
# ## What to remember
#
# 1. Never read a thought's worth without its controls.
# 2. Likelihood is cheap and precise and about the expert's lines; pass rate is dear and noisy and about programs.
# 3. A run's thoughts are data: count them, cluster them, compare before and after.
#
# **Where to look next:** 11 shows runs in which thoughts went wrong. Code: `ra3_lab/explore/variants.py` (controls),
# `ra3_lab/explore/timeline.py`, `ra3_lab/explore/abstractions.py`; the record's format is in `data/records/README.md`.
#
# **Sources.** Controls for explanations: Lanham et al., *Measuring Faithfulness in Chain-of-Thought Reasoning*, 2023,
# use fillers and edits of this kind. Wilson's interval: *Probable Inference*, JASA, 1927.
