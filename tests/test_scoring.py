"""Log-probabilities of tokens: gradients made at once, and architectures that do more after the head."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, GraniteConfig, LlamaConfig

from ra3_lab.evaluate.latents import true_trace
from ra3_lab.models.load import load_model
from ra3_lab.models.scoring import _Reduced, collate, score_batch
from ra3_lab.models.tokenizer import PROMPT
from ra3_lab.tasks.pipelines import load_split


def test_the_three_log_probabilities_and_their_gradients_are_those_of_plain_indexing():
    torch.manual_seed(0)
    logits = torch.randn(7, 11, dtype=torch.float64, requires_grad=True)
    targets, banned = torch.tensor([0, 3, 3, 4, 9, 10, 2]), torch.tensor([2, 3, 10])
    every = logits.log_softmax(-1)
    plain = (every.gather(-1, targets[:, None])[:, 0], every[:, 4], every[:, banned].logsumexp(-1))
    ours = _Reduced.apply(logits, targets, 4, banned)
    weights = torch.randn(3, 7, dtype=torch.float64)
    for found, wanted in zip(ours, plain, strict=True):
        torch.testing.assert_close(found, wanted)
    (expected,) = torch.autograd.grad((torch.stack(plain) * weights).sum(), logits)
    (found,) = torch.autograd.grad((torch.stack(ours) * weights).sum(), logits)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


SHAPE = {
    "vocab_size": 1280,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


@pytest.mark.parametrize(
    "config", [LlamaConfig(**SHAPE), GraniteConfig(logits_scaling=8.0, **SHAPE)], ids=["llama", "granite"]
)
def test_scores_are_those_of_the_model_s_own_forward(config):
    tokenizer = load_model("embedded", "cpu")[1]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).double().eval()
    model.lm_head.weight.data *= 50  # far from uniform
    batch = collate([tokenizer.encode_trace(true_trace(task)) for task in load_split("expert")[:3]], tokenizer.pad)
    with torch.no_grad():
        found = score_batch(model, batch, tokenizer).token
        wanted = model(input_ids=batch.ids[:, :-1]).logits.log_softmax(-1).gather(-1, batch.ids[:, 1:, None])[..., 0]
    counted = batch.roles[:, 1:] != PROMPT
    torch.testing.assert_close(found, torch.where(counted, wanted, 0.0), rtol=1e-9, atol=1e-9)
    assert counted.any() and not counted.all()
