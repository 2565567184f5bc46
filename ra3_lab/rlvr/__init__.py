"""RLVR: reinforcement learning from verifiable rewards by GRPO and its relatives.

`losses.py`, `kl.py` and `advantages.py` are the arithmetic; `update.py` is the whole update on one page; `groups.py`
samples and judges; `loop.py` is the run; `preflight.py` looks before it starts.
"""
