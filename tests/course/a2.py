"""Answers to A2 that must be accepted and rejected."""

from course_answers import changed

PATH = """
import math

def path_log_prior(path, alpha, size):
    fresh, before, total = (1 - alpha) / size, 0, 0.0
    for z in path:
        chance = fresh if z > 0 else 0.0
        if z == before:
            chance += alpha
        total += math.log(chance)
        before = z
    return total
"""

ALPHA = """
import math

def alpha_of_cost(cost, size):
    return 1 / (1 + size * math.exp(-cost))
"""

PARTS = """
import numpy as np

def kl_parts(renew_logit, choice_logits, alpha):
    log_renew = -np.logaddexp(0.0, -renew_logit)
    log_keep = -np.logaddexp(0.0, renew_logit)
    renew, keep = np.exp(log_renew), np.exp(log_keep)
    when = renew * (log_renew - np.log(1 - alpha)) + keep * (log_keep - np.log(alpha))
    logp = choice_logits - np.logaddexp.reduce(choice_logits)
    what = np.log(len(logp)) + np.exp(logp) @ logp
    return [when, renew * what]
"""

OVERCHARGE = """
import math

def overcharge(renew, choice, alpha, previous):
    back = renew * choice[previous]
    stays = 1 - renew + back
    if stays == 0:
        return 0.0
    fresh = (1 - alpha) / len(choice)
    under_q, under_p = back / stays, fresh / (alpha + fresh)
    pairs = ((under_q, under_p), (1 - under_q, 1 - under_p))
    return float(stays * sum(a * math.log(a / b) for a, b in pairs if a > 0))
"""

ELBO = """
import numpy as np

def elbo_terms(loglik, prior, q):
    seen = np.zeros(len(prior))
    seen[0] = 1.0
    likelihood = divergence = 0.0
    for t in range(len(loglik)):
        joint = seen[:, None] * q[t]
        likelihood += (joint * loglik[t]).sum()
        ratio = np.log(np.where(q[t] > 0, q[t], prior) / prior)
        divergence += (joint * ratio).sum()
        seen = joint.sum(0)
    return [likelihood, divergence]
"""

EVIDENCE = """
import numpy as np

def log_evidence(loglik, prior):
    value = np.zeros(len(prior))
    for scores in loglik[::-1]:
        ahead = np.log(prior) + scores + value
        value = np.logaddexp.reduce(ahead, axis=1)
    return float(value[0])
"""

POSTERIOR = """
import numpy as np

def tight_q(loglik, prior):
    q = np.zeros((len(loglik), *prior.shape))
    value = np.zeros(len(prior))
    for t in reversed(range(len(loglik))):
        ahead = np.log(prior) + loglik[t] + value
        value = np.logaddexp.reduce(ahead, axis=1)
        q[t] = np.exp(ahead - value[:, None])
    return q
"""

RIGHT = {
    "a2.path_prior": [
        PATH,
        """
import numpy as np

def path_log_prior(path, alpha, size):
    table = np.full((size + 1, size + 1), (1 - alpha) / size)
    table[:, 0] = 0.0
    table += alpha * np.eye(size + 1)
    return float(np.log(table[[0] + path[:-1], path]).sum())
""",
    ],
    "a2.alpha_of_cost": [
        ALPHA,
        """
import math

def alpha_of_cost(cost, size):
    gap = cost - math.log(size)
    if gap > 0:
        return 1 / (1 + math.exp(-gap))
    return math.exp(gap) / (1 + math.exp(gap))
""",
    ],
    "a2.kl_parts": [
        PARTS,
        """
from math import exp, log, log1p

def kl_parts(renew_logit, choice_logits, alpha):
    small = log1p(exp(-abs(renew_logit)))
    log_renew, log_keep = (-small, -small - renew_logit) if renew_logit > 0 else (renew_logit - small, -small)
    when = exp(log_renew) * (log_renew - log(1 - alpha)) + exp(log_keep) * (log_keep - log(alpha))
    top = max(choice_logits)
    grown = [exp(x - top) for x in choice_logits]
    p = [g / sum(grown) for g in grown]
    return [when, exp(log_renew) * (log(len(p)) + sum(x * log(x) for x in p if x > 0))]
""",
    ],
    "a2.overcharge": [
        OVERCHARGE,
        """
import numpy as np

def overcharge(renew, choice, alpha, previous):
    def cost(q, p):
        return sum(a * np.log(a / b) for a, b in zip(q, p) if a > 0)

    size = len(choice)
    pair_q = [1 - renew, *(renew * choice)]
    pair_p = [alpha, *([(1 - alpha) / size] * size)]
    q, p = renew * choice, np.full(size, (1 - alpha) / size)
    q[previous] += 1 - renew
    p[previous] += alpha
    return float(cost(pair_q, pair_p) - cost(q, p))
""",
    ],
    "a2.elbo": [
        ELBO,
        """
from itertools import product
from math import log

def elbo_terms(loglik, prior, q):
    likelihood = divergence = 0.0
    for path in product(range(len(prior)), repeat=len(loglik)):
        chance, scores, ratio, before = 1.0, 0.0, 0.0, 0
        for t, z in enumerate(path):
            chance *= q[t][before][z]
            if chance == 0:
                break
            scores += loglik[t][z]
            ratio += log(q[t][before][z] / prior[before][z])
            before = z
        likelihood += chance * scores
        divergence += chance * ratio
    return [float(likelihood), float(divergence)]
""",
    ],
    "a2.evidence": [
        EVIDENCE,
        """
import math

def log_evidence(loglik, prior):
    total, state = 0.0, [1.0] + [0.0] * (len(prior) - 1)
    for scores in loglik:
        reached = [sum(state[z] * prior[z][y] for z in range(len(state))) for y in range(len(state))]
        top = max(scores)
        state = [r * math.exp(s - top) for r, s in zip(reached, scores)]
        norm = sum(state)
        total += top + math.log(norm)
        state = [s / norm for s in state]
    return total
""",
    ],
    "a2.posterior": [
        POSTERIOR,
        """
import torch

def tight_q(loglik, prior):
    scores, table = torch.tensor(loglik), torch.tensor(prior).log()
    rows, later = [], torch.zeros(len(prior), dtype=torch.float64)
    for line in scores.flip(0):
        ahead = table + (line + later)[None, :]
        rows.append(ahead.softmax(1))
        later = ahead.logsumexp(1)
    return torch.stack(rows[::-1])
""",
    ],
}

WRONG = {
    "a2.path_prior": {
        "product": (
            changed(
                PATH,
                ("total = (1 - alpha) / size, 0, 0.0", "total = (1 - alpha) / size, 0, 1.0"),
                ("total += math.log(chance)", "total *= chance"),
                ("return total", "return math.log(total) if total else -math.inf"),
            ),
            "underflow",
        ),
        "keep is alpha": (changed(PATH, ("chance += alpha", "chance = alpha")), "keep_is_alpha"),
        "first line left out": (
            changed(PATH, ("for z in path:", "before = path[0]\n    for z in path[1:]:")),
            "first_line",
        ),
        "no thought can be drawn": (
            changed(PATH, ("chance = fresh if z > 0 else 0.0", "chance = fresh")),
            "no_thought_drawn",
        ),
        "an old thought is kept": (
            changed(
                PATH,
                ("before, total = (1 - alpha) / size, 0, 0.0", "before, total = (1 - alpha) / size, {0}, 0.0"),
                ("z == before", "z in before"),
                ("before = z", "before.add(z)"),
            ),
            "seen_before",
        ),
        "compared with the start": (changed(PATH, ("        before = z\n", "")), "against_first"),
        "uniform over the others": (changed(PATH, ("(1 - alpha) / size", "(1 - alpha) / (size - 1)")), None),
        "base 2": (changed(PATH, ("math.log(", "math.log2(")), None),
    },
    "a2.alpha_of_cost": {
        "overflow": (
            """
import numpy as np

def alpha_of_cost(cost, size):
    grown = np.exp(np.float64(cost))
    return float(grown / (size + grown))
""",
            "overflow",
        ),
        "upside down": (changed(ALPHA, ("size * math.exp(-cost)", "math.exp(min(cost, 700)) / size")), "upside_down"),
        "size forgotten": (changed(ALPHA, ("size * ", "")), "no_size"),
        "size on the other side": (
            changed(ALPHA, ("size * math.exp(-cost)", "math.exp(-cost) / size")),
            "size_upside_down",
        ),
        "hard-coded": ("def alpha_of_cost(cost, size):\n    return 0.5", None),
        "price of ten thoughts": (changed(ALPHA, ("size *", "10 *")), None),
        "linear": (
            "import math\ndef alpha_of_cost(cost, size):\n    return cost / (2 * math.log(size)) if size > 1 else cost",
            None,
        ),
    },
    "a2.kl_parts": {
        "naive": (
            """
import numpy as np

def kl_parts(renew_logit, choice_logits, alpha):
    renew = 1 / (1 + np.exp(-np.float64(renew_logit)))
    when = renew * np.log(renew / (1 - alpha)) + (1 - renew) * np.log((1 - renew) / alpha)
    p = np.exp(choice_logits) / np.exp(choice_logits).sum()
    return [when, renew * (np.log(len(p)) + (p * np.log(p)).sum())]
""",
            "unstable",
        ),
        "alpha is the chance to renew": (
            changed(
                PARTS,
                ("np.log(1 - alpha)", "np.log(alpha)"),
                ("(log_keep - np.log(alpha))", "(log_keep - np.log(1 - alpha))"),
            ),
            "alpha_swapped",
        ),
        "rho forgotten": (changed(PARTS, ("renew * what", "what")), "no_rho"),
        "sign of the entropy": (changed(PARTS, ("+ np.exp(logp) @ logp", "- np.exp(logp) @ logp")), "entropy_sign"),
        "backwards": (
            changed(
                PARTS,
                (
                    "renew * (log_renew - np.log(1 - alpha)) + keep * (log_keep - np.log(alpha))",
                    "(1 - alpha) * (np.log(1 - alpha) - log_renew) + alpha * (np.log(alpha) - log_keep)",
                ),
            ),
            "backwards",
        ),
        "first part is 0": (changed(PARTS, ("return [when,", "return [0.0,")), None),
        "swapped": (changed(PARTS, ("[when, renew * what]", "[renew * what, when]")), None),
        "softmax that overflows": (
            changed(
                PARTS,
                (
                    "choice_logits - np.logaddexp.reduce(choice_logits)",
                    "np.log(np.exp(choice_logits) / np.exp(choice_logits).sum())",
                ),
            ),
            "unstable",
        ),
    },
    "a2.overcharge": {
        "divides by nothing": (
            changed(
                OVERCHARGE,
                ("    if stays == 0:\n        return 0.0\n", ""),
                ("back / stays,", "(back / stays if stays else math.nan),"),
                ("if a > 0", "if a != 0"),
            ),
            "undefined",
        ),
        "nothing where q never renews": (changed(OVERCHARGE, ("if stays == 0", "if stays == 0 or renew == 0")), "ends"),
        "the pair": (
            """
import numpy as np

def overcharge(renew, choice, alpha, previous):
    q = np.array([1 - renew, *(renew * choice)])
    p = np.array([alpha, *[(1 - alpha) / len(choice)] * len(choice)])
    return float(sum(a * np.log(a / b) for a, b in zip(q, p) if a > 0))
""",
            "pair",
        ),
        "the latent alone": (
            """
import numpy as np

def overcharge(renew, choice, alpha, previous):
    q, p = renew * choice, np.full(len(choice), (1 - alpha) / len(choice))
    q[previous] += 1 - renew
    p[previous] += alpha
    return float(sum(a * np.log(a / b) for a, b in zip(q, p) if a > 0))
""",
            "marginal",
        ),
        "no weight": (changed(OVERCHARGE, ("stays * sum", "sum")), "weight"),
        "backwards": (
            changed(
                OVERCHARGE,
                ("a * math.log(a / b) for a, b in pairs if a > 0", "b * math.log(b / max(a, 1e-9)) for a, b in pairs"),
            ),
            "backwards",
        ),
        "previous is 0": (changed(OVERCHARGE, ("choice[previous]", "choice[0]")), "previous"),
        "sign": (changed(OVERCHARGE, ("math.log(a / b)", "math.log(b / a)")), "sign"),
        "uniform draw": (changed(OVERCHARGE, ("renew * choice[previous]", "renew / len(choice)")), None),
    },
    "a2.elbo": {
        "first row at every line": (changed(ELBO, ("        seen = joint.sum(0)\n", "")), "start_only"),
        "mean over lines": (
            changed(ELBO, ("[likelihood, divergence]", "[likelihood / len(loglik), divergence / len(loglik)]")),
            "mean",
        ),
        "0 log 0": (changed(ELBO, ("np.log(np.where(q[t] > 0, q[t], prior) / prior)", "np.log(q[t] / prior)")), "nan"),
        "sign of the KL": (changed(ELBO, ("divergence += ", "divergence -= ")), "kl_sign"),
        "axes": (
            changed(ELBO, ("for t in range", "q, prior = q.transpose(0, 2, 1), prior.T\n    for t in range")),
            "axis",
        ),
        "one number": (changed(ELBO, ("[likelihood, divergence]", "float(likelihood - divergence)")), "bound"),
        "visits of this line's latent": (changed(ELBO, ("seen = joint.sum(0)", "seen = seen @ prior")), None),
    },
    "a2.evidence": {
        "underflow": (
            """
import numpy as np

def log_evidence(loglik, prior):
    state = np.eye(len(prior))[0]
    for scores in loglik:
        state = (state @ prior) * np.exp(scores)
    return float(np.log(state.sum()))
""",
            "underflow",
        ),
        "best path": (changed(EVIDENCE, ("np.logaddexp.reduce(ahead, axis=1)", "ahead.max(1)")), "best_path"),
        "lines on their own": (
            """
import numpy as np

def log_evidence(loglik, prior):
    return float(np.logaddexp.reduce(np.log(prior[0]) + loglik, axis=1).sum())
""",
            "independent",
        ),
        "axes": (changed(EVIDENCE, ("np.log(prior)", "np.log(prior.T)")), "axis"),
        "any start": (
            changed(EVIDENCE, ("float(value[0])", "float(np.logaddexp.reduce(value) - np.log(len(value)))")),
            "uniform_start",
        ),
        "lines in the wrong order": (changed(EVIDENCE, ("loglik[::-1]", "loglik")), None),
        "sign": (changed(EVIDENCE, ("float(value[0])", "-float(value[0])")), "sign"),
        "Jensen": (
            changed(EVIDENCE, ("np.logaddexp.reduce(ahead, axis=1)", "(prior * (scores + value)).sum(1)")),
            None,
        ),
    },
    "a2.posterior": {
        "underflow": (
            """
import numpy as np

def tight_q(loglik, prior):
    q = np.zeros((len(loglik), *prior.shape))
    value = np.ones(len(prior))
    for t in reversed(range(len(loglik))):
        ahead = prior * np.exp(loglik[t]) * value
        value = ahead.sum(1)
        q[t] = ahead / value[:, None]
    return q
""",
            "underflow",
        ),
        "no look ahead": (
            changed(POSTERIOR, ("np.log(prior) + loglik[t] + value", "np.log(prior) + loglik[t]")),
            "causal",
        ),
        "axes": (changed(POSTERIOR, ("np.log(prior)", "np.log(prior.T)")), "axis"),
        "no prior": (
            changed(POSTERIOR, ("np.log(prior) + loglik[t] + value", "np.zeros_like(prior) + loglik[t] + value")),
            "no_prior",
        ),
        "not normalised": (changed(POSTERIOR, ("ahead - value[:, None]", "ahead")), "not_normalised"),
        "lines in the wrong order": (changed(POSTERIOR, ("reversed(range(len(loglik)))", "range(len(loglik))")), None),
        "best choice": (
            changed(POSTERIOR, ("np.exp(ahead - value[:, None])", "np.eye(len(prior))[ahead.argmax(1)]")),
            None,
        ),
    },
}
