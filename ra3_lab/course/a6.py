"""A6: four bits a weight. LoRA on a frozen base, and what the rounding does; storage is in `a6_storage.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ra3_lab.course.a6_storage import BITS, BLOCKS, ENCODE, LEVELS, UNPACK
from ra3_lab.course.exercise import Assignment, Exercise, Mistake, Question
from ra3_lab.course.plain import array, tensor

# --- a6.lora -------------------------------------------------------------------------------------------------------


def _lora_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for batch, inside, out, rank, alpha, stable in (
        (3, 4, 2, 2, 8.0, False),
        (2, 3, 5, 2, 3.0, True),
        (4, 6, 6, 3, 1.0, False),
        (2, 5, 4, 4, 16.0, True),
    ):
        shapes = ((batch, inside), (out, inside), (rank, inside), (out, rank))
        cases.append([*(tensor(rng.normal(0, 1, shape).tolist(), "float64") for shape in shapes), alpha, stable])
    return cases


def _lora_adapter(function: Any, x: Any, weight: Any, a: Any, b: Any, alpha: float, stable: bool) -> Any:
    """The output, the gradients of half its squared length by x, a and b, and whether the base was trained."""
    for part in (x, weight, a, b):
        part.requires_grad_(True)
    y = function(x, weight, a, b, alpha, stable)
    if not y.requires_grad:
        return [y, "no gradient"]
    (y**2).sum().div(2).backward()
    grads = ["no gradient" if part.grad is None else part.grad for part in (x, a, b)]
    moved = weight.grad is not None and bool(weight.grad.abs().sum() > 0)
    return [y, *grads, "base trained" if moved else "base frozen"]


def _lora(x: Any, weight: Any, a: Any, b: Any, alpha: float, stable: bool, scale: float | None = None) -> list:
    if scale is None:
        scale = alpha / (len(a) ** 0.5 if stable else len(a))
    y = x @ weight.T + scale * x @ a.T @ b.T
    return [
        y,
        y @ weight + scale * y @ b @ a,
        scale * (y @ b).T @ x,
        scale * y.T @ (x @ a.T),
        "base frozen",
    ]


LORA = Exercise(
    id="a6.lora",
    title="LoRA on a frozen base",
    objective="Add a trainable low-rank product to a frozen matrix, and let gradients through to what is below.",
    minutes=25,
    difficulty=2,
    points=4,
    function="lora",
    example=[
        tensor([[1.0, 2.0], [0.0, -1.0]], "float64"),
        tensor([[1.0, 0.0], [0.5, -1.0]], "float64"),
        tensor([[1.0, 1.0]], "float64"),
        tensor([[0.5], [2.0]], "float64"),
        1.0,
        False,
    ],
    make_inputs=_lora_inputs,
    oracle=_lora,
    adapter=_lora_adapter,
    mistakes=(
        Mistake(
            "base_trained",
            "The base weight gets a gradient: it is frozen, only the two small matrices are trained.",
            matches=lambda a, expected, result: result[-1] == "base trained",
        ),
        Mistake(
            "detached",
            "Something that should be trained gets no gradient: what is detached, or inside no_grad?",
            matches=lambda a, expected, result: "no gradient" in result,
        ),
        Mistake(
            "input_cut",
            "The output is right, but the gradient to the input goes through the adapter only (or through the base "
            "only): layers below would learn from a part of the signal.",
            matches=lambda a, expected, result: bool(
                np.allclose(result[0], expected[0]) and not np.allclose(result[1], expected[1])
            ),
        ),
        Mistake(
            "alpha_alone",
            "The product is scaled by alpha alone: divide by the rank (or its root).",
            wrong=lambda x, weight, a, b, alpha, stable: _lora(x, weight, a, b, alpha, stable, scale=alpha),
        ),
        Mistake(
            "unscaled",
            "The product is not scaled.",
            wrong=lambda x, weight, a, b, alpha, stable: _lora(x, weight, a, b, alpha, stable, scale=1.0),
        ),
        Mistake(
            "never_stable",
            "The scale is alpha / r in both cases: look at `stable`.",
            wrong=lambda x, weight, a, b, alpha, stable: _lora(x, weight, a, b, alpha, False),
        ),
    ),
    gives_away=("ra3_lab.models.quantize:dense_weight",),
)

# --- a6.output_error -----------------------------------------------------------------------------------------------


def _output_error_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for out, inside in ((3, 3), (2, 5), (6, 4), (4, 4)):
        weight = rng.normal(0, 1, (out, inside))
        approx = weight + rng.normal(0, 0.1, (out, inside))
        data = rng.normal(0, 1, (inside, 2 * inside)) * rng.uniform(0.05, 4, (inside, 1))
        cases.append([array(part.tolist()) for part in (weight, approx, data @ data.T / (2 * inside))])
    return cases


def _output_error(weight: np.ndarray, approx: np.ndarray, moment: np.ndarray) -> float:
    error = weight - approx
    return float(np.trace(error @ moment @ error.T) / np.trace(weight @ moment @ weight.T))


OUTPUT_ERROR = Exercise(
    id="a6.output_error",
    title="What 4 bits change",
    objective="Weigh a matrix's rounding errors by the inputs it meets.",
    minutes=20,
    difficulty=2,
    points=3,
    function="output_error",
    example=[
        array([[1.0, 2.0], [2.0, 0.0]]),
        array([[1.0, 1.5], [2.0, 0.5]]),
        array([[1.0, 0.0], [0.0, 1.0]]),
    ],
    make_inputs=_output_error_inputs,
    oracle=_output_error,
    mistakes=(
        Mistake(
            "inputs_ignored",
            "Every entry counts alike: errors in columns that meet large inputs matter more.",
            wrong=lambda weight, approx, moment: _output_error(weight, approx, np.eye(len(moment))),
        ),
        Mistake(
            "diagonal",
            "Only the diagonal of the second moment is used: inputs that go together add their errors.",
            wrong=lambda weight, approx, moment: _output_error(weight, approx, np.diag(np.diag(moment))),
        ),
        Mistake(
            "root",
            "This is the ratio of lengths; the energy (squared) was asked for.",
            wrong=lambda *a: _output_error(*a) ** 0.5,
        ),
        Mistake(
            "relative_to_rounded",
            "The reference is the rounded matrix's output; it should be the original's.",
            wrong=lambda weight, approx, moment: _output_error(approx, weight, moment),
        ),
        Mistake(
            "absolute",
            "The error is not divided by the energy of the original's output.",
            wrong=lambda weight, approx, moment: float(np.trace((weight - approx) @ moment @ (weight - approx).T)),
        ),
    ),
    gives_away=("ra3_lab.models.nf4:rounded", "ra3_lab.models.quantize:round_trip"),
)

# --- a6.correction -------------------------------------------------------------------------------------------------


def _correction_inputs(seed: int) -> list:
    rng = np.random.default_rng(seed)
    cases = []
    for out, inside, rank in ((4, 4, 1), (3, 6, 2), (7, 4, 2), (5, 5, 4)):
        weight = rng.normal(0, 1, (out, inside))
        approx = np.round(weight * 2) / 2
        cases.append([array(weight.tolist()), array(approx.tolist()), rank])
    return cases


def _correction(weight: np.ndarray, approx: np.ndarray, rank: int) -> list:
    u, s, vt = np.linalg.svd(weight - approx, full_matrices=False)
    return [u[:, :rank] * s[:rank], vt[:rank]]


def _correction_right(arguments: Any, expected: Any, result: Any) -> bool:
    weight, approx, rank = arguments
    b, a = (np.array(part, float) for part in result)
    if b.shape != (len(weight), rank) or a.shape != (rank, weight.shape[1]):
        return False
    best_b, best_a = (np.array(part) for part in expected)
    best = np.linalg.norm(weight - approx - best_b @ best_a)
    return bool(np.linalg.norm(weight - approx - b @ a) <= best * (1 + 1e-6) + 1e-9)


def _product_is(other: Any) -> Any:
    """A test of one failed case: whether the answer's product is `other`'s."""

    def matches(arguments: Any, expected: Any, result: Any) -> bool:
        b, a = (np.array(part, float) for part in result)
        return bool(
            np.allclose(b @ a, other(*np.linalg.svd(arguments[0] - arguments[1], full_matrices=False), arguments[2]))
        )

    return matches


def _transposed(arguments: Any, expected: Any, result: Any) -> bool:
    vt = np.linalg.svd(arguments[0] - arguments[1], full_matrices=False)[2]
    wrong = np.abs(vt.T[: arguments[2]])
    return bool(np.shape(result[1]) == wrong.shape and np.allclose(np.abs(result[1]), wrong))


CORRECTION = Exercise(
    id="a6.correction",
    title="Spend the adapter on the error",
    objective="Begin LoRA where it makes up for most of the rounding, rather than at zero.",
    minutes=25,
    difficulty=3,
    points=4,
    function="correction",
    example=[array([[2.0, 0.5], [0.25, -1.0]]), array([[1.0, 0.5], [0.25, -1.0]]), 1],
    make_inputs=_correction_inputs,
    oracle=_correction,
    compare=_correction_right,
    mistakes=(
        Mistake(
            "sign",
            "The product is the negative of what is missing: approx + b a should come near weight.",
            matches=_product_is(lambda u, s, vt, r: -(u[:, :r] * s[:r]) @ vt[:r]),
        ),
        Mistake(
            "no_values",
            "The singular values are left out: directions without their lengths.",
            matches=_product_is(lambda u, s, vt, r: u[:, :r] @ vt[:r]),
        ),
        Mistake(
            "twice",
            "The singular values are multiplied in twice; give each matrix their root, or one of them all.",
            matches=_product_is(lambda u, s, vt, r: (u[:, :r] * s[:r] ** 2) @ vt[:r]),
        ),
        Mistake(
            "smallest",
            "The smallest singular values are kept instead of the largest.",
            matches=_product_is(lambda u, s, vt, r: (u[:, -r:] * s[-r:]) @ vt[-r:]),
        ),
        Mistake(
            "transposed",
            "The right singular vectors are transposed once too often: numpy's svd gives them as rows already.",
            matches=_transposed,
        ),
    ),
    gives_away=("ra3_lab.models.adapters:prepare",),
)

ASSIGNMENT = Assignment(
    id="a6",
    title="Four bits a weight",
    notebook="a6_quantisation",
    exercises=(BLOCKS, LEVELS, ENCODE, UNPACK, BITS, LORA, OUTPUT_ERROR, CORRECTION),
    questions=(
        Question("a6.why_blocks", points=2),
        Question("a6.why_zero", points=2),
        Question("a6.why_nearest", points=2),
        Question("a6.why_dequantise", points=2),
        Question("a6.why_double", points=2),
        Question("a6.why_zero_b", points=2),
        Question("a6.why_inputs", points=2),
        Question("a6.why_rank", points=2),
    ),
)
