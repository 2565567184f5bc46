"""Rollout engines behind one interface: ours, Hugging Face's generate, vLLM. See `interface.py`."""
