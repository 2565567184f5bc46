"""vLLM as a rollout engine: bf16 base weights plus this step's LoRA adapter. NEVER RUN HERE: no GPU was at hand when it
was written, and tests hold it against a fake of vLLM's offline interface (`LLM.generate`).

What it promises: each load writes the adapter to a folder of its own with a fresh id, and every result must come from
that id, else StaleEngine. Draws are vLLM's own, seeded by (seed, update, sample, position). vLLM serves lora and rslora
adapters on the published base; others are refused, since it would ignore or misplace them. Over 4-bit weights the
policy that is trained is not quite the one that is served: log `mismatch_kl`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ra3_lab.models.adapters import variant_of
from ra3_lab.models.engines.completer import Completer, Row
from ra3_lab.models.engines.interface import StaleEngine, fingerprint
from ra3_lab.models.export import save_adapter
from ra3_lab.models.generation import Sampling, StopWatch
from ra3_lab.models.quantize import NeedsExtra
from ra3_lab.models.sampling import keyed_uniforms

SERVED = ("lora", "rslora")
_RUNNING: dict[str, VLLM] = {}  # one engine a base model and process


class Kit(NamedTuple):
    """The three names of vLLM that are used; a fake brings its own."""

    start: Callable[..., Any]
    """vllm.LLM."""
    parameters: Callable[..., Any]
    """vllm.SamplingParams."""
    adapter: Callable[..., Any]
    """vllm.lora.request.LoRARequest."""


def installed() -> Kit:
    """vLLM itself. Raises NeedsExtra, with the next step, where it is not installed."""
    try:
        from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]
        from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise NeedsExtra(
            "--engine vllm needs vLLM, which is not installed: pip install 'ra3-lab[vllm]' (Linux with a GPU), or use "
            "--engine auto."
        ) from error
    return Kit(LLM, SamplingParams, LoRARequest)


class VLLM(Completer):
    """An engine for one base model; `load` gives it a step's adapter."""

    def __init__(self, base: str, rank: int, context: int, kit: Kit | None = None, **settings: Any) -> None:
        self.kit = kit or installed()
        self.context, self.rank = context, rank
        self.llm = self.kit.start(
            model=base,
            dtype="bfloat16",
            enable_lora=True,
            max_lora_rank=rank,
            max_model_len=context,
            logprobs_mode="processed_logprobs",  # after temperature and bans, as they are drawn
            **settings,
        )
        self._temporary = tempfile.TemporaryDirectory(prefix="ra3_lab-vllm-")  # gone with the engine
        self.folder = Path(self._temporary.name)
        self.loads = 0
        self.held = ""
        self.request: Any = None

    @classmethod
    def of(cls, model: Any, kit: Kit | None = None) -> VLLM:
        """The engine of the model's base, started once a process, holding the model's adapter as it is now."""
        variant = variant_of(model)
        if variant is None or variant.adapter not in SERVED:
            adapter = "all weights" if variant is None or not variant.adapted else f"adapter {variant.adapter}"
            raise ValueError(f"engine vllm serves {' and '.join(SERVED)}, not {adapter}: use one of them, or auto.")
        causal = model.get_base_model()
        base = causal.config.name_or_path
        if base not in _RUNNING:
            _RUNNING[base] = cls(base, variant.r, causal.config.max_position_embeddings, kit)
        engine = _RUNNING[base]
        engine.load(model)
        return engine

    def load(self, model: Any) -> None:
        """Take the model's adapter as it is now. Raises ValueError for a rank above the engine's."""
        variant = variant_of(model)
        if variant is None or variant.adapter not in SERVED or variant.r > self.rank:
            raise ValueError(f"the engine was started for {' and '.join(SERVED)} of rank {self.rank} at most.")
        now = fingerprint(model)
        if now == self.held:
            return
        self.loads += 1
        folder = self.folder / f"{self.loads:06d}"
        save_adapter(model, folder)
        (folder / "fingerprint.json").write_text(json.dumps({"fingerprint": now}))
        shutil.rmtree(self.folder / f"{self.loads - 1:06d}", ignore_errors=True)  # nothing asks for that one any more
        self.request = self.kit.adapter(f"step{self.loads}", self.loads, str(folder))
        self.held = now

    def thinks(
        self, prefixes: Sequence[list[int]], marker: int, temperature: float, keys: np.ndarray, seeds: tuple[int, int]
    ) -> np.ndarray:
        """(B,) whether one token, drawn from the whole vocabulary, is the marker."""
        drawn = self._ask(prefixes, keys, Sampling(temperature, max_new=1), seeds, (), ())
        return np.array([ids[:1] == [marker] for ids, _ in drawn])

    def complete(
        self,
        prefixes: Sequence[list[int]],
        keys: np.ndarray,
        how: Sampling,
        seeds: tuple[int, int],
        ends: tuple[int, ...],
        banned: tuple[int, ...] = (),
        watches: Sequence[StopWatch | None] = (),
    ) -> list[Row]:
        """As `Completer` says; what follows a stop is drawn and then dropped."""
        rows = self._ask(prefixes, keys, how, seeds, ends, banned)
        kept = [_end(ids, watches[number] if watches else None) for number, (ids, _) in enumerate(rows)]
        return [(ids[:end], logp[:end]) for (ids, logp), end in zip(rows, kept, strict=True)]

    def _ask(
        self,
        prefixes: Sequence[list[int]],
        keys: np.ndarray,
        how: Sampling,
        seeds: tuple[int, int],
        ends: tuple[int, ...],
        banned: tuple[int, ...],
    ) -> list[Row]:
        """One batch; every result must have been written with the adapter that is loaded."""
        if self.request is None:
            raise StaleEngine("the engine holds no adapter yet: load the policy first.")
        places = np.array([len(prefix) for prefix in prefixes])
        uniforms = keyed_uniforms(*seeds, keys, places)
        asked = [
            self.kit.parameters(
                temperature=how.temperature,
                top_p=how.top_p,
                top_k=how.top_k or -1,
                max_tokens=int(min(how.max_new, self.context - place)),
                seed=int(uniform * 2**31),
                logprobs=0,  # that of the token drawn
                stop_token_ids=list(ends),
                ignore_eos=True,
                logit_bias={token: -100.0 for token in banned} or None,
                detokenize=False,
            )
            for uniform, place in zip(uniforms, places, strict=True)
        ]
        prompts = [{"prompt_token_ids": list(prefix)} for prefix in prefixes]
        results = self.llm.generate(prompts, asked, lora_request=self.request, use_tqdm=False)
        rows = []
        for result in results:
            held = getattr(result.lora_request, "lora_int_id", None)
            if held != self.request.lora_int_id:
                raise StaleEngine(f"a result was written with adapter {held}, loaded is {self.request.lora_int_id}.")
            out = result.outputs[0]
            ids = list(out.token_ids)
            rows.append((ids, [step[token].logprob for step, token in zip(out.logprobs, ids, strict=True)]))
        return rows


def _end(tokens: list[int], watch: StopWatch | None) -> int:
    """Tokens up to the first finished stop."""
    if watch is None:
        return len(tokens)
    return next((n for n in range(1, len(tokens) + 1) if watch.stopped(tokens[:n])), len(tokens))
