"""The decoder gives Hugging Face's logits, and fast forced sampling gives what a token-by-token loop gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from ra3_lab.models.adapters import prepare
from ra3_lab.models.decoder import Cache, Decoder
from ra3_lab.models.engines.interface import engine_of
from ra3_lab.models.rollout import LatentSampling, generate, sample_latents
from ra3_lab.models.sampling import draw_tokens, keyed_uniforms
from ra3_lab.models.variants import Variant
from ra3_lab.trace import Trace, strip

SHAPE: dict[str, Any] = dict(
    hidden_size=32,
    num_hidden_layers=2,
    intermediate_size=48,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    tie_word_embeddings=True,
)


def _model(kind: str, vocabulary: int) -> Any:
    torch.manual_seed(0)
    if kind == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(vocab_size=vocabulary, **SHAPE))
    else:
        model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **SHAPE))
    for parameter in model.parameters():  # larger weights than the default, so that mistakes show
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: LlamaForCausalLM(LlamaConfig(vocab_size=60, hidden_act="gelu", **SHAPE)), "'silu', not 'gelu'"),
        (
            lambda: Qwen2ForCausalLM(
                Qwen2Config(vocab_size=60, use_sliding_window=True, sliding_window=4, max_window_layers=0, **SHAPE)
            ),
            "sliding window",
        ),
    ],
)
def test_what_the_decoder_does_not_compute_it_refuses(make, told):
    with pytest.raises(ValueError, match=told):
        Decoder(make())


@pytest.mark.parametrize("kind", ["llama", "qwen2", "lora"])
def test_logits_equal_hugging_face_whatever_the_chunks(kind):
    model = _model(kind, 60)
    if kind == "lora":
        model = prepare(model, Variant(adapter="lora", rank=4), seed=1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(std=0.1)
    ids = torch.randint(0, 60, (3, 20))
    with torch.no_grad():
        expected = model(input_ids=ids).logits
    decoder = Decoder(model)
    cache = Cache(decoder, 3, 32)
    fed = torch.zeros(3, dtype=torch.long)
    rng = np.random.default_rng(0)
    got = torch.full_like(expected, torch.nan)
    while int(fed.min()) < 20:  # every row at its own pace, chunks padded with rubbish
        takes = torch.tensor([min(int(rng.integers(0, 7)), 20 - int(f)) for f in fed])
        width = max(int(takes.max()), 1)
        chunk = torch.randint(0, 60, (3, width))
        for b in range(3):
            chunk[b, : takes[b]] = ids[b, fed[b] : fed[b] + takes[b]]
        logits = decoder.logits(decoder.forward(chunk, fed, cache))
        for b in range(3):
            got[b, fed[b] : fed[b] + takes[b]] = logits[b, : takes[b]]
        fed = fed + takes
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_unknown_architecture_is_refused():
    model = _model("llama", 60)
    model.config.model_type = "gpt_neox"
    with pytest.raises(ValueError, match="gpt_neox"):
        Decoder(model)


def _slow_sample(model, tokenizer, trace, how, seed, update, sample, context=10_000):
    """The definition: one token at a time over the Hugging Face module, no cache. A thought is offered where the
    longest one leaves room for the rest of the program."""

    def next_logits(ids):
        with torch.no_grad():
            return model(input_ids=torch.tensor([ids])).logits[0, -1:]

    ids = tokenizer.encode_prompt(trace.prompt)
    latents = []
    for number, line in enumerate(trace.lines):
        rest = sum(len(tokenizer.encode_line(later)) for later in trace.lines[number:]) + 1
        room = len(ids) + how.longest_thought + 2 + rest <= context
        uniform = keyed_uniforms(seed, update, np.array([sample]), np.array([len(ids)]))
        share = torch.softmax(next_logits(ids) / how.temperature, -1)[0, tokenizer.marker]
        thought = None
        if room and tokenizer.offered(line) and uniform[0] < float(share):
            ids.append(tokenizer.marker)
            thought = []
            while True:
                uniform = keyed_uniforms(seed, update, np.array([sample]), np.array([len(ids)]))
                token = int(draw_tokens(next_logits(ids), uniform, how.temperature, tokenizer.banned))
                if token == tokenizer.newline or len(thought) == how.longest_thought:
                    break
                thought.append(token)
                ids.append(token)
            ids.append(tokenizer.newline)
        ids += tokenizer.encode_line(line)
        latents.append(thought)
    return tuple(latents)


@pytest.fixture(scope="module")
def thinker(small_tokenizer):
    """A random model with a leaning to think and to end thoughts."""
    torch.manual_seed(1)
    config = LlamaConfig(vocab_size=len(small_tokenizer.hf), **{**SHAPE, "tie_word_embeddings": False})
    model = LlamaForCausalLM(config).eval()
    model.model.embed_tokens.weight.data[:, 0] += 1.0  # a constant that the head can use as a bias
    model.lm_head.weight.data.mul_(10)
    model.lm_head.weight.data[small_tokenizer.marker, 0] += 2.2
    model.lm_head.weight.data[small_tokenizer.newline, 0] += 1.4
    return model


TRACES = [
    Trace("def f(a):\n", ("    b = a\n", "# expert's own comment\n", "    return b\n")),
    Trace("def g():\n    pass\n", tuple(f"    x{i} = {i}\n" for i in range(9))),
    Trace("", ("y = 2\n",)),
]


def test_forced_sampling_equals_a_token_by_token_loop(thinker, small_tokenizer):
    how = LatentSampling(temperature=1.3, longest_thought=5)
    traces, samples = TRACES * 8, list(range(24))
    rollouts = sample_latents(Decoder(thinker), small_tokenizer, traces, how, seed=3, update=7, samples=samples)
    slow = [_slow_sample(thinker, small_tokenizer, t, how, 3, 7, s) for t, s in zip(traces, samples, strict=True)]
    assert [r.thought_ids for r in rollouts] == slow
    flat = [thought for row in slow for thought in row]
    assert 3 < sum(t is not None for t in flat) < len(flat), "the test needs both branches"
    assert any(any(r.cut) for r in rollouts), "the test needs a cut thought"
    assert all(strip(r.trace) == strip(t) for r, t in zip(rollouts, traces, strict=True))


def test_a_sample_does_not_depend_on_its_batch(thinker, small_tokenizer):
    how = LatentSampling(temperature=1.3, longest_thought=5)
    together = sample_latents(Decoder(thinker), small_tokenizer, TRACES * 4, how, 1, 2)
    alone = sample_latents(Decoder(thinker), small_tokenizer, [TRACES[1]], how, 1, 2, samples=[7])
    assert alone[0].trace == together[7].trace
    programs = generate(Decoder(thinker), small_tokenizer, ["a\n", "b = 1\n"], 3, 1.5, 20, seed=5)
    some = generate(Decoder(thinker), small_tokenizer, ["a\n", "b = 1\n"], 3, 1.5, 20, seed=5, rows_at_once=3)
    assert programs == some


@pytest.mark.parametrize("engine", ["decoder", "generate"])
def test_thoughts_stop_where_the_context_has_no_room_for_them(engine, thinker, small_tokenizer):
    """A program fits as long as it does without thoughts, and what comes back fits, too."""
    how, traces, samples = LatentSampling(temperature=1.3, longest_thought=5), TRACES * 4, list(range(12))
    sizes = [len(small_tokenizer.encode_trace(trace).ids) for trace in TRACES]
    sampler, context = engine_of(thinker, "fp32", engine), max(sizes) + 16
    sampler.context = context
    rollouts = sample_latents(sampler, small_tokenizer, traces, how, 3, 7, samples)
    slow = [
        _slow_sample(thinker, small_tokenizer, trace, how, 3, 7, sample, context)
        for trace, sample in zip(traces, samples, strict=True)
    ]
    assert [rollout.thought_ids for rollout in rollouts] == slow
    assert any(any(r.no_room) and any(t is not None for t in r.thought_ids) for r in rollouts), "room ends in between"
    assert max(len(rollout.encode(small_tokenizer).ids) for rollout in rollouts) <= context
    sampler.context = max(sizes)
    (longest,) = sample_latents(sampler, small_tokenizer, TRACES[1:2], how, 3, 7)
    assert longest.no_room == (True,) * 9
    sampler.context = max(sizes) - 1
    with pytest.raises(ValueError, match=f"has {max(sizes)} tokens, the context is {max(sizes) - 1}"):
        sample_latents(sampler, small_tokenizer, traces, how, 3, 7, samples)


def test_context_overflow_names_the_trace(thinker, small_tokenizer):
    trace = Trace("def f():\n", ("    x = 1\n",) * 80, trace_id="too/long")
    with pytest.raises(ValueError, match="too/long"):
        sample_latents(Decoder(thinker), small_tokenizer, [trace], LatentSampling(), 0, 0)


def test_draws_follow_the_softmax():
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0]).expand(40_000, 4)
    uniforms = keyed_uniforms(0, 0, np.arange(40_000), np.array(3))
    counts = torch.bincount(draw_tokens(logits, uniforms, 1.0), minlength=4).double()
    expected = torch.softmax(logits[0].double(), -1) * 40_000
    assert float(((counts - expected) ** 2 / expected).sum()) < 16.3  # chi-square, 3 degrees of freedom, p = 0.001
    assert int(draw_tokens(logits, uniforms, 1.0, banned=(2,)).eq(2).sum()) == 0
