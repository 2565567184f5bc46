# %% [markdown]
# # 00 · A tour in ten minutes
#
# RA3 teaches a language model to write down a short thought where one pays, by finding such thoughts in expert code
# that has none. This tour shows the whole way once: the expert's code, a model's own thoughts, what they are worth,
# how they get better, and what the model does with them. Every step has a notebook of its own.
#
# **After this notebook you can** say in your own words what RA3 does and why, and know where to read on.
#
# About half a minute of computing on two CPU cores and ten of reading, 1 GB of memory, no network. You need some
# Python.

# %%
from ra3_lab.explore.session import start

lab = start("00 Tour", minutes=0.5, memory_gb=1, preset="embedded")

# %% [markdown]
# ## 1 · Expert code
#
# The built-in world has programs that work on a list. The docstring names the steps, half of the time **out of
# order**, as here; letters say which comes first. The expert's code carries them out and explains nothing.

# %%
task = lab.tasks("expert")[5]
print(task.prompt + "".join(task.lines))

# %% [markdown]
# To write the *next* step, one has to recognise the step that was just finished, find its letter, take the next
# letter, and look it up. Inside a step, every line follows from the one before. So there are few places where
# something is decided.
#
# ## 2 · A model thinks aloud
#
# The embedded model is small (about a million weights) and has read programs with and without comments. We force the
# expert's lines and let the model choose before each line: go on, or write one comment first.
#
# **Predict:** will it think before every line?

# %%
from ra3_lab.evaluate.latents import trace_of
from ra3_lab.models.decoder import Decoder
from ra3_lab.models.rollout import LatentSampling, sample_latents

decoder, how = Decoder(lab.model), LatentSampling(temperature=1.0)
for seed in (0, 2):
    (rollout,) = sample_latents(decoder, lab.tokenizer, [trace_of(task)], how, seed, update=0)
    text = rollout.trace.text.removeprefix(task.prompt)
    print(f"--- sample {seed}: {len(rollout.trace.thought_lines)} thoughts\n{text}")

# %% [markdown]
# From one draw to the next it does not think at all, or thinks where steps begin; now and then the words are wrong or
# say nothing. That is a habit from pre-training. Nobody has asked yet which of these thoughts pay.
#
# ## 3 · What a thought is worth
#
# A thought is worth what it adds to the likelihood of the lines after it, in nats (one nat: e ≈ 2.7 times as
# likely). A true thought helps, a wrong one does harm. The figure compares the true thought, *as it is*, with a
# thought of another program (*random*), with its own words in another order (*shuffled*) and with mere dots (*filler*).
# (Notebook 05; notebook 08 lets you write your own.)

# %%
from ra3_lab.evaluate.latents import true_trace
from ra3_lab.explore.counterfactual import draw_comparison
from ra3_lab.explore.variants import controls, score_thoughts

program, line = true_trace(task), task.starts[1]
others = [step.thought for other in lab.tasks("expert")[6:20] for step in other.steps]
tried = controls(program.latents[line], others, lab.tokenizer)
draw_comparison(score_thoughts(lab.model, lab.tokenizer, program, line, tried))

# %% [markdown]
# ## 4 · The E-step: better thoughts by reinforcement learning
#
# Reward: log-likelihood of the lines, minus a small price for each thought. Nobody tells the model where steps begin.
#
# **Predict:** where will the thoughts stand in the end?

# %%
from ra3_lab.explore.curves import draw_estep

run = lab.record("em")
draw_estep(run)

# %% [markdown]
# ## 5 · See it happen
#
# *F1* in the figure above is 1 where a thought stands at the start of every step and nowhere else. How it came to that,
# line by line: drag *Training* from left to right. Click line numbers.

# %%
from ra3_lab.explore.timeline import latent_timeline

timeline = latent_timeline(run)
timeline

# %% [markdown]
# ## 6 · The M-step: learn from the annotated code
#
# The thoughts are written into all expert programs, and the model is trained on the result by next-token prediction.
# In a further round the E-step starts again from there; this run has two, the default is one. The plain alternative,
# next-token prediction on the code without thoughts (NTP), gets as many updates as both steps of RA3 together: 60 here,
# against 20 of the E-step and the 40 of the M-step that are drawn. (Notebook 06.)

# %%
from ra3_lab.explore.compare import run_comparison

run_comparison([run])

# %% [markdown]
# ## 7 · Does it write better programs?
#
# That is the question that counts, and it is answered by running programs on tests. `ra3-lab demo` does it live in
# about ten minutes, twenty and more on a processor without bf16 instructions, and writes a report. A short run does
# not settle it: look at its intervals. The comparison that does is longer; the README has its table,
# `docs/results.md` how to read it.
#
# Here the base model writes two programs for each of six tasks, and they are judged outside this process. Below stand
# the first task with its first program, and for each task which of the two passed (1). If the first did not: can you
# find the mistake?

# %%
from ra3_lab.evaluate.programs import evaluate_programs

scores = evaluate_programs(lab.model, lab.tokenizer, lab.tasks("expert", 6), samples=2, seed=0, precision="fp32")
print(lab.tasks("expert")[0].prompt + scores.programs[0][0])
print("passed:", scores.correct.astype(int).tolist(), scores.statuses)

# %% [markdown]
# ## Where to go
#
# | you want to know | notebook |
# |---|---|
# | why mid-training should choose actions | 01, 02, 03 |
# | why a bound on the likelihood is the right thing to raise | 04 |
# | how thoughts are discovered | 05 |
# | what the model learns from them | 06 |
# | how RL from tests goes on from there | 07 |
# | which thoughts there are, and whether their words matter | 08 |
# | what four-bit weights change | 09 |
# | how to do this with your own code and model | 10 |
# | how to see early that a run goes wrong | 11 |
#
# **Source.** *Learning to Reason as Action Abstractions with Scalable Mid-Training RL*, arXiv 2509.25810. This is an
# independent implementation; where the paper leaves a choice open, `docs/decisions.md` says what was chosen and why.
