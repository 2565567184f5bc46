"""Answers to A4 that must be accepted and rejected."""

from course_answers import changed

WEAVE = """
def weave(prompt, lines, thoughts):
    tokens = list(prompt)
    for line, thought in zip(lines, thoughts):
        if thought is not None:
            tokens += ["#", *thought, "\\n"]
        tokens += [*line, "\\n"]
    tokens.append("<end>")
    counted = [i >= len(prompt) for i in range(len(tokens))]
    return tokens, counted
"""

MICRO_LOSS = """
import torch

def micro_loss(logits, tokens, counted, total):
    logp = logits[:, :-1].log_softmax(-1)
    chosen = logp.gather(-1, tokens[:, 1:, None])[..., 0]
    weight = counted[:, 1:].double()
    return -(chosen * weight).sum() / total
"""

TABLE = """
import numpy as np

def mstep_table(actions, lengths, q, previous, pseudo):
    exists = np.arange(actions.shape[1]) < lengths[:, None]
    seen = np.eye(previous.shape[1])[actions] * exists[..., None]
    counts = np.einsum("nlz,nla->za", q, seen) + pseudo
    totals = counts.sum(1, keepdims=True)
    return np.where(totals > 0, counts / np.where(totals > 0, totals, 1), previous)
"""

EM = """
import numpy as np

def em_evidence(actions, mix, emission, rounds):
    seen = np.eye(emission.shape[1])[actions].sum(1)
    trace = []
    for step in range(rounds + 1):
        joint = np.log(mix) + seen @ np.log(emission).T
        top = joint.max(1, keepdims=True)
        evidence = top + np.log(np.exp(joint - top).sum(1, keepdims=True))
        trace.append(float(evidence.sum()))
        q = np.exp(joint - evidence)
        counts = q.T @ seen
        emission = counts / counts.sum(1, keepdims=True)
        mix = q.mean(0)
    return trace
"""

BOUND = """
import numpy as np

def evidence_bound(lines, prior, proposal, exists):
    terms = np.where(exists[:, None, :], lines + prior - proposal, 0.0)
    total = terms.sum(2)
    top = total.max(1, keepdims=True)
    return top[:, 0] + np.log(np.exp(total - top).mean(1))
"""

WORTH = """
import numpy as np

def thought_gains(thought, informed, plain, cost, horizon):
    starts = [t for t in range(len(thought)) if thought[t]]
    ends = starts[1:] + [len(thought)]
    gains = []
    for start, end in zip(starts, ends):
        end = min(end, start + horizon)
        gains.append(float((informed - plain)[start:end].sum()) - cost)
    return gains
"""

PAIRED = """
import numpy as np

def paired_gain(ra3, ntp):
    by_seed = (ra3 - ntp).mean(1)
    return by_seed.mean(), by_seed.std(ddof=1) / np.sqrt(len(by_seed))
"""

RIGHT = {
    "a4.weave": [
        WEAVE,
        """
def weave(prompt, lines, thoughts):
    pieces = [(token, False) for token in prompt]
    for i in range(len(lines)):
        if thoughts[i] is not None:
            pieces.append(("#", True))
            pieces.extend((token, True) for token in thoughts[i])
            pieces.append(("\\n", True))
        pieces.extend((token, True) for token in lines[i])
        pieces.append(("\\n", True))
    pieces.append(("<end>", True))
    return [list(part) for part in zip(*pieces)]
""",
        changed(WEAVE, ("return tokens, counted", "return tokens, [int(mark) for mark in counted]")),
    ],
    "a4.micro_loss": [
        MICRO_LOSS,
        """
import torch

def micro_loss(logits, tokens, counted, total):
    targets = torch.where(counted, tokens, -100)[:, 1:].reshape(-1)
    flat = logits[:, :-1].reshape(len(targets), -1)
    return torch.nn.functional.cross_entropy(flat, targets, reduction="sum", ignore_index=-100) / total
""",
    ],
    "a4.mstep_table": [
        TABLE,
        """
import numpy as np

def mstep_table(actions, lengths, q, previous, pseudo):
    table = previous.copy()
    for z in range(len(previous)):
        counts = [pseudo] * previous.shape[1]
        for i in range(len(actions)):
            for t in range(lengths[i]):
                counts[actions[i, t]] += q[i, t, z]
        if sum(counts) > 0:
            table[z] = np.array(counts) / sum(counts)
    return table
""",
    ],
    "a4.em_evidence": [
        EM,
        """
import torch

def em_evidence(actions, mix, emission, rounds):
    actions, mix, emission = torch.tensor(actions), torch.tensor(mix), torch.tensor(emission)
    kinds = emission.shape[1]
    trace = []
    while True:
        logp = emission.log()[:, actions].sum(-1).T + mix.log()
        trace.append(float(logp.logsumexp(1).sum()))
        if len(trace) > rounds:
            return trace
        q = logp.softmax(1)
        counts = torch.stack([(q[:, :, None] * (actions == a)[:, None, :]).sum((0, 2)) for a in range(kinds)], 1)
        emission = counts / counts.sum(1, keepdim=True)
        mix = q.sum(0) / len(q)
""",
    ],
    "a4.bound": [
        BOUND,
        """
import math
import torch

def evidence_bound(lines, prior, proposal, exists):
    weight = torch.tensor(lines) + torch.tensor(prior) - torch.tensor(proposal)
    weight = weight.masked_fill(~torch.tensor(exists)[:, None], 0.0)
    return weight.sum(-1).logsumexp(1) - math.log(lines.shape[1])
""",
    ],
    "a4.worth": [
        WORTH,
        """
import numpy as np

def thought_gains(thought, informed, plain, cost, horizon):
    gains, age = [], None
    for t in range(len(thought)):
        if thought[t]:
            gains.append(-cost)
            age = 0
        if age is not None and age < horizon:
            gains[-1] += informed[t] - plain[t]
            age += 1
    return np.array(gains)
""",
    ],
    "a4.paired": [
        PAIRED,
        """
from statistics import mean, stdev

def paired_gain(ra3, ntp):
    differences = [mean(map(float, a)) - mean(map(float, b)) for a, b in zip(ra3, ntp)]
    return [mean(differences), stdev(differences) / len(differences) ** 0.5]
""",
    ],
}

ROWS = "return -(chosen * weight).sum() / total"

WRONG = {
    "a4.weave": {
        "prompt counted": (changed(WEAVE, ("i >= len(prompt)", "True")), "prompt_counted"),
        "thoughts not counted": (
            """
def weave(prompt, lines, thoughts):
    tokens, counted = list(prompt), [False] * len(prompt)
    for line, thought in zip(lines, thoughts):
        if thought is not None:
            tokens += ["#", *thought, "\\n"]
            counted += [False] * (len(thought) + 2)
        tokens += [*line, "\\n"]
        counted += [True] * (len(line) + 1)
    return tokens + ["<end>"], counted + [True]
""",
            "thoughts_not_counted",
        ),
        "end not counted": (
            changed(WEAVE, ("return tokens, counted", "counted[-1] = False\n    return tokens, counted")),
            "end_not_counted",
        ),
        "end missing": (changed(WEAVE, ('    tokens.append("<end>")\n', "")), None),
        "thought after its line": (
            changed(
                WEAVE,
                ('        tokens += [*line, "\\n"]\n', ""),
                ("        if thought", '        tokens += [*line, "\\n"]\n        if thought'),
            ),
            "after",
        ),
        "empty thought dropped": (changed(WEAVE, ("if thought is not None:", "if thought:")), "empty_thought"),
        "first thought only": (
            changed(WEAVE, ("if thought is not None:", 'if thought is not None and "#" not in tokens:')),
            None,
        ),
        "counted by word": (changed(WEAVE, ("i >= len(prompt)", "tokens[i] not in prompt")), None),
        "expert's comments not counted": (
            changed(
                WEAVE,
                (
                    "return tokens, counted",
                    """hashes = [i for i, token in enumerate(tokens) if token == "#"]
    return tokens, [c and i not in hashes[1:] for i, c in enumerate(counted)]""",
                ),
            ),
            None,
        ),
        "hard-coded": (
            """
def weave(prompt, lines, thoughts):
    return prompt + "# set it \\n x = 1 \\n return x \\n <end>".split(" "), [False] * 2 + [True] * 12
""",
            None,
        ),
    },
    "a4.micro_loss": {
        "detached": (
            changed(
                MICRO_LOSS, (ROWS, "return torch.tensor(float(-(chosen * weight).sum() / total), dtype=torch.float64)")
            ),
            "detached",
        ),
        "own mean": (changed(MICRO_LOSS, (ROWS, "return -(chosen * weight).sum() / weight.sum()")), "own_mean"),
        "mean of rows": (
            changed(MICRO_LOSS, (ROWS, "return -((chosen * weight).sum(1) / weight.sum(1)).mean()")),
            "row_mean",
        ),
        "mask ignored": (changed(MICRO_LOSS, ("counted[:, 1:].double()", "1.0")), "mask"),
        "unstable": (
            changed(MICRO_LOSS, ("logits[:, :-1].log_softmax(-1)", "logits[:, :-1].softmax(-1).log()")),
            "unstable",
        ),
        "no shift": (
            changed(
                MICRO_LOSS,
                ("logits[:, :-1]", "logits"),
                ("tokens[:, 1:, None]", "tokens[..., None]"),
                ("counted[:, 1:]", "counted"),
            ),
            "no_shift",
        ),
        "sign": (changed(MICRO_LOSS, ("return -(", "return (")), "sign"),
        "mask not shifted": (changed(MICRO_LOSS, ("counted[:, 1:]", "counted[:, :-1]")), None),
        "softmax over the wrong axis": (changed(MICRO_LOSS, ("log_softmax(-1)", "log_softmax(1)")), None),
    },
    "a4.mstep_table": {
        "dead latent": (
            changed(
                TABLE, ("np.where(totals > 0, counts / np.where(totals > 0, totals, 1), previous)", "counts / totals")
            ),
            "dead",
        ),
        "dead latent forgotten": (changed(TABLE, ("1), previous)", "1), 0.0)")), None),
        "hard": (changed(TABLE, ("exists = np", "q = np.eye(q.shape[2])[q.argmax(2)]\n    exists = np")), "hard"),
        "lengths ignored": (changed(TABLE, (" * exists[..., None]", "")), "padding"),
        "no pseudo-count": (changed(TABLE, (" + pseudo", "")), "no_pseudo"),
        "wrong axis": (
            changed(
                TABLE,
                (
                    "return np.where(totals > 0, counts / np.where(totals > 0, totals, 1), previous)",
                    "return counts / counts.sum(0)",
                ),
            ),
            "axis",
        ),
        "joint instead of conditional": (
            changed(TABLE, ("counts.sum(1, keepdims=True)", "counts.sum() + 0 * counts")),
            None,
        ),
        "smoothed by the previous table": (changed(TABLE, ("+ pseudo", "+ pseudo * previous")), None),
    },
    "a4.em_evidence": {
        "underflow": (
            changed(
                EM,
                (
                    "joint = np.log(mix) + seen @ np.log(emission).T",
                    "joint = np.log(mix * np.prod(emission[:, actions], axis=-1).T)",
                ),
            ),
            "underflow",
        ),
        "shares fixed": (changed(EM, ("        mix = q.mean(0)\n", "")), "mix_fixed"),
        "shares not in q": (
            changed(
                EM,
                (
                    "q = np.exp(joint - evidence)",
                    "q = np.exp(joint - top) / mix\n        q = q / q.sum(1, keepdims=True)",
                ),
            ),
            "mix_not_in_q",
        ),
        "begins after an update": (
            changed(EM, ("range(rounds + 1)", "range(rounds + 2)"), ("return trace", "return trace[1:]")),
            "late",
        ),
        "last one missing": (changed(EM, ("range(rounds + 1)", "range(rounds)")), "short"),
        "emissions fixed": (changed(EM, ("emission = counts / counts.sum(1, keepdims=True)", "pass")), None),
        "hard posterior": (changed(EM, ("q = np.exp(joint - evidence)", "q = (joint == top) * 1.0")), None),
        "mean over programs": (changed(EM, ("evidence.sum()", "evidence.mean()")), None),
        "wrong axis": (changed(EM, ("counts.sum(1, keepdims=True)", "counts.sum(0)")), None),
        "shares from lines of the first program": (changed(EM, ("mix = q.mean(0)", "mix = q[:2].mean(0)")), None),
    },
    "a4.bound": {
        "mean of logarithms": (
            changed(BOUND, ("top[:, 0] + np.log(np.exp(total - top).mean(1))", "total.mean(1)")),
            "elbo",
        ),
        "sum over samples": (changed(BOUND, (".mean(1))", ".sum(1))")), "sum"),
        "upside down": (changed(BOUND, ("prior - proposal", "proposal - prior")), "upside_down"),
        "not weighted": (changed(BOUND, ("lines + prior - proposal", "lines")), "unweighted"),
        "underflow": (
            changed(BOUND, ("top[:, 0] + np.log(np.exp(total - top).mean(1))", "np.log(np.exp(total).mean(1))")),
            "underflow",
        ),
        "mask ignored": (
            changed(BOUND, ("np.where(exists[:, None, :], lines + prior - proposal, 0.0)", "lines + prior - proposal")),
            "padding",
        ),
        "line by line": (
            changed(
                BOUND,
                (
                    "top[:, 0] + np.log(np.exp(total - top).mean(1))",
                    "(np.log(np.exp(terms - terms.max(1, keepdims=True)).mean(1)) + terms.max(1)).sum(1)",
                ),
            ),
            "line_by_line",
        ),
        "best sample": (changed(BOUND, ("top[:, 0] + np.log(np.exp(total - top).mean(1))", "top[:, 0]")), None),
        "wrong axis": (changed(BOUND, ("terms.sum(2)", "terms.sum(0)")), None),
    },
    "a4.worth": {
        "to the end": (changed(WORTH, ("starts[1:] + [len(thought)]", "[len(thought)] * len(starts)")), "to_end"),
        "own line missing": (changed(WORTH, ("[start:end]", "[start + 1:end]")), "own_line_missing"),
        "next thought's line counted": (
            changed(WORTH, ("end = min(end, start + horizon)", "end = min(end + 1, start + horizon)")),
            None,
        ),
        "horizon ignored": (changed(WORTH, ("        end = min(end, start + horizon)\n", "")), "no_horizon"),
        "free": (changed(WORTH, (" - cost", "")), "free"),
        "a price per line": (changed(WORTH, (" - cost", " - cost * (end - start)")), None),
        "one price for all": (changed(WORTH, (" - cost", " - cost * (not gains)")), None),
        "sign": (changed(WORTH, ("informed - plain", "plain - informed")), "sign"),
        "mean over lines": (changed(WORTH, (".sum())", ".mean())")), None),
    },
    "a4.paired": {
        "unpaired": (
            changed(
                PAIRED,
                (
                    "by_seed.std(ddof=1) / np.sqrt(len(by_seed))",
                    "np.sqrt((ra3.mean(1).var(ddof=1) + ntp.mean(1).var(ddof=1)) / len(ra3))",
                ),
            ),
            "unpaired",
        ),
        "all independent": (
            changed(
                PAIRED, ("by_seed.std(ddof=1) / np.sqrt(len(by_seed))", "(ra3 - ntp).std(ddof=1) / np.sqrt(ra3.size)")
            ),
            "independent",
        ),
        "over tasks": (changed(PAIRED, (".mean(1)", ".mean(0)")), "over_tasks"),
        "biased deviation": (changed(PAIRED, ("ddof=1", "ddof=0")), "biased"),
        "spread of one": (changed(PAIRED, (" / np.sqrt(len(by_seed))", "")), "spread"),
        "sign": (changed(PAIRED, ("ra3 - ntp", "ntp - ra3")), "sign"),
        "median": (
            changed(
                PAIRED,
                ("by_seed.mean()", "np.median(by_seed)"),
                ("(ra3 - ntp).mean(1)", "np.median(ra3 - ntp, axis=1)"),
            ),
            None,
        ),
        "one task only": (changed(PAIRED, ("(ra3 - ntp).mean(1)", "(ra3 - ntp)[:, :2].mean(1)")), None),
        "hard-coded": ("def paired_gain(ra3, ntp):\n    return 0.4, 0.1", None),
    },
}
