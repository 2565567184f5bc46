"""The losses equal TRL's on the same tensors, values and gradients.

The literals are printed by benchmarks/trl_values.py, which runs TRL's own `_compute_loss`; no trl is needed here.
"""

from __future__ import annotations

import pytest
import torch

from ra3_lab.rlvr.losses import LossConfig, Tokens, loss_of, token_weights

LONGEST, BETA = 6, 0.1
# our name -> TRL's loss_type, importance_sampling_level, epsilon, epsilon_high
CASES = {
    "grpo": ("grpo", "token", 0.2, 0.2),
    "dr_grpo": ("dr_grpo", "token", 0.2, 0.2),
    "dapo": ("dapo", "token", 0.2, 0.28),
    "bnpo": ("bnpo", "token", 0.2, 0.2),
    "gspo": ("grpo", "sequence", 3e-4, 4e-4),
    "cispo": ("cispo", "token", 0.2, 5.0),  # TRL's epsilon_high is the cap itself
}


def fixed_tensors() -> dict[str, torch.Tensor]:
    """Four answers of 5, 2, 4 and 1 tokens; ratios from about 0.3 to 3.5; float64."""
    rows, columns = torch.meshgrid(torch.arange(4.0).double(), torch.arange(5.0).double(), indexing="ij")
    logp = -1.5 + torch.sin(3 * rows + 2 * columns)
    return {
        "logp": logp,
        "old": logp + 0.6 * torch.cos(5 * rows + 3 * columns) * (1 + columns / 4),
        "reference": logp + 0.5 * torch.sin(rows - 2 * columns),
        "mask": columns < torch.tensor([5.0, 2.0, 4.0, 1.0])[:, None],
        "advantage": torch.tensor([1.5, -0.5, -1.2, 0.7], dtype=torch.float64),
    }


# trl 1.16.0, torch 2.13.0+cpu
TRL = {
    ("grpo", 0.0): (0.05406723503751501, [0.05861239295882892, 0.0873969831940832, 0.2166290526421295, 0.0]),
    ("grpo", 0.1): (
        0.05962822330838197,
        [0.05905470640591398, 0.08722673366437832, 0.2165010011946137, 0.0018277239590238914],
    ),
    ("dr_grpo", 0.0): (0.0535679354917671, [0.04884366079902409, 0.029132327731361065, 0.14441936842808636, 0.0]),
    ("dr_grpo", 0.1): (
        0.05673282994843834,
        [0.049212255338261644, 0.029075577888126106, 0.14433400079640915, 0.00030462065983731523],
    ),
    ("dapo", 0.0): (0.08246920431686751, [0.09768732159804817, 0.05826465546272213, 0.28883873685617273, 0.0]),
    ("dapo", 0.1): (
        0.08879899323021001,
        [0.09842451067652329, 0.05815115577625221, 0.2886680015928183, 0.0006092413196746305],
    ),
    ("bnpo", 0.0): (0.1071358709835342, [0.09768732159804817, 0.05826465546272213, 0.28883873685617273, 0.0]),
    ("bnpo", 0.1): (
        0.11346565989687668,
        [0.09842451067652329, 0.05815115577625221, 0.2886680015928183, 0.0006092413196746305],
    ),
    ("gspo", 0.0): (-0.07118643552400877, [0.14355061597139615, 0.0, 0.0, 0.0]),
    ("gspo", 0.1): (
        -0.06562544725314173,
        [0.1432698605358997, 0.007821870073013278, 0.005140055056803314, 0.0018277239590238914],
    ),
    ("cispo", 0.0): (
        0.04087149005449361,
        [0.4294175723721839, 0.05826465546272213, 0.29537329029719145, 0.09201820454567161],
    ),
    ("cispo", 0.1): (
        0.04720127896783614,
        [0.42866996052922873, 0.05815115577625221, 0.29474620220932213, 0.09262744586534624],
    ),
}


@pytest.mark.parametrize("beta", [0.0, BETA])
@pytest.mark.parametrize("name", list(CASES))
def test_losses_equal_trl(name, beta):
    t = fixed_tensors()
    logp = t["logp"].clone().requires_grad_()
    tokens = Tokens(logp, t["old"], t["mask"], t["advantage"], t["reference"])
    loss, _ = loss_of(LossConfig(name, beta=beta, kl="k3"), tokens, token_weights(name, t["mask"], LONGEST))
    (gradient,) = torch.autograd.grad(loss, logp)
    value, norms = TRL[name, beta]
    assert loss.item() == pytest.approx(value, abs=1e-12)
    assert gradient.norm(dim=1).tolist() == pytest.approx(norms, abs=1e-12)
