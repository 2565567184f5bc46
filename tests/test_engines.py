"""Every rollout engine draws from the same distribution through one interface: ours, generate, and a fake of vLLM's
offline interface (vLLM itself was never run here)."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import Starcoder2Config, Starcoder2ForCausalLM

from ra3_lab.midtrain.estep import EStep, EStepConfig
from ra3_lab.models.adapters import prepare, twin
from ra3_lab.models.engines.by_line import sample_by_line
from ra3_lab.models.engines.interface import StaleEngine, engine_of, fingerprint, mismatch_kl
from ra3_lab.models.engines.vllm import VLLM, Kit
from ra3_lab.models.export import load_adapter
from ra3_lab.models.generation import Fallback, Sampling, decode
from ra3_lab.models.quantize import NeedsExtra
from ra3_lab.models.rollout import LatentSampling, sample_latents
from ra3_lab.models.sampling import draw_with_logp
from ra3_lab.models.tokenizer import PROMPT
from ra3_lab.models.variants import Variant
from ra3_lab.trace import Trace, strip

TRACES = [Trace("def f(a):\n", ("    x = 1\n", "    y = 2\n", "    return a\n")), Trace("a\n", ("b = 1\n", "c = 2\n"))]
HOW = LatentSampling(1.0, longest_thought=4)
VARIANT = Variant(adapter="lora", rank=2)


class FakeLLM:
    """vLLM's offline interface over a small model: reads adapters from their folders, keeps what it was asked."""

    def __init__(self, policy, dtype=torch.float32) -> None:
        self.model, self.dtype = twin(policy), dtype
        self.batches: list[list[list[int]]] = []
        self.forced_adapter: int | None = None

    def __call__(self, **settings):  # in the place of vllm.LLM
        self.settings = settings
        return self

    @torch.no_grad()
    def generate(self, prompts, parameters, lora_request, use_tqdm):
        from pathlib import Path

        load_adapter(self.model, Path(lora_request.lora_path))
        self.batches.append([prompt["prompt_token_ids"] for prompt in prompts])
        return [self._one(p["prompt_token_ids"], s, lora_request) for p, s in zip(prompts, parameters, strict=True)]

    def _one(self, ids, how, request):
        rng, written, steps = np.random.default_rng(how.seed), [], []
        banned = tuple(how.logit_bias or ())
        while len(written) < how.max_tokens:
            logits = self.model(input_ids=torch.tensor([[*ids, *written]])).logits[:, -1].to(self.dtype).float()
            token, logp = draw_with_logp(logits, rng.random(1), how.temperature, banned)
            written.append(int(token))
            steps.append({int(token): SimpleNamespace(logprob=float(logp))})
            if written[-1] in how.stop_token_ids:
                break
        held = request if self.forced_adapter is None else SimpleNamespace(lora_int_id=self.forced_adapter)
        output = SimpleNamespace(token_ids=written, logprobs=steps)
        return SimpleNamespace(outputs=[output], lora_request=held)


def kit(fake) -> Kit:
    def request(name, number, path):
        return SimpleNamespace(lora_name=name, lora_int_id=number, lora_path=path)

    return Kit(fake, lambda **settings: SimpleNamespace(**settings), request)


@pytest.fixture
def policy(tiny_thinker):
    model = prepare(tiny_thinker, VARIANT, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return model


def vllm_of(policy, dtype=torch.float32) -> tuple[VLLM, FakeLLM]:
    fake = FakeLLM(policy, dtype)
    engine = VLLM("base", 2, 128, kit(fake))
    engine.load(policy)
    return engine, fake


def engine(name: str, policy):
    return vllm_of(policy)[0] if name == "vllm" else engine_of(policy, "fp32", name)


NAMES = ["decoder", "generate", "vllm"]


@pytest.mark.parametrize("name", NAMES)
def test_every_engine_writes_latents_as_they_are_defined(name, policy, small_tokenizer):
    traces = TRACES * 8
    rollouts = sample_latents(engine(name, policy), small_tokenizer, traces, HOW, 0, 1)
    assert [strip(r.trace) for r in rollouts] == traces
    thoughts = [t for r in rollouts for t in r.thought_ids if t is not None]
    assert thoughts and any(t is None for r in rollouts for t in r.thought_ids)
    assert all(len(t) <= 4 and not set(t) & {*small_tokenizer.banned, small_tokenizer.newline} for t in thoughts)
    encoded = rollouts[0].encode(small_tokenizer)
    assert (encoded.roles != PROMPT).any()


def test_generate_draws_what_the_decoder_draws(policy, small_tokenizer):
    ours, theirs = engine_of(policy, "fp32", "decoder"), engine_of(policy, "fp32", "generate")
    traces, samples = TRACES * 6, [5, 1, 4, 0, 2, 3, 9, 8, 11, 10, 7, 6]
    found = [sample_latents(e, small_tokenizer, traces, HOW, 7, 2, samples) for e in (ours, theirs)]
    assert found[0] == found[1] and any(r.trace.thought_lines for r in found[0])
    prompts = [small_tokenizer.encode_prompt(t.prompt) for t in TRACES]
    keys, how = np.arange(6).reshape(2, 3), Sampling(0.8, top_k=40, max_new=12)
    a, b = (decode(e, prompts, keys, how, (3, 1), small_tokenizer.eos) for e in (ours, theirs))
    for one, other in zip(a, b, strict=True):
        assert [ids for ids, _ in one] == [ids for ids, _ in other]
        for (_, p), (_, q) in zip(one, other, strict=True):
            np.testing.assert_allclose(p, q, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_first_decision_has_the_models_own_probability(name, policy, small_tokenizer):
    trace, count = Trace("a\n", ("b = 1\n",)), 100 if name == "vllm" else 400
    rollouts = sample_latents(engine(name, policy), small_tokenizer, [trace] * count, LatentSampling(0.7, 1), 0, 0)
    share = float(np.mean([r.thought_ids[0] is not None for r in rollouts]))
    with torch.no_grad():
        logits = policy(input_ids=torch.tensor([small_tokenizer.encode_prompt("a\n")])).logits[0, -1]
    wanted = float(torch.softmax(logits / 0.7, -1)[small_tokenizer.marker])
    assert abs(share - wanted) < 4 * (wanted * (1 - wanted) / count) ** 0.5


def test_lines_are_asked_in_order_and_programs_together(policy, small_tokenizer):
    engine_, fake = vllm_of(policy)
    rollouts = sample_by_line(engine_, small_tokenizer, TRACES * 3, HOW, 0, 0)
    first = fake.batches[0]
    assert len(first) == 6, "all traces together"
    decisions = [batch for batch in fake.batches if len(batch[0]) and batch[0][-1] != small_tokenizer.marker]
    assert [len(batch) for batch in decisions] == [6, 6, 3], "one round a line; the shorter programs are done"
    for number, rollout in enumerate(rollouts):
        thought, line = rollout.thought_ids[0], small_tokenizer.encode_line(rollout.trace.lines[0])
        before = [small_tokenizer.marker, *thought, small_tokenizer.newline] if thought is not None else []
        assert decisions[1][number] == decisions[0][number] + before + line, "the next line sees the thought"


def test_all_lines_at_once_is_one_round_without_earlier_thoughts(policy, small_tokenizer):
    engine_, fake = vllm_of(policy)
    rollouts = sample_by_line(engine_, small_tokenizer, TRACES, HOW, 0, 0, all_lines_at_once=True)
    assert len(fake.batches[0]) == 5 and len(fake.batches) <= 2
    prompt, lines = small_tokenizer.encode_prompt(TRACES[0].prompt), TRACES[0].lines
    plain = [prompt + [i for line in lines[:n] for i in small_tokenizer.encode_line(line)] for n in range(3)]
    assert fake.batches[0][:3] == plain
    assert [strip(r.trace) for r in rollouts] == TRACES


def test_each_step_loads_its_adapter_and_results_of_another_are_refused(policy, small_tokenizer):
    engine_, fake = vllm_of(policy)
    with torch.no_grad():
        next(p for p in policy.parameters() if p.requires_grad).add_(1.0)
    engine_.load(policy)
    assert engine_.held == fingerprint(policy) and engine_.loads == 2
    engine_.load(policy)
    assert engine_.loads == 2, "the same weights are not written twice"
    assert [path.name for path in engine_.folder.iterdir()] == ["000002"], "only what is served is kept"
    fake.forced_adapter = 1
    with pytest.raises(StaleEngine, match="written with adapter 1, loaded is 2"):
        sample_latents(engine_, small_tokenizer, TRACES, HOW, 0, 0)


def test_an_engines_folder_goes_with_it(policy):
    engine_, _ = vllm_of(policy)
    folder = engine_.folder
    assert folder.is_dir()
    del engine_
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mismatch_is_nothing_in_the_same_type_and_small_in_bf16(dtype, policy, small_tokenizer):
    engine_, _ = vllm_of(policy, dtype)
    prompt = small_tokenizer.encode_prompt("a\n")
    rows = decode(engine_, [prompt], np.arange(8)[None], Sampling(max_new=12), (0, 0), small_tokenizer.eos)[0]
    own = []
    for ids, _ in rows:
        with torch.no_grad():
            logits = policy(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        own.append(logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0].tolist())
    found = mismatch_kl([logp for _, logp in rows], own)
    if dtype == torch.float32:
        assert found["largest"] < 1e-5
    else:
        assert 0 < found["k3"] < 1e-2 and found["largest"] < 0.1


def test_what_cannot_be_served_is_refused(tiny_thinker, policy):
    with pytest.raises(ValueError, match="serves lora and rslora, not adapter dora"):
        engine_of(prepare(tiny_thinker, Variant(adapter="dora", rank=2)), "fp32", "vllm")
    with pytest.raises(ValueError, match="serves lora and rslora, not all weights"):
        engine_of(tiny_thinker, "fp32", "vllm")
    with pytest.raises(ValueError, match="engine='sglang': one of auto, decoder, generate, vllm"):
        engine_of(policy, "fp32", "sglang")
    with pytest.raises(ValueError, match="engine='sglang': one of auto"):  # before anything is loaded
        EStepConfig(engine="sglang")
    try:
        import vllm  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError:
        with pytest.raises(NeedsExtra, match=r"not installed: pip install 'ra3-lab\[vllm\]'"):
            engine_of(policy, "fp32", "vllm")


def test_an_e_step_on_starcoder2_samples_by_generate(small_tokenizer):
    torch.manual_seed(2)
    config = Starcoder2Config(
        vocab_size=len(small_tokenizer.hf),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = Starcoder2ForCausalLM(config).eval()
    model.model.embed_tokens.weight.data[:, 0] += 1.0  # a constant that the head can use as a bias: it thinks at times
    model.lm_head.weight.data[small_tokenizer.marker, 0] += 0.85
    model.lm_head.weight.data[small_tokenizer.newline, 0] += 0.7
    pi = prepare(model, VARIANT, seed=0)
    q = twin(pi)
    start = {name: p.detach().clone() for name, p in q.named_parameters() if p.requires_grad}
    with pytest.warns(UserWarning, match="starcoder2.*generate"):
        assert isinstance(engine_of(q), Fallback)
        estep = EStep(q, pi, small_tokenizer, EStepConfig(2, 2, 3, temperature=1.0, longest_thought=3), 0, "fp32")
        records = [estep.update(TRACES, number) for number in range(2)]
    assert all(record["gradient_norm"] > 0 for record in records)
    assert all(not torch.equal(p, start[name]) for name, p in q.named_parameters() if p.requires_grad)
