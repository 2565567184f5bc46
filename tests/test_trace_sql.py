"""SQL as a second language: the same round trip, and one E-step with its comment marker."""

from __future__ import annotations

import copy
import json
import random

import pytest

pytest.importorskip("sqlglot", reason='SQL needs the extra: pip install "ra3-lab[languages]"')

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from ra3_lab.cli import main
from ra3_lab.midtrain.estep import EStep, EStepConfig
from ra3_lab.models.decoder import Decoder
from ra3_lab.models.load import save_model
from ra3_lab.models.rollout import sample_latents
from ra3_lab.models.tokenizer import LineTokenizer, train_tokenizer
from ra3_lab.trace import Refused, Trace, absent_marker, annotate, language_of, parse_source, read_source, strip
from ra3_lab.trace.language import languages
from ra3_lab.trace.sql import SQL

QUERIES = [
    "-- totals per day\nWITH days AS (\n  SELECT day, -- the key\n         SUM(amount) AS total\n  FROM sales\n"
    "  GROUP BY day\n)\nSELECT day,\n  total\nFROM days\nWHERE total > 10\nORDER BY day;\n",
    "SELECT 'it''s\n-- no comment\n' AS a /* one\n-- two /* nested\n */ \n*/,\n  \"odd\nname\"\nFROM t\n",
    "CREATE TABLE t (\n  a INT, -- first\n\n  b TEXT\n);\n\nINSERT INTO t VALUES\n  (1, 'x'),\n  (2, 'y');\n",
    "SELECT a\nFROM t\nWHERE b IN (1,\n  2)\n  AND c = 1\nLIMIT 5\n",
]
EMPTY = [";\nSELECT 1\n", "SELECT 1;\n;\n-- own\n;\nSELECT 2;\n", "SELECT 1\n;\n/* c */ ;\n"]


def check_round_trip(data: bytes, seed: int) -> Trace:
    rng = random.Random(seed)
    source = read_source(data, "query.sql", SQL)
    assert source.encode() == data
    noted = source.annotate([rng.choice((" why", "", " 'a")) if free else None for free in source.trace.offered])
    marker = absent_marker([source.trace])
    assert SQL.same_program(noted.encode(marker).decode(), data.decode())
    assert parse_source(noted.encode(marker), marker, "query.sql", SQL) == noted
    assert strip(noted.trace) == source.trace
    return noted.trace


@pytest.mark.parametrize("query", QUERIES)
def test_round_trip(query):
    assert check_round_trip(query.encode(), 0).thought_lines
    assert check_round_trip(query.replace("\n", "\r\n").rstrip().encode(), 1).thought_lines


@pytest.mark.parametrize("query", EMPTY)
def test_a_comment_before_an_empty_statement_changes_no_program(query):
    for seed in range(5):
        check_round_trip(query.encode(), seed)
    assert SQL.same_program(query, query.replace(";", "-- c\n;")) and not SQL.same_program(query, "SELECT 3")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_generated_queries(data):
    items = st.sampled_from(
        ["a", "'x\n-- y'", "(1 +\n 2)", "(SELECT 1 -- in\n)", "/* c\n-- d */ b", '"q\nr"', "f(a,\n b)"]
    )
    gaps = st.sampled_from([" ", "\n", "\n  ", " -- note\n", "\n\n--: doc\n", "\r\n"])
    text = ""
    for _ in range(data.draw(st.integers(1, 3))):
        columns = data.draw(st.lists(items, min_size=1, max_size=4))
        body = "".join(item + data.draw(gaps) + ("," if i + 1 < len(columns) else "") for i, item in enumerate(columns))
        text += f"SELECT{data.draw(gaps)}{body}FROM t{data.draw(gaps)}WHERE{data.draw(gaps)}a = {data.draw(items)};\n"
    check_round_trip(text.encode(), 0)


def test_pieces():
    assert [len(SQL.split_logical_lines(query)) for query in QUERIES] == [7, 3, 5, 5]


def test_what_does_not_parse_is_refused_with_its_line(tmp_path):
    path = tmp_path / "bad.sql"
    path.write_text("SELECT 1;\nSELECT 'open\n")
    with pytest.raises(Refused, match="does not parse"):
        read_source(path)
    path.write_text("SELECT 1;\nSELECT (1 FROM\n")
    with pytest.raises(Refused, match=r"bad\.sql:2: does not parse"):
        read_source(path)


@pytest.fixture(scope="module")
def tokenizer() -> LineTokenizer:
    return LineTokenizer(train_tokenizer(QUERIES, 300, marker="--"), "sql", marker="--")


@pytest.fixture(scope="module")
def pi(tokenizer) -> LlamaForCausalLM:
    torch.manual_seed(1)
    shape = LlamaConfig(
        vocab_size=len(tokenizer.hf), hidden_size=32, num_hidden_layers=2, intermediate_size=48, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(shape).eval()
    model.model.embed_tokens.weight.data[:, 0] += 1.0
    model.lm_head.weight.data[[tokenizer.marker, tokenizer.newline], 0] += 1.0  # it thinks often, and not for long
    return model


def test_one_estep_on_sql(tokenizer, pi):
    traces = [read_source(query.encode(), f"q{i}", SQL).trace for i, query in enumerate(QUERIES)]
    q = copy.deepcopy(pi)
    step = EStep(q, pi, tokenizer, EStepConfig(group=3, longest_thought=5), seed=0, precision="fp32")
    rollouts = sample_latents(Decoder(q), tokenizer, traces, step.how, seed=0, update=0)
    assert sum(len(r.trace.thought_lines) for r in rollouts) > 3
    for rollout, trace in zip(rollouts, traces, strict=True):
        assert strip(rollout.trace) == trace
        assert SQL.same_program(rollout.trace.text, trace.code)
        assert all(z is None for z, free in zip(rollout.trace.latents, trace.offered, strict=True) if not free)
    record = step.update(traces, 0)
    assert 0 < record["think_share"] < 1 and record["gradient_norm"] > 0
    assert any((a != b).any() for a, b in zip(q.parameters(), pi.parameters(), strict=True))


def test_commands_take_sql(tokenizer, pi, tmp_path, capsys):
    model, out = tmp_path / "model", tmp_path / "run"
    save_model(copy.deepcopy(pi), tokenizer, model)
    for i, query in enumerate(QUERIES):
        folder = tmp_path / ("heldout" if i == 3 else "training")
        folder.mkdir(exist_ok=True)
        (folder / f"q{i}.sql").write_text(query)
    small = ["--estep.updates", "1", "--estep.programs", "2", "--estep.group", "2", "--mstep.updates", "1"]
    small += ["--mstep.programs", "2", "--threads", "1", "--heldout-samples", "1", "--estep.longest-thought", "4"]
    on_sql = ["--language", "sql", "--model", str(model)]
    data = ["--data", str(tmp_path / "training"), "--heldout", str(tmp_path / "heldout")]
    assert main(["midtrain", *data, *on_sql, *small, "--out", str(out)]) == 0
    capsys.readouterr()
    query = str(tmp_path / "heldout" / "q3.sql")
    assert main(["annotate", query, *on_sql[:2], "--model", str(out), "--format", "json", "--threads", "1"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["programs"]
    assert found["marker"] == "--" and "".join(found["lines"]) == QUERIES[3]
    assert main(["annotate", query, *on_sql[:2]]) == 2
    assert "comment marker '--'" in capsys.readouterr().err  # the embedded model's vocabulary has it not as one token


def test_markers_are_isolated_and_languages_are_not_mixed(tokenizer):
    encoded = tokenizer.encode_line("a--b -- c\n")
    assert encoded.count(tokenizer.marker) == 2 and tokenizer.decode(encoded) == "a--b -- c\n"
    assert not tokenizer.offered("-- c\n") and tokenizer.offered("# c\n")
    with pytest.raises(ValueError, match=r"with_marker\('#'\)"):
        tokenizer.encode_trace(Trace("", ("x = 1\n",)))
    python = tokenizer.with_marker("#")
    assert python.encode_trace(annotate(Trace("", ("x = 1\n",)), (" t",))).ids[1] == python.marker
    assert language_of("sql").describe("a */ b") == "/* a * / b */\n"


def test_every_language_is_found_by_its_suffixes():
    for name in languages():
        language = language_of(name)
        assert language.name == name and language.suffixes
        assert all(language_of(f"a{suffix}") is language for suffix in language.suffixes)
