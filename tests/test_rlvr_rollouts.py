"""Groups that a run leaves for readers: their numbers are the update's own, and they come back as written."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from test_rlvr_run import CONFIG, TASKS, judge

from ra3_lab.models.generation import sampler_of
from ra3_lab.models.scoring import answer_logps
from ra3_lab.records import save_record
from ra3_lab.rlvr.groups import draw_groups
from ra3_lab.rlvr.loop import Standing, rlvr
from ra3_lab.rlvr.rollouts import GroupLook, read_rollouts, seen_group
from ra3_lab.runs import JsonLines

ONE_STEP = replace(CONFIG, grpo=replace(CONFIG.grpo, iterations=1, warmup=0))


def logps(model, group, answer) -> torch.Tensor:
    """The answer's tokens scored alone, without any batch."""
    ids = torch.tensor([[*group.prompt_ids, *answer.completion.ids]])
    with torch.no_grad():
        prompt = torch.tensor([len(group.prompt_ids)])
        return answer_logps(model, ids, prompt, torch.tensor([len(answer.completion.ids)]))[0][0]


def test_ratio_kl_and_advantage_are_the_updates_own(tiny_thinker, small_tokenizer):
    run = Standing(ONE_STEP, tiny_thinker, small_tokenizer, TASKS)
    run.grpo.update(
        draw_groups(sampler_of(run.grpo.model), small_tokenizer, TASKS[:2], 4, CONFIG.sampling, 1, 0, judge)[0]
    )
    sampler = sampler_of(run.grpo.model)
    groups, _ = draw_groups(sampler, small_tokenizer, TASKS, 4, CONFIG.sampling, 1, 1, judge)
    look = GroupLook(run.grpo, groups, 2)
    before = [[logps(run.grpo.model, group, answer) for answer in group.answers] for group in look.groups]
    run.grpo.update(groups)
    assert [group.informative for group in look.groups] == [True, True]
    for number, group, rows, record in zip(
        look.numbers, look.groups, before, look.records(small_tokenizer), strict=True
    ):
        seen = seen_group(json.loads(json.dumps(record)))
        assert (seen.update, seen.task_id, seen.prompt) == (1, group.task_id, group.prompt)
        for place, (answer, old, shown) in enumerate(zip(group.answers, rows, seen.answers, strict=True)):
            after = logps(run.grpo.model, group, answer)
            d = after - logps(run.grpo.reference, group, answer)
            assert shown.ratio == pytest.approx((after - old).exp().tolist(), abs=1e-3)
            assert shown.kl == pytest.approx((torch.exp(-d) - 1 + d).tolist(), abs=1e-3)
            assert shown.logp == pytest.approx(old.tolist(), abs=1e-3)
            assert shown.advantage == pytest.approx(float(run.grpo.advantages[number, place]), abs=1e-4)
            assert len(shown.tokens) == len(answer.completion.ids) and shown.reward == answer.reward
        moved = [r - 1 for answer in seen.answers if answer.advantage > 0 for r in answer.ratio]
        assert sum(moved) > 0, "what was rewarded did not become likelier"


def test_groups_come_back_from_a_run_and_from_a_record(tiny_thinker, small_tokenizer, tmp_path):
    write = JsonLines(tmp_path / "groups.jsonl")
    saved = []
    config = replace(ONE_STEP, updates=4, groups_kept=2, kl_every=0, grpo=replace(ONE_STEP.grpo, loss=CONFIG.grpo.loss))
    config = replace(config, grpo=replace(config.grpo, loss=replace(config.grpo.loss, beta=0.0)))
    for save in (write, saved.append):
        rlvr(config, tiny_thinker, small_tokenizer, TASKS, (), judge, save_group=save)
    found = read_rollouts(tmp_path)
    assert [group.update for group in found] == [0, 0, 3, 3]
    assert found == [seen_group(record) for record in saved]
    assert all(answer.kl is None for group in found for answer in group.answers), "no initial policy, no KL"
    runs = [{"label": "one", "groups": saved[:1]}, {"label": "two", "groups": saved[1:]}]
    save_record(tmp_path / "r.json", {"schema_version": 1, "rlvr_runs": runs})
    assert read_rollouts(tmp_path / "r.json") == found[:1]
    assert read_rollouts(tmp_path / "r.json", "two") == found[1:]
    with pytest.raises(ValueError, match=r"no run 'three' with groups: it has \['one', 'two'\]"):
        read_rollouts(tmp_path / "r.json", "three")
    with pytest.raises(FileNotFoundError, match="groups_every"):
        read_rollouts(tmp_path / "other.jsonl")
    del saved[0]["answers"][0]["ratio"]
    save_record(tmp_path / "old.json", {"schema_version": 1, "rlvr_runs": runs})
    with pytest.raises(ValueError, match="sample the groups anew"):
        read_rollouts(tmp_path / "old.json")
