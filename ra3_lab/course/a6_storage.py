"""A6, first half: how weights are stored in four bits. The assignment is in `a6.py`."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np

from ra3_lab.course.exercise import Exercise, Mistake
from ra3_lab.course.plain import array

NF4_OFFSET = 0.9677083
"""The largest quantile of NF4 (Dettmers et al. 2023; bitsandbytes' create_normal_map)."""

# --- a6.blocks -----------------------------------------------------------------------------------------------------


def _blocks_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for count, block, dead in ((12, 4, False), (10, 4, False), (9, 3, True), (7, 8, False), (16, 5, True)):
        weight = rng.normal(0, 1, count) * 10.0 ** rng.integers(-2, 3)
        weight[:block] = -np.abs(weight[:block])
        if dead:
            weight[block : 2 * block] = 0.0
        cases.append([array(weight.tolist()), block])
    return cases


def _blocks(weight: np.ndarray, block: int, size: Any = np.abs) -> list:
    parts = [weight[i : i + block] for i in range(0, len(weight), block)]
    scales = [float(size(part).max()) for part in parts]
    shrunk = [part / scale if scale else part for part, scale in zip(parts, scales, strict=True)]
    return [np.concatenate(shrunk), scales]


BLOCKS = Exercise(
    id="a6.blocks",
    title="One scale a block",
    objective="Bring weights into [-1, 1] block by block, whatever the blocks hold.",
    minutes=10,
    difficulty=1,
    points=2,
    function="scale_blocks",
    example=[array([0.5, -1.0, 2.0, 1.0, 0.1, 0.2, -0.3, 0.4]), 4],
    make_inputs=_blocks_inputs,
    oracle=_blocks,
    mistakes=(
        Mistake(
            "no_abs",
            "The scale is the largest weight: where the largest in size is negative, that is too small.",
            wrong=lambda weight, block: _blocks(weight, block, size=lambda part: part),
        ),
        Mistake(
            "zero_block",
            "A block of zeros is divided by its scale: 0/0 is nan.",
            matches=lambda a, expected, result: bool(np.isnan(np.array(result[0], float)).any() and 0.0 in expected[1]),
        ),
        Mistake(
            "short_block",
            "The last block is shorter where the block does not divide the count, and it needs a scale, too.",
            matches=lambda a, expected, result: bool(
                len(a[0]) % a[1] and (len(result[0]) != len(a[0]) or len(result[1]) != len(expected[1]))
            ),
        ),
        Mistake(
            "one_scale",
            "One scale serves all blocks: a single large weight then costs the others their digits.",
            wrong=lambda weight, block: [
                weight / np.abs(weight).max(),
                np.full(-(-len(weight) // block), np.abs(weight).max()),
            ],
        ),
    ),
    gives_away=("ra3_lab.models.nf4:quantize", "ra3_lab.models.quantize:round_trip"),
)

# --- a6.levels -----------------------------------------------------------------------------------------------------


def _levels_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    return [[bits, float(rng.uniform(0.9, 0.985))] for bits in (2, 3, 4, 5, 6)] + [[3, NF4_OFFSET]]


def _levels(bits: int, offset: float, more_below: bool = False, stretch: bool = True) -> np.ndarray:
    half = 2 ** (bits - 1)
    quantile = NormalDist().inv_cdf
    many = [quantile(p) for p in np.linspace(offset, 0.5, half + 1)[:-1]]
    few = [quantile(p) for p in np.linspace(offset, 0.5, half)[:-1]]
    above, below = (few, many) if more_below else (many, few)
    levels = np.sort(np.array([*above, 0.0, *[-value for value in below]]))
    return levels / np.abs(levels).max() if stretch else levels


LEVELS = Exercise(
    id="a6.levels",
    title="The levels of NormalFloat",
    objective="Place 2^b levels where normally distributed weights are, with an exact zero.",
    minutes=25,
    difficulty=2,
    points=3,
    function="normal_levels",
    example=[4, NF4_OFFSET],
    make_inputs=_levels_inputs,
    oracle=_levels,
    mistakes=(
        Mistake(
            "always_four",
            "The result is right for 4 bits only: count the levels on each side from `bits`.",
            wrong=lambda bits, offset: _levels(4, offset),
        ),
        Mistake(
            "always_nf4",
            "The result is NF4's table for every `bits` or `offset`.",
            wrong=lambda bits, offset: _levels(4, NF4_OFFSET),
        ),
        Mistake(
            "fixed_offset",
            "The offset is NF4's, whatever was given.",
            wrong=lambda bits, offset: _levels(bits, NF4_OFFSET),
        ),
        Mistake(
            "swapped",
            "The halves are swapped: there is one level more above zero than below.",
            wrong=lambda bits, offset: _levels(bits, offset, more_below=True),
        ),
        Mistake(
            "not_stretched",
            "The outermost levels are not -1 and 1: divide by the largest.",
            wrong=lambda bits, offset: _levels(bits, offset, stretch=False),
        ),
        Mistake(
            "uniform",
            "The levels are evenly spaced: most weights are small, and share few of them.",
            wrong=lambda bits, offset: np.linspace(-1, 1, 2**bits),
        ),
    ),
    gives_away=("ra3_lab.models.nf4:nf4_values",),
)

# --- a6.encode -----------------------------------------------------------------------------------------------------


def _encode_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for count, block, size in ((8, 4, 4), (11, 4, 8), (9, 2, 5), (14, 5, 16)):
        levels = np.sort(np.concatenate([[-1.0, 0.0, 1.0], rng.uniform(-1, 1, size - 3)]))
        scales = rng.uniform(0.2, 3, -(-count // block))
        values = rng.uniform(-1.15, 1.15, count) * np.repeat(scales, block)[:count]
        cases.append([array(values.tolist()), array(scales.tolist()), block, array(levels.tolist())])
    return cases


def _encode(values: np.ndarray, scales: np.ndarray, block: int, levels: np.ndarray) -> list:
    scale = np.repeat(scales, block)[: len(values)]
    codes = np.abs((values / scale)[:, None] - levels).argmin(1)
    return [codes, levels[codes] * scale]


def _encode_below(values: np.ndarray, scales: np.ndarray, block: int, levels: np.ndarray, side: Any) -> list:
    scale = np.repeat(scales, block)[: len(values)]
    codes = np.searchsorted(levels, values / scale, side=side) - (side == "right")
    codes = codes.clip(0, len(levels) - 1)
    return [codes, levels[codes] * scale]


ENCODE = Exercise(
    id="a6.encode",
    title="To codes and back",
    objective="Replace each weight by the nearest level's number, and restore what is left of it.",
    minutes=20,
    difficulty=2,
    points=3,
    function="encode",
    example=[array([-1.0, 0.0, 0.4, 1.0]), array([1.0]), 4, array([-1.0, 0.0, 0.4, 1.0])],
    make_inputs=_encode_inputs,
    oracle=_encode,
    mistakes=(
        Mistake(
            "level_below",
            "The level below is taken, not the nearest: all weights get smaller.",
            wrong=lambda *a: _encode_below(*a, side="right"),
        ),
        Mistake(
            "level_above",
            "The level above is taken, not the nearest: all weights get larger.",
            wrong=lambda *a: _encode_below(*a, side="left"),
        ),
        Mistake(
            "not_restored",
            "The restored weights are the bare levels: multiply by the block's scale.",
            wrong=lambda values, scales, block, levels: [
                _encode(values, scales, block, levels)[0],
                levels[_encode(values, scales, block, levels)[0]],
            ],
        ),
        Mistake(
            "unscaled",
            "Levels are for weights divided by their scale.",
            wrong=lambda values, scales, block, levels: [
                _encode(values, np.ones_like(scales), block, levels)[0],
                levels[_encode(values, np.ones_like(scales), block, levels)[0]]
                * np.repeat(scales, block)[: len(values)],
            ],
        ),
        Mistake(
            "first_scale",
            "One block's scale is used for all of them.",
            wrong=lambda values, scales, block, levels: _encode(values, np.full_like(scales, scales[0]), block, levels),
        ),
    ),
    gives_away=("ra3_lab.models.nf4:quantize", "ra3_lab.models.quantize:round_trip"),
)

# --- a6.unpack -----------------------------------------------------------------------------------------------------


def _unpack_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for count, block in ((8, 4), (7, 4), (13, 3), (1, 4), (20, 6)):
        codes = rng.integers(0, 16, count + count % 2)
        packed = codes[::2] * 16 + codes[1::2]
        scales = rng.uniform(0.1, 2, -(-count // block))
        levels = np.sort(rng.uniform(-1, 1, 16))
        cases.append(
            [
                array(packed.tolist(), "uint8"),
                count,
                array(levels.tolist()),
                array(scales.tolist()),
                block,
                array(rng.normal(0, 1, count).tolist()),
            ]
        )
    return cases


def _unpack_dot(
    packed: np.ndarray,
    count: int,
    levels: np.ndarray,
    scales: np.ndarray,
    block: int,
    x: np.ndarray,
    low_first: bool = False,
) -> float:
    halves = [packed >> 4, packed & 15]
    codes = np.stack(halves[::-1] if low_first else halves, axis=1).reshape(-1)[:count]
    return float((levels[codes] * np.repeat(scales, block)[:count]) @ x)


UNPACK = Exercise(
    id="a6.unpack",
    title="A dot product out of packed bytes",
    objective="Read two codes out of each byte and multiply, as a 4-bit kernel does.",
    minutes=20,
    difficulty=2,
    points=3,
    function="packed_dot",
    example=[
        array([0x33, 0xCC], "uint8"),
        4,
        array([(i - 7.5) / 7.5 for i in range(16)]),
        array([2.0]),
        4,
        array([1.0, 1.0, 1.0, 1.0]),
    ],
    make_inputs=_unpack_inputs,
    oracle=_unpack_dot,
    mistakes=(
        Mistake(
            "low_first",
            "The halves of each byte are swapped: the first code is in the high half.",
            wrong=lambda *a: _unpack_dot(*a, low_first=True),
        ),
        Mistake(
            "halves_apart",
            "All high halves come first, then all low ones: the two codes of a byte are neighbours.",
            wrong=lambda packed, count, levels, scales, block, x: float(
                (levels[np.concatenate([packed >> 4, packed & 15])[:count]] * np.repeat(scales, block)[:count]) @ x
            ),
        ),
        Mistake(
            "no_scales",
            "The scales are missing.",
            wrong=lambda packed, count, levels, scales, block, x: _unpack_dot(
                packed, count, levels, np.ones_like(scales), block, x
            ),
        ),
        Mistake(
            "block_in_bytes",
            "Blocks are counted in bytes; they are counted in weights, two to a byte.",
            wrong=lambda packed, count, levels, scales, block, x: _unpack_dot(
                packed, count, levels, np.pad(scales, (0, len(packed)), "edge"), 2 * block, x
            ),
        ),
    ),
    gives_away=("ra3_lab.models.nf4:dequantize", "ra3_lab.models.quantize:base_weight"),
)

# --- a6.bits -------------------------------------------------------------------------------------------------------


def _bits_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases: list = [[4096 * int(rng.integers(2, 9)), 64, 256], [4097 + 2 * int(rng.integers(0, 500)), 64, None]]
    cases += [[int(rng.integers(100, 999)), int(rng.choice([16, 32, 64])), 256] for _ in range(3)]
    cases += [[int(rng.integers(20_000, 90_000)), 64, int(rng.choice([128, 256]))] for _ in range(2)]
    return cases


def _bits(count: int, block: int, double_block: int | None, whole: bool = True, mean: bool = True) -> float:
    def up(a: float, b: int) -> float:
        return -(-a // b) if whole else a / b

    scales = up(count, block)
    bits = 8 * up(count, 2)
    if double_block is None:
        return (bits + 32 * scales) / count
    return (bits + 8 * scales + 32 * up(scales, double_block) + 32 * mean) / count


BITS = Exercise(
    id="a6.bits",
    title="Bits per weight",
    objective="Count what a quantised matrix really takes, scales and scales of scales included.",
    minutes=10,
    difficulty=1,
    points=2,
    function="bits_per_weight",
    example=[4096, 64, None],
    make_inputs=_bits_inputs,
    oracle=_bits,
    mistakes=(
        Mistake(
            "codes_only",
            "Only the codes are counted: scales take room, too.",
            wrong=lambda count, block, double_block: 8 * -(-count // 2) / count,
        ),
        Mistake(
            "no_double",
            "The scales are counted as 32-bit numbers although they are quantised themselves.",
            wrong=lambda count, block, double_block: _bits(count, block, None),
        ),
        Mistake("no_mean", "The mean of the scales is missing.", wrong=lambda *a: _bits(*a, mean=False)),
        Mistake(
            "parts",
            "Parts of blocks or bytes are counted: a short last block has a whole scale, an odd code a whole byte.",
            wrong=lambda *a: _bits(*a, whole=False),
        ),
    ),
    gives_away=("ra3_lab.models.plan:weight_bytes",),
)
