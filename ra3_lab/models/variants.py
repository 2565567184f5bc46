"""Which weights are trained and how they are stored: one settings class for every command, and what works where.

`Variant` holds the flags (`--quant nf4 --adapter dora`), `Reading` those of commands that do not train. `ADAPTERS`,
`QUANTS` and `OPTIMIZERS` say, as data, on which hardware each works and why the others are refused; `check` refuses
from that data, `table` prints it for the docs. `adapters.prepare` builds the model.

Refused is what fails and also what would silently do nothing: `--double-quant` without 4-bit weights, paged memory on a
CPU, LoftQ on float weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

WORKS = "works"
EXPECTED = "expected"  # the same code, not run on a GPU yet


@dataclass(frozen=True)
class Verdict:
    """What is known about one choice."""

    what: str
    """The choice in words."""
    cpu: str = WORKS
    """'works' (held by a test), or 'refused'."""
    gpu: str = EXPECTED
    """'works' (run there), 'expected' or 'refused'."""
    why: str = ""
    """Reason of a refusal, ending in what to use instead; or a remark."""


ADAPTERS: Mapping[str, Verdict] = {
    "none": Verdict("all weights are trained", why="with 4-bit weights for evaluation only: nothing could be trained"),
    "lora": Verdict("W + s B A, A random, B = 0 (Hu et al. 2021)"),
    "rslora": Verdict("LoRA with s = alpha / sqrt(r) (Kalajdzievski 2023)"),
    "dora": Verdict("length and direction of each row apart (Liu et al. 2024)", why="slowest: builds W every time"),
    "olora": Verdict("B, A from W's QR decomposition (Büyükakyüz 2024)", why="the residual is what is quantised"),
    "pissa": Verdict("B, A from W's largest singular values (Meng et al. 2024)", why="the residual is quantised"),
    "orthogonal": Verdict("random orthogonal B, A with B A = 0", why="rank must be even"),
    "loftq": Verdict("B, A make up for quantisation (Li et al. 2023)", why="only with --quant"),
    "eva": Verdict("A from the inputs' singular vectors (Paischer et al. 2024)", why="needs programs: training only"),
    "qalora": Verdict(
        "LoRA on pooled inputs (Xu et al. 2023)",
        "refused",
        "refused",
        "peft 0.21 accepts it on bitsandbytes weights and then ignores it; use lora",
    ),
    "corda": Verdict(
        "B, A from W and the inputs' covariance (Yang et al. 2024)",
        "refused",
        "refused",
        "keeps a covariance of every layer in memory, 320 MB for one layer of 8960 inputs; use eva or pissa",
    ),
}

QUANTS: Mapping[str, Verdict] = {
    "none": Verdict("float weights"),
    "nf4": Verdict("4-bit NormalFloat", why="default of QLoRA; smaller error than fp4"),
    "fp4": Verdict("4-bit float"),
}

OPTIMIZERS: Mapping[str, Verdict] = {
    "adamw": Verdict("torch AdamW"),
    "adamw8bit": Verdict(
        "8-bit moments",
        why="tensors under 4,096 entries keep 32 bits; on a CPU it is slower than adamw and saves next to nothing",
    ),
    "paged_adamw": Verdict(
        "moments may move to host memory", "refused", EXPECTED, "a CPU has nothing to page to; use adamw"
    ),
    "paged_adamw8bit": Verdict("both", "refused", EXPECTED, "a CPU has nothing to page to; use adamw8bit or adamw"),
}

COMPUTE = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Storage:
    """How the base weights are stored; all that evaluation needs to know."""

    quant: str = "none"
    """Storage of the base weights: none (float), nf4 or fp4 (4 bits, bitsandbytes)."""
    double_quant: bool | None = None
    """Quantise the scales of 4-bit weights too (0.4 bits a weight less); on by default where there are any."""
    compute: str = "auto"
    """Type that 4-bit weights are computed in: bf16 where the hardware has it, else fp32."""

    def __post_init__(self) -> None:
        _known("quant", self.quant, QUANTS)
        _known("compute", self.compute, COMPUTE)
        if not self.quantized and self.double_quant is not None:
            raise ValueError("double_quant does nothing without 4-bit weights: add --quant nf4 or leave it out.")
        if not self.quantized and self.compute != "auto":
            raise ValueError("compute does nothing without 4-bit weights: use --precision, or add --quant nf4.")

    @property
    def quantized(self) -> bool:
        """Whether the base weights are 4-bit."""
        return self.quant != "none"

    @property
    def nested(self) -> bool:
        """Whether scales are quantised too."""
        return self.quantized and self.double_quant is not False

    def compute_dtype(self, device: torch.device | None = None) -> torch.dtype:
        """The type that 4-bit weights are computed in on the device, by default the one that models go to."""
        from ra3_lab.models.load import dtype_of

        return dtype_of(self.compute, device)


@dataclass(frozen=True)
class Reading(Storage):
    """How a model is loaded that is only read (eval, annotate)."""

    adapter: str = "none"
    """The run's adapter (with its --quant): base and adapters stay apart, as trained; none: merged float weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _known("adapter", self.adapter, ADAPTERS)


@dataclass(frozen=True)
class Variant(Storage):
    """How weights are stored, which are trained, and by which optimiser."""

    adapter: str = "none"
    """none (all weights), lora, rslora, dora, olora, pissa, orthogonal, loftq or eva."""
    rank: int | None = None
    """Rank of the adapters; 16 by default."""
    alpha: int | None = None
    """Scale of the adapters: their update counts alpha / rank (rslora: alpha / sqrt(rank)); 32 by default."""
    target: str = "all-linear"
    """Layers that get adapters: all-linear, or names between commas (q_proj,v_proj)."""
    optimizer: str = "adamw"
    """adamw, adamw8bit, paged_adamw or paged_adamw8bit."""
    checkpointing: bool = False
    """Keep only each layer's input for the backward pass and compute the rest again: less memory, a third slower."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _known("adapter", self.adapter, ADAPTERS)
        _known("optimizer", self.optimizer, OPTIMIZERS)
        if self.adapter == "none":
            for name, value, default in (
                ("rank", self.rank, None),
                ("alpha", self.alpha, None),
                ("target", self.target, "all-linear"),
            ):
                if value != default:
                    raise ValueError(f"{name}={value!r} does nothing without adapters: add --adapter lora.")
        if self.rank is not None and self.rank < 1:
            raise ValueError(f"rank={self.rank}: 1 or more.")
        if self.alpha is not None and self.alpha < 1:
            raise ValueError(f"alpha={self.alpha}: 1 or more.")
        if self.adapter == "orthogonal" and self.r % 2:
            raise ValueError(f"rank={self.rank} with adapter orthogonal: it must be even.")
        if self.adapter == "loftq" and not self.quantized:
            raise ValueError("adapter loftq makes up for quantisation, and there is none: add --quant nf4 or use lora.")

    @property
    def adapted(self) -> bool:
        """Whether adapters are trained rather than all weights."""
        return self.adapter != "none"

    @property
    def r(self) -> int:
        """The adapters' rank."""
        return self.rank or 16

    @property
    def scaling(self) -> float:
        """What B A is multiplied by."""
        return (self.alpha or 32) / (self.r**0.5 if self.adapter == "rslora" else self.r)


def _known(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise ValueError(f"{name}={value!r}: one of {', '.join(known)}.")


def check(variant: Variant, device: torch.device, training: bool = True) -> None:
    """Raise ValueError, with the reason and the next step, for a variant that does not work on the device.

    >>> check(Variant(optimizer="paged_adamw"), torch.device("cpu"))
    Traceback (most recent call last):
    ...
    ValueError: optimizer=paged_adamw is refused on a CPU: a CPU has nothing to page to; use adamw.
    """
    place = "a CPU" if device.type == "cpu" else "a GPU"
    for name, value, known in (
        ("quant", variant.quant, QUANTS),
        ("adapter", variant.adapter, ADAPTERS),
        ("optimizer", variant.optimizer, OPTIMIZERS),
    ):
        verdict = known[value]
        if (verdict.cpu if device.type == "cpu" else verdict.gpu) == "refused":
            raise ValueError(f"{name}={value} is refused on {place}: {verdict.why}.")
    if training and variant.quantized and not variant.adapted:
        raise ValueError(
            f"quant={variant.quant} without adapters leaves nothing to train, 4-bit weights are frozen: "
            "add --adapter lora."
        )
    if variant.compute == "bf16" and device.type == "cpu":
        from ra3_lab.models.load import best_precision

        if best_precision(device) != "bf16":
            raise ValueError(
                "compute=bf16: this CPU has no bf16 instructions (AVX512-BF16 or AMX) and would emulate them, many "
                "times slower; use --compute auto."
            )


def as_record(variant: Variant) -> dict[str, Any]:
    """The settings with their defaults resolved, for run records and model cards."""
    record: dict[str, Any] = {"quant": variant.quant, "adapter": variant.adapter, "optimizer": variant.optimizer}
    if variant.quantized:
        record |= {"double_quant": variant.nested, "compute": str(variant.compute_dtype()).removeprefix("torch.")}
    if variant.adapted:
        record |= {"rank": variant.r, "scaling": round(variant.scaling, 6), "target": variant.target}
    return record


def flags(variant: Variant) -> str:
    """The command-line flags of a variant.

    >>> flags(Variant(quant="nf4", adapter="lora", checkpointing=True))
    '--quant nf4 --adapter lora --checkpointing'
    """
    said: list[str] = []
    default: dict[str, Any] = asdict(Variant())
    for name, value in asdict(variant).items():
        if value != default[name]:
            said.append(f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}"))
    return " ".join(said) or "all weights trained, no flags"


def table() -> str:
    """What works where, as Markdown tables: every adapter with float and with 4-bit weights, and every optimiser."""

    def cell(verdict: Verdict, place: str, state: str) -> str:
        if state == "refused":
            return "refused"
        if verdict is ADAPTERS["none"] and place == "4-bit":
            return "evaluation only"
        return "refused" if verdict is ADAPTERS["loftq"] and place == "float" else state

    rows = [
        "| `--adapter` | what it is | float, CPU | 4-bit, CPU | float, GPU | 4-bit, GPU | remark |",
        "|---" * 7 + "|",
    ]
    for name, v in ADAPTERS.items():
        cells = [cell(v, place, state) for state in (v.cpu, v.gpu) for place in ("float", "4-bit")]
        rows.append(f"| `{name}` | {v.what} | {' | '.join(cells)} | {v.why} |")
    rows += ["", "| `--optimizer` | what it is | CPU | GPU | remark |", "|---" * 5 + "|"]
    rows += [f"| `{name}` | {v.what} | {v.cpu} | {v.gpu} | {v.why} |" for name, v in OPTIMIZERS.items()]
    return "\n".join(rows) + "\n"
