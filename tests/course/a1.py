"""Answers to A1 that must be accepted and rejected."""

from course_answers import changed

DISCOUNT = """
def option_discount(gamma, hazard):
    total, alive = 0.0, 1.0
    for step, chance in enumerate(hazard):
        total += alive * chance * gamma ** (step + 1)
        alive *= 1 - chance
    last = hazard[-1]
    tail = last * gamma / (1 - (1 - last) * gamma)
    return total + alive * gamma ** len(hazard) * tail
"""

MODEL = """
import numpy as np

def limited_option(chain, reward, stop, gamma, limit):
    kernel, within = gamma * chain, reward
    for _ in range(limit - 1):
        on = gamma * chain * (1 - stop)
        kernel = gamma * chain * stop + on @ kernel
        within = reward + on @ within
    return [kernel, within]
"""

PLAN = """
import numpy as np

def plan(kernel, reward, allowed, sweeps):
    values = np.zeros(len(reward))
    for _ in range(sweeps):
        q = np.where(allowed, reward + kernel @ values, -np.inf)
        values = np.where(allowed.any(1), q.max(1), 0.0)
    return values
"""

REGRET = """
import numpy as np

def regret_split(worth, weights, kept, policy):
    best = worth.max(1)
    inside = worth[:, kept].max(1)
    value = (policy * worth[:, kept]).sum(1)
    return [weights @ (best - value), weights @ (best - inside), weights @ (inside - value)]
"""

SETS = """
from itertools import combinations

import numpy as np

def smallest_sets(worth, epsilon):
    options = range(worth.shape[1])
    for size in range(1, len(options) + 1):
        found = []
        for subset in combinations(options, size):
            error = worth.max(1) - worth[:, list(subset)].max(1)
            if (error <= epsilon).all():
                found.append(list(subset))
        if found:
            return found
"""

TASKS = """
import numpy as np

def expert_tasks(errors, weights, epsilon, sigma, delta):
    mass = (errors > epsilon) @ weights
    mass = mass[mass >= sigma]
    count = 0
    while ((1 - mass) ** count).sum() > delta:
        count += 1
    return count
"""

HORIZON = """
import math

def sweeps_needed(gamma, durations, reward, epsilon):
    gbar = gamma ** min(durations)
    most = reward * (1 - gamma ** max(durations)) / (1 - gamma)
    distance = most / (1 - gbar)
    return max(0, math.ceil(math.log(distance / epsilon) / (1 - gbar)))
"""

RIGHT = {
    "a1.discount": [
        DISCOUNT,
        """
def option_discount(gamma, hazard):
    last = hazard[-1]
    value = gamma * last / (1 - gamma * (1 - last))
    for chance in reversed(hazard[:-1]):
        value = gamma * (chance + (1 - chance) * value)
    return value
""",
    ],
    "a1.model": [
        MODEL,
        """
import numpy as np

def limited_option(chain, reward, stop, gamma, limit):
    size = len(chain)
    running, kernel, within = np.eye(size), np.zeros((size, size)), np.zeros(size)
    for step in range(1, limit + 1):
        within = within + gamma ** (step - 1) * running @ reward
        arrives = running @ chain
        ends = np.ones(size) if step == limit else stop
        kernel = kernel + gamma**step * arrives * ends
        running = arrives * (1 - ends)
    return [kernel, within]
""",
    ],
    "a1.plan": [
        PLAN,
        """
def plan(kernel, reward, allowed, sweeps):
    states, options = len(reward), len(reward[0])
    values = [0.0] * states
    for _ in range(sweeps):
        fresh = []
        for s in range(states):
            q = [
                reward[s][z] + sum(kernel[s][z][t] * values[t] for t in range(states))
                for z in range(options)
                if allowed[s][z]
            ]
            fresh.append(max(q) if q else 0.0)
        values = fresh
    return [float(v) for v in values]
""",
    ],
    "a1.regret": [
        REGRET,
        """
def regret_split(worth, weights, kept, policy):
    regret = pruning = 0.0
    for m, weight in enumerate(weights):
        row = list(worth[m])
        inside = max(row[z] for z in kept)
        value = sum(p * row[z] for p, z in zip(policy[m], kept))
        regret += weight * (max(row) - value)
        pruning += weight * (max(row) - inside)
    return [float(regret), float(pruning), float(regret - pruning)]
""",
    ],
    "a1.smallest_sets": [
        SETS,
        """
def smallest_sets(worth, epsilon):
    good = [{z for z, w in enumerate(row) if w >= max(row) - epsilon} for row in worth.tolist()]
    codes = [code for code in range(1, 2 ** worth.shape[1])]
    sets = [{z for z in range(worth.shape[1]) if code >> z & 1} for code in codes]
    enough = [s for s in sets if all(s & g for g in good)]
    least = min(map(len, enough))
    return [sorted(s, reverse=True) for s in enough if len(s) == least]
""",
    ],
    "a1.expert_tasks": [
        TASKS,
        """
def expert_tasks(errors, weights, epsilon, sigma, delta):
    left = []
    for row in errors:
        mass = sum(w for w, e in zip(weights, row) if e > epsilon)
        if mass >= sigma:
            left.append((1 - mass, 1.0))
    tasks = 0
    while sum(alive for _, alive in left) > delta:
        left = [(stay, alive * stay) for stay, alive in left]
        tasks += 1
    return tasks
""",
    ],
    "a1.horizon": [
        HORIZON,
        """
from math import ceil, log

def sweeps_needed(gamma, durations, reward, epsilon):
    gbar = max(gamma**tau for tau in durations)
    most = max(sum(reward * gamma**i for i in range(tau)) for tau in durations)
    ratio = most / epsilon / (1 - gbar)
    return 0 if ratio <= 1 else ceil(log(ratio) / (1 - gbar))
""",
    ],
}

WRONG = {
    "a1.discount": {
        "gamma to the mean": (
            """
def option_discount(gamma, hazard):
    mean, alive = 0.0, 1.0
    for chance in hazard[:-1]:
        mean += alive
        alive *= 1 - chance
    return gamma ** (mean + alive / hazard[-1])
""",
            "mean_duration",
        ),
        "no tail": (changed(DISCOUNT, ("total + alive * gamma ** len(hazard) * tail", "total")), "no_tail"),
        "off by one": (
            changed(DISCOUNT, ("(step + 1)", "step"), ("** len(hazard)", "** (len(hazard) - 1)")),
            "off_by_one",
        ),
        "chances as a law": (
            "def option_discount(gamma, hazard):\n    return sum(h * gamma ** (i + 1) for i, h in enumerate(hazard))",
            "hazard_as_law",
        ),
        "tail not discounted": (changed(DISCOUNT, ("alive * gamma ** len(hazard) * tail", "alive * tail")), None),
        "hard-coded": ("def option_discount(gamma, hazard):\n    return 0.25", None),
        "length of the list": ("def option_discount(gamma, hazard):\n    return gamma ** len(hazard)", None),
    },
    "a1.model": {
        "no limit": (
            """
import numpy as np

def limited_option(chain, reward, stop, gamma, limit):
    on = np.eye(len(chain)) - gamma * chain * (1 - stop)
    return [np.linalg.solve(on, gamma * chain * stop), np.linalg.solve(on, reward)]
""",
            "no_limit",
        ),
        "one step too many": (changed(MODEL, ("range(limit - 1)", "range(limit)")), "limit_long"),
        "one step too few": (changed(MODEL, ("range(limit - 1)", "range(max(limit, 2) - 2)")), "limit_short"),
        "what the limit cuts is lost": (
            changed(MODEL, ("kernel, within = gamma * chain,", "kernel, within = gamma * chain * stop,")),
            "cut_lost",
        ),
        "asked on leaving": (
            """
import numpy as np

def limited_option(chain, reward, stop, gamma, limit):
    kernel, within, go = gamma * chain, reward, (1 - stop)[:, None]
    for _ in range(limit - 1):
        kernel = gamma * chain * stop[:, None] + go * (gamma * chain @ kernel)
        within = reward + (1 - stop) * (gamma * chain @ within)
    return [kernel, within]
""",
            "stop_before",
        ),
        "reward not discounted": (
            changed(MODEL, ("within = reward + on @ within", "within = reward + chain * (1 - stop) @ within")),
            "undiscounted_reward",
        ),
        "kernel not discounted": (
            changed(
                MODEL,
                ("kernel, within = gamma * chain,", "kernel, within = chain,"),
                ("kernel = gamma * chain * stop + on @ kernel", "kernel = chain * stop + chain * (1 - stop) @ kernel"),
            ),
            "undiscounted_kernel",
        ),
    },
    "a1.plan": {
        "mask ignored": (
            changed(
                PLAN,
                ("np.where(allowed, reward + kernel @ values, -np.inf)", "reward + kernel @ values"),
                ("np.where(allowed.any(1), q.max(1), 0.0)", "q.max(1)"),
            ),
            "all_allowed",
        ),
        "forbidden is 0": (changed(PLAN, ("-np.inf", "0.0")), "zero_for_forbidden"),
        "in place": (
            """
import numpy as np

def plan(kernel, reward, allowed, sweeps):
    values = np.zeros(len(reward))
    for _ in range(sweeps):
        for s in range(len(values)):
            q = np.where(allowed[s], reward[s] + kernel[s] @ values, -np.inf)
            values[s] = q.max() if allowed[s].any() else 0.0
    return values
""",
            "in_place",
        ),
        "one sweep more": (changed(PLAN, ("range(sweeps)", "range(sweeps + 1)")), "one_sweep_more"),
        "an end is worth minus infinity": (
            changed(PLAN, ("np.where(allowed.any(1), q.max(1), 0.0)", "q.max(1)")),
            "end",
        ),
        "worst option": (changed(PLAN, ("-np.inf", "np.inf"), ("q.max(1)", "q.min(1)")), None),
        "wrong axis": (
            changed(PLAN, ("kernel @ values", "kernel.transpose(0, 2, 1)[:, :reward.shape[1]] @ values")),
            None,
        ),
    },
    "a1.regret": {
        "weights ignored": (
            changed(
                REGRET,
                ("best = worth.max(1)", "best = worth.max(1)\n    weights = np.full(len(worth), 1 / len(worth))"),
            ),
            "unweighted",
        ),
        "one optimum for all tasks": (
            """
def regret_split(worth, weights, kept, policy):
    mean = weights @ worth
    value = weights @ (policy * worth[:, kept]).sum(1)
    best, inside = mean.max(), mean[kept].max()
    return [best - value, best - inside, inside - value]
""",
            "one_for_all",
        ),
        "columns of Z": (
            changed(REGRET, ("(policy * worth[:, kept])", "(policy * worth[:, : len(kept)])")),
            "whole_set_columns",
        ),
        "kept set counted from 0": (REGRET.replace("[:, kept]", "[:, : len(kept)]"), None),
        "sign": (
            changed(
                REGRET,
                ("best - value", "value - best"),
                ("best - inside", "inside - best"),
                ("inside - value", "value - inside"),
            ),
            "sign",
        ),
        "swapped": (
            changed(
                REGRET,
                (
                    "weights @ (best - inside), weights @ (inside - value)",
                    "weights @ (inside - value), weights @ (best - inside)",
                ),
            ),
            "swapped",
        ),
        "hard-coded": ("def regret_split(worth, weights, kept, policy):\n    return [1.0, 0.0, 1.0]", None),
    },
    "a1.smallest_sets": {
        "mean error": (changed(SETS, ("(error <= epsilon).all()", "error.mean() <= epsilon")), "mean_error"),
        "strict": (changed(SETS, ("error <= epsilon", "error < epsilon")), "strict"),
        "only the first": (changed(SETS, ("return found", "return found[:1]")), "only_one"),
        "no set": ("def smallest_sets(worth, epsilon):\n    return []", "no_set"),
        "one flat list": (changed(SETS, ("return found", "return found[0]")), "flat"),
        "numbers with a point": (
            changed(SETS, ("found.append(list(subset))", "found.append([float(z) for z in subset])")),
            "not_whole",
        ),
        "each task's best": (
            """
def smallest_sets(worth, epsilon):
    return [sorted({int(row.argmax()) for row in worth})]
""",
            None,
        ),
        "greedy": (
            """
def smallest_sets(worth, epsilon):
    good = worth >= worth.max(1, keepdims=True) - epsilon
    left, chosen = good.copy(), []
    while len(left):
        z = int(left.sum(0).argmax())
        chosen.append(z)
        left = left[~left[:, z]]
    return [sorted(chosen)]
""",
            "not_the_smallest",
        ),
        "epsilon ignored": (changed(SETS, ("error <= epsilon", "error <= 0")), None),
        "every set": (
            changed(
                SETS,
                ("        found = []\n", ""),
                ("    options =", "    found = []\n    options ="),
                ("        if found:\n            return found", "    return found"),
            ),
            None,
        ),
    },
    "a1.expert_tasks": {
        "weights ignored": (
            changed(TASKS, ("(errors > epsilon) @ weights", "(errors > epsilon).mean(1)")),
            "unweighted",
        ),
        "exactly epsilon": (changed(TASKS, ("errors > epsilon", "errors >= epsilon")), "at_epsilon"),
        "more than sigma": (changed(TASKS, ("mass >= sigma", "mass > sigma")), "above_sigma"),
        "every subset": (changed(TASKS, ("mass >= sigma", "mass > 0")), "all_subsets"),
        "worst case": (
            changed(TASKS, ("((1 - mass) ** count).sum()", "len(mass) * (1 - min(mass, default=1)) ** count")),
            "worst_case",
        ),
        "one too few": (changed(TASKS, ("return count", "return max(count - 1, 0)")), "one_too_few"),
        "no union": (changed(TASKS, (".sum() > delta", ".max(initial=0) > delta")), None),
        "closed form": (
            """
import math

def expert_tasks(errors, weights, epsilon, sigma, delta):
    return math.ceil((math.log(len(errors)) + math.log(1 / delta)) / sigma)
""",
            None,
        ),
    },
    "a1.horizon": {
        "longest": (changed(HORIZON, ("min(durations)", "max(durations)")), "longest"),
        "mean": (changed(HORIZON, ("min(durations)", "(sum(durations) / len(durations))")), "mean"),
        "reward of one step": (
            changed(HORIZON, ("reward * (1 - gamma ** max(durations)) / (1 - gamma)", "reward")),
            "primitive_reward",
        ),
        "primitive gamma": (changed(HORIZON, ("gamma ** min(durations)", "gamma")), "primitive_gamma"),
        "reward of the shortest": (changed(HORIZON, ("max(durations)", "min(durations)")), "reward_of_shortest"),
        "may be negative": (
            changed(
                HORIZON,
                (
                    "max(0, math.ceil(math.log(distance / epsilon) / (1 - gbar)))",
                    "math.ceil(math.log(distance / epsilon) / (1 - gbar))",
                ),
            ),
            "negative",
        ),
        "rounded down": (changed(HORIZON, ("math.ceil", "math.floor")), None),
    },
}
