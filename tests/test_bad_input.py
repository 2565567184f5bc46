"""What a newcomer gets wrong, and the sentence that says so: models, tokenizers, devices, lengths, traces."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from ra3_lab.midtrain.em import MidtrainConfig, midtrain
from ra3_lab.models.decoder import Decoder
from ra3_lab.models.load import autocast, dtype_of, load_model, pick_device, save_model
from ra3_lab.models.rollout import LatentSampling, generate, sample_latents
from ra3_lab.models.scoring import check_lengths
from ra3_lab.models.tokenizer import END, PROMPT, LineTokenizer
from ra3_lab.models.variants import Variant, check
from ra3_lab.trace import Trace, split_logical_lines


@pytest.fixture
def model(small_tokenizer):
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(small_tokenizer.hf),
        hidden_size=16,
        num_hidden_layers=1,
        intermediate_size=16,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(shape).eval()


def word_tokenizer(with_newline: bool):
    """Whole words, split at white space: it cannot write a newline, or writes it as two tokens."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {"<eos>": 0, "<unk>": 1, "return": 2, "x": 3, "#": 4, "\\": 5, "n": 6}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    if with_newline:
        from tokenizers import normalizers

        tokenizer.normalizer = normalizers.Replace("\n", "\\n")
        tokenizer.pre_tokenizer = pre_tokenizers.Split("\\", "isolated")
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<unk>")


def test_a_model_directory_without_tokenizer(model, small_tokenizer, tmp_path):
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"model has no tokenizer \(tokenizer.json\).*save"):
        load_model(tmp_path / "model", "cpu")


def test_a_directory_that_is_no_model(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no model directory \(no config.json\)"):
        load_model(tmp_path, "cpu")
    with pytest.raises(FileNotFoundError, match="nowhere is no model directory"):
        load_model(tmp_path / "nowhere", "cpu")
    with pytest.raises(FileNotFoundError, match="runs/nowhere/model is no model directory"):
        load_model("runs/nowhere/model", "cpu")  # no hub name has two slashes
    with pytest.raises(FileNotFoundError, match="runs/nowhere is no model directory"):
        load_model("runs/nowhere", "cpu")  # what `ra3-lab midtrain --out runs/nowhere` would have made
    with pytest.raises(FileNotFoundError, match="no model 'embeded': did you mean 'embedded'"):
        load_model("embeded", "cpu")
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(FileNotFoundError, match="is no model directory"):
        load_model(f"{tmp_path.name}/nowhere", "cpu")  # a folder that is here is nobody on the hub


def test_a_model_that_the_hub_does_not_give(monkeypatch):
    def unreachable(path):
        raise OSError("We couldn't connect to the hub.\nCheck your internet connection.")

    monkeypatch.setattr("ra3_lab.models.load.load_tokenizer", unreachable)
    with pytest.raises(FileNotFoundError, match=r"owner/name is no directory here, and the hub .*We couldn't connect"):
        load_model("owner/name", "cpu")


def test_a_model_comes_back_as_saved_and_is_never_overwritten(model, small_tokenizer, tmp_path):
    save_model(model, small_tokenizer, tmp_path / "model")
    again, tokenizer = load_model(tmp_path / "model", "cpu")
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)
    assert tokenizer.encode_line("x = 1\n") == small_tokenizer.encode_line("x = 1\n")
    with pytest.raises(FileExistsError, match="exists already"):
        save_model(model, small_tokenizer, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "nothing half-written stays"


@pytest.mark.parametrize(
    ("name", "said"), [("model.safetensors", "weights cannot be read"), ("tokenizer.json", "tokenizer is not JSON")]
)
def test_half_of_a_file_is_told_with_the_folder(name, said, model, small_tokenizer, tmp_path):
    save_model(model, small_tokenizer, tmp_path / "model")
    whole = (tmp_path / "model" / name).read_bytes()
    (tmp_path / "model" / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f"model: .*{said} .*damaged, get"):
        load_model(tmp_path / "model", "cpu")


def test_a_tokenizer_of_another_model(model, small_tokenizer, tmp_path):
    model.resize_token_embeddings(100)
    model.save_pretrained(tmp_path / "model")
    small_tokenizer.hf.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="do not belong together"):
        load_model(tmp_path / "model", "cpu")


@pytest.mark.parametrize("with_newline", [False, True])
def test_a_tokenizer_whose_newline_cannot_be_isolated_is_named_with_its_tokens(with_newline):
    tokens = r"\['\\\\', 'n'\]" if with_newline else r"\[\]"
    with pytest.raises(ValueError, match=rf"words cannot isolate the newline '\\n': it becomes {tokens}"):
        LineTokenizer(word_tokenizer(with_newline), "words")


def test_a_byte_level_tokenizer_without_the_newline_token():
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(vocab={"<eos>": 0, "#": 1, "a": 2}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    with pytest.raises(ValueError, match="newline"):
        LineTokenizer(PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>"), "poor")


def test_a_tokenizer_without_end_of_text(small_tokenizer):
    plain = PreTrainedTokenizerFast(tokenizer_object=small_tokenizer.hf.backend_tokenizer)
    with pytest.raises(ValueError, match="bare has no end-of-text token"):
        LineTokenizer(plain, "bare")


def test_programs_longer_than_the_context_are_named_before_training(model, small_tokenizer):
    corpus = [Trace("", ("x = 1\n",)), Trace("", ("long = 12345\n",) * 20, trace_id="mbpp/7")]
    with pytest.raises(ValueError, match=r"trace mbpp/7 has \d+ tokens, the model's context is 64"):
        midtrain(MidtrainConfig(method="ntp"), model, small_tokenizer, corpus)
    with pytest.raises(ValueError, match="number 1 has"):
        check_lengths([small_tokenizer.encode_trace(trace) for trace in corpus], 64)
    with pytest.raises(ValueError, match=r"'mbpp/7' has \d+ tokens, the context is 64"):
        sample_latents(Decoder(model), small_tokenizer, corpus, LatentSampling(), 0, 0)
    with pytest.raises(ValueError, match="the context is 64: shorten it"):
        generate(Decoder(model), small_tokenizer, ["word " * 60], 1, 1.0, 5, 0)
    with pytest.raises(ValueError, match="samples=0: answers to each prompt, at least 1"):
        generate(Decoder(model), small_tokenizer, ["word"], 0, 1.0, 5, 0)


def test_an_empty_corpus(model, small_tokenizer):
    with pytest.raises(ValueError, match="expert corpus is empty"):
        midtrain(MidtrainConfig(), model, small_tokenizer, [])


def test_cuda_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto").type == "cpu"
    for name in ("cuda", "cuda:1"):
        with pytest.raises(ValueError, match=f"'{name}' was asked for.*use --device cpu or auto"):
            pick_device(name)
    with pytest.raises(ValueError, match="'gpu' is unknown: use auto, cpu or cuda"):
        pick_device("gpu")


def test_an_unknown_precision():
    with pytest.raises(ValueError, match="precision='fp16': use auto, bf16 or fp32"):
        dtype_of("fp16")


def test_an_architecture_whose_biases_the_decoder_would_drop(small_tokenizer):
    shape = LlamaConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        intermediate_size=8,
        num_attention_heads=1,
        mlp_bias=True,
    )
    with pytest.raises(ValueError, match="biases of query, key and value only"):
        Decoder(LlamaForCausalLM(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", ()), "'t' has no line"),
        (("", ("x = 1",)), "'x = 1' does not end with a newline"),
        (("def f():", ("    pass\n",)), "'def f\\(\\):' does not end with a newline"),
        (("", ("x\n", "y\n"), (None,)), "1 latents for 2 lines"),
        (("", ("x\n",), (" two\nlines",)), "holds a newline"),
    ],
)
def test_traces_that_cannot_be(arguments, message):
    prompt, lines, *latents = arguments
    with pytest.raises(ValueError, match=message):
        Trace(prompt, lines, *latents, trace_id="t")


def test_text_that_spells_a_special_token_stays_text(small_tokenizer):
    """In lines and thoughts; a prompt may be a chat template's and mean the token."""
    spelled, eos = "<|endoftext|>", small_tokenizer.eos
    trace = Trace(f"# {spelled}\n", (f'end = "{spelled}"\n',), (f" until {spelled}",))
    ids, roles = (getattr(small_tokenizer.encode_trace(trace), name).tolist() for name in ("ids", "roles"))
    assert [role for i, role in zip(ids, roles, strict=True) if i == eos] == [PROMPT, PROMPT, END], "bos, prompt, end"
    written = [i for i, role in zip(ids, roles, strict=True) if role != PROMPT][:-1]
    assert small_tokenizer.decode(written) == f'# until {spelled}\nend = "{spelled}"\n'


def test_auto_precision_is_the_models_own_device(monkeypatch, small_tokenizer):
    """A model that is kept on the CPU of a machine with a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    cpu = torch.device("cpu")
    assert (dtype_of("auto"), dtype_of("auto", cpu)) == (torch.bfloat16, torch.float32)
    assert dtype_of("auto", torch.device("cuda")) == torch.bfloat16
    assert not autocast(torch.nn.Linear(1, 1), "auto")._enabled
    with pytest.raises(ValueError, match="no bf16 instructions"):
        check(Variant(quant="nf4", adapter="lora", compute="bf16"), cpu)


def test_a_thought_before_the_experts_own_comment_is_refused(small_tokenizer):
    with pytest.raises(ValueError, match=r"'c'.*none is offered there"):
        small_tokenizer.encode_trace(Trace("", ("# note\n",), (" mine",), trace_id="c"))


def test_code_that_cannot_be_cut_into_lines():
    with pytest.raises(ValueError, match="end with a newline"):
        split_logical_lines("x = 1")
    assert split_logical_lines("x = 1\ry = 2\n") == ["x = 1\ry = 2\n"], "no cut at a bare carriage return"
    with pytest.raises(SyntaxError, match="not Python"):
        split_logical_lines("x = (1,\n")
