"""Running model-written programs: one seam, `judge_batch(programs, limits) -> list[Verdict]`.

What is stopped and what is not stands at the top of `judge.py`. `worker.py` is the code on the other side of
the pipe.
"""

from ra3_lab.sandbox.judge import Limits, Program, Verdict, judge_batch

__all__ = ["Limits", "Program", "Verdict", "judge_batch"]
