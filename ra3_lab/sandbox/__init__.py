"""Running model-written programs: one seam, `judge_batch(programs, limits) -> list[Verdict]`.

What is stopped and what is not stands at the top of `judge.py`. `worker.py` is the code on the other side of
the pipe.
"""

from ra3_lab.sandbox.judge import judge_batch
from ra3_lab.sandbox.program import Asserts, Calls, Limits, NoVerdict, Program, Stdin, Verdict

__all__ = ["Asserts", "Calls", "Limits", "NoVerdict", "Program", "Stdin", "Verdict", "judge_batch"]
