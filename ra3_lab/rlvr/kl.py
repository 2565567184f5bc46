"""Estimators of the divergence between the policy and a reference, per token, and which gradient each one gives.

With d = log pi(o_t) - log ref(o_t) for a token drawn from pi (Schulman 2020, "Approximating KL divergence"):

    k1 = d        k2 = d^2 / 2        k3 = exp(-d) - 1 + d

As *values* k1 and k3 are unbiased for KL(pi || ref). As *losses*, differentiated at samples from pi, they are not the
same at all; for an action of one token (enumerated in tests/test_rlvr_kl.py):

    in the loss      k1: 0      k2: grad KL(pi || ref)      k3: grad KL(ref || pi)
    in the reward    k1: grad KL(pi || ref), with the constant of the baseline (see advantages.py)

For answers of several tokens, k1 in the reward (summed over the answer) still gives the gradient of the whole answer's
KL(pi || ref). k2 and k3 in the loss give the sum of the single tokens' gradients at the states that pi visits, as if
the states did not depend on pi: what a token does to later states is missing. k1 stays 0 where every token has the same
weight (dr_grpo); a mean over the answer's own length makes it a pull on lengths.

After the first of several updates on the same samples, these come from the old policy, and none of the above holds
exactly. `importance` multiplies the estimate by the ratio pi / old and lets its gradient through: then k1 and k3 give
grad KL(pi || ref) again, in the first update and in later ones (DeepSeek-V3.2 calls it the unbiased KL estimate).
"""

from __future__ import annotations

import torch

ESTIMATORS = ("k1", "k2", "k3")


def kl_estimate(name: str, logp: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Per-token estimate, the shape of its arguments, nats; gradients flow through `logp`. Raises ValueError.

    >>> logp, reference = torch.tensor([-1.0]), torch.tensor([-1.5])
    >>> [round(float(kl_estimate(name, logp, reference)), 4) for name in ESTIMATORS]
    [0.5, 0.125, 0.1065]
    """
    d = logp - reference
    if name == "k1":
        return d
    if name == "k2":
        return d.square() / 2
    if name == "k3":
        return torch.exp(-d) - 1 + d
    raise ValueError(f"KL estimator {name!r} is unknown: one of {', '.join(ESTIMATORS)}.")
