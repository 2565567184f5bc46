"""Settings and fixtures shared by all tests."""

import os
import shutil
import sys
from pathlib import Path

import pytest

# Before anything imports torch: see ra3_lab/__init__.py.
import ra3_lab  # noqa: F401  (sets OMP_WAIT_POLICY and GOMP_SPINCOUNT)

REPO_ROOT = Path(__file__).resolve().parent.parent
TEST_THREADS = 2
collect_ignore_glob = ["course/*"]  # answers and a master for the course's tests, no tests themselves


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, the selected tests whose browser or GPU is not there."""
    missing = {}
    if any(item.get_closest_marker("browser") for item in items) and not _browser():
        missing["browser"] = "no Chromium or Chrome on the path"
    if any(item.get_closest_marker("gpu") for item in items) and not _gpu():
        missing["gpu"] = "no CUDA device"
    for item in items:
        for marker, reason in missing.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def fixed_threads():
    """Give every test that uses torch the same number of threads, whatever the test before it chose."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(min(TEST_THREADS, os.cpu_count() or 1))


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The root of the checkout the tests run from."""
    return REPO_ROOT


@pytest.fixture(scope="session")
def benchmarks_dir() -> Path:
    """The folder with HumanEval, MBPP and their like: $RA3_BENCHMARKS, or ../shared/benchmarks."""
    folder = Path(os.environ.get("RA3_BENCHMARKS") or REPO_ROOT.parent / "shared" / "benchmarks")
    if not folder.is_dir():
        pytest.skip(f"no benchmark files in {folder}; set RA3_BENCHMARKS to the folder that has them")
    return folder


def _browser() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def small_tokenizer():
    """A byte-level BPE tokenizer of about 300 tokens, made on the spot."""
    from ra3_lab.models.tokenizer import LineTokenizer, train_tokenizer

    texts = ["def f(a):\n    # add one\n    return a + 1\n", "x = 1\ny = 2\n"] * 4
    return LineTokenizer(train_tokenizer(texts, 300), "small")


def _thinker(tokenizer, layers: int, **shape):
    """A random Llama that thinks before about every third line."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer.hf),
        num_hidden_layers=layers,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        **shape,
    )
    model = LlamaForCausalLM(config).eval()
    model.model.embed_tokens.weight.data[:, 0] += 1.0  # a constant that the head can use as a bias
    model.lm_head.weight.data[tokenizer.marker, 0] += 1.0
    model.lm_head.weight.data[tokenizer.newline, 0] += 0.6
    return model


@pytest.fixture(scope="session")
def tiny_thinker(small_tokenizer):
    """A random Llama of some 10,000 parameters and one layer that thinks before about every third line."""
    return _thinker(small_tokenizer, 1, hidden_size=16, intermediate_size=24, num_attention_heads=2)


@pytest.fixture(scope="session")
def thinker(small_tokenizer):
    """The same with two layers and grouped heads."""
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    return _thinker(small_tokenizer, 2, **shape)
