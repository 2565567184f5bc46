"""Tokenize line by line, so that newline and marker never merge with other text.

`LineTokenizer` wraps any Hugging Face tokenizer and is the one way text becomes ids in ra3_lab: prompt, expert lines
and thoughts are encoded piece by piece, each closed by the newline token. `encode_trace` also records the *role* of
every token, from which scoring knows what belongs to a line, what to a latent and where a decision was offered.
`train_tokenizer` makes the byte-level BPE of the embedded model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ra3_lab.trace import MARKER, Trace

PROMPT, LINE, FIRST_ACT, FIRST_THOUGHT, MARK, THOUGHT, FORCED, END = range(8)
"""Token roles. FIRST_ACT and FIRST_THOUGHT: first token of a line at which a latent was offered, without and with a
thought before it (both are renormalised without the marker). MARK: the marker itself. THOUGHT: a sampled token of a
thought, closing newline included. FORCED: a closing newline that cut an over-long thought. END: end of text."""


@dataclass(frozen=True)
class Encoded:
    """A trace as token ids with roles, all arrays of shape (T,)."""

    ids: np.ndarray
    """Token ids, int64."""
    roles: np.ndarray
    """Role of each token, int8."""
    line: np.ndarray
    """Which action each token belongs to, int64; 0 for the prompt (unused), len(lines) for END."""
    lines: int
    """Number of expert lines."""


class LineTokenizer:
    """A Hugging Face tokenizer that is only ever asked for one line at a time.

    `marker` is what begins a comment in the language at hand. Raises ValueError, naming the token, where newline or
    marker is not one token or a line does not come back unchanged.
    """

    marker_text: str = MARKER

    def __init__(self, tokenizer: Any, name: str = "tokenizer", marker: str = MARKER) -> None:
        self.hf = tokenizer
        self.name = name
        self.marker_text = marker
        self._cache: dict[tuple[str, bool], list[int]] = {}
        self.newline = self._single("\n", "newline")
        self.marker = self._single(marker, "comment marker")
        if tokenizer.eos_token_id is None:
            raise ValueError(f"{name} has no end-of-text token (eos_token): set one in tokenizer_config.json.")
        self.eos: int = tokenizer.eos_token_id
        self.pad: int = self.eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.bos: int = self.eos if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        self.specials: tuple[int, ...] = tuple(sorted({self.eos, self.pad, self.bos, *tokenizer.all_special_ids}))
        vocabulary = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        breaks = {i for i, token in enumerate(vocabulary) if token and set(token) & set("\n\rĊč")} - {self.newline}
        self.banned: tuple[int, ...] = tuple(sorted(breaks | set(self.specials)))
        """Tokens that no thought may hold: specials, and line breaks other than the newline token."""
        for probe in ("    return x", f"{marker} a) keep this", "\tif a != b:  # why"):
            back = self.decode(self.encode_line(probe + "\n"))
            if back != probe + "\n":
                raise ValueError(
                    f"{name} does not give a line back unchanged: {probe!r} became {back!r}. "
                    "Byte-level BPE tokenizers do."
                )

    def _single(self, text: str, what: str) -> int:
        ids = self.hf.encode(text, add_special_tokens=False)
        if len(ids) != 1 or self.hf.decode(ids) != text:
            tokens = self.hf.convert_ids_to_tokens(ids)
            raise ValueError(
                f"{self.name} cannot isolate the {what} {text!r}: it becomes {tokens}. ra3_lab needs it as one token; "
                "use a byte-level BPE tokenizer (Qwen2, Llama-3, StarCoder2 or the embedded one)."
            )
        return ids[0]

    def encode_line(self, text: str) -> list[int]:
        """Ids of one piece of text; every newline in it is the newline token. Where it spells a special token (as a
        tokenizer's source does) it stays the text that it is."""
        return self._encode(text, specials=False)

    def _encode(self, text: str, specials: bool) -> list[int]:
        ids = self._cache.get((text, specials))
        if ids is None:
            ids = []
            for i, piece in enumerate(text.split("\n")):
                if i:
                    ids.append(self.newline)
                if piece:
                    ids.extend(self.hf.encode(piece, add_special_tokens=False, split_special_tokens=not specials))
            if len(self._cache) < 200_000:
                self._cache[text, specials] = ids
        return ids

    def encode_prompt(self, prompt: str) -> list[int]:
        """Beginning-of-text token and the prompt, line by line; special tokens that it spells (a chat template's) count
        as such."""
        ids = [self.bos]
        for piece in prompt.splitlines(keepends=True):
            ids.extend(self._encode(piece, specials=True))
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of these ids, specials left out."""
        kept = [int(i) for i in ids if int(i) not in self.specials]
        return self.hf.decode(kept, clean_up_tokenization_spaces=False)

    def offered(self, line: str) -> bool:
        """Whether a latent decision is offered at this line: not where the expert's own comment stands flush left."""
        return not line.startswith(self.marker_text)

    def fingerprint(self) -> str:
        """SHA-256 of the vocabulary, tokens in the order of their ids; versions of libraries do not change it."""
        tokens = self.hf.convert_ids_to_tokens(range(len(self.hf)))
        return hashlib.sha256("\n".join(map(repr, tokens)).encode()).hexdigest()

    def with_marker(self, marker: str) -> LineTokenizer:
        """This tokenizer for a language whose comments begin with `marker`. Raises ValueError as the class does."""
        return self if marker == self.marker_text else LineTokenizer(self.hf, self.name, marker)

    def encode_trace(
        self, trace: Trace, cut: Sequence[bool] | None = None, thought_ids: Sequence[list[int] | None] | None = None
    ) -> Encoded:
        """Ids and roles of a trace; `cut[t]` marks a thought whose closing newline was forced.

        `thought_ids` gives thoughts as they were sampled: a sampler may spell a text in other tokens than the encoder.
        Raises ValueError for a trace of a language with another marker, and for a thought where none is offered.
        """
        if trace.marker != self.marker_text:
            raise ValueError(
                f"trace {trace.trace_id!r} has comments that begin with {trace.marker!r}, the tokenizer is set for "
                f"{self.marker_text!r}: use tokenizer.with_marker({trace.marker!r})."
            )
        ids = self.encode_prompt(trace.prompt)
        roles, line = [PROMPT] * len(ids), [0] * len(ids)
        for t, (text, thought) in enumerate(zip(trace.lines, trace.latents, strict=True)):
            offered = self.offered(text)
            if thought is not None:
                if not offered:
                    raise ValueError(
                        f"trace {trace.trace_id!r}: a thought before the comment {text!r}; none is offered there."
                    )
                sampled = thought_ids[t] if thought_ids is not None else None
                part = [
                    self.marker,
                    *(self.encode_line(thought + "\n") if sampled is None else [*sampled, self.newline]),
                ]
                ids += part
                roles += [MARK] + [THOUGHT] * (len(part) - 2) + [FORCED if cut is not None and cut[t] else THOUGHT]
                line += [t] * len(part)
            part = self.encode_line(text)
            ids += part
            first = LINE if not offered else FIRST_ACT if thought is None else FIRST_THOUGHT
            roles += [first] + [LINE] * (len(part) - 1)
            line += [t] * len(part)
        ids.append(self.eos)
        roles.append(END)
        line.append(len(trace.lines))
        return Encoded(np.array(ids), np.array(roles, dtype=np.int8), np.array(line), len(trace.lines))


def train_tokenizer(texts: Iterable[str], vocab_size: int, marker: str = MARKER) -> Any:
    """A byte-level BPE tokenizer (any text can be written) in which newline, '#' and `marker` are tokens of their own.

    Another marker than '#' is added to the `vocab_size` tokens that are trained.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    isolate = pre_tokenizers.Split(Regex(r"[\n#]"), "isolated")
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([isolate, bytewise])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if marker != MARKER:
        tokenizer.add_tokens([AddedToken(marker, normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>", pad_token="<|pad|>"
    )


def load_tokenizer(path: str | Path) -> LineTokenizer:
    """The tokenizer of a model directory or hub name, checked. ValueError where there is none or a damaged one."""
    from transformers import AutoTokenizer

    if Path(path).is_dir() and not any(
        (Path(path) / name).exists() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")
    ):
        raise ValueError(f"{path} has no tokenizer (tokenizer.json): save the model's tokenizer beside its weights.")
    try:
        found = AutoTokenizer.from_pretrained(str(path))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: a file of its tokenizer is not JSON ({error}): it is damaged, get it anew."
        ) from error
    return LineTokenizer(found, name=str(path))
