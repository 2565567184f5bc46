"""One batched decoder: key/value cache, packed projections, rows at different places, forced and sampled tokens.

A `Decoder` is a snapshot of a Llama- or Qwen2-type Hugging Face model (4-bit weights as floats, adapters merged in):
taken anew after every update, a matter of milliseconds. Every row of a batch is at its own position; a forward pass
feeds each row a chunk of its own next tokens. What a chunk's padding writes into the cache lies behind the row's end,
is never attended to and is overwritten by the row's next chunk.

`step` is the faster path for whole groups, whose keys and values are in a cache of their own (`group_cache.py`).

Not handled: other architectures (a clear error), sliding windows, prompts longer than the context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from ra3_lab.models.group_cache import Lanes, Products
from ra3_lab.models.packed import PackedLinear
from ra3_lab.models.quantize import dense_weight


def _bias(linear: Any) -> torch.Tensor | None:
    bias = getattr(linear, "base_layer", linear).bias
    return None if bias is None else bias.detach()


def _neighbours(weight: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows of a query or key projection (or its bias), so that the two numbers that are turned together, half a head
    apart in Hugging Face's models, come out as neighbours. Their products stay what they were."""
    return weight.unflatten(0, (-1, 2, head_dim // 2)).transpose(1, 2).flatten(0, 2)


@dataclass(frozen=True)
class _Layer:
    qkv: PackedLinear
    out: PackedLinear
    gate: PackedLinear
    up: PackedLinear
    down: PackedLinear
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


class Decoder:
    """Inference-only copy of a model. Raises ValueError for an architecture it does not know."""

    def __init__(self, model: Any, dtype: torch.dtype = torch.float32) -> None:
        causal = model.get_base_model() if hasattr(model, "get_base_model") else model
        config = causal.config
        if config.model_type not in ("llama", "qwen2"):
            raise ValueError(f"the decoder knows Llama and Qwen2 models, not {config.model_type!r}.")
        if config.hidden_act != "silu":
            raise ValueError(f"the decoder knows models with hidden_act 'silu', not {config.hidden_act!r}.")
        if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
            raise ValueError("the decoder knows full attention; this model has layers with a sliding window.")
        self.dtype = dtype
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_dim: int = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.context: int = config.max_position_embeddings
        self.eps: float = config.rms_norm_eps
        self.device = causal.model.embed_tokens.weight.device
        self.embedding = causal.model.embed_tokens.weight.detach().to(dtype)
        self.head = PackedLinear(dense_weight(causal.lm_head), None, dtype)
        self.norm = causal.model.norm.weight.detach().to(dtype)
        rope = causal.model.rotary_emb
        angles = torch.outer(torch.arange(self.context, device=self.device).float(), rope.inv_freq.float())
        self.rotation = torch.polar(torch.full_like(angles, rope.attention_scaling), angles)  # (context, head_dim / 2)
        self.layers = [self._pack(layer) for layer in causal.model.layers]

    def _pack(self, layer: Any) -> _Layer:
        attention, mlp = layer.self_attn, layer.mlp
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        if any(_bias(p) is not None for p in (attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)):
            raise ValueError("the decoder knows biases of query, key and value only; this model has others.")

        def joined(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            scaled = query * self.head_dim**-0.5
            return torch.cat([_neighbours(scaled, self.head_dim), _neighbours(key, self.head_dim), value])

        biases = [bias for p in projections if (bias := _bias(p)) is not None]
        return _Layer(
            qkv=PackedLinear(joined(*map(dense_weight, projections)), joined(*biases) if biases else None, self.dtype),
            out=PackedLinear(dense_weight(attention.o_proj), None, self.dtype),
            gate=PackedLinear(dense_weight(mlp.gate_proj), None, self.dtype),
            up=PackedLinear(dense_weight(mlp.up_proj), None, self.dtype),
            down=PackedLinear(dense_weight(mlp.down_proj), None, self.dtype),
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
        rotation = self.rotation[angle][:, :, None]  # (B, W, 1, head_dim / 2)
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
            qkv = self._turned(layer.qkv(h), rotation).to(self.dtype)
            query, key, value = qkv.split([self.heads, self.kv_heads, self.kv_heads], 2)
            keys, values = cache.keys[i], cache.values[i]
            keys[row_index[:, None], :, positions], values[row_index[:, None], :, positions] = key, value
            keys, values = keys[:, :, :reach], values[:, :, :reach]
            if picked is not None:
                keys, values = keys[row_index], values[row_index]
            query = query.transpose(1, 2)
            a = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=1.0, enable_gqa=group > 1)
            x = self._rest(layer, x, a.transpose(1, 2).reshape(rows, width, -1))
        return F.rms_norm(x, x.shape[-1:], self.norm, self.eps)

    @torch.no_grad()
    def step(self, tokens: torch.Tensor, cache: Lanes | Products) -> torch.Tensor:
        """Feed every sample its next token, tokens (P, G); returns last hidden states (P, G, D)."""
        angle = (cache.lengths + cache.used).clamp(max=self.context - 1).to(self.device)
        rotation = self.rotation[angle][:, None, None]  # (P, 1, 1, head_dim / 2)
        x = F.embedding(tokens.to(self.device), self.embedding)
        for i, layer in enumerate(self.layers):
            h = F.rms_norm(x, x.shape[-1:], layer.norm_in, self.eps)
            qkv = self._turned(layer.qkv(h), rotation)
            x = self._rest(layer, x, cache.attend(i, qkv))
        cache.used += 1
        return F.rms_norm(x, x.shape[-1:], self.norm, self.eps)

    def _turned(self, qkv: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
        """(..., heads + 2 kv_heads, head_dim) float32, in place where it is: rotary embedding of queries and keys."""
        qkv = qkv.float().unflatten(-1, (-1, self.head_dim))
        pairs = torch.view_as_complex(qkv.unflatten(-1, (-1, 2)))  # (..., head_dim / 2)
        pairs[..., : self.heads + self.kv_heads, :].mul_(rotation)
        return qkv

    def _rest(self, layer: _Layer, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """What a layer does after attention, both residual connections included."""
        x = layer.out.plus(attended, x)
        h = F.rms_norm(x, x.shape[-1:], layer.norm_mlp, self.eps)
        return layer.down.plus(layer.up.times(h, layer.gate.silu(h)), x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Output logits (..., V) of hidden states (..., D), float32 on the CPU where sampling happens."""
        return self.head(hidden).float().cpu()
