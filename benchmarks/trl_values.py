"""Loss values and gradients of TRL's GRPO trainer on fixed tensors: the literals of tests/test_rlvr_trl_values.py.

    python benchmarks/trl_values.py        needs trl 1.16.0; prints a Python dictionary

The trainer's own `_compute_loss` runs, on a stand-in for the trainer that holds nothing but the settings it reads; the
log-probabilities are given instead of a model's. The tensors are those of `fixed_tensors` in the test.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from test_rlvr_trl_values import BETA, CASES, LONGEST, fixed_tensors


class _OneProcess:
    """What accelerate's Accelerator does with a single process."""

    num_processes = 1
    sync_gradients = True

    @staticmethod
    def gather(x: torch.Tensor) -> torch.Tensor:
        return x

    @staticmethod
    def reduce(x: torch.Tensor, reduction: str) -> torch.Tensor:
        return x


def trl_loss(loss_type: str, level: str, low: float, high: float, beta: float) -> tuple[float, list[float]]:
    """Value and gradient norms per row of TRL's loss."""
    from trl.trainer.grpo_trainer import GRPOTrainer

    t = fixed_tensors()
    logp = t["logp"].clone().requires_grad_()
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *args, **kwargs: (logp, torch.zeros_like(logp), None),
        aux_loss_enabled=False,
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level=level,
        beta=beta,
        args=SimpleNamespace(use_bias_correction_kl=False, delta=None, steps_per_generation=1),
        loss_type=loss_type,
        epsilon_low=low,
        epsilon_high=high,
        use_vllm=False,
        model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1,
        max_completion_length=LONGEST,
        accelerator=_OneProcess(),
        _entropy_bonus_enabled=False,
        _metrics={"train": defaultdict(list)},
    )
    inputs = {
        "prompt_ids": torch.zeros((len(logp), 1), dtype=torch.long),
        "prompt_mask": torch.ones((len(logp), 1), dtype=torch.long),
        "completion_ids": torch.zeros(logp.shape, dtype=torch.long),
        "completion_mask": t["mask"].long(),
        "advantages": t["advantage"],
        "old_per_token_logps": t["old"],
        "ref_per_token_logps": t["reference"],
        "num_items_in_batch": t["mask"].sum(),
    }
    loss = GRPOTrainer._compute_loss(trainer, trainer.model, inputs)
    (gradient,) = torch.autograd.grad(loss, logp)
    return loss.item(), gradient.norm(dim=1).tolist()


def main() -> None:
    """Print the dictionary."""
    import trl

    print(f"# trl {trl.__version__}, torch {torch.__version__}")
    print("TRL = {")
    for name, (loss_type, level, low, high) in CASES.items():
        for beta in (0.0, BETA):
            value, norms = trl_loss(loss_type, level, low, high, beta)
            print(f"    ({name!r}, {beta}): ({value!r}, {norms!r}),")
    print("}")


if __name__ == "__main__":
    main()
