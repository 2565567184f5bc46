# %% [markdown]
# # A6: four bits a weight
#
# A model's weights in 32-bit numbers take four bytes each; **quantised** to 4 bits they take half a byte and a bit.
# QLoRA (Dettmers et al. 2023, *QLoRA: Efficient Finetuning of Quantized LLMs*) keeps the base in 4 bits, frozen, and
# trains two small matrices beside it. You will build its parts: block scales, the levels of NF4, codes and packed
# bytes, the count of bits, LoRA, and a measure of what the rounding does.
#
# Words used below. A **level** is one of the 16 numbers that 4 bits can name; a **code** is a level's number, 0 to
# 15. A **block** is a run of weights that share a **scale**. **Rank** is the number of columns of the small matrices.
# The **base** is the big frozen matrix.
#
# About 2 h 35 min. `check(...)` tries your function on the example and on practice inputs; grading uses fresh ones.

# %%
from math import ceil
from statistics import NormalDist

import numpy as np
import torch

from ra3_lab.course import begin, check, provided

begin("a6")

# %% [about a6.blocks]
# Sixteen levels cannot serve weights of 0.001 and of 10 at once. So each block of weights is divided by its largest
# *size* (absolute value), its scale, and lands in $[-1, 1]$. By hand, block 4: weights (0.5, -1, 2, 1) have scale 2
# and become (0.25, -0.5, 1, 0.5).
#
# The last block may be shorter. A block of zeros has scale 0 and stays zeros.


# %% [exercise a6.blocks]
def scale_blocks(weight: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """The weights divided by their block's scale, (N,), and the scales, one a block. weight: (N,)."""
    # BEGIN SOLUTION
    scales = []
    shrunk = np.zeros(len(weight))
    for start in range(0, len(weight), block):
        part = weight[start : start + block]
        scales.append(np.abs(part).max())
        if scales[-1] > 0:
            shrunk[start : start + block] = part / scales[-1]
    return shrunk, np.array(scales)
    # END SOLUTION


# %% [hint a6.blocks]
# A slice past the end is simply shorter: `weight[8:12]` of 10 weights has two. What is 0/0?

# %% [check a6.blocks]

# %% [question a6.why_blocks]
# What does one outlier, a weight 50 times larger than the others, do to its block, and what to the rest of the
# matrix? Why not blocks of one weight?
# RUBRIC
# 1 point: in its block all others fall onto the levels next to 0 and lose nearly everything; other blocks are
# untouched. 1 point: a block of one costs a 32-bit scale per weight: more than before quantising.

# %% [answer a6.why_blocks]
# The outlier sets the scale, so its neighbours, at 1/50 of it, round to 0 or the next level. Only its own block
# suffers, that is what blocks are for. But each block costs a scale: with blocks of one, 32 + 4 bits a weight.

# %% [about a6.levels]
# Trained weights look normally distributed, so evenly spaced levels waste codes on sizes that hardly occur.
# **NormalFloat** puts levels at **quantiles** of the normal distribution: the quantile $q(p)$ is the value below
# which a share p of it lies. With b bits, $h = 2^{b-1}$ and an offset near 1:
#
# - above zero $h$ levels: $q(p)$ for the first $h$ of $h + 1$ evenly spaced p from the offset down to 0.5;
# - below zero $h - 1$ levels: $-q(p)$ for the first $h - 1$ of $h$ such p;
# - zero itself, exactly: padding and pruned weights must stay 0.
#
# Sorted, and divided by the largest. By hand, b = 2, offset 0.9: above $q(0.9) = 1.282$ and $q(0.7) = 0.524$; below
# $-q(0.9) = -1.282$. Divided by 1.282: (-1, 0, 0.409, 1). With b = 4 and offset 0.9677083 this is NF4.


# %% [exercise a6.levels]
def normal_levels(bits: int, offset: float) -> np.ndarray:
    """(2**bits,) levels, ascending, from -1 to 1. offset: the largest p, below 1."""
    # BEGIN SOLUTION
    half = 2 ** (bits - 1)
    quantile = NormalDist().inv_cdf
    above = [quantile(p) for p in np.linspace(offset, 0.5, half + 1)[:-1]]
    below = [-quantile(p) for p in np.linspace(offset, 0.5, half)[:-1]]
    levels = np.array(sorted([*below, 0.0, *above]))
    return levels / levels.max()
    # END SOLUTION


# %% [hint a6.levels]
# `NormalDist().inv_cdf(0.9)` is q(0.9). `np.linspace(offset, 0.5, h + 1)[:-1]` leaves out 0.5, whose quantile is the
# zero that both sides share.

# %% [check a6.levels]

# %% [show]
print("NF4:", " ".join(f"{level:.3f}" for level in provided("a6.levels")))

# %% [question a6.why_zero]
# What would go wrong without an exact zero? And why can the levels not be symmetric *and* contain zero *and* number 16?
# RUBRIC
# 1 point: zeros (padding, pruned or dead weights) would become small errors of one sign or noise everywhere, and sums
# over many of them drift. 1 point: pairs +-x and zero are an odd number; 16 is even, so one side has a level more.

# %% [answer a6.why_zero]
# Every zero weight would turn into a small non-zero one, and thousands of them add up. Symmetric pairs plus zero are
# an odd number of levels; with 16 one side gets one more.

# %% [about a6.encode]
# Now the rounding. A weight divided by its block's scale gets the code of the **nearest** level; restored, it is that
# level times the scale. The scales come as given: they may have been rounded themselves, so that weight / scale may
# lie a little outside of $[-1, 1]$.
#
# By hand, levels (-1, 0, 0.4, 1), scale 2, weight 0.5: 0.5 / 2 = 0.25, nearest 0.4 (code 2), restored 0.8.


# %% [exercise a6.encode]
def encode(values: np.ndarray, scales: np.ndarray, block: int, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes (N,) and restored weights (N,). values: (N,); scales: one a block; levels: (L,), ascending."""
    # BEGIN SOLUTION
    scale = np.repeat(scales, block)[: len(values)]
    codes = np.abs((values / scale)[:, None] - levels).argmin(1)
    return codes, levels[codes] * scale
    # END SOLUTION


# %% [hint a6.encode]
# `np.repeat(scales, block)` gives every weight its scale. An (N, 1) array minus an (L,) array has shape (N, L): which
# column is smallest in size?

# %% [check a6.encode]

# %% [question a6.why_nearest]
# Rounding to the nearest level is deterministic. Name one thing it does to a *sum* of many weights if levels lie
# unevenly around them, and one situation in which rounding at random (up or down, with the right mean) is preferred.
# RUBRIC
# 1 point: errors may share a sign (bias), so they add up linearly instead of cancelling. 1 point: when small updates
# are written into few bits again and again (training in low precision): nearest loses every update smaller than half
# a step; stochastic rounding keeps them on average.

# %% [answer a6.why_nearest]
# Where the weights of a block crowd on one side of a level, their errors have one sign and add up. In low-precision
# training an update smaller than half a step would be lost each time; random rounding keeps it on average.

# %% [about a6.unpack]
# Two codes share a byte: the first in the **high** half, the second in the low one. Byte 0x3C holds codes 3 and 12.
# An odd number of codes leaves the last low half unused. A 4-bit kernel reads bytes, looks up levels, scales and
# multiplies at once; the full matrix never exists.
#
# By hand: byte 0x3C, levels that equal their codes, one block with scale 2, x = (1, 10): weights (6, 24), the dot
# product is 6 + 240 = 246.


# %% [exercise a6.unpack]
def packed_dot(
    packed: np.ndarray, count: int, levels: np.ndarray, scales: np.ndarray, block: int, x: np.ndarray
) -> float:
    """Restored weights times x. packed: uint8, ceil(count / 2) bytes; levels: (16,); x: (count,)."""
    # BEGIN SOLUTION
    codes = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)[:count]
    return float((levels[codes] * np.repeat(scales, block)[:count]) @ x)
    # END SOLUTION


# %% [hint a6.unpack]
# `byte >> 4` is the high half, `byte & 15` the low one. `np.stack([...], axis=1).reshape(-1)` puts them side by side.

# %% [check a6.unpack]

# %% [question a6.why_dequantise]
# Generating one token at a time, a model reads every weight once per token and does two operations with it; training
# on a batch of 64 x 512 tokens does thousands. In which of the two do 4 bits save *time*, and why not in the other?
# RUBRIC
# 1 point: decoding is bound by reading memory, so fewer bytes are faster. 1 point: training is bound by arithmetic;
# unpacking comes on top, and large batches restore the matrix first; 4 bits then save memory only.

# %% [answer a6.why_dequantise]
# Decoding waits for memory, and a quarter of the bytes of 16-bit weights arrive sooner. In training arithmetic
# decides: restoring the weights is extra work, so 4 bits save memory, not time.

# %% [about a6.bits]
# Scales take room as well. Per matrix of `count` weights: codes of 4 bits, two to a byte, and one 32-bit scale a
# block. **Double quantisation** stores the scales in 8 bits each, after taking off their mean (one 32-bit number),
# with one 32-bit scale for every `double_block` of them.
#
# By hand: 4096 weights, block 64: 64 scales, $(4 \cdot 4096 + 32 \cdot 64) / 4096 = 4.5$ bits. Doubly, with 256:
# $(16384 + 8 \cdot 64 + 32 + 32) / 4096 = 4.141$.
#
# Partly filled bytes and blocks count whole. `double_block` None means no double quantisation.


# %% [exercise a6.bits]
def bits_per_weight(count: int, block: int, double_block: int | None) -> float:
    """Bits stored per weight, everything included."""
    # BEGIN SOLUTION
    scales = ceil(count / block)
    bits = 8 * ceil(count / 2)
    if double_block is None:
        bits += 32 * scales
    else:
        bits += 8 * scales + 32 * ceil(scales / double_block) + 32
    return bits / count
    # END SOLUTION


# %% [hint a6.bits]
# Count in four lines: bytes of codes, scales, scales of scales, the mean.

# %% [check a6.bits]

# %% [question a6.why_double]
# Double quantisation saves about 0.37 bits a weight. How much is that for a model of 8 billion weights? Why is the
# mean taken off the scales first?
# RUBRIC
# 1 point: 8e9 * 0.373 / 8 bytes, about 0.37 GB. 1 point: scales are all positive; without their mean they are
# centred, so that signed 8-bit levels are used on both sides.

# %% [answer a6.why_double]
# About 0.37 GB. Scales are positive and alike; taking off the mean centres them, so that the signed 8-bit levels
# serve their differences.

# %% [about a6.lora]
# **LoRA** (Hu et al. 2021) leaves the base $W$ (out, in) as it is and trains $A$ (r, in) and $B$ (out, r):
#
# $$y = x W^\top + s \, x A^\top B^\top, \qquad s = \alpha / r$$
#
# With rsLoRA (Kalajdzievski 2023; here `stable`) $s = \alpha / \sqrt r$, so that large ranks do not learn ever more
# slowly.
#
# By hand: $x = (1, 2)$, $W = (1, 0)$, $A = (1, 1)$, $B = (0.5)$, $\alpha = 1$: $1 + 1 \cdot 3 \cdot 0.5 = 2.5$.
#
# The base is frozen: it must get no gradient, even if it asks for one. A, B *and x* must get theirs in full, since x
# comes from layers that are trained.


# %% [exercise a6.lora]
def lora(
    x: torch.Tensor, weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, alpha: float, stable: bool
) -> torch.Tensor:
    """(N, out). x: (N, in); weight: (out, in), frozen; a: (r, in); b: (out, r)."""
    # BEGIN SOLUTION
    rank = a.shape[0]
    scale = alpha / (rank**0.5 if stable else rank)
    return x @ weight.detach().T + scale * (x @ a.T @ b.T)
    # END SOLUTION


# %% [hint a6.lora]
# Detach the *weight*, not the product: the product's gradient to x must live.

# %% [check a6.lora]

# %% [question a6.why_zero_b]
# LoRA begins with B = 0 and A random. Which of the two has a gradient at the first step? Why not A = B = 0?
# RUBRIC
# 1 point: only B (the gradient of A contains B = 0). 1 point: with both zero neither ever has a gradient; B = 0 alone
# makes the first output exactly the base's.

# %% [answer a6.why_zero_b]
# Only B: A's gradient has the factor B. With both at zero nothing would ever move. B = 0 starts exactly at the base
# model.

# %% [about a6.output_error]
# What do 4 bits change? A matrix is used through its outputs. For inputs x with **second moment** $C = E[x x^\top]$
# (in, in) and the error $E = W - \hat W$, the energy of the output's error is
# $E\|x E^\top\|^2 = \operatorname{tr}(E C E^\top)$. Relative to the energy of the output itself:
#
# $$\frac{\operatorname{tr}(E C E^\top)}{\operatorname{tr}(W C W^\top)}$$
#
# By hand: $W = (1, 2)$, $\hat W = (1, 1.5)$, so $E = (0, 0.5)$. With $C = \operatorname{diag}(1, 1)$: 0.25 / 5 =
# 0.05. With $C = \operatorname{diag}(1, 100)$: 25 / 401 = 0.062.


# %% [exercise a6.output_error]
def output_error(weight: np.ndarray, approx: np.ndarray, moment: np.ndarray) -> float:
    """Energy of the output's error over the output's energy. weight, approx: (out, in); moment: (in, in)."""
    # BEGIN SOLUTION
    error = weight - approx
    return float(np.trace(error @ moment @ error.T) / np.trace(weight @ moment @ weight.T))
    # END SOLUTION


# %% [hint a6.output_error]
# Check the shapes: (out, in) @ (in, in) @ (in, out), then the trace.

# %% [check a6.output_error]

# %% [question a6.why_inputs]
# Two quantised versions of a matrix have the same $\|W - \hat W\|$, yet one of them makes a much worse model. How can
# that be, and how would you use C while rounding?
# RUBRIC
# 1 point: its errors lie in columns (directions) with large inputs, or inputs that go together. 1 point: choose
# scales or rounding that make tr(E C E^T) small: protect columns with large C, or round in turn and let later weights
# make up for earlier errors (GPTQ, Frantar et al. 2022).

# %% [answer a6.why_inputs]
# Its errors sit where the inputs are large or correlated. One can scale such columns up before rounding, or, as GPTQ
# does, round one column after the other and correct the rest so that the output's error stays small.

# %% [about a6.correction]
# LoRA usually begins with $BA = 0$. One may instead spend it on the rounding error: choose $B$ (out, r) and $A$ (r,
# in) such that $\hat W + BA$ is as near to $W$ as rank r allows (LoftQ, Li et al. 2023, does so in turns with the
# rounding). The best product of rank r is the error's **singular value decomposition**
# $U \operatorname{diag}(s) V^\top$ cut after its r largest singular values (Eckart and Young 1936).
#
# By hand: $W = \operatorname{diag}(3, 1)$, $\hat W = 0$, r = 1: singular values 3 and 1, so
# $BA = \operatorname{diag}(3, 0)$; what is left has length 1.
#
# Any B and A whose product does this are right.


# %% [exercise a6.correction]
def correction(weight: np.ndarray, approx: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """B (out, rank) and A (rank, in) that bring approx + B @ A as near to weight as can be."""
    # BEGIN SOLUTION
    u, s, vt = np.linalg.svd(weight - approx, full_matrices=False)
    return u[:, :rank] * s[:rank], vt[:rank]
    # END SOLUTION


# %% [hint a6.correction]
# `np.linalg.svd` sorts singular values from large to small and returns $V^\top$, rows ready to use.

# %% [check a6.correction]

# %% [question a6.why_rank]
# The rounding error of a large matrix looks like noise: its singular values are nearly equal. How much can rank 16
# mend of a 1000 x 1000 matrix then? Why may it still help?
# RUBRIC
# 1 point: about 16/1000 of the energy per direction (a few per cent at the edge of the spectrum). 1 point: errors
# weighted by the inputs are not flat: a few directions carry most of the output's error; and outliers make some
# blocks' errors large.

# %% [answer a6.why_rank]
# With a flat spectrum 16 of 1000 directions hold only a few per cent of the error. But what counts is the error seen
# by the inputs; that is far from flat, and a few directions may carry much of it.
