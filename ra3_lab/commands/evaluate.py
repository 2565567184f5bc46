"""`ra3-lab eval`: sample programs from a model on a benchmark and judge them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import tyro

from ra3_lab.commands.output import Json, require_new_file, results
from ra3_lab.models.variants import Reading
from ra3_lab.threads import use_threads

_AS_IT_IS = Reading()


def run(
    bench: str,
    model: str = "embedded",
    path: Path | None = None,
    n: int = 20,
    k: tuple[int, ...] = (1, 5, 10),
    temperature: float = 1.0,
    max_new: int = 512,
    seed: int = 0,
    tasks: int | None = None,
    split: str | None = None,
    sha256: str | None = None,
    samples_out: Path | None = None,
    skip_self_test: bool = False,
    workers: int | None = None,
    isolation: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    threads: int = 2,
    reading: Annotated[Reading, tyro.conf.arg(name="")] = _AS_IT_IS,
    json: Json = None,
) -> int:
    """Sample N programs a task from a base model, judge them in the sandbox, report pass@k with intervals over tasks.

    Before anything is sampled the benchmark's reference solutions are judged; where they fail, the run stops. Prompts
    and the strings that end a completion are those of the benchmark, see docs/benchmarks.md.

    Example: ra3-lab eval --model embedded --bench pipelines --tasks 20 --n 4 --k 1 4 --json out.json

    Example: ra3-lab eval --model runs/mine --quant nf4 --adapter lora --bench pipelines --tasks 20 --n 4 --k 1

    Example: ra3-lab eval --model runs/mine --bench humaneval --path HumanEval.jsonl.gz --samples-out samples.jsonl

    Args:
        bench: pipelines, humaneval, humaneval+, mbpp, mbpp-sanitized, mbpp+, livecodebench, codeforces, rlvr or own.
        model: 'embedded', a finished run, a model directory, or a hub name.
        path: The benchmark's data file; without it the data comes from the hub.
        n: Samples a task.
        k: Which pass@k to report; none may be above N.
        temperature: Softmax temperature of sampling; 0 takes the likeliest token (then N is 1).
        max_new: Most tokens of a completion.
        seed: Seed of the draws.
        tasks: Only the first TASKS tasks, for a try; default: all.
        split: Part of it. mbpp: prompt, test, validation, train; pipelines: expert, rlvr, validation, test, final.
        sha256: Hash the data file must have (its beginning will do), or 'any' for a file that is no known release.
        samples_out: File to keep the samples in as they are drawn (.jsonl); ra3-lab judge reads it. The same command
            given again goes on where a stopped one was.
        skip_self_test: Do not judge the reference solutions first; where they fail, scores are too low unnoticed.
        workers: Judge processes side by side; default: the cores, at most 8.
        isolation: How programs are shut in; default: all that this machine has, see ra3-lab doctor.
        device: auto, cpu or cuda.
        precision: auto, bf16 or fp32.
        threads: CPU threads of the model.
        reading: Storage of the weights.
        json: Write the result as JSON to FILE, or to stdout.
    """
    import sys

    from ra3_lab.commands.judge import table
    from ra3_lab.evaluate.benchmark import RunStopped, check_ks, judge_samples, self_test, summarise
    from ra3_lab.evaluate.drawn import DrawnSamples
    from ra3_lab.evaluate.sampling import sample_completions
    from ra3_lab.models.trained import load_to_read
    from ra3_lab.runs import narrator, tenths
    from ra3_lab.runs.provenance import digest_of_weights
    from ra3_lab.tasks.expected import with_expected
    from ra3_lab.tasks.registry import load_tasks

    if n < 1:
        raise ValueError(f"n is {n}; at least 1 sample a task is needed.")
    if not temperature >= 0:
        raise ValueError(f"temperature is {temperature}; 0 (the likeliest token) or more.")
    if temperature == 0 and n > 1:
        raise ValueError(f"temperature 0 gives the same program {n} times: use --n 1 --k 1.")
    if max_new < 1:
        raise ValueError(f"max_new is {max_new}; at least 1 token of a completion is needed.")
    if max(k, default=0) > n:
        raise ValueError(f"pass@{max(k)} needs at least {max(k)} samples a task, --n is {n}: raise --n or lower --k.")
    check_ks(k, {"every task": n})
    keep = None if samples_out is None else DrawnSamples(samples_out)
    if samples_out is not None and not samples_out.exists():
        require_new_file("--samples-out", samples_out)
    how: dict[str, Any] = {"n": n, "temperature": temperature, "max_new": max_new, "seed": seed}
    use_threads(threads)
    with results("eval", json) as emit:
        try:
            with narrator() as say:
                chosen = load_tasks(bench, path, split, sha256)
                if tasks is not None:
                    if tasks < 1:
                        raise ValueError(f"tasks is {tasks}; at least 1 is needed.")
                    chosen = chosen.with_tasks(chosen[:tasks])
                say(f"{len(chosen)} tasks of {bench}; data hash {chosen.hash}")
                if bench in ("mbpp", "mbpp-sanitized") and split is None:
                    say("note: published MBPP scores are on --split test (ids 11 to 510); this is the whole file")
                say(f"loading {model}")  # first: a wrong name is told before minutes of judging reference solutions
                network, tokenizer = load_to_read(model, device, reading)
                if keep is not None:
                    weights = {"weights": digest_of_weights(network), "reading": asdict(reading)}
                    place = {"device": network.device.type, "precision": precision}
                    keep.claim({**how, **weights, **place, "data": chosen.hash})
                chosen = with_expected(chosen, workers, isolation, tenths(say, "expected results"))
                tested: dict[str, Any] | str = "skipped"
                if not skip_self_test:
                    tested = self_test(chosen, workers, isolation, tenths(say, "self-test"))
                    say(f"self-test: {tested['passed']} of {tested['of']} reference solutions pass")

                try:
                    samples, sampling = sample_completions(
                        network,
                        tokenizer,
                        chosen,
                        **how,
                        precision=precision,
                        keep=keep,
                        progress=tenths(say, "sampled tasks"),
                    )
                    records = judge_samples(chosen, samples, workers, isolation, tenths(say, "judged"))
                except KeyboardInterrupt:
                    if keep is None:
                        raise
                    raise KeyboardInterrupt(
                        f"stopped; what was sampled is in {keep.path}. Give the same command again to go on"
                    ) from None
            summary = summarise(chosen, records, k, isolation) | {
                "self_test": tested,
                "model": model,
                "reading": asdict(reading),
                "sampling": {**how, **sampling},
            }
        except RunStopped as stop:
            print(f"ra3-lab eval: {stop}", file=sys.stderr)
            return 1
        print(table(summary))
        emit({"summary": summary, "records": [asdict(record) for record in records]})
    return 0
