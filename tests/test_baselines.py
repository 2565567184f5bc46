"""The arms that RA3 is compared with: what each does to latents, and that each trains through the one loop."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from ra3_lab.experiment import true_trace
from ra3_lab.midtrain.baselines import annotated, change_latents, one_action, resampled
from ra3_lab.midtrain.em import MidtrainConfig, midtrain
from ra3_lab.midtrain.estep import EStepConfig, score_traces
from ra3_lab.midtrain.mstep import MStepConfig
from ra3_lab.models.decoder import Decoder
from ra3_lab.models.rollout import LatentSampling, sample_latents
from ra3_lab.tasks.pipelines import load_split
from ra3_lab.trace import Trace, annotate, strip

CORPUS = [
    Trace("def f(a):\n", ("    b = a\n", "# expert's own comment\n", "    return b\n"), trace_id="f"),
    Trace("def g():\n", tuple(f"    x{i} = {i}\n" for i in range(6)), trace_id="g"),
    Trace("x = 1\n", ("y = x\n", "x = y + 1\n"), trace_id="x"),
]
TRUTH = {
    "f": annotate(CORPUS[0], [" copy a", None, " give it back"]),
    "g": annotate(CORPUS[1], [" count", None, None, " go on", None, None]),
    "x": annotate(CORPUS[2], [None, " one more"]),
}
ANNOTATED = list(TRUTH.values())
CONFIG = MidtrainConfig(
    seed=3,
    rounds=2,
    precision="fp32",
    estep=EStepConfig(updates=4, programs=2, group=3, longest_thought=4, learning_rate=1e-3),
    mstep=MStepConfig(updates=4, programs=3),
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def words(traces) -> Counter:
    return Counter(thought for trace in traces for thought in trace.latents if thought is not None)


@pytest.mark.parametrize("change", ["moved", "shuffled", "filler", "random"])
def test_a_change_keeps_code_and_number_of_thoughts(change):
    changed = change_latents(ANNOTATED * 4, change, rng())
    assert [strip(t) for t in changed] == [strip(t) for t in ANNOTATED * 4]
    assert [len(t.thought_lines) for t in changed] == [len(t.thought_lines) for t in ANNOTATED * 4]
    assert all(t.offered[line] for t in changed for line in t.thought_lines)
    if change != "filler":
        assert words(changed) == words(ANNOTATED * 4)


def test_moved_thoughts_may_come_back_to_their_line():
    """As the pages say: a quarter land where a thought was, one in seven where it was itself (true thoughts)."""
    before = [true_trace(task) for task in load_split("expert")]
    after = change_latents(before, "moved", rng())
    places = [
        (a, b) for x, y in zip(before, after, strict=True) for a, b in zip(x.latents, y.latents, strict=True) if b
    ]
    assert np.mean([a is not None for a, _ in places]) == pytest.approx(0.26, abs=0.01)
    assert np.mean([a == b for a, b in places]) == pytest.approx(1 / 7, abs=0.01)


def test_each_change_takes_away_one_thing():
    many = ANNOTATED * 30
    moved, shuffled, filler = (change_latents(many, change, rng()) for change in ("moved", "shuffled", "filler"))
    assert change_latents(many, "none", rng()) == many
    assert all(words([a]) == words([b]) for a, b in zip(moved, many, strict=True))
    assert Counter(line for t in moved if t.trace_id == "g" for line in t.thought_lines).keys() == set(range(6))
    assert all(a.thought_lines == b.thought_lines for a, b in zip(shuffled, many, strict=True))
    assert sum(a.latents != b.latents for a, b in zip(shuffled, many, strict=True)) > 60
    assert all(a.thought_lines == b.thought_lines for a, b in zip(filler, many, strict=True))
    assert words(filler).keys() == {" .", " . .", " . . ."}
    with pytest.raises(ValueError, match="moved, shuffled"):
        change_latents(many, "worse", rng())  # pyright: ignore[reportArgumentType]


def test_noise_spoils_its_share_of_an_annotators_thoughts():
    assert annotated(CORPUS, TRUTH, 0.0, rng()) == ANNOTATED
    noisy = annotated(CORPUS * 200, TRUTH, 0.5, rng())
    same = np.mean([a == b for t in noisy for a, b in zip(t.latents, TRUTH[t.trace_id].latents, strict=True) if b])
    assert same == pytest.approx(0.5 + 0.5 / 5, abs=0.06)  # five thoughts in all: one in five draws is the same again
    assert all(t.thought_lines == TRUTH[t.trace_id].thought_lines for t in noisy)
    with pytest.raises(ValueError, match="no annotation of 'x'"):
        annotated(CORPUS, {"f": TRUTH["f"], "g": TRUTH["g"]}, 0.0, rng())


def test_resampling_draws_by_likelihood(tiny_thinker, small_tokenizer):
    """Against weights computed here, over many seeds: the share of each of three draws."""
    trace, how, cost = CORPUS[1], LatentSampling(1.0, 4), 2.0
    config = EStepConfig(group=3, cost=cost, longest_thought=4)
    expected, seen, count = 0.0, 0, 60
    for seed in range(count):
        drawn = sample_latents(Decoder(tiny_thinker), small_tokenizer, [trace] * 3, how, seed, 5)
        scored = score_traces(tiny_thinker, [r.encode(small_tokenizer) for r in drawn], small_tokenizer)
        value = (scored.line.sum(1) - cost * scored.thought.sum(1)).double()
        best = int(value.argmax())
        expected += float(value.softmax(0)[best])
        (kept,) = resampled(tiny_thinker, small_tokenizer, [trace], config, 1.0, "fp32", seed, 5)
        assert kept in [r.trace for r in drawn]
        seen += kept == drawn[best].trace
    assert abs(seen - expected) < 3 * np.sqrt(count) / 2
    assert expected / count > 0.4  # not one in three


def test_a_single_action_is_the_same_text_with_one_place_for_a_thought(small_tokenizer):
    whole = [one_action(trace) for trace in CORPUS]
    for one, many in zip(whole, CORPUS, strict=True):
        assert one.text == many.text and len(one.lines) == 1
        assert small_tokenizer.encode_trace(one).ids.tolist() == small_tokenizer.encode_trace(many).ids.tolist()


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, method="annotator"),
        replace(CONFIG, method="annotator", annotation_noise=0.5),
        replace(CONFIG, method="resampled"),
        replace(CONFIG, method="prior", change="random"),
        replace(CONFIG, change="shuffled"),
        replace(CONFIG, estep=replace(CONFIG.estep, hindsight=True)),
    ],
    ids=lambda c: f"{c.method}-{c.change}-{c.annotation_noise}-{c.estep.hindsight}",
)
def test_every_arm_spends_the_same_updates(config, tiny_thinker, small_tokenizer):
    result = midtrain(config, tiny_thinker, small_tokenizer, CORPUS, annotations=TRUTH)
    assert result.updates == 8
    stages = Counter(record["stage"] for record in result.history)
    assert stages["estep"] == (4 if config.method == "ra3" else 0)


def test_the_answer_arm_thinks_before_the_answer_only(tiny_thinker, small_tokenizer):
    config = replace(CONFIG, estep=replace(CONFIG.estep, longest_thought=12, floor=None))
    result = midtrain(config, tiny_thinker, small_tokenizer, [one_action(trace) for trace in CORPUS])
    shares = [r["think_share"] for r in result.history if r["stage"] == "estep"]
    assert 0 < np.mean(shares) <= 1


def test_settings_that_cannot_be(tiny_thinker, small_tokenizer):
    with pytest.raises(ValueError, match="hindsight with kl"):
        EStepConfig(hindsight=True, kl=0.1)
    with pytest.raises(ValueError, match="annotation_noise=2"):
        MidtrainConfig(annotation_noise=2)
    with pytest.raises(ValueError, match="weighed by it"):
        MidtrainConfig(method="resampled", estep=EStepConfig(cost=float("inf")))
    annotator = replace(CONFIG, method="annotator")
    with pytest.raises(ValueError, match="none of the 3 programs has a thought: give rows"):
        midtrain(annotator, tiny_thinker, small_tokenizer, CORPUS)
    with pytest.raises(ValueError, match=r"no annotation of '[gx]'"):
        midtrain(annotator, tiny_thinker, small_tokenizer, CORPUS, annotations={"f": TRUTH["f"]})
    with pytest.raises(ValueError, match="two programs have the same trace_id"):
        midtrain(annotator, tiny_thinker, small_tokenizer, [*ANNOTATED, ANNOTATED[0]])


def test_latents_that_programs_bring_along_are_the_annotators_and_nobody_elses(tiny_thinker, small_tokenizer):
    def weights(method, corpus, annotations=None):
        config = replace(CONFIG, method=method, rounds=1)
        result = midtrain(config, tiny_thinker, small_tokenizer, corpus, annotations=annotations)
        return [p.detach().clone() for p in result.model.parameters()], result.tokens

    for method in ("ntp", "prior", "ra3"):
        (plain, tokens), (annotated_ones, same) = weights(method, CORPUS), weights(method, ANNOTATED)
        assert tokens == same and all(map(torch.equal, plain, annotated_ones)), method
    (given, tokens), (brought, same) = weights("annotator", CORPUS, TRUTH), weights("annotator", ANNOTATED)
    assert tokens == same and all(map(torch.equal, given, brought))


def test_a_score_that_is_no_number_is_not_kept_as_the_best(tiny_thinker, small_tokenizer):
    scores = iter([float("nan"), 0.9, 0.1, float("nan")])
    config = replace(CONFIG, method="ntp", rounds=1, evaluate_every=2)
    assert midtrain(config, tiny_thinker, small_tokenizer, CORPUS, lambda model: next(scores)).validation == 0.9
