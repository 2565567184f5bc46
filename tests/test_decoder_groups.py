"""Groups with a shared prompt: Hugging Face's logits at every position, the softmax's frequencies, stops, fallback."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from ra3_lab.models.adapters import prepare
from ra3_lab.models.decoder import Cache, Decoder
from ra3_lab.models.generation import Fallback, Sampling, StopWatch, decode, generate, sample_groups, sampler_of
from ra3_lab.models.group_cache import Lanes, Products, group_cache
from ra3_lab.models.sampling import draw_with_logp, keyed_uniforms
from ra3_lab.models.variants import Variant

SHAPE: dict[str, Any] = dict(
    hidden_size=32, num_hidden_layers=2, intermediate_size=48, num_attention_heads=4, max_position_embeddings=128
)


def _model(kind: str, vocabulary: int = 40) -> Any:
    torch.manual_seed(0)
    if kind.startswith("qwen2"):
        model: Any = Qwen2ForCausalLM(Qwen2Config(vocab_size=vocabulary, num_key_value_heads=2, **SHAPE))
    else:
        model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, num_key_value_heads=2, **SHAPE))
    for parameter in model.parameters():  # larger weights than the default, so that mistakes show
        parameter.data += 0.1 * torch.randn_like(parameter)
    if kind.endswith("lora"):
        model = prepare(model, Variant(adapter="lora", rank=4), seed=1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(std=0.1)
    return model.eval()


@pytest.mark.parametrize("kind", ["llama", "qwen2", "llama lora", "qwen2 lora"])
@pytest.mark.parametrize("way", [Lanes, Products])
def test_group_steps_give_hugging_faces_logits_while_rows_leave(kind, way):
    """Prompts of different lengths share a prefill; after some steps members and whole prompts are dropped."""
    model, lengths = _model(kind), [3, 9, 6]
    torch.manual_seed(1)
    ids = torch.randint(0, 40, (3, 4, 24))
    for p, length in enumerate(lengths):
        ids[p, :, :length] = ids[p, :1, :length]  # one prompt for the group
    with torch.no_grad():
        expected = model(input_ids=ids.flatten(0, 1)).logits.view(3, 4, 24, 40)
    decoder = Decoder(model)
    prefilled = Cache(decoder, 3, 9)
    decoder.forward(ids[:, 0, :9], torch.zeros(3, dtype=torch.long), prefilled)
    cache = way(prefilled, torch.tensor(lengths), 4, 12)
    prompts, members, compared = torch.arange(3), torch.arange(4).expand(3, 4), 0
    for t in range(12):
        if t == 5:
            keep = torch.tensor([[3, 1], [0, 2], [2, 3]])
            cache.select(torch.arange(3), keep)
            members = members.gather(1, keep)
        if t == 8:
            cache.select(torch.tensor([2, 0]), torch.tensor([[1], [0]]))
            prompts, members = torch.tensor([2, 0]), members[[2, 0]].gather(1, torch.tensor([[1], [0]]))
        where = torch.tensor(lengths)[prompts] + t
        got = decoder.logits(decoder.step(ids[prompts[:, None], members, where[:, None]], cache))
        torch.testing.assert_close(got, expected[prompts[:, None], members, where[:, None]], atol=1e-5, rtol=1e-5)
        compared += got.shape[0] * got.shape[1]
    assert compared == 5 * 12 + 3 * 6 + 4 * 2


@pytest.mark.parametrize("lengths", [[3, 9, 6], [5, 5, 5]])
def test_groups_of_one_have_their_prompt_in_their_lane(lengths):
    model = _model("qwen2")
    ids = torch.randint(0, 40, (3, 24), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(input_ids=ids).logits
    decoder = Decoder(model)
    prefilled = Cache(decoder, 3, 9)
    decoder.forward(ids[:, :9], torch.zeros(3, dtype=torch.long), prefilled)
    cache, rows = group_cache(prefilled, torch.tensor(lengths), 1, 12), torch.arange(3)
    assert isinstance(cache, Lanes) and not cache.shared
    for t in range(12):
        if t == 7:
            cache.select(torch.tensor([2, 1]), torch.zeros(2, 1, dtype=torch.long))
            rows = rows[[2, 1]]
        where = torch.tensor(lengths)[rows] + t
        got = decoder.logits(decoder.step(ids[rows, where][:, None], cache))[:, 0]
        torch.testing.assert_close(got, expected[rows, where], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen2 lora"])
def test_lanes_in_bf16_are_as_near_to_float32_as_products(kind):
    """Per step, for groups with prompts of different lengths."""
    model, lengths = _model(kind), [3, 9, 6]
    ids = torch.randint(0, 40, (3, 4, 24), generator=torch.Generator().manual_seed(1))
    for p, length in enumerate(lengths):
        ids[p, :, :length] = ids[p, :1, :length]
    found = []
    for dtype, way in ((torch.float32, Products), (torch.bfloat16, Products), (torch.bfloat16, Lanes)):
        decoder = Decoder(model, dtype)
        prompts = Cache(decoder, 3, 9)
        decoder.forward(ids[:, 0, :9], torch.zeros(3, dtype=torch.long), prompts)
        cache = way(prompts, torch.tensor(lengths), 4, 15)
        steps = [ids[torch.arange(3), :, torch.tensor(lengths) + t] for t in range(12)]
        found.append(torch.stack([decoder.logits(decoder.step(tokens, cache)).log_softmax(-1) for tokens in steps]))
    exact, products, lanes = found
    assert float((lanes - exact).abs().mean()) < 1.2 * float((products - exact).abs().mean())
    assert float((lanes - exact).abs().max()) < 2 * float((products - exact).abs().max()) < 0.5


def test_reported_logps_are_those_of_the_model():
    """Of every sampled token, at a temperature, also of rows that went on after others had ended."""
    model = _model("llama")
    prompts, keys = [[1, 2, 3], [4, 5, 6, 7, 8]], np.arange(16).reshape(2, 8)
    rows = decode(Decoder(model), prompts, keys, Sampling(0.7, max_new=30), (0, 0), eos=0)
    lengths = [len(ids) for group in rows for ids, _ in group]
    assert len(set(lengths)) > 4, "the test needs rows that end early"
    for prompt, group in zip(prompts, rows, strict=True):
        for ids, logp in group:
            assert ids[-1] == 0 or len(ids) == 30
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
            wanted = torch.log_softmax(logits / 0.7, -1).gather(-1, torch.tensor(ids)[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(logp), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "how", [Sampling(max_new=2), Sampling(0.8, top_k=5, max_new=2), Sampling(top_p=0.7, max_new=2)]
)
def test_frequencies_follow_the_softmax_on_positions_and_pairs(how):
    """Chi-square against the model's own probabilities, of the first token and of pairs; p = 0.001."""
    model, count = _model("llama", vocabulary=8), 6_000
    rows = decode(Decoder(model), [[1, 2, 3]], np.arange(count)[None], how, (5, 1), eos=-1)[0]

    def probabilities(ids: list[int]) -> torch.Tensor:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1].double() / how.temperature
        p = torch.softmax(logits, -1)
        order = p.argsort(descending=True)
        kept = order[: how.top_k] if how.top_k else order[: int((p[order].cumsum(0) < how.top_p).sum()) + 1]
        return torch.zeros_like(p).scatter(0, kept, p[kept]) / p[kept].sum()

    first = probabilities([1, 2, 3])
    pairs = torch.stack([first[a] * probabilities([1, 2, 3, a]) for a in range(8)])
    found = torch.zeros(8, 8, dtype=torch.float64)
    for ids, _ in rows:
        found[ids[0], ids[1]] += 1
    for counts, wanted in ((found.sum(1), first * count), (found.flatten(), pairs.flatten() * count)):
        assert float(counts[wanted == 0].sum()) == 0
        few = (wanted > 0) & (wanted < 5)  # put together, as the test's approximation needs 5 in a cell
        counts = torch.cat([counts[wanted >= 5], counts[few].sum()[None]])
        wanted = torch.cat([wanted[wanted >= 5], wanted[few].sum()[None]])
        counts, wanted = counts[wanted > 0], wanted[wanted > 0]
        degrees = len(wanted) - 1
        z = (float(((counts - wanted) ** 2 / wanted).sum()) / degrees) ** (1 / 3) - (1 - 2 / (9 * degrees))
        assert z / (2 / (9 * degrees)) ** 0.5 < 3.09  # Wilson and Hilferty's approximation of chi-square


def test_a_sample_does_not_depend_on_its_batch_nor_on_rows_that_leave(small_tokenizer):
    decoder = Decoder(_model("llama", len(small_tokenizer.hf)))
    together = generate(decoder, small_tokenizer, ["a\n", "b = 1\n"], 6, 1.5, 40, seed=5)
    alone = sample_groups(decoder, small_tokenizer, ["b = 1\n"], np.array([[9, 6]]), Sampling(1.5, max_new=40), 5, 0)
    assert alone[0] == [together[1][3], together[1][0]]


def test_a_stop_of_many_bytes_is_seen_at_its_last_token(small_tokenizer):
    """Each arrow is three tokens here, none of which is text by itself."""
    stop = "\n→→"
    before = small_tokenizer.encode_line("x = 1" + stop)
    ids = before + small_tokenizer.encode_line("y\n")
    watch = StopWatch(small_tokenizer, (stop,))
    assert len(small_tokenizer.encode_line(stop)) > len(stop)
    assert [n for n in range(1, len(ids) + 1) if watch.stopped(ids[:n])] == [len(before)]


def test_stops_end_a_row_and_are_cut_from_its_text(small_tokenizer):
    """The tokens that made the stop stay: they were drawn, so they belong to the gradient."""
    model = _model("llama", len(small_tokenizer.hf))
    free = generate(Decoder(model), small_tokenizer, ["a\n"], 40, 1.0, 60, seed=2)[0]
    stop = next(c.text[5:7] for c in free if len(c.text) > 40 and c.text[5:7].isascii())
    keys = np.arange(40)[None]
    stopped = sample_groups(
        Decoder(model), small_tokenizer, ["a\n"], keys, Sampling(max_new=60), 2, 0, stops=[(stop, "\nnowhere")]
    )[0]
    assert any(c.reason == "stop" for c in stopped) and any(c.reason != "stop" for c in stopped)
    for before, after in zip(free, stopped, strict=True):
        place = before.text.find(stop)
        assert after.text == (before.text if place < 0 else before.text[:place])
        assert (after.reason == "stop") == (place >= 0)
        assert after.ids == before.ids[: len(after.ids)]
        assert place < 0 or small_tokenizer.decode(after.ids[:-1]).find(stop) < 0


def test_top_p_and_top_k_keep_what_they_say():
    logits = torch.log(torch.tensor([[0.4, 0.3, 0.2, 0.1]])).expand(2_000, 4)
    uniforms = keyed_uniforms(0, 0, np.arange(2_000), np.array(0))
    for keyword, kept in (({"top_k": 2}, 2), ({"top_p": 0.69}, 2), ({"top_p": 0.71}, 3), ({"top_p": 0.01}, 1)):
        tokens, logp = draw_with_logp(logits, uniforms, 1.0, **keyword)
        assert set(tokens.tolist()) == set(range(kept))
        shares = torch.tensor([0.4, 0.3, 0.2, 0.1])[:kept]
        torch.testing.assert_close(logp, (shares / shares.sum()).log()[tokens])


def test_other_architectures_fall_back_and_say_so(small_tokenizer):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(small_tokenizer.hf), n_embd=32, n_layer=2, n_head=2, n_positions=64)
    model = GPT2LMHeadModel(config).eval()
    with pytest.warns(UserWarning, match=r"gpt2.*generate, which is slower"):
        sampler = sampler_of(model)
    assert isinstance(sampler, Fallback)
    state = torch.get_rng_state()
    keys, how = np.arange(4)[None], Sampling(0.9, max_new=20)
    found = sample_groups(sampler, small_tokenizer, ["x = 1\n"], keys, how, 0, 0)[0]
    assert torch.equal(torch.get_rng_state(), state)
    assert found == sample_groups(sampler, small_tokenizer, ["x = 1\n"], keys, how, 0, 0)[0]
    prompt = small_tokenizer.encode_prompt("x = 1\n")
    for completion in found:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + list(completion.ids)])).logits[0, len(prompt) - 1 : -1]
        wanted = torch.log_softmax(logits / 0.9, -1).gather(-1, torch.tensor(completion.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logp), wanted, atol=1e-4, rtol=1e-4)


def test_wrong_sampling_settings_are_named():
    for keyword, message in (
        ({"top_p": 0.0}, "top_p=0"),
        ({"temperature": -1.0}, "temperature=-1"),
        ({"max_new": 0}, "0"),
    ):
        with pytest.raises(ValueError, match=message):
            Sampling(**keyword)
