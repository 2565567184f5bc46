"""Answers to A5 that must be accepted and rejected."""

from course_answers import changed

ADVANTAGES = """
import numpy as np

def advantages(rewards, groups, valid):
    result = np.zeros(len(rewards))
    for name in np.unique(groups):
        rows = np.flatnonzero((groups == name) & valid)
        if len(rows) < 2:
            continue
        total = rewards[rows].sum()
        result[rows] = rewards[rows] - (total - rewards[rows]) / (len(rows) - 1)
    return result
"""

SURROGATE = """
import torch

def surrogate(logp, old, advantage, mask, low, high, floor):
    log_ratio = torch.where(mask, logp, 0.0) - torch.where(mask, old, 0.0)
    ratio = log_ratio.exp()
    a = advantage[:, None]
    value = torch.minimum(ratio * a, ratio.clamp(low, high) * a)
    value = torch.where(a < 0, torch.maximum(value, floor * a), value)
    return torch.where(mask, value, 0.0)
"""

UPDATE_LOSS = """
import numpy as np

def update_loss(sums, lengths, longest, scheme):
    judged = lengths > 0
    if scheme == "answer":
        return float((sums[judged] / lengths[judged]).mean())
    if scheme == "token":
        return float(sums.sum() / lengths.sum())
    return float(sums.sum() / (judged.sum() * longest))
"""

KL_SUMS = """
import numpy as np

def kl_sums(logp, reference, mask):
    d = np.where(mask, logp - reference, 0.0)
    return np.stack([d.sum(1), (d**2 / 2).sum(1), (np.expm1(-d) + d).sum(1)])
"""

KL_GRADIENT = """
import numpy as np

def kl_gradient(theta, reference, estimator):
    pi = np.exp(theta - theta.max())
    pi = pi / pi.sum()
    d = np.log(pi) - np.log(reference)
    slope = {"k1": np.ones(len(d)), "k2": d, "k3": 1 - np.exp(-d), "reward": d}[estimator]
    score = np.eye(len(pi)) - pi
    return (pi * slope) @ score
"""

PASS_CURVE = """
from math import comb

def pass_curve(counts, ks):
    curve = []
    for k in ks:
        rates = [1 - comb(n - c, k) / comb(n, k) for n, c in counts if n >= k]
        curve.append(sum(rates) / len(rates) if rates else None)
    return curve
"""

INFORMATIVE = """
from math import comb

def informative_share(counts, group):
    shares = []
    for n, c in counts:
        if n >= group:
            same = comb(c, group) + comb(n - c, group)
            shares.append(1 - same / comb(n, group))
    return sum(shares) / len(shares)
"""

RIGHT = {
    "a5.advantages": [
        ADVANTAGES,
        """
import numpy as np

def advantages(rewards, groups, valid):
    peers = (groups[:, None] == groups[None, :]) & valid[None, :] & valid[:, None]
    np.fill_diagonal(peers, False)
    count = peers.sum(1)
    baseline = np.divide(peers @ rewards, count, out=np.zeros(len(rewards)), where=count > 0)
    return np.where(count > 0, rewards - baseline, 0.0)
""",
    ],
    "a5.surrogate": [
        SURROGATE,
        """
import torch

def surrogate(logp, old, advantage, mask, low, high, floor):
    rows = []
    for i in range(len(logp)):
        row = []
        for t in range(logp.shape[1]):
            if not mask[i, t]:
                row.append(torch.zeros((), dtype=logp.dtype))
                continue
            ratio = torch.exp(logp[i, t] - old[i, t])
            if advantage[i] >= 0:
                row.append(advantage[i] * torch.clamp(ratio, max=high))
            else:
                row.append(advantage[i] * torch.clamp(ratio, min=low, max=floor))
        rows.append(torch.stack(row))
    return torch.stack(rows)
""",
    ],
    "a5.update_loss": [
        UPDATE_LOSS,
        """
def update_loss(sums, lengths, longest, scheme):
    answers = sum(1 for n in lengths if n > 0)
    total = 0.0
    for s, n in zip(sums, lengths):
        if n == 0:
            continue
        weight = {"answer": 1 / (answers * n), "token": 1 / sum(lengths), "constant": 1 / (answers * longest)}
        total += s * weight[scheme]
    return float(total)
""",
    ],
    "a5.kl_sums": [
        KL_SUMS,
        """
import math
import numpy as np

def kl_sums(logp, reference, mask):
    result = np.zeros((3, len(logp)))
    for i, t in zip(*np.nonzero(mask)):
        d = logp[i, t] - reference[i, t]
        small = abs(d) < 1e-4
        k3 = d**2 / 2 - d**3 / 6 + d**4 / 24 if small else math.exp(-d) - 1 + d
        result[:, i] += [d, d * d / 2, k3]
    return result
""",
        """
import numpy as np

def kl_sums(logp, reference, mask):
    logp, reference = np.where(mask, logp, 0.0), np.where(mask, reference, 0.0)
    d = logp - reference
    return [logp.sum(1) - reference.sum(1), (d**2).sum(1) / 2, (np.expm1(-d) + d).sum(1)]
""",
    ],
    "a5.kl_gradient": [
        KL_GRADIENT,
        """
import torch

def kl_gradient(theta, reference, estimator):
    logits = torch.tensor(theta, requires_grad=True)
    logp = logits.log_softmax(0)
    drawn = logp.exp().detach()
    d = logp - torch.tensor(reference).log()
    loss = {"k1": d, "k2": d**2 / 2, "k3": torch.exp(-d) - 1 + d, "reward": d.detach() * logp}[estimator]
    (drawn * loss).sum().backward()
    return logits.grad
""",
    ],
    "a5.pass_curve": [
        PASS_CURVE,
        """
def pass_curve(counts, ks):
    def missed(n, c, k):
        chance = 1.0
        for i in range(k):
            chance *= max(n - c - i, 0) / (n - i)
        return chance

    curve = []
    for k in ks:
        enough = [pair for pair in counts if pair[0] >= k]
        curve.append(sum(1 - missed(n, c, k) for n, c in enough) / len(enough) if enough else None)
    return curve
""",
    ],
    "a5.informative": [
        INFORMATIVE,
        """
def informative_share(counts, group):
    def drawn(of, n):
        chance = 1.0
        for i in range(group):
            chance *= max(of - i, 0) / (n - i)
        return chance

    shares = [1 - drawn(c, n) - drawn(n - c, n) for n, c in counts if n >= group]
    return sum(shares) / len(shares)
""",
    ],
}

WRONG = {
    "a5.advantages": {
        "sign": (
            changed(
                ADVANTAGES, ("rewards[rows] - (total - rewards[rows])", "-rewards[rows] + (total - rewards[rows])")
            ),
            "sign",
        ),
        "own reward in the baseline": (
            changed(ADVANTAGES, ("(total - rewards[rows]) / (len(rows) - 1)", "total / len(rows)")),
            "own",
        ),
        "one group for all": (changed(ADVANTAGES, ("(groups == name) & valid", "(groups == groups) & valid")), "batch"),
        "mask ignored": (changed(ADVANTAGES, ("(groups == name) & valid", "groups == name")), None),
        "mask ignored in the baseline": (
            changed(
                ADVANTAGES, ("(groups == name) & valid", "groups == name"), ("return result", "return result * valid")
            ),
            "no_verdict_in_baseline",
        ),
        "trained without a verdict": (
            changed(ADVANTAGES, ("return result", "return np.where(valid, result, -1.0)")),
            "no_verdict_trained",
        ),
        "contiguous groups of equal size": (
            """
def advantages(rewards, groups, valid):
    size = int((groups == groups[0]).sum())
    size = size if len(rewards) % size == 0 else len(rewards)
    table = rewards.reshape(-1, size)
    rest = (table.sum(1, keepdims=True) - table) / max(size - 1, 1)
    return (table - rest).reshape(-1) * valid
""",
            None,
        ),
        "divided by nothing": (changed(ADVANTAGES, ("if len(rows) < 2:", "if len(rows) < 1:")), "alone"),
        "hard-coded": (
            "def advantages(rewards, groups, valid):\n    a, b = 1 / 3, 2 / 3\n    return 1, -a, -a, -a, b, b, -b, -b",
            None,
        ),
    },
    "a5.surrogate": {
        "sign": (
            changed(SURROGATE, ("return torch.where(mask, value, 0.0)", "return -torch.where(mask, value, 0.0)")),
            "sign",
        ),
        "detached": (changed(SURROGATE, ("ratio = log_ratio.exp()", "ratio = log_ratio.exp().detach()")), "detached"),
        "max": (changed(SURROGATE, ("torch.minimum(", "torch.maximum(")), "max"),
        "no floor": (
            changed(SURROGATE, ("torch.where(a < 0, torch.maximum(value, floor * a), value)", "value")),
            "no_floor",
        ),
        "floor with a gradient": (
            changed(
                SURROGATE,
                (
                    "torch.maximum(value, floor * a)",
                    "torch.where(value < floor * a, ratio / ratio.detach() * floor * a, value)",
                ),
            ),
            None,
        ),
        "symmetric clip": (changed(SURROGATE, ("ratio.clamp(low, high)", "ratio.clamp(low, 2 - low)")), "symmetric"),
        "padding masked at the end": (
            changed(SURROGATE, ("torch.where(mask, logp, 0.0) - torch.where(mask, old, 0.0)", "logp - old")),
            "padding",
        ),
        "mask ignored": (changed(SURROGATE, ("return torch.where(mask, value, 0.0)", "return value")), None),
        "upside down": (changed(SURROGATE, ("ratio = log_ratio.exp()", "ratio = (-log_ratio).exp()")), "upside_down"),
    },
    "a5.update_loss": {
        "one scheme": (changed(UPDATE_LOSS, ('if scheme == "answer":', "if True:")), "one_scheme"),
        "always tokens": (
            changed(UPDATE_LOSS, ('if scheme == "answer":', "if False:"), ('if scheme == "token":', "if True:")),
            None,
        ),
        "answers without a verdict counted": (
            changed(
                UPDATE_LOSS,
                ("(sums[judged] / lengths[judged]).mean()", "(sums[judged] / lengths[judged]).sum() / len(sums)"),
                ("(judged.sum() * longest)", "(len(sums) * longest)"),
            ),
            "empty_counted",
        ),
        "longest of the batch": (
            changed(UPDATE_LOSS, ("(judged.sum() * longest)", "(judged.sum() * lengths.max())")),
            "longest_seen",
        ),
        "divided by a length of 0": (
            changed(UPDATE_LOSS, ("(sums[judged] / lengths[judged]).mean()", "np.mean(sums / lengths)")),
            "empty_divides",
        ),
        "sign": (
            changed(
                UPDATE_LOSS,
                ("import numpy as np", "import numpy as np\n"),
                ("return float((sums[judged]", "return -float((sums[judged]"),
                ("return float(sums.sum() / lengths.sum())", "return -float(sums.sum() / lengths.sum())"),
                ("return float(sums.sum() / (judged", "return -float(sums.sum() / (judged"),
            ),
            "sign",
        ),
        "hard-coded": ("def update_loss(sums, lengths, longest, scheme):\n    return 1 / 3", None),
    },
    "a5.kl_sums": {
        "sign": (changed(KL_SUMS, ("logp - reference", "reference - logp")), "sign"),
        "k2 without a half": (changed(KL_SUMS, ("d**2 / 2", "d**2")), None),
        "cancellation": (changed(KL_SUMS, ("np.expm1(-d) + d", "np.exp(-d) - 1 + d")), "cancellation"),
        "mask ignored": (
            changed(KL_SUMS, ("np.where(mask, logp - reference, 0.0)", "np.clip(logp - reference, -650, 650)")),
            "padding",
        ),
        "masked after exp": (
            changed(
                KL_SUMS,
                ("np.where(mask, logp - reference, 0.0)", "(logp - reference)"),
                ("(np.expm1(-d) + d).sum(1)", "((np.expm1(-d) + d) * mask).sum(1)"),
                ("[d.sum(1)", "[(d * mask).sum(1)"),
                ("(d**2 / 2).sum(1)", "(d**2 / 2 * mask).sum(1)"),
            ),
            None,
        ),
        "mean over tokens": (
            changed(
                KL_SUMS,
                (
                    "return np.stack([d.sum(1), (d**2 / 2).sum(1), (np.expm1(-d) + d).sum(1)])",
                    "return np.stack([d.sum(1), (d**2 / 2).sum(1), (np.expm1(-d) + d).sum(1)]) / mask.sum(1)",
                ),
            ),
            "mean",
        ),
        "wrong axis": (
            changed(
                KL_SUMS,
                ("d.sum(1),", "d.sum(0),"),
                ("(d**2 / 2).sum(1)", "(d**2 / 2).sum(0)"),
                ("+ d).sum(1)", "+ d).sum(0)"),
            ),
            None,
        ),
        "single precision": (
            changed(
                KL_SUMS,
                (
                    "np.where(mask, logp - reference, 0.0)",
                    "np.where(mask, logp.astype('f4') - reference.astype('f4'), 0.0).astype('f8')",
                ),
            ),
            None,
        ),
    },
    "a5.kl_gradient": {
        "always the divergence's": (
            changed(
                KL_GRADIENT,
                (
                    '"k1": np.ones(len(d)), "k2": d, "k3": 1 - np.exp(-d), "reward": d',
                    '"k1": d, "k2": d, "k3": d, "reward": d',
                ),
            ),
            "always_kl",
        ),
        "sign": (changed(KL_GRADIENT, ("return (pi * slope) @ score", "return -(pi * slope) @ score")), "sign"),
        "uniform actions": (changed(KL_GRADIENT, ("(pi * slope) @ score", "slope @ score / len(pi)")), "uniform"),
        "k3 upside down": (changed(KL_GRADIENT, ("np.exp(-d)", "np.exp(d)")), "k3_up"),
        "k1 differentiated by its value": (changed(KL_GRADIENT, ('"k1": np.ones(len(d))', '"k1": d')), None),
        "only the chosen logit": (changed(KL_GRADIENT, ("np.eye(len(pi)) - pi", "np.eye(len(pi))")), None),
        "reward not held constant": (changed(KL_GRADIENT, ('"reward": d', '"reward": d + np.log(pi)')), None),
        "hard-coded": ("def kl_gradient(theta, reference, estimator):\n    return [0.44594, -0.41229, -0.03365]", None),
    },
    "a5.pass_curve": {
        "plug-in": (changed(PASS_CURVE, ("1 - comb(n - c, k) / comb(n, k)", "1 - (1 - c / n) ** k")), "plug_in"),
        "short tasks fail": (
            changed(
                PASS_CURVE,
                (
                    "1 - comb(n - c, k) / comb(n, k) for n, c in counts if n >= k",
                    "1 - comb(n - c, k) / comb(n, k) if n >= k else 0.0 for n, c in counts",
                ),
            ),
            "short_as_zero",
        ),
        "complement": (changed(PASS_CURVE, ("1 - comb(n - c, k)", "comb(n - c, k)")), "complement"),
        "always pass@1": (changed(PASS_CURVE, ("1 - comb(n - c, k) / comb(n, k)", "c / n")), None),
        "all k right": (changed(PASS_CURVE, ("1 - comb(n - c, k) / comb(n, k)", "comb(c, k) / comb(n, k)")), None),
        "pooled": (
            changed(
                PASS_CURVE,
                ("curve = []", "curve = []\n    counts = [(sum(n for n, _ in counts), sum(c for _, c in counts))]"),
            ),
            "pooled",
        ),
        "factorials as floats": (
            changed(
                PASS_CURVE,
                (
                    "from math import comb",
                    """import math

def comb(n, k):
    return math.gamma(n + 1) / math.gamma(k + 1) / math.gamma(n - k + 1) if n >= k else 0.0
""",
                ),
            ),
            "error",
        ),
        "hard-coded": ("def pass_curve(counts, ks):\n    return [0.5]", None),
    },
    "a5.informative": {
        "all right counted": (
            changed(INFORMATIVE, ("comb(c, group) + comb(n - c, group)", "comb(n - c, group)")),
            "all_right",
        ),
        "all wrong counted": (changed(INFORMATIVE, ("comb(c, group) + comb(n - c, group)", "comb(c, group)")), None),
        "plug-in": (
            changed(INFORMATIVE, ("1 - same / comb(n, group)", "1 - (c / n) ** group - (1 - c / n) ** group")),
            "plug_in",
        ),
        "mixed tasks": (changed(INFORMATIVE, ("1 - same / comb(n, group)", "float(0 < c < n)")), "mixed_tasks"),
        "solved tasks left out": (changed(INFORMATIVE, ("if n >= group:", "if n >= group and c < n:")), None),
        "short tasks uninformative": (
            changed(INFORMATIVE, ("return sum(shares) / len(shares)", "return sum(shares) / len(counts)")),
            None,
        ),
        "off by one": (changed(INFORMATIVE, ("comb(c, group)", "comb(c, group + 1)")), None),
        "complement": (changed(INFORMATIVE, ("1 - same", "same")), None),
    },
}
