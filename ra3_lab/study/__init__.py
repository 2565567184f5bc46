"""Declarative comparisons: a spec of arms x seeds, finished arm by arm, and the tables and page made of them."""

from ra3_lab.study.plan import minutes
from ra3_lab.study.run import finished_arms, model_folder, read_study, run_study, seed_records
from ra3_lab.study.spec import ArmSpec, StudySpec, load_spec, spec_names

__all__ = [
    "ArmSpec",
    "StudySpec",
    "finished_arms",
    "load_spec",
    "minutes",
    "model_folder",
    "read_study",
    "run_study",
    "seed_records",
    "spec_names",
]
