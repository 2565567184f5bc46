"""A class for tests: the tiny assignment of tests/course/tiny, and submissions for it."""

import contextlib
import importlib
import json
import pkgutil

from conftest import REPO_ROOT

import ra3_lab.course
from ra3_lab.course import flags, grade, leaks, masters, program, registry, words
from ra3_lab.course.registry import assignment
from ra3_lab.course.secret import Secret

TINY = REPO_ROOT / "tests" / "course" / "tiny"
SECRET = Secret(bytes(range(32)))
NAME = "a0_tiny.ipynb"
GOOD = "def discounted_return(r, g):\n    return float(r @ g ** np.arange(len(r)))"
_CACHES = (
    registry.names,
    registry.assignment,
    words.handed_out,
    program.given_cells,
    program._not_run,
    program._provided,
    grade.hidden,
    grade._edition,
    flags._given_away,
    leaks._forbidden,
    leaks._of_solutions,
    leaks._also_public,
    leaks._of_secret,
)


@contextlib.contextmanager
def only_tiny():
    """While it lasts, a0 is the one assignment there is."""
    before = list(ra3_lab.course.__path__)
    for module in pkgutil.iter_modules(before):
        if not module.name[1:].isdigit():  # no assignment: modules that commands import late
            importlib.import_module(f"ra3_lab.course.{module.name}")
    ra3_lab.course.__path__[:] = [str(TINY)]
    for cached in _CACHES:
        cached.cache_clear()
    try:
        yield assignment("a0")
    finally:
        ra3_lab.course.__path__[:] = before
        for cached in _CACHES:
            cached.cache_clear()


def notebook(solved: bool = False) -> dict:
    """The student's notebook, or the solved one."""
    return json.loads(json.dumps(masters.notebook(assignment("a0"), masters.read_master("a0"), solved)))


def cell(built: dict, kind: str) -> dict:
    """Its first cell of a kind."""
    return next(one for one in built["cells"] if one["metadata"].get("ra3_lab", {}).get("kind") == kind)


def with_answer(source: str) -> dict:
    """A student's notebook in which the exercise's cell holds this."""
    built = notebook()
    cell(built, "exercise")["source"] = source
    return built


def hand_in(folder, student: str, built: dict | bytes, name: str = NAME):
    """Write a submission; its path."""
    path = folder / student / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(built if isinstance(built, bytes) else json.dumps(built).encode())
    return path
