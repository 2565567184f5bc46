# %% [markdown]
# # 09 · Four bits: what QLoRA changes in what is discovered
#
# A model of billions of weights fits a small GPU only if each weight takes four bits instead of sixteen. QLoRA freezes
# the base in 4-bit *NF4* and trains small float matrices beside it. That saves memory. Does it change which thoughts
# are found? You will quantise by hand, read NF4 in forty lines of torch, and compare what q says in fp32, bf16 and NF4,
# and what adapters mend.
#
# **After this notebook you can** quantise a block by hand; say what a quantisation error does to likelihoods and
# thoughts; and decide what to check before you trust a 4-bit run.
#
# About 1 minute on two CPU cores, 1.5 GB of memory, no network. Read 05 first.

# %%
from ra3_lab.explore.session import start

lab = start("09 Four bits", minutes=1, memory_gb=1.5, preset="embedded")

# %% [markdown]
# ## By hand
#
# NF4 cuts weights into **blocks** of 64, divides each block by its largest magnitude (the **scale**, kept in float),
# and replaces each number by the nearest of 16 fixed values, so that four bits say which. Take a block of four weights:
# 0.5, −2, 0.1, 0. The scale is 2; divided: 0.25, −1, 0.05, 0. The values near these are 0.246, −1, 0.080 and 0. Back:
# 0.492, −2, 0.159, 0. The large ones are nearly right, the small one is off by half.

# %%
import torch

from ra3_lab.models.nf4 import dequantize, nf4_values, quantize

weights = torch.tensor([0.5, -2.0, 0.1, 0.0])
codes, scales = quantize(weights, block=4)
print("the 16 values:", [round(x, 2) for x in nf4_values().tolist()])
print("codes", codes.tolist(), "scale", scales.tolist())
print("back ", [round(x, 3) for x in dequantize(codes, scales, weights.shape).tolist()])

# %% [markdown]
# Why these 16 values? They are quantiles of a normal distribution: where weights are many, values lie close.
#
# **Predict:** on the weights of our model, how much larger is the error with 16 *evenly spaced* values? And with one
# scale for a whole matrix instead of one for 64 weights?

# %%
from ra3_lab.models.nf4 import rounded

matrices = [
    m.weight.detach() for n, m in lab.model.named_modules() if isinstance(m, torch.nn.Linear) and "head" not in n
]
even = torch.linspace(-1, 1, 16, dtype=torch.float64)
for name, values, block in (
    ("NF4, blocks of 64", None, 64),
    ("even, blocks of 64", even, 64),
    ("NF4, one scale", None, 10**9),
):
    wrong = sum((rounded(w, values, min(block, w.numel())) - w).square().sum() for w in matrices)
    print(f"{name:20} relative error {float((wrong / sum(w.square().sum() for w in matrices)) ** 0.5):.3f}")

# %% [markdown]
# One outlier in a matrix stretches the scale for all: that is what blocks are for. The code of all this is
# `ra3_lab/models/nf4.py`; a test holds it equal to bitsandbytes.
#
# ## What the model says afterwards
#
# We round all linear layers but the output head, as QLoRA does, and ask for the likelihood of expert lines and for q's
# thoughts, with the same draws. (It computes in float: what it says is what a 4-bit model says. Its memory is not.)
#
# **Predict:** which suffers more, the likelihood of a line in the middle of a step, or the choice of a thought?

# %%
import copy

from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.models.nf4 import round_linears
from ra3_lab.recording import look_at

tasks, settings = lab.tasks("expert")[:12], MidtrainConfig(precision="fp32")
models = {"fp32": lab.model, "bf16": copy.deepcopy(lab.model), "NF4": copy.deepcopy(lab.model)}
models["bf16"].to(torch.bfloat16).to(torch.float32)  # weights keep what 16 bits can say
print("layers in 4 bits:", round_linears(models["NF4"]))
looks = {name: look_at(model, model, lab.tokenizer, tasks, settings) for name, model in models.items()}

# %%
from ra3_lab.explore.view import plain_table


def scores(looks):
    keys = ("line_logp", "plain_logp", "think_share", "f1", "apt")
    rows = [(name, *(f"{look['scores'][key]:.3f}" for key in keys)) for name, look in looks.items()]
    print(plain_table(("weights", *keys), rows))


scores(looks)

# %% [markdown]
# `line_logp` and `plain_logp` are nats a program with and without thoughts; `f1` says how well thoughts stand where
# steps begin, `apt` how often they name the right step. Draws are the same, so differences are due to the weights; but
# one different token early on changes everything after it: look at single programs, too.


# %%
def thoughts(look, program):
    return "; ".join(f"{int(line) + 1}:{text}" for line, text in look["programs"][program]["latents"].items())


count = [len(one["latents"]) for one in looks["fp32"]["programs"]]
for program in sorted(range(12), key=lambda i: -count[i])[:3]:
    for name, look in looks.items():
        print(f"{name:5}", thoughts(look, program))
    print()

# %% [markdown]
# ## Adapters mend it
#
# **LoRA** adds to each frozen matrix W a product s·B·A of two thin ones: for a 128 × 128 matrix and rank 8, that is 2
# × 8 × 128 = 2,048 weights instead of 16,384. B starts at 0, so at first nothing changes. A few M-step updates on
# expert programs with their thoughts train A and B while W stays in four bits.
#
# **Predict:** do twelve updates bring the 4-bit model back to the fp32 model's likelihood? Beyond it?

# %%
from ra3_lab.evaluate.latents import true_trace
from ra3_lab.midtrain.mstep import FineTuner, MStepConfig
from ra3_lab.models.adapters import prepare
from ra3_lab.models.variants import Variant

corpus = [lab.tokenizer.encode_trace(true_trace(task)) for task in lab.tasks("expert")[100:196]]
adapted = prepare(models["NF4"], Variant(adapter="lora", rank=8))
print("trained:", sum(p.numel() for p in adapted.parameters() if p.requires_grad), "weights")
tuner = FineTuner(adapted, lab.tokenizer, MStepConfig(updates=12, programs=8, learning_rate=2e-3), precision="fp32")
losses = [tuner.update(corpus[8 * n : 8 * n + 8]) for n in range(12)]
print("loss, nats a token:", [round(loss, 3) for loss in losses])
looks["NF4 + LoRA"] = look_at(adapted, adapted, lab.tokenizer, tasks, settings)
scores(looks)

# %% [markdown]
# The adapters learned from true thoughts, so this is not "repair" alone: to see what four bits cost, fp32 would have to
# get the same twelve updates. `benchmarks/quality.py` makes that comparison, arm by arm with intervals;
# `docs/variants.md` says what came of it.
#
# ## Real 4-bit weights
#
# With bitsandbytes installed (`pip install 'ra3-lab[qlora]'`) the same model is *stored* in four bits. On a CPU this
# works, too; the memory it saves counts on a GPU. Expect numbers close to the rounded model's, not the same ones:
# rows that are no multiple of 64 are stored in blocks of 32 (`quantize.block_size` says why), scales and products
# round differently, and one other token changes what follows.

# %%
from ra3_lab.models.quantize import NeedsExtra

try:
    real = prepare(lab.model, Variant(quant="nf4", double_quant=False))
    looks["NF4, stored"] = look_at(real, real, lab.tokenizer, tasks, settings)
    scores(looks)
except NeedsExtra as reason:
    print("left out:", reason)

# %% [markdown]
# ## Before you trust a 4-bit run
#
# - Compare likelihood and thoughts of the *untrained* 4-bit model with fp32, as above: what is lost there was lost to
#   storage.
# - A loss that looks right proves little. On some CPUs one forward pass in eval mode repacks the weights, and the
#   adapters' gradients were wrong by half while the loss agreed to four digits (`ra3_lab/models/quantize.py`).
# - Every adapter must move: with B = 0 only B has a gradient in the first update, from the second on both have.
# - 4 bits save memory, not time: weights are expanded before they are used.
#
# ## What to remember
#
# 1. NF4 = blocks, a scale each, 16 values from a normal distribution. Its error is largest, relatively, for small
#    weights.
# 2. Here four bits cost some tenths of a nat a program and hardly a thought. Choices that were close to even may flip,
#    and thoughts are choices: look, on your own model.
# 3. QLoRA trains around the error; q and π of RA3 share the frozen base and differ in their adapters only.
#
# **Where to look next:** 10 puts a real model through the same path. Code: `ra3_lab/models/nf4.py`,
# `ra3_lab/models/adapters.py`; which variants work where: `docs/variants.md`.
#
# **Sources.** Dettmers et al., *QLoRA*, 2023 (NF4, double quantisation). Hu et al., *LoRA*, 2021. RA3: arXiv
# 2509.25810.
