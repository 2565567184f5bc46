"""`ra3-lab record`: make em.json, the recorded EM run that notebooks and explorers replay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ra3_lab.threads import use_threads


def run(out: Path | None = None, seed: int = 0, threads: int = 1) -> int:
    """Record a short, closely watched RA3 run of the embedded model (under 4 CPU minutes).

    Writes em.json to OUT, over one that is there: what it writes follows from model, code and seed.

    Example: ra3-lab record --out data/records

    Args:
        out: Folder for the records; default: data/records of this checkout.
        seed: Seed of everything that is drawn.
        threads: CPU threads.
    """
    from ra3_lab.models.load import load_model
    from ra3_lab.recording import RecordingConfig, record_em
    from ra3_lab.records import save_record, weights_digest
    from ra3_lab.resources import data_dir, embedded_model_dir
    from ra3_lab.runs import made_directory, narrator

    use_threads(threads)
    config = RecordingConfig()
    config = replace(config, midtrain=replace(config.midtrain, seed=seed, precision="fp32"))
    folder = data_dir() / "records" if out is None else out
    made_directory(folder)  # said now where it cannot be
    with narrator() as say:
        model, tokenizer = load_model("embedded", "cpu")
        record = record_em(config, model, tokenizer, say)
    record |= {"command": f"ra3-lab record --seed {seed}", "base": weights_digest(embedded_model_dir())}
    save_record(folder / "em.json", record)
    print(f"{folder / 'em.json'}: {len(record['looks'])} looks at {len(record['programs'])} programs")
    return 0
