"""What a study compares, as a TOML or JSON file.

title = "The main comparison"
seeds = [0, 1, 2]
splits = ["test"]

[midtrain]                  # settings that all arms share
rounds = 3

[[arms]]
name = "ntp"
method = "ntp"
[arms.midtrain.mstep]       # what this arm has of its own
learning_rate = 2e-3
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

from ra3_lab.config import load_config, read_settings
from ra3_lab.evaluate.seeds import PAIRS
from ra3_lab.experiment import ExperimentConfig
from ra3_lab.midtrain.em import MidtrainConfig
from ra3_lab.resources import data_dir
from ra3_lab.runs import check_schema

OWN = {"seed": "seeds", "method": "the arm"}
"""`MidtrainConfig` fields that a study fills in itself, and what from."""


@dataclass(frozen=True)
class ArmSpec:
    """One arm: how its latents come about, and what it has of its own."""

    name: str
    """What the arm is called in tables."""
    method: Literal["base", "ntp", "prior", "ra3", "annotator", "resampled"]
    """base is the model as it is; the others as in `MidtrainConfig.method`."""
    why: str = ""
    """What the arm is there for, in a few words."""
    model: str = "embedded"
    """Model it starts from: 'embedded' or a model directory."""
    corpus: int | None = None
    """Number of expert programs; None for all."""
    one_latent: bool = False
    """Whether a program is one action, with a single latent before the whole answer."""
    midtrain: Any = field(default_factory=dict)
    """Table of `MidtrainConfig` fields that differ from the study's; not seed and method."""

    def __post_init__(self) -> None:
        if not self.name.strip() or PureWindowsPath(self.name).name != self.name:  # its models go into a folder
            raise ValueError(f"name = {self.name!r}: every arm needs a name, and one without slashes and drives.")
        if self.method == "annotator" and self.one_latent:
            raise ValueError(
                f"arm {self.name!r}: method annotator has a thought for every segment, one_latent has room for one; "
                "leave one_latent out, or take another method."
            )
        if not isinstance(self.midtrain, Mapping):
            raise ValueError(f"arm {self.name!r}: midtrain = {self.midtrain!r}: a table of settings is wanted.")
        _refuse_own(self.midtrain, f"arm {self.name!r}: midtrain")


@dataclass(frozen=True)
class StudySpec:
    """Arms x seeds on the pipelines world."""

    title: str
    """Headline of the page."""
    arms: tuple[ArmSpec, ...]
    """The arms in the order in which they are run."""
    question: str = ""
    """What the study is to answer."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Training seeds; every arm is run with each."""
    splits: tuple[str, ...] = ("test",)
    """Held-out splits, the one that counts first."""
    tasks: int | None = None
    """Tasks of each split; None for all."""
    pairs: tuple[tuple[str, str], ...] = PAIRS
    """Arms that are compared, first minus second, where both were run."""
    samples: int = 4
    """Programs sampled per task."""
    temperature: float = 1.0
    """Sampling temperature of the scored programs."""
    validation_tasks: int = 60
    """Validation tasks by which a checkpoint is chosen."""
    monitor_programs: int = 48
    """Expert programs on which latents are measured, kept out of training."""
    midtrain: MidtrainConfig = field(default_factory=MidtrainConfig)
    """Settings that all arms share."""

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if not names or not self.seeds:
            raise ValueError("a study needs at least one arm and one seed.")
        if not self.splits:
            raise ValueError("splits=[]: a study needs at least one held-out split, 'test' say.")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={list(self.seeds)}: every seed once; the same seed gives the same run.")
        if self.samples < 1:
            raise ValueError(f"samples={self.samples}: programs sampled per task, at least 1.")
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise ValueError(f"two arms are called {twice[0]!r}: every arm needs a name of its own.")
        if self.pairs != PAIRS:
            unknown = [name for pair in self.pairs for name in pair if name not in names]
            if unknown:
                raise ValueError(f"pairs name an arm {unknown[0]!r} that is not in the study; there are {names}.")
        usual = MidtrainConfig()
        _refuse_own([key for key in OWN if getattr(self.midtrain, key) != getattr(usual, key)], "midtrain")
        for arm in self.arms:  # a wrong value shows before anything is trained
            for seed in self.seeds:
                self.experiment(arm, seed)

    def only(self, arms: Collection[str]) -> StudySpec:
        """The study with these of its arms, and the pairs among them. Raises ValueError for one that it has not."""
        known = [arm.name for arm in self.arms]
        if unknown := [name for name in arms if name not in known]:
            raise ValueError(f"the study has no arm {unknown[0]!r}; there are {known}.")
        pairs = tuple(pair for pair in self.pairs if set(pair) <= set(arms))
        return replace(self, arms=tuple(arm for arm in self.arms if arm.name in arms), pairs=pairs)

    def settings(self, arm: ArmSpec, seed: int) -> MidtrainConfig | None:
        """The arm's mid-training settings at this seed; None for the base. Raises ValueError for an unknown field."""
        if arm.method == "base":
            if arm.midtrain:
                raise ValueError(f"arm {arm.name!r}: method base is not trained; leave out its midtrain table.")
            return None
        own = {**arm.midtrain, "method": arm.method, "seed": seed}
        return load_config(MidtrainConfig, own, self.midtrain, f"arm {arm.name!r}")

    def experiment(self, arm: ArmSpec, seed: int) -> ExperimentConfig:
        """How this arm is trained and scored."""
        return ExperimentConfig(
            seed=seed,
            arms=(arm.name,),
            midtrain=self.settings(arm, seed) or self.midtrain,
            splits=self.splits,
            tasks=self.tasks,
            samples=self.samples,
            temperature=self.temperature,
            validation_tasks=self.validation_tasks,
            monitor_programs=self.monitor_programs,
            corpus=arm.corpus,
        )

    def fingerprint(self, arm: ArmSpec, seed: int) -> dict[str, Any]:
        """Everything that this arm's result hangs on, as plain data."""
        config = asdict(self.experiment(arm, seed))
        return {"method": arm.method, "model": arm.model, "one_latent": arm.one_latent, "config": config}


def spec_names() -> list[str]:
    """Names of the shipped specs."""
    return sorted(path.stem for path in (data_dir() / "studies").glob("*.toml"))


def load_spec(source: str | Path) -> StudySpec:
    """A spec from a .toml or .json file, or a shipped one by name. Raises ValueError naming what is wrong in it."""
    path = Path(source)
    if path.suffix not in (".toml", ".json"):
        path = data_dir() / "studies" / f"{source}.toml"
        if not path.exists():
            raise ValueError(
                f"there is no study called {source!r}: give a .toml or .json file, or one of {spec_names()}."
            )
    values = read_settings(path)
    check_schema({"schema_version": 1, **values}, path)
    if "schema_version" not in values and isinstance(values.get("midtrain"), Mapping):
        _refuse_own(values["midtrain"], f"{path}: midtrain")  # a stored spec.json has every setting in it
    return load_config(StudySpec, {k: v for k, v in values.items() if k != "schema_version"}, None, str(path))


def _refuse_own(keys: Iterable[str], where: str) -> None:
    """Raises ValueError where a table of settings has one that the study fills in: it would be replaced."""
    if found := [key for key in keys if key in OWN]:
        raise ValueError(f"{where}.{found[0]}: leave it out; {found[0]} comes from {OWN[found[0]]}.")
