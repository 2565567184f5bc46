"""Answers to A6 that must be accepted and rejected."""

from course_answers import changed

BLOCKS = """
import numpy as np

def scale_blocks(weight, block):
    scales = []
    shrunk = np.zeros(len(weight))
    for start in range(0, len(weight), block):
        part = weight[start : start + block]
        scale = np.abs(part).max()
        scales.append(scale)
        if scale > 0:
            shrunk[start : start + block] = part / scale
    return shrunk, np.array(scales)
"""

LEVELS = """
from statistics import NormalDist
import numpy as np

def normal_levels(bits, offset):
    half = 2 ** (bits - 1)
    quantile = NormalDist().inv_cdf
    above = [quantile(p) for p in np.linspace(offset, 0.5, half + 1)[:-1]]
    below = [-quantile(p) for p in np.linspace(offset, 0.5, half)[:-1]]
    levels = np.array(sorted(below + [0.0] + above))
    return levels / levels.max()
"""

ENCODE = """
import numpy as np

def encode(values, scales, block, levels):
    scale = np.repeat(scales, block)[: len(values)]
    codes = np.abs((values / scale)[:, None] - levels[None, :]).argmin(1)
    return codes, levels[codes] * scale
"""

UNPACK = """
import numpy as np

def packed_dot(packed, count, levels, scales, block, x):
    codes = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)[:count]
    return float((levels[codes] * np.repeat(scales, block)[:count]) @ x)
"""

BITS = """
from math import ceil

def bits_per_weight(count, block, double_block):
    scales = ceil(count / block)
    bits = 8 * ceil(count / 2)
    if double_block is None:
        bits += 32 * scales
    else:
        bits += 8 * scales + 32 * ceil(scales / double_block) + 32
    return bits / count
"""

LORA = """
import torch

def lora(x, weight, a, b, alpha, stable):
    rank = a.shape[0]
    scale = alpha / (rank**0.5 if stable else rank)
    return x @ weight.detach().T + scale * (x @ a.T @ b.T)
"""

OUTPUT_ERROR = """
import numpy as np

def output_error(weight, approx, moment):
    error = weight - approx
    return float(np.trace(error @ moment @ error.T) / np.trace(weight @ moment @ weight.T))
"""

CORRECTION = """
import numpy as np

def correction(weight, approx, rank):
    u, s, vt = np.linalg.svd(weight - approx, full_matrices=False)
    b = u[:, :rank] * s[:rank]
    a = vt[:rank]
    return b, a
"""

NF4 = """
def normal_levels(bits, offset):
    return [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
        -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
        0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ]
"""

RIGHT = {
    "a6.blocks": [
        BLOCKS,
        """
import numpy as np

def scale_blocks(weight, block):
    count = -(-len(weight) // block)
    padded = np.zeros(count * block)
    padded[: len(weight)] = weight
    table = padded.reshape(count, block)
    scales = np.abs(table).max(axis=1)
    shrunk = table / np.where(scales > 0, scales, 1.0)[:, None]
    return [shrunk.reshape(-1)[: len(weight)], scales]
""",
    ],
    "a6.levels": [
        LEVELS,
        """
import torch

def normal_levels(bits, offset):
    half = 2 ** (bits - 1)
    above = torch.special.ndtri(torch.linspace(offset, 0.5, half + 1, dtype=torch.float64)[:-1])
    below = torch.special.ndtri(torch.linspace(offset, 0.5, half, dtype=torch.float64)[:-1])
    levels = torch.cat([-below, torch.zeros(1, dtype=torch.float64), above]).sort().values
    return levels / levels[-1]
""",
    ],
    "a6.encode": [
        ENCODE,
        """
import numpy as np

def encode(values, scales, block, levels):
    borders = (levels[1:] + levels[:-1]) / 2
    codes, restored = [], []
    for i, value in enumerate(values):
        scale = scales[i // block]
        code = int(np.searchsorted(borders, value / scale))
        codes.append(code)
        restored.append(levels[code] * scale)
    return [codes, restored]
""",
    ],
    "a6.unpack": [
        UNPACK,
        """
def packed_dot(packed, count, levels, scales, block, x):
    total = 0.0
    for i in range(count):
        byte = int(packed[i // 2])
        code = byte % 16 if i % 2 else byte // 16
        total += levels[code] * scales[i // block] * x[i]
    return total
""",
    ],
    "a6.bits": [
        BITS,
        """
def bits_per_weight(count, block, double_block):
    def parts(a, b):
        return (a + b - 1) // b

    scales = parts(count, block)
    extra = 32 * scales if double_block is None else 8 * scales + 32 * (parts(scales, double_block) + 1)
    return (8 * parts(count, 2) + extra) / count
""",
    ],
    "a6.lora": [
        LORA,
        """
import math
import torch

def lora(x, weight, a, b, alpha, stable):
    rank = len(a)
    divisor = math.sqrt(rank) if stable else rank
    return torch.nn.functional.linear(x, weight.detach() + (alpha / divisor) * (b @ a))
""",
    ],
    "a6.output_error": [
        OUTPUT_ERROR,
        """
import numpy as np

def output_error(weight, approx, moment):
    values, vectors = np.linalg.eigh(moment)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    return np.sum(((weight - approx) @ root) ** 2) / np.sum((weight @ root) ** 2)
""",
    ],
    "a6.correction": [
        CORRECTION,
        """
import torch

def correction(weight, approx, rank):
    u, s, v = torch.svd(torch.tensor(weight - approx))
    root = s[:rank].sqrt()
    return u[:, :rank] * root, (v[:, :rank] * root).T
""",
    ],
}

WRONG = {
    "a6.blocks": {
        "largest without its size": (changed(BLOCKS, ("np.abs(part).max()", "part.max()")), None),
        "largest without its size, any sign": (
            changed(BLOCKS, ("np.abs(part).max()", "part.max()"), ("if scale > 0:", "if scale:")),
            "no_abs",
        ),
        "zero block": (changed(BLOCKS, ("if scale > 0:", "if True:")), "zero_block"),
        "short block dropped": (
            changed(BLOCKS, ("range(0, len(weight), block)", "range(0, len(weight) - block + 1, block)")),
            "short_block",
        ),
        "one scale": (
            changed(BLOCKS, ("np.abs(part).max()", "np.abs(weight).max()")),
            "one_scale",
        ),
        "standard deviation": (changed(BLOCKS, ("np.abs(part).max()", "part.std()")), None),
        "blocks of four": (changed(BLOCKS, ("scales = []", "scales = []\n    block = 4")), None),
    },
    "a6.levels": {
        "NF4's table": (NF4, "always_nf4"),
        "always 4 bits": (changed(LEVELS, ("2 ** (bits - 1)", "8")), "always_four"),
        "offset fixed": (changed(LEVELS, ("half = 2", "offset = 0.9677083\n    half = 2")), "fixed_offset"),
        "halves swapped": (
            changed(
                LEVELS,
                ("half + 1)[:-1]", "half)[:-1]"),
                ("0.5, half)[:-1]]\n    levels", "0.5, half + 1)[:-1]]\n    levels"),
            ),
            "swapped",
        ),
        "not stretched": (changed(LEVELS, ("levels / levels.max()", "levels")), "not_stretched"),
        "evenly spaced": (
            "import numpy as np\ndef normal_levels(b, o):\n    return np.linspace(-1, 1, 2**b)",
            "uniform",
        ),
        "symmetric, without zero": (
            changed(LEVELS, ("+ [0.0] +", "+"), ("0.5, half)[:-1]", "0.5, half + 1)[:-1]")),
            None,
        ),
        "single precision table": (
            changed(LEVELS, ("return levels / levels.max()", "return (levels / levels.max()).round(4)")),
            None,
        ),
    },
    "a6.encode": {
        "level below": (
            changed(
                ENCODE,
                (
                    "np.abs((values / scale)[:, None] - levels[None, :]).argmin(1)",
                    "(np.searchsorted(levels, values / scale, side='right') - 1).clip(0)",
                ),
            ),
            "level_below",
        ),
        "level above": (
            changed(
                ENCODE,
                (
                    "np.abs((values / scale)[:, None] - levels[None, :]).argmin(1)",
                    "np.searchsorted(levels, values / scale).clip(0, len(levels) - 1)",
                ),
            ),
            "level_above",
        ),
        "not restored": (changed(ENCODE, ("levels[codes] * scale", "levels[codes]")), "not_restored"),
        "not scaled": (changed(ENCODE, ("(values / scale)", "values")), "unscaled"),
        "first block's scale": (
            changed(ENCODE, ("np.repeat(scales, block)[: len(values)]", "scales[0]")),
            "first_scale",
        ),
        "scales interleaved": (
            changed(ENCODE, ("np.repeat(scales, block)[: len(values)]", "np.resize(scales, len(values))")),
            None,
        ),
        "without the sign": (changed(ENCODE, ("(values / scale)[:, None]", "np.abs(values / scale)[:, None]")), None),
    },
    "a6.unpack": {
        "low half first": (changed(UNPACK, ("[packed >> 4, packed & 15]", "[packed & 15, packed >> 4]")), "low_first"),
        "halves apart": (changed(UNPACK, ("axis=1", "axis=0")), "halves_apart"),
        "no scales": (changed(UNPACK, (" * np.repeat(scales, block)[:count]", "")), "no_scales"),
        "blocks in bytes": (
            changed(UNPACK, ("np.repeat(scales, block)[:count]", "scales[np.arange(count) // 2 // block]")),
            "block_in_bytes",
        ),
        "filling not cut off": (
            changed(
                UNPACK,
                ("reshape(-1)[:count]", "reshape(-1)"),
                ("np.repeat(scales, block)[:count]", "np.repeat(scales, block)[:len(codes)]"),
            ),
            None,
        ),
        "seven bits": (changed(UNPACK, ("packed & 15", "packed & 7")), None),
        "first scale": (changed(UNPACK, ("np.repeat(scales, block)[:count]", "scales[0]")), None),
        "overflow of a byte": (changed(UNPACK, ("packed >> 4", "(packed * 16) >> 8")), None),
    },
    "a6.bits": {
        "codes only": (
            "def bits_per_weight(count, block, double_block):\n    return 8 * ((count + 1) // 2) / count",
            "codes_only",
        ),
        "scales not quantised": (changed(BITS, ("if double_block is None:", "if True:")), "no_double"),
        "without the mean": (
            changed(BITS, ("ceil(scales / double_block) + 32", "ceil(scales / double_block)")),
            "no_mean",
        ),
        "parts of blocks": (
            changed(
                BITS,
                ("from math import ceil", ""),
                ("scales = ceil(count / block)", "scales = count / block"),
                ("ceil(count / 2)", "count / 2"),
                ("ceil(scales / double_block)", "scales / double_block"),
            ),
            "parts",
        ),
        "blocks rounded down": (changed(BITS, ("ceil(count / block)", "count // block")), None),
        "hard-coded": (
            "def bits_per_weight(count, block, double_block):\n    return 4.5 if double_block is None else 4.127",
            None,
        ),
        "4-byte scales of scales counted per weight": (
            changed(BITS, ("32 * ceil(scales / double_block)", "32 * ceil(count / double_block)")),
            None,
        ),
        "bytes for bits": (
            changed(BITS, ("8 * ceil(count / 2)", "ceil(count / 2)"), ("bits += 32 * scales", "bits += 4 * scales")),
            None,
        ),
    },
    "a6.lora": {
        "base trained": (changed(LORA, ("weight.detach()", "weight")), "base_trained"),
        "alpha alone": (changed(LORA, ("alpha / (rank**0.5 if stable else rank)", "alpha")), "alpha_alone"),
        "not scaled": (changed(LORA, ("alpha / (rank**0.5 if stable else rank)", "1.0")), "unscaled"),
        "never the root": (changed(LORA, ("(rank**0.5 if stable else rank)", "rank")), "never_stable"),
        "input cut": (changed(LORA, ("x @ weight.detach().T", "(x @ weight.T).detach()")), "input_cut"),
        "adapter's input cut": (changed(LORA, ("(x @ a.T", "(x.detach() @ a.T")), "input_cut"),
        "adapter detached": (changed(LORA, ("a.T @ b.T", "a.detach().T @ b.T")), "detached"),
        "sign": (changed(LORA, (".T + scale", ".T - scale")), None),
        "rank from the wrong axis": (changed(LORA, ("a.shape[0]", "a.shape[1]")), None),
    },
    "a6.output_error": {
        "inputs ignored": (
            changed(
                OUTPUT_ERROR,
                ("error @ moment @ error.T", "error @ error.T"),
                ("weight @ moment @ weight.T", "weight @ weight.T"),
            ),
            "inputs_ignored",
        ),
        "diagonal only": (
            changed(OUTPUT_ERROR, ("error = weight", "moment = np.diag(np.diag(moment))\n    error = weight")),
            "diagonal",
        ),
        "root": (changed(OUTPUT_ERROR, ("return float(", "return np.sqrt(")), "root"),
        "reference rounded": (
            changed(OUTPUT_ERROR, ("np.trace(weight @ moment @ weight.T)", "np.trace(approx @ moment @ approx.T)")),
            "relative_to_rounded",
        ),
        "not divided": (changed(OUTPUT_ERROR, (" / np.trace(weight @ moment @ weight.T)", "")), "absolute"),
        "wrong side": (
            changed(
                OUTPUT_ERROR,
                ("error @ moment @ error.T", "np.resize(moment, (len(error), len(error))) @ error @ error.T"),
            ),
            None,
        ),
        "moment in the error only": (changed(OUTPUT_ERROR, ("weight @ moment @ weight.T", "weight @ weight.T")), None),
        "root of the moment taken for it": (
            changed(
                OUTPUT_ERROR,
                ("error @ moment", "error @ moment @ moment"),
                ("weight @ moment", "weight @ moment @ moment"),
            ),
            None,
        ),
    },
    "a6.correction": {
        "sign": (changed(CORRECTION, ("weight - approx", "approx - weight")), "sign"),
        "values left out": (changed(CORRECTION, (" * s[:rank]", "")), "no_values"),
        "values twice": (changed(CORRECTION, ("a = vt[:rank]", "a = s[:rank, None] * vt[:rank]")), "twice"),
        "smallest kept": (
            changed(CORRECTION, ("u[:, :rank] * s[:rank]", "u[:, -rank:] * s[-rank:]"), ("vt[:rank]", "vt[-rank:]")),
            "smallest",
        ),
        "transposed": (changed(CORRECTION, ("a = vt[:rank]", "a = vt.T[:rank]")), "transposed"),
        "rank off by one": (changed(CORRECTION, ("u, s, vt = np", "rank = rank + 1\n    u, s, vt = np")), None),
        "of the weight, not the error": (changed(CORRECTION, ("weight - approx", "weight")), None),
        "zero": (
            """
import numpy as np

def correction(weight, approx, rank):
    return np.zeros((len(weight), rank)), np.zeros((rank, weight.shape[1]))
""",
            None,
        ),
    },
}
