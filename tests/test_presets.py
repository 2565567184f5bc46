"""Presets are data that hold together, and every family's pre-tokenization lets newline and marker stand alone."""

from __future__ import annotations

import json

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from ra3_lab.models.plan import GB, peak, shape_of
from ra3_lab.models.presets import choose, memory_preset, memory_presets, model_presets, resolve, shape_by_name
from ra3_lab.models.tokenizer import FIRST_ACT, FIRST_THOUGHT, MARK, LineTokenizer
from ra3_lab.trace import Trace

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
ENDINGS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEXTS = [
    "#!/usr/bin/env python\n\n\n# a note\ndef f(a):\n    # add one\n\n    return a + 1  # done\n",
    "x = [1, 2, 345]\n\n#\n## twice\nif x != 3:\n\treturn {'a': x}\n\n\n\n",
] * 20


def splits(*patterns: tuple[str, str]) -> list:
    return [pre_tokenizers.Split(Regex(pattern), behavior) for pattern, behavior in patterns]


def byte_level(use_regex: bool = False):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


RULES = {
    # Qwen2: single digits, punctuation swallows the line breaks after it
    "qwen2": [*splits((rf"{CONTRACTIONS}|{WORDS}|\p{{N}}|{ENDINGS}", "isolated")), byte_level()],
    # Llama 3: the same with up to three digits
    "llama3": [*splits((rf"{CONTRACTIONS}|{WORDS}|\p{{N}}{{1,3}}|{ENDINGS}", "isolated")), byte_level()],
    # StarCoder2: single digits, then GPT-2's rules
    "starcoder2": [pre_tokenizers.Digits(individual_digits=True), byte_level(use_regex=True)],
    # DeepSeek-Coder: line breaks first, then words, punctuation, digits
    "deepseek-coder": [
        *splits(("[\r\n]", "isolated"), (r"\s?\p{L}+", "isolated"), (r"\s?\p{P}+", "isolated")),
        pre_tokenizers.Digits(individual_digits=True),
        byte_level(),
    ],
}


def family(rules: str, merged: tuple[str, ...] = ("\n\n", "\n#", "#!", "):\n")) -> PreTrainedTokenizerFast:
    """A BPE tokenizer trained under a family's rules, with tokens that join newline and marker to other text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(RULES[rules])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in merged])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


def test_every_preset_names_rules_that_are_checked_here():
    assert {preset.rules for preset in model_presets().values()} == set(RULES)


@pytest.mark.parametrize("rules", RULES)
def test_newline_and_marker_stand_alone_under_each_familys_rules(rules):
    plain = family(rules)
    whole = plain.encode("x = f(a):\n\n#!\n", add_special_tokens=False)
    assert not {"\n", "#"} <= {plain.decode([i]) for i in whole}, "nothing is merged: the test would prove nothing"
    tokenizer = LineTokenizer(plain, rules)
    lines = ("    if f(a):\n\n", "#! a note of the expert's\n", "\n\n", "    return a  # done\n", "x = 1\n")
    trace = Trace("#!/usr/bin/env python\n\n\ndef f(a):\n", lines, ("check f", None, "", "!odd # thought", None))
    encoded = tokenizer.encode_trace(trace)
    ids = encoded.ids.tolist()
    assert tokenizer.decode(ids) == trace.prompt + "".join(
        ("" if z is None else f"#{z}\n") + line for z, line in zip(trace.latents, lines, strict=True)
    )
    for token in ids:
        text = plain.decode([token])
        assert "\n" not in text or token == tokenizer.newline, f"{text!r} holds a newline and more"
    marks = encoded.ids[encoded.roles == MARK]
    assert len(marks) == 3 and set(marks.tolist()) == {tokenizer.marker}
    after = [encoded.roles[i + 1] for i in range(len(ids) - 1) if encoded.roles[i] == MARK]
    assert len(after) == 3
    first = (encoded.roles == FIRST_ACT) | (encoded.roles == FIRST_THOUGHT)
    assert first.sum() == 4, "one decision a line, none at the expert's own comment"
    for text in ("\n\n", "\n#", "):\n"):
        assert plain.convert_tokens_to_ids(text) in tokenizer.banned, "a thought could hold a merged line break"


def test_presets_have_sizes_that_match_what_their_makers_say():
    billions = {name: preset.shape.parameters / 1e9 for name, preset in model_presets().items()}
    said = {
        "qwen2.5-1.5b": 1.54,
        "qwen2.5-coder-0.5b": 0.49,
        "qwen2.5-coder-1.5b": 1.54,
        "qwen2.5-coder-3b": 3.09,
        "llama-3.2-1b": 1.24,
        "llama-3.1-8b": 8.03,
        "deepseek-coder-1.3b": 1.35,
        "starcoder2-3b": 3.03,
    }
    assert billions == pytest.approx(said, rel=0.01)


def test_names_resolve_and_a_local_path_wins(tmp_path, monkeypatch):
    assert resolve("qwen2.5-coder-3b") == "Qwen/Qwen2.5-Coder-3B"
    assert resolve("some/other-model") == "some/other-model"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llama-3.2-1b").mkdir()
    assert resolve("llama-3.2-1b") == "llama-3.2-1b"


def test_a_config_file_gives_the_shape_and_a_wrong_name_says_what_there_is(tmp_path):
    assert shape_by_name("embedded").layers == 4
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 8}))
    with pytest.raises(ValueError, match="has no 'num_attention_heads'"):
        shape_by_name(str(tmp_path))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="no configuration in JSON"):
        shape_by_name(str(tmp_path / "config.json"))
    with pytest.raises(ValueError, match=r"neither a directory.*did you mean 'qwen2\.5-1\.5b'"):
        shape_by_name("qwen2.5-1.5")
    with pytest.raises(ValueError, match="preset='10gb': one of 8gb, 12gb, 16gb, 24gb, 80gb"):
        memory_preset("10gb")
    with pytest.raises(ValueError, match="has no 'model_type'"):
        shape_of({"num_attention_heads": 2})


def test_every_choice_fits_and_is_the_first_that_does():
    for memory in memory_presets().values():
        for preset in model_presets().values():
            try:
                choice = choose(preset.shape, memory)
            except ValueError as error:
                assert "does not fit" in str(error) and "use " in str(error)
                continue
            room = memory.memory * 0.9
            assert peak(choice.stages).total <= room
            assert all(need > room for *_, need in choice.refused)
            assert [(v, j) for v, j, _ in choice.refused] == list(memory.settings[: len(choice.refused)]) or (
                choice.job.length == preset.shape.context
            )


def test_small_models_fit_everywhere_and_8b_says_where_it_fits():
    for name in ("qwen2.5-1.5b", "qwen2.5-coder-0.5b", "llama-3.2-1b"):
        assert choose(model_presets()[name].shape, memory_preset("8gb"))
    with pytest.raises(ValueError, match=r"llama-3\.1-8b does not fit into 8 GB .* use .*80gb.*smaller model.*0\.5b"):
        choose(model_presets()["llama-3.1-8b"].shape, memory_preset("8gb"))
    assert peak(choose(model_presets()["llama-3.1-8b"].shape, memory_preset("80gb")).stages).total < 72 * GB
