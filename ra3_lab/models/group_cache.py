"""Attention of whole groups, a token at a time: the samples of a prompt read its keys and values from one place.

P prompts have G samples each. A group cache holds the prompts' keys and values and preallocated slots for the samples'
own; all rows write at the same slot, so nothing is scattered. `attend` writes the next token and attends to all before
it. Two of them, equal up to rounding:

- `Products`, for a GPU: batched matrix products, as one writes attention down.
- `Lanes`, for a CPU, where a product of single vectors costs a call for each: keys and values lie as
  (slots, head_dim, lanes), a lane being a key/value head of a row, and every sum runs along the lanes. It is written in
  numpy, whose einsum reads keys and values once and writes no product down, and whose calls cost less than torch's: at
  a millisecond a layer that counts. One thread, float32, whatever the decoder's dtype.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from ra3_lab.models.decoder import Cache


def group_cache(prompts: Cache, lengths: torch.Tensor, group: int, slots: int) -> Products | Lanes:
    """A cache for `group` samples a prompt, of at most `slots` tokens, from the prompts' own cache.

    prompts.keys, prompts.values: (layers, P, kv_heads, longest prompt, head_dim), right-padded; lengths (P,).
    """
    return (Lanes if prompts.keys.device.type == "cpu" else Products)(prompts, lengths, group, slots)


class Products:
    """prompt_keys, prompt_values: (layers, P, kv_heads, longest prompt, head_dim); own_keys, own_values: (layers, P, G,
    kv_heads, slots, head_dim), of which the first `used` slots are filled."""

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

    def attend(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """Write the next token's keys and values; what its queries read, (P, G, heads * head_dim).

        qkv (P, G, heads + 2 kv_heads, head_dim), float32: queries (turned and scaled), keys (turned) and values.
        """
        slot, heads = self.used, self.prompt_keys.shape[2]
        query, key, value = qkv.to(self.own_keys.dtype).split([qkv.shape[2] - 2 * heads, heads, heads], 2)
        self.own_keys[layer, :, :, :, slot], self.own_values[layer, :, :, :, slot] = key, value
        own_keys, own_values = (x[layer][..., : slot + 1, :].flatten(0, 2) for x in (self.own_keys, self.own_values))
        prompt_keys, prompt_values = self.prompt_keys[layer], self.prompt_values[layer]
        prompts, group, _, size = query.shape
        width = prompt_keys.shape[2]
        query = query.reshape(prompts, group, heads, -1, size)
        shared = query.shape[3]
        on_prompt = torch.baddbmm(  # (P kv_heads, G shared, width)
            self.prompt_mask[:, None, None].expand(-1, heads, -1, -1).flatten(0, 1),
            query.transpose(1, 2).reshape(prompts * heads, group * shared, size),
            prompt_keys.flatten(0, 1).transpose(1, 2),
        )
        on_prompt = on_prompt.view(prompts, heads, group, shared, width).transpose(1, 2)
        on_own = torch.bmm(query.reshape(-1, shared, size), own_keys.transpose(1, 2))
        weight = torch.cat([on_prompt, on_own.view(prompts, group, heads, shared, slot + 1)], -1).softmax(-1)
        from_own = torch.bmm(weight[..., width:].reshape(-1, shared, slot + 1), own_values)
        to_prompt = weight[..., :width].transpose(1, 2).reshape(prompts, heads, group * shared, width)
        from_prompt = (to_prompt @ prompt_values).view(prompts, heads, group, shared, -1)
        return (from_own.view(query.shape) + from_prompt.transpose(1, 2)).flatten(2)


class Lanes:
    """keys, values: (layers, slots, head_dim, P kv_heads G), of which the first `used` slots are filled.

    prompt_keys, prompt_values: (layers, P, kv_heads, longest prompt, head_dim), one copy a group; where a group has one
    sample only, the prompt stands in the lanes' first slots instead (`shared` False).
    """

    def __init__(self, prompts: Cache, lengths: torch.Tensor, group: int, slots: int) -> None:
        layers, count, heads, self.width, size = prompts.keys.shape
        self.lengths, self.used, self.shared, self.dtype = lengths, 0, group > 1, prompts.keys.dtype
        self.rows = (count, heads, group)
        """What the lanes are of: prompts, key/value heads, samples."""
        self.prompt_keys, self.prompt_values = prompts.keys.float().numpy(), prompts.values.float().numpy()
        self.first = 0 if self.shared else self.width
        self.keys = np.empty((layers, self.first + slots, size, count * heads * group), dtype=np.float32)
        self.values = np.empty_like(self.keys)
        if not self.shared:
            for own, prompt in ((self.keys, self.prompt_keys), (self.values, self.prompt_values)):
                own[:, : self.first] = prompt.transpose(0, 3, 4, 1, 2).reshape(layers, self.width, size, -1)
        padding = np.arange(self.width)[:, None] >= lengths.numpy()  # (longest prompt, P)
        self.padding = np.where(padding, -np.inf, 0).astype(np.float32) if padding.any() else None

    def select(self, prompts: torch.Tensor, members: torch.Tensor) -> None:
        """Keep these prompts (P',) and of each these members (P', G')."""
        number = np.arange(self.keys.shape[-1]).reshape(self.rows)
        chosen, heads = prompts.numpy(), self.rows[1]
        kept = number[chosen[:, None, None], np.arange(heads)[:, None], members.numpy()[:, None]].ravel()
        filled = self.first + self.used

        def moved(own: np.ndarray) -> np.ndarray:
            smaller = np.empty((*own.shape[:-1], len(kept)), dtype=np.float32)
            np.take(own[:, :filled], kept, axis=-1, out=smaller[:, :filled])
            return smaller

        self.keys, self.values = moved(self.keys), moved(self.values)
        self.prompt_keys, self.prompt_values = self.prompt_keys[:, chosen], self.prompt_values[:, chosen]
        self.lengths = self.lengths[prompts]
        self.padding = None if self.padding is None else self.padding[:, chosen]
        self.rows = (len(chosen), heads, members.shape[1])

    @np.errstate(invalid="ignore", over="ignore")  # weights that are not finite are told by whoever trains
    def attend(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """As `Products.attend`."""
        (count, heads, group), slot, size = self.rows, self.first + self.used, qkv.shape[-1]
        x = qkv.numpy()
        # (P, G, kv_heads, queries a lane, head_dim); a lane is a prompt, a key/value head and a member of the group
        query = x[:, :, : -2 * heads].reshape(count, group, heads, -1, size)
        for own, new in ((self.keys, x[:, :, -2 * heads : -heads]), (self.values, x[:, :, -heads:])):
            own[layer, slot].reshape(size, count, heads, group)[:] = new.transpose(3, 0, 2, 1)
        asked = np.ascontiguousarray(query.transpose(3, 4, 0, 2, 1)).reshape(-1, size, count * heads * group)
        each, before = len(asked), self.width if self.shared else 0
        scores = np.empty((before + slot + 1, each, count, heads, group), dtype=np.float32)
        flat = scores.reshape(len(scores), each, -1)
        np.einsum("sdl,adl->sal", self.keys[layer, : slot + 1], asked, out=flat[before:])
        if self.shared:  # (P, kv_heads, queries a lane, G, width)
            by_prompt = query.transpose(0, 2, 3, 1, 4) @ self.prompt_keys[layer][:, :, None].swapaxes(-1, -2)
            scores[:before] = by_prompt.transpose(4, 2, 0, 1, 3)
        if self.padding is not None:
            scores[: self.width] += self.padding[:, None, :, None, None]
        flat -= flat.max(0)
        np.exp(flat, out=flat)
        found = np.einsum("sdl,sal->adl", self.values[layer, : slot + 1], flat[before:])
        found = found.reshape(each, size, count, heads, group).transpose(2, 4, 3, 0, 1)  # as `query`
        if self.shared:
            from_prompt = scores[:before].transpose(2, 3, 1, 4, 0) @ self.prompt_values[layer][:, :, None]
            found = found + from_prompt.transpose(0, 3, 1, 2, 4)
        found = found / flat.sum(0).reshape(each, 1, count, heads, group).transpose(2, 4, 3, 0, 1)
        return torch.from_numpy(found).reshape(count, group, -1).to(self.dtype)
