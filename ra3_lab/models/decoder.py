"""One batched decoder: key/value cache, packed projections, rows at different places, forced and sampled tokens.

A `Decoder` is a snapshot of a Llama- or Qwen2-type Hugging Face model (4-bit weights as floats, adapters merged in):
taken anew after every update, a matter of milliseconds. Every row of a batch is at its own position; a forward pass
feeds each row a chunk of its own next tokens. What a chunk's padding writes into the cache lies behind the row's end,
is never attended to and is overwritten by the row's next chunk.

`step` is the faster path for whole groups: the samples of a prompt read the prompt's keys and values from one place
instead of a copy each, and all rows write their own at the same slot, so nothing is scattered.

Not handled: other architectures (a clear error), sliding windows, prompts longer than the context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from ra3_lab.models.quantize import dense_weight

_FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # also returns what the softmax divides by
_Pair = tuple[torch.Tensor, torch.Tensor]  # keys and values


def _bias(linear: Any) -> torch.Tensor | None:
    bias = getattr(linear, "base_layer", linear).bias
    return None if bias is None else bias.detach()


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of (..., head_dim); the first half of `sin` has its sign changed."""
    half = x.shape[-1] // 2
    return torch.addcmul(x * cos, torch.cat([x[..., half:], x[..., :half]], -1), sin)


@dataclass(frozen=True)
class _Layer:
    qkv: torch.Tensor
    qkv_bias: torch.Tensor | None
    out: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor
    norm_in: torch.Tensor
    norm_mlp: torch.Tensor


class Cache:
    """Keys and values of every layer: (layers, B, kv_heads, length, head_dim); grows when a pass needs more."""

    def __init__(self, decoder: Decoder, rows: int, length: int) -> None:
        shape = (len(decoder.layers), rows, decoder.kv_heads, length, decoder.head_dim)
        self.keys = torch.zeros(shape, dtype=decoder.dtype, device=decoder.device)
        self.values = torch.zeros_like(self.keys)

    def select(self, rows: torch.Tensor) -> None:
        """Keep these rows, in this order; a row may be taken several times."""
        rows = rows.to(self.keys.device)
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]

    def reserve(self, length: int) -> None:
        """Make room for this many positions; new places hold zeros (attention weighs what it masks by 0, and 0 * nan
        is nan)."""
        missing = length - self.keys.shape[3]
        if missing > 0:
            pad = (0, 0, 0, max(missing, self.keys.shape[3] // 4))
            self.keys, self.values = F.pad(self.keys, pad), F.pad(self.values, pad)


class GroupCache:
    """Keys and values of P prompts with G samples each: the prompts' once, the samples' own in preallocated slots.

    prompt_keys, prompt_values: (layers, P, kv_heads, longest prompt, head_dim), right-padded, taken from a `Cache`;
    own_keys, own_values: (layers, P, G, kv_heads, slots, head_dim), of which the first `used` slots are filled.
    """

    def __init__(self, prompts: Cache, lengths: torch.Tensor, group: int, slots: int) -> None:
        self.prompt_keys, self.prompt_values, self.lengths = prompts.keys, prompts.values, lengths
        layers, count, heads, width, size = prompts.keys.shape
        self.own_keys = prompts.keys.new_empty((layers, count, group, heads, slots, size))
        self.own_values = torch.empty_like(self.own_keys)
        self.used = 0
        padding = torch.arange(width, device=lengths.device) >= lengths[:, None]  # (P, longest prompt)
        self.prompt_mask = padding.to(prompts.keys.dtype).masked_fill_(padding, -torch.inf)

    def select(self, prompts: torch.Tensor, members: torch.Tensor) -> None:
        """Keep these prompts (P',) and of each these members (P', G')."""
        self.prompt_keys, self.prompt_values = self.prompt_keys[:, prompts], self.prompt_values[:, prompts]
        self.lengths, self.prompt_mask = self.lengths[prompts], self.prompt_mask[prompts]
        filled = self.used

        def moved(own: torch.Tensor) -> torch.Tensor:
            smaller = own.new_empty((own.shape[0], *members.shape, *own.shape[3:]))
            smaller[..., :filled, :] = own[:, prompts[:, None], members, :, :filled]
            return smaller

        self.own_keys, self.own_values = moved(self.own_keys), moved(self.own_values)


class Decoder:
    """Inference-only copy of a model. Raises ValueError for an architecture it does not know."""

    def __init__(self, model: Any, dtype: torch.dtype = torch.float32) -> None:
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        config = causal.config
        if config.model_type not in ("llama", "qwen2"):
            raise ValueError(f"the decoder knows Llama and Qwen2 models, not {config.model_type!r}.")
        self.dtype = dtype
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_dim: int = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.context: int = config.max_position_embeddings
        self.eps: float = config.rms_norm_eps
        self.device = causal.model.embed_tokens.weight.device
        self.fused = self.device.type == "cpu" and dtype == torch.bfloat16
        self.embedding = causal.model.embed_tokens.weight.detach().to(dtype)
        self.head = dense_weight(causal.lm_head).to(dtype)
        self.norm = causal.model.norm.weight.detach().to(dtype)
        rope = causal.model.rotary_emb
        angles = torch.outer(torch.arange(self.context, device=self.device).float(), rope.inv_freq.float())
        angles = torch.cat([angles, angles], -1)
        self.cos = (angles.cos() * rope.attention_scaling).to(dtype)
        sin = (angles.sin() * rope.attention_scaling).to(dtype)
        half = self.head_dim // 2
        self.sin = torch.cat([-sin[:, :half], sin[:, half:]], -1)  # with the signs of the rotation
        self.layers = [self._pack(layer) for layer in causal.model.layers]

    def _pack(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        if any(_bias(p) is not None for p in (attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)):
            raise ValueError("the decoder knows biases of query, key and value only; this model has others.")
        biases = [_bias(p) for p in projections]
        return _Layer(
            qkv=torch.cat([dense_weight(p) for p in projections]).to(self.dtype),
            qkv_bias=None if biases[0] is None else torch.cat(biases).to(self.dtype),  # type: ignore[arg-type]
            out=dense_weight(attention.o_proj).to(self.dtype),
            gate_up=torch.cat([dense_weight(mlp.gate_proj), dense_weight(mlp.up_proj)]).to(self.dtype),
            down=dense_weight(mlp.down_proj).to(self.dtype),
            norm_in=layer.input_layernorm.weight.detach().to(self.dtype),
            norm_mlp=layer.post_attention_layernorm.weight.detach().to(self.dtype),
        )

    @torch.no_grad()
    def forward(
        self, ids: torch.Tensor, starts: torch.Tensor, cache: Cache, picked: Sequence[int] | None = None
    ) -> torch.Tensor:
        """Feed ids (B, W), row b at positions starts[b]..starts[b]+W-1; returns last hidden states (B, W, D).

        `picked` (B,) names the cache's rows that are fed, all of them by default.
        """
        rows, width = ids.shape
        ids, starts = ids.to(self.device), starts.to(self.device)
        positions = starts[:, None] + torch.arange(width, device=self.device)
        reach = int(positions.max()) + 1
        cache.reserve(reach)
        angle = positions.clamp(max=self.context - 1)  # padding of a chunk may lie beyond the context
        cos, sin = self.cos[angle][:, None], self.sin[angle][:, None]  # (B, 1, W, head_dim)
        seen = torch.arange(reach, device=self.device)[None, None, None] <= positions[:, None, :, None]
        mask = torch.zeros(seen.shape, dtype=self.dtype, device=self.device).masked_fill_(
            ~seen, -torch.inf
        )  # (B, 1, W, reach)
        row_index = (
            torch.arange(rows, device=self.device) if picked is None else torch.tensor(picked, device=self.device)
        )
        x = F.embedding(ids, self.embedding)
        group = self.heads // self.kv_heads
        for i, layer in enumerate(self.layers):
            h = F.rms_norm(x, x.shape[-1:], layer.norm_in, self.eps)
            qkv = F.linear(h, layer.qkv, layer.qkv_bias).view(rows, width, -1, self.head_dim).transpose(1, 2)
            rotated, value = qkv.split([self.heads + self.kv_heads, self.kv_heads], 1)
            query, key = _turned(rotated, cos, sin).split([self.heads, self.kv_heads], 1)
            keys, values = cache.keys[i], cache.values[i]
            keys[row_index[:, None], :, positions] = key.transpose(1, 2)
            values[row_index[:, None], :, positions] = value.transpose(1, 2)
            keys, values = keys[:, :, :reach], values[:, :, :reach]
            if picked is not None:
                keys, values = keys[row_index], values[row_index]
            a = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, enable_gqa=group > 1)
            x = x + F.linear(a.transpose(1, 2).reshape(rows, width, -1), layer.out)
            h = F.rms_norm(x, x.shape[-1:], layer.norm_mlp, self.eps)
            gate, up = F.linear(h, layer.gate_up).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, layer.down)
        return F.rms_norm(x, x.shape[-1:], self.norm, self.eps)

    @torch.no_grad()
    def step(self, tokens: torch.Tensor, cache: GroupCache) -> torch.Tensor:
        """Feed every sample its next token, tokens (P, G); returns last hidden states (P, G, D)."""
        prompts, group = tokens.shape
        slot, shared = cache.used, self.heads // self.kv_heads
        cache.used += 1
        angle = (cache.lengths + slot).clamp(max=self.context - 1).to(self.device)
        cos, sin = self.cos[angle][:, None, None], self.sin[angle][:, None, None]  # (P, 1, 1, head_dim)
        mask = cache.prompt_mask[:, None, None]  # (P, 1, 1, longest prompt)
        x = F.embedding(tokens.to(self.device), self.embedding)
        for i, layer in enumerate(self.layers):
            h = F.rms_norm(x, x.shape[-1:], layer.norm_in, self.eps)
            qkv = F.linear(h, layer.qkv, layer.qkv_bias).view(prompts, group, -1, self.head_dim)
            rotated, value = qkv.split([self.heads + self.kv_heads, self.kv_heads], 2)
            query, key = _turned(rotated, cos, sin).split([self.heads, self.kv_heads], 2)
            cache.own_keys[i, :, :, :, slot], cache.own_values[i, :, :, :, slot] = key, value
            query = query.reshape(prompts, group, self.kv_heads, shared, self.head_dim)
            own = cache.own_keys[i][..., : slot + 1, :], cache.own_values[i][..., : slot + 1, :]
            a = self._attend(query, (cache.prompt_keys[i], cache.prompt_values[i]), own, mask)
            x = x + F.linear(a.reshape(prompts, group, -1), layer.out)
            h = F.rms_norm(x, x.shape[-1:], layer.norm_mlp, self.eps)
            gate, up = F.linear(h, layer.gate_up).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, layer.down)
        return F.rms_norm(x, x.shape[-1:], self.norm, self.eps)

    def _attend(self, query: torch.Tensor, prompt: _Pair, own: _Pair, mask: torch.Tensor) -> torch.Tensor:
        """Attention of (P, G, kv_heads, shared, head_dim) to the prompt's and its own keys and values, same shape.

        In bf16 on a CPU two calls of the fused kernel, joined by their normalisers: products of single vectors have no
        bf16 kernel and take more than twice as long. In float32 products are the faster ones.
        """
        prompts, group, heads, shared, size = query.shape
        by_prompt = query.transpose(1, 2).reshape(prompts, heads, group * shared, size)
        if self.fused:
            everyone = mask.expand(-1, 1, group * shared, -1)
            from_prompt, prompt_total = _FUSED(by_prompt, *prompt, attn_mask=everyone)
            from_own, own_total = _FUSED(*(x.flatten(0, 1) for x in (query, *own)))
            from_prompt, prompt_total = (
                x.reshape(prompts, heads, group, shared, -1).transpose(1, 2) for x in (from_prompt, prompt_total)
            )
            share = torch.sigmoid(own_total.reshape(prompt_total.shape) - prompt_total)  # of the own ones
            return torch.lerp(from_prompt, from_own.reshape(query.shape), share.to(query.dtype))
        width, slots, scale = mask.shape[-1], own[0].shape[-2], size**-0.5
        on_prompt = torch.baddbmm(  # (P kv_heads, G shared, width)
            mask.expand(-1, heads, -1, -1).flatten(0, 1),
            by_prompt.flatten(0, 1),
            prompt[0].flatten(0, 1).transpose(1, 2),
            alpha=scale,
        )
        on_prompt = on_prompt.view(prompts, heads, group, shared, width).transpose(1, 2)
        own_keys, own_values = (x.flatten(0, 2) for x in own)  # (P G kv_heads, slots, head_dim)
        on_own = torch.bmm(query.reshape(-1, shared, size) * scale, own_keys.transpose(1, 2))
        weight = torch.cat([on_prompt, on_own.view(prompts, group, heads, shared, slots)], -1).softmax(-1)
        from_own = torch.bmm(weight[..., width:].reshape(-1, shared, slots), own_values)
        to_prompt = weight[..., :width].transpose(1, 2).reshape(prompts, heads, group * shared, width)
        from_prompt = (to_prompt @ prompt[1]).view(prompts, heads, group, shared, -1)
        return from_own.view(query.shape) + from_prompt.transpose(1, 2)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Output logits (..., V) of hidden states (..., D), float32 on the CPU where sampling happens."""
        return F.linear(hidden, self.head).float().cpu()
