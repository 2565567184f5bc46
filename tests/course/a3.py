"""Answers to A3 that must be accepted and rejected."""

from course_answers import changed

TRACE = """
def write_trace(prompt, lines, thoughts):
    text, spans = prompt, []
    for line, thought in zip(lines, thoughts):
        if thought is not None and not line.startswith("#"):
            start = len(text)
            text += f"#{thought}\\n"
            spans.append([start, len(text)])
        text += line
    return [text, spans]
"""

CREDIT = """
import numpy as np

def credit(reward, thoughts, lengths, discount):
    result = np.zeros_like(reward)
    for b, length in enumerate(lengths):
        later = 0.0
        for t in reversed(range(length)):
            result[b, t] = reward[b, t] + discount * later
            later = 0.0 if thoughts[b, t] else result[b, t]
    return result
"""

BASELINE = """
import numpy as np

def line_advantages(returns, decided):
    total = np.where(decided, returns, 0.0).sum(1, keepdims=True)
    others = decided.sum(1, keepdims=True) - 1
    baseline = (total - returns) / np.maximum(others, 1)
    return np.where(decided & (others > 0), returns - baseline, 0.0)
"""

BRANCH = """
import torch

def latent_logp(logits, marker, think, thought_logp):
    everything = logits.logsumexp(1)
    is_marker = torch.arange(logits.shape[1]) == marker
    no_thought = logits.masked_fill(is_marker, float("-inf")).logsumexp(1) - everything
    thought = logits[:, marker] - everything + torch.where(think, thought_logp, 0.0)
    return torch.where(think, thought, no_thought)
"""

REWARD = """
import numpy as np

def line_reward(logits, tokens, marker, offered, think, cost, floor):
    logits = logits.copy()
    if offered:
        logits[0, marker] = -np.inf
    total = 0.0
    for row, token in zip(logits, tokens):
        total += row[token] - np.logaddexp.reduce(row)
    return float(max(total, floor) - cost * think)
"""

GRADIENT = """
import numpy as np

def policy_gradient(logits, choices, advantage, temperature):
    x = logits / temperature
    q = np.exp(x - x.max(1, keepdims=True))
    q = q / q.sum(1, keepdims=True)
    chosen = np.eye(logits.shape[1])[choices]
    score = chosen - q
    return (advantage[:, :, None] * score).mean(0) / temperature
"""

LOSS = """
import torch

def estep_loss(q_logp, pi_logp, line_logp, offered, group, kl):
    pull = torch.where(offered, q_logp.detach() - pi_logp, 0.0)
    reward = line_logp - kl * pull
    returns = reward.flip(1).cumsum(1).flip(1)
    grouped = returns.view(-1, group, returns.shape[1])
    others = (grouped.sum(1, keepdim=True) - grouped) / (group - 1)
    advantage = (grouped - others).view_as(returns)
    return -(advantage * q_logp * offered).sum() / len(q_logp)
"""

RIGHT = {
    "a3.trace": [
        TRACE,
        """
def write_trace(prompt, lines, thoughts):
    parts, spans = [prompt], []
    for line, thought in zip(lines, thoughts):
        if thought is not None and line[0] != "#":
            begin = sum(map(len, parts))
            parts.append("#" + thought + "\\n")
            spans.append((begin, begin + len(thought) + 2))
        parts.append(line)
    return "".join(parts), spans
""",
    ],
    "a3.credit": [
        CREDIT,
        """
import numpy as np

def credit(reward, thoughts, lengths, discount):
    width = reward.shape[1]
    there = np.arange(width) < lengths[:, None]
    part = thoughts.cumsum(1)
    same = (part[:, :, None] == part[:, None, :]) & there[:, :, None] & there[:, None, :]
    ahead = np.arange(width)[None, :] - np.arange(width)[:, None]
    weight = np.where(ahead >= 0, discount ** np.maximum(ahead, 0), 0.0)
    return np.einsum("btk,bk->bt", same * weight, np.where(there, reward, 0.0))
""",
    ],
    "a3.baseline": [
        BASELINE,
        """
import numpy as np

def line_advantages(returns, decided):
    result = np.zeros(returns.shape)
    programs, group, lines = returns.shape
    for p in range(programs):
        for t in range(lines):
            there = [g for g in range(group) if decided[p, g, t]]
            for g in there:
                others = [returns[p, h, t] for h in there if h != g]
                if others:
                    result[p, g, t] = returns[p, g, t] - np.mean(others)
    return result
""",
    ],
    "a3.branch": [
        BRANCH,
        """
import torch

def latent_logp(logits, marker, think, thought_logp):
    values = []
    for row, thinks, thought in zip(logits, think, thought_logp):
        rest = torch.cat([row[:marker], row[marker + 1 :]]).logsumexp(0)
        gap = rest - row[marker]  # log odds of not thinking
        if thinks:
            values.append(-torch.nn.functional.softplus(gap) + thought)
        else:
            values.append(-torch.nn.functional.softplus(-gap))
    return torch.stack(values)
""",
    ],
    "a3.reward": [
        REWARD,
        """
import torch

def line_reward(logits, tokens, marker, offered, think, cost, floor):
    x = torch.tensor(logits)
    logp = x.log_softmax(1)[torch.arange(len(tokens)), torch.tensor(tokens)]
    if offered:
        rest = torch.tensor([k for k in range(x.shape[1]) if k != marker])
        logp[0] = x[0, tokens[0]] - x[0, rest].logsumexp(0)
    total = logp.sum().clamp(min=floor)
    return total - cost if think else total
""",
    ],
    "a3.gradient": [
        GRADIENT,
        """
import torch

def policy_gradient(logits, choices, advantage, temperature):
    x = torch.tensor(logits, requires_grad=True)
    logp = (x / temperature).log_softmax(1)
    picked = logp.gather(1, torch.tensor(choices).T).T
    (picked * torch.tensor(advantage)).sum().backward()
    return x.grad / len(choices)
""",
    ],
    "a3.loss": [
        LOSS,
        """
import torch

def estep_loss(q_logp, pi_logp, line_logp, offered, group, kl):
    rows, lines = q_logp.shape
    with torch.no_grad():
        reward = line_logp.clone()
        reward[offered] -= kl * (q_logp - pi_logp)[offered]
        returns = torch.stack([reward[:, t:].sum(1) for t in range(lines)], 1)
    loss = 0.0
    for b in range(rows):
        first = b - b % group
        others = [i for i in range(first, first + group) if i != b]
        for t in range(lines):
            if offered[b, t]:
                loss = loss - (returns[b, t] - returns[others, t].mean()) * q_logp[b, t]
    return loss / rows
""",
    ],
}

WRONG = {
    "a3.trace": {
        "empty thought dropped": (changed(TRACE, ("thought is not None", "thought")), "empty_thought"),
        "thought before the expert's comment": (changed(TRACE, (' and not line.startswith("#")', "")), "not_offered"),
        "indented comments, too": (
            changed(TRACE, ('line.startswith("#")', 'line.lstrip().startswith("#")')),
            "indented",
        ),
        "bytes": (
            changed(
                TRACE, ("start = len(text)", "start = len(text.encode())"), ("len(text)])", "len(text.encode())])")
            ),
            "bytes",
        ),
        "span without the newline": (changed(TRACE, ("len(text)])", "len(text) - 1])")), "span_end"),
        "thought behind its line": (
            changed(
                TRACE,
                ("        text += line\n", ""),
                (
                    "    for line, thought in zip(lines, thoughts):\n",
                    "    for line, thought in zip(lines, thoughts):\n        text += line\n",
                ),
            ),
            None,
        ),
        "space added": (changed(TRACE, ("#{thought}", "# {thought.strip()}")), None),
    },
    "a3.credit": {
        "to the end of the program": (
            changed(CREDIT, ("0.0 if thoughts[b, t] else result[b, t]", "result[b, t]")),
            "to_the_end",
        ),
        "the next thought's line": (
            changed(
                CREDIT, ("0.0 if thoughts[b, t] else result[b, t]", "reward[b, t] if thoughts[b, t] else result[b, t]")
            ),
            "next_line",
        ),
        "own line left out": (
            changed(
                CREDIT,
                (
                    "result[b, t] = reward[b, t] + discount * later",
                    "result[b, t] = discount * later",
                ),
                ("else result[b, t]", "else reward[b, t] + result[b, t]"),
            ),
            "own_line",
        ),
        "no discount": (changed(CREDIT, ("discount * later", "later")), "no_discount"),
        "padding": (changed(CREDIT, ("reversed(range(length))", "reversed(range(reward.shape[1]))")), "padding"),
        "from the front": (
            """
import numpy as np

def credit(reward, thoughts, lengths, discount):
    result = np.zeros_like(reward)
    for b, length in enumerate(lengths):
        before = 0.0
        for t in range(length):
            before = reward[b, t] + (0.0 if thoughts[b, t] else discount * before)
            result[b, t] = before
    return result
""",
            "direction",
        ),
        "cut one line early": (changed(CREDIT, ("0.0 if thoughts[b, t]", "0.0 if t and thoughts[b, t - 1]")), None),
    },
    "a3.baseline": {
        "sign": (changed(BASELINE, ("returns - baseline", "baseline - returns")), "sign"),
        "own return": (
            changed(BASELINE, ("(total - returns) / np.maximum(others, 1)", "total / np.maximum(others + 1, 1)")),
            "own",
        ),
        "whole batch": (BASELINE.replace("sum(1, keepdims", "sum((0, 1), keepdims"), "batch"),
        "other lines": (BASELINE.replace("sum(1, keepdims", "sum(2, keepdims"), "lines"),
        "undecided counted": (
            """
import numpy as np

def line_advantages(returns, decided):
    others = (returns.sum(1, keepdims=True) - returns) / (returns.shape[1] - 1)
    return np.where(decided, returns - others, 0.0)
""",
            "undecided",
        ),
        "alone": (
            """
import numpy as np

def line_advantages(returns, decided):
    total = np.where(decided, returns, 0.0).sum(1, keepdims=True)
    others = decided.sum(1, keepdims=True) - 1
    with np.errstate(all="ignore"):
        return np.where(decided, returns - (total - returns) / np.float64(others), 0.0)
""",
            "alone",
        ),
        "undecided trained": (changed(BASELINE, ("decided & (others > 0)", "others > 0")), "undecided_trained"),
        "divided by the deviation": (
            changed(BASELINE, ("returns - baseline", "(returns - baseline) / (returns.std(1, keepdims=True) + 1e-6)")),
            None,
        ),
    },
    "a3.branch": {
        "act branch left out": (
            changed(BRANCH, ("torch.where(think, thought, no_thought)", "torch.where(think, thought, 0.0)")),
            "act_branch",
        ),
        "unstable": (
            changed(
                BRANCH,
                (
                    'logits.masked_fill(is_marker, float("-inf")).logsumexp(1) - everything',
                    "torch.log(1 - logits.softmax(1)[:, marker])",
                ),
            ),
            "unstable",
        ),
        "thought's words left out": (
            changed(BRANCH, (" + torch.where(think, thought_logp, 0.0)", "")),
            "thought_tokens",
        ),
        "words without a thought": (
            changed(
                BRANCH,
                ("torch.where(think, thought, no_thought)", "torch.where(think, thought, no_thought + thought_logp)"),
            ),
            "no_thought",
        ),
        "last token is the marker": (
            changed(BRANCH, ("    everything =", "    marker = logits.shape[1] - 1\n    everything =")),
            "other_marker",
        ),
        "detached": (
            changed(BRANCH, ("    everything =", "    logits = logits.detach()\n    everything =")),
            "detached",
        ),
        "act gradient detached": (
            changed(BRANCH, (".logsumexp(1) - everything\n", ".logsumexp(1).detach() - everything.detach()\n")),
            None,
        ),
        "likeliest other token": (
            changed(BRANCH, ('float("-inf")).logsumexp(1)', 'float("-inf")).max(1).values')),
            None,
        ),
    },
    "a3.reward": {
        "not renormalised": (
            changed(REWARD, ("    if offered:\n        logits[0, marker] = -np.inf\n", "")),
            "not_renormalised",
        ),
        "every token renormalised": (changed(REWARD, ("logits[0, marker]", "logits[:, marker]")), "all_renormalised"),
        "always renormalised": (changed(REWARD, ("if offered:", "if True:")), "offered"),
        "floor after the price": (
            changed(REWARD, ("max(total, floor) - cost * think", "max(total - cost * think, floor)")),
            "floor_last",
        ),
        "no floor": (changed(REWARD, ("max(total, floor)", "total")), "no_floor"),
        "no price": (changed(REWARD, (" - cost * think", "")), "no_cost"),
        "price added": (changed(REWARD, ("- cost * think", "+ cost * think")), "cost_sign"),
        "mean over tokens": (changed(REWARD, ("max(total, floor)", "max(total / len(tokens), floor)")), None),
        "unstable": (
            changed(
                REWARD,
                ("    if offered:\n        logits[0, marker] = -np.inf\n", ""),
                (
                    "    return",
                    "    if offered:\n        marked = logits[0, marker] - np.logaddexp.reduce(logits[0])\n"
                    "        total -= np.log(1 - np.exp(marked))\n    return",
                ),
            ),
            "unstable",
        ),
    },
    "a3.gradient": {
        "no temperature": (
            changed(GRADIENT, ("x = logits / temperature", "x = logits"), (".mean(0) / temperature", ".mean(0)")),
            "no_temperature",
        ),
        "inner derivative": (changed(GRADIENT, (".mean(0) / temperature", ".mean(0)")), "no_outer"),
        "unstable": (changed(GRADIENT, ("np.exp(x - x.max(1, keepdims=True))", "np.exp(x)")), "unstable"),
        "only the chosen": (changed(GRADIENT, ("chosen - q", "chosen")), "no_score"),
        "sign": (changed(GRADIENT, ("chosen - q", "q - chosen")), "sign"),
        "sum over rollouts": (changed(GRADIENT, (".mean(0)", ".sum(0)")), "sum"),
        "mean over lines": (
            changed(GRADIENT, (".mean(0) / temperature", ".mean(0) / temperature / len(logits)")),
            "mean_lines",
        ),
        "softmax over lines": (changed(GRADIENT, ("q / q.sum(1, keepdims=True)", "q / q.sum(0, keepdims=True)")), None),
    },
    "a3.loss": {
        "gradient through the reward": (changed(LOSS, ("q_logp.detach()", "q_logp")), "through_reward"),
        "sign": (changed(LOSS, ("return -(", "return (")), "sign"),
        "own return in the baseline": (
            changed(LOSS, ("(grouped.sum(1, keepdim=True) - grouped) / (group - 1)", "grouped.mean(1, keepdim=True)")),
            "own",
        ),
        "no baseline": (changed(LOSS, ("(grouped - others).view_as(returns)", "returns")), "no_baseline"),
        "one group": (changed(LOSS, ("    pull =", "    group = len(q_logp)\n    pull =")), "one_group"),
        "own line only": (changed(LOSS, ("reward.flip(1).cumsum(1).flip(1)", "reward")), "own_line"),
        "from the front": (changed(LOSS, ("reward.flip(1).cumsum(1).flip(1)", "reward.cumsum(1)")), None),
        "whole return": (
            changed(LOSS, ("reward.flip(1).cumsum(1).flip(1)", "reward.sum(1, keepdim=True).expand_as(reward)")),
            None,
        ),
        "offered ignored": (
            changed(
                LOSS,
                ("torch.where(offered, q_logp.detach() - pi_logp, 0.0)", "q_logp.detach() - pi_logp"),
                ("q_logp * offered", "q_logp"),
            ),
            "offered",
        ),
        "mean over lines": (changed(LOSS, ("sum() / len(q_logp)", "mean()")), "mean_lines"),
        "detached": (changed(LOSS, ("advantage * q_logp *", "advantage * q_logp.detach() *")), "detached"),
    },
}
