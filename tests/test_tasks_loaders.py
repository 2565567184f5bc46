"""Benchmarks by name: what the real files become, and what is said of files that are something else."""

from __future__ import annotations

import gzip
import json
import re
import sys
from dataclasses import replace

import pytest

from ra3_lab.resources import data_dir
from ra3_lab.sandbox import Asserts, Calls, Stdin
from ra3_lab.tasks import files
from ra3_lab.tasks.mbpp import typed_inputs
from ra3_lab.tasks.protocol import Inputs, parse_quietly
from ra3_lab.tasks.registry import NAMES, load_tasks

FILES = {
    "humaneval": ("humaneval/HumanEval.jsonl.gz", 164, Asserts),
    "humaneval+": ("humanevalplus/HumanEvalPlus-Mini-v0.1.10.jsonl.gz", 164, Inputs),
    "mbpp": ("mbpp/mbpp.jsonl", 974, Asserts),
    "mbpp-sanitized": ("mbpp/sanitized-mbpp.json", 427, Asserts),
    "mbpp+": ("mbppplus_dev2023/MbppPlus-767efcc.jsonl.gz", 399, Inputs),
    "livecodebench": ("oj_samples/code_eval_live_code_bench_v1.jsonl", 3, Stdin),
    "codeforces": ("oj_samples/code_eval_code_contests.jsonl", 16, Stdin),
}


@pytest.fixture(scope="module")
def load(benchmarks_dir):
    loaded: dict = {}

    def by_name(name):
        if name not in loaded:
            loaded[name] = load_tasks(name, benchmarks_dir / FILES[name][0])
        return loaded[name]

    return by_name


# --- the real files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_every_row_becomes_a_task_with_tests_and_a_program_that_parses(name, load):
    tasks = load(name)
    assert len(tasks) == FILES[name][1]
    assert isinstance(tasks[0].tests, FILES[name][2])
    assert all(task.prompt.strip() and task.source.startswith(name) for task in tasks)
    for task in tasks:
        parse_quietly(task.canonical)
        assert task.canonical.startswith(task.prefix) or not task.canonical
        assert not any(stop in task.canonical[len(task.prefix) :] for stop in task.stops) or name != "humaneval"
    if name in files.KNOWN:
        assert tasks.data.release, "the release is known by its hash"
    assert len({task.hash for task in tasks}) == len(tasks)


def test_helpers_that_humaneval_tests_call_stand_on_the_judges_side(load):
    by_id = {task.task_id: task for task in load("humaneval")}
    for number, helper in [(32, "poly"), (38, "encode_cyclic"), (50, "encode_shift")]:
        code = by_id[f"HumanEval/{number}"].tests.code
        assert f"def {helper}(" in code
    assert by_id["HumanEval/32"].tests.code.startswith("import math\n")
    assert by_id["HumanEval/0"].tests.code.count("def ") == 1, "where no helper is called, the test is as it was"
    assert all(task.tests.code.rstrip().endswith(f"check({task.entry_point})") for task in by_id.values())


def test_mbpp_ids_splits_and_entry_points(load, benchmarks_dir):
    whole = load("mbpp")
    assert all("\r" not in task.canonical + task.tests.code + task.prompt for task in whole)
    unnamed = [task.task_id for task in whole if not re.search(rf"\b{task.entry_point or '!'}\s*\(", task.tests.code)]
    assert unnamed == []
    sizes = {s: len(load_tasks("mbpp", benchmarks_dir / FILES["mbpp"][0], s)) for s in ("prompt", "test", "validation")}
    assert sizes == {"prompt": 10, "test": 500, "validation": 90}
    assert "import math" in next(task.tests.code for task in load("mbpp-sanitized") if task.task_id == "82")


def test_arguments_of_mbpp_plus_get_the_types_that_the_asserts_show(load):
    by_id = {task.task_id: task.tests.inputs for task in load("mbpp+")}
    assert by_id["Mbpp/2"][0] == [(3, 4, 5, 6), (5, 7, 4, 10)] and by_id["Mbpp/2"][3] == [(), ()]
    assert by_id["Mbpp/120"][0] == [[(2, 7), (2, 6), (1, 8), (4, 9)]]
    assert isinstance(by_id["Mbpp/124"][0][1], complex)
    assert by_id["Mbpp/115"][1] == [[{1, 2}, {}, {}]]
    assert by_id["Mbpp/791"][0] == [(1, 5, 7, (4, 6), 10)]


def test_typed_inputs_leave_alone_what_is_not_shown():
    row = {"entry_point": "f", "task_id": "0", "base_input": [[[1], "a", [2]]], "plus_input": [[[], "5", [[3]]]]}
    assert typed_inputs({**row, "assertion": "assert f((1,), 'a', [2]) == g(3)"}) == [
        [(1,), "a", [2]],
        [(), "5", [[3]]],
    ]
    assert typed_inputs({**row, "assertion": ""}) == [*row["base_input"], *row["plus_input"]]


def test_contest_problems_that_need_a_checker_are_left_out_with_the_reason(load):
    tasks = load("codeforces")
    assert tasks.excluded == {
        "1025_B. Weakened Common Divisor": "any valid answer counts, which needs a checker of its own",
        "1090_C. New Year Presents": "any valid answer counts, which needs a checker of its own",
        "1157_C2. Increasing Subsequence (hard version)": "any valid answer counts, which needs a checker of its own",
        "1179_E. Alesya and Discrete Math": "the problem is interactive",
    }
    tolerant = next(task for task in tasks if task.task_id.startswith("1045_D"))
    assert tolerant.tests.checker == "tokens_approx:0.0001"


def test_packed_livecodebench_is_the_same_as_its_plain_twin(load, benchmarks_dir, tmp_path):
    plain = json.loads((benchmarks_dir / "oj_samples/live_code_bench_v1_plain.json").read_text())
    path = tmp_path / "plain.jsonl"
    path.write_text("".join(json.dumps({**row, "test": row["test_plain"]}) + "\n" for row in plain))
    assert [t.tests for t in load_tasks("livecodebench", path)] == [t.tests for t in load("livecodebench")]
    function = load("livecodebench")[1]
    assert isinstance(function.tests, Calls) and "'countSeniors'" in function.suffix
    assert function.tests.pairs[0] == ([["7868190130M7522", "5303914400F9211", "9273338290F4010"]], 2)


# --- forms without a file here ------------------------------------------------------------------------

CASES = [{"input": "1\n", "output": "2\n", "testtype": "stdin"}]
ROWS = {
    "livecodebench": {
        "question_id": "abc1", "question_content": "Double it.", "starter_code": "", "metadata": "{}",
        "public_test_cases": json.dumps(CASES), "private_test_cases": json.dumps(CASES),
    },
    "codeforces": {
        "id": "1/A", "description": "Double it.", "input_format": "x", "output_format": "2x", "time_limit": 5.0,
        "memory_limit": 1024.0, "official_tests": CASES, "generated_checker": None,
    },
    "rlvr": {"problem": "Double it.", "tests": json.dumps(CASES), "solutions": ["print(2 * int(input()))"]},
}  # fmt: skip


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_livecodebenchs_own_rows(tmp_path):
    (task,) = load_tasks("livecodebench", write(tmp_path / "l.jsonl", [ROWS["livecodebench"]]))
    assert task.tests == Stdin((("1\n", "2\n"), ("1\n", "2\n"))) and task.limits.cpu_seconds == 6
    starter = "class Solution:\n    def double(self, x: int) -> int:\n        "
    row = {**ROWS["livecodebench"], "starter_code": starter, "metadata": '{"func_name": "double"}'}
    row |= {key: json.dumps([{"input": "4", "output": "8"}]) for key in ("public_test_cases", "private_test_cases")}
    (task,) = load_tasks("livecodebench", write(tmp_path / "l.jsonl", [row]))
    assert task.prompt.endswith('"""\n' + starter) and task.prefix == starter
    assert task.tests.pairs == (([4], 8), ([4], 8))
    scope: dict = {}
    exec(task.program("return 2 * x\n").source, scope)
    assert scope["ra3_entry_point"](4) == 8


def test_codeforces_rows_carry_their_limits_and_say_when_they_need_a_checker(tmp_path):
    row = ROWS["codeforces"]
    special = {**row, "id": "1/B", "generated_checker": "import sys"}
    contests = {
        "name": "1_C", "description": "Double it.", "time_limit": {"seconds": 1, "nanos": 500000000},
        "memory_limit_bytes": 256000000, "public_tests": {"input": ["1\n"], "output": ["2\n"]},
        "private_tests": {"input": [], "output": []}, "generated_tests": {"input": ["2\n"], "output": ["4\n"]},
    }  # fmt: skip
    tasks = load_tasks("codeforces", write(tmp_path / "c.jsonl", [row, special, contests]))
    assert list(tasks.excluded) == ["1/B"]
    assert (tasks[0].limits.cpu_seconds, tasks[0].limits.memory_mb) == (5.0, 1024)
    assert (tasks[1].limits.cpu_seconds, tasks[1].limits.memory_mb) == (2.0, 512), "never below the defaults"
    assert tasks[1].tests.cases == (("1\n", "2\n"), ("2\n", "4\n"))


def test_training_sets_in_all_their_columns(tmp_path):
    columns = json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]})
    rows = [
        ROWS["rlvr"],
        {"query_id": "q1", "prompt": "Double it.", "input_output": columns},
        {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Double it."}],
         "reward_model": {"ground_truth": columns}},
        {"problem": "Double it.", "verification_info": json.dumps({"language": "python", "test_cases": CASES})},
    ]  # fmt: skip
    tasks = load_tasks("rlvr", write(tmp_path / "r.jsonl", rows))
    assert [task.task_id for task in tasks] == ["row1", "q1", "row3", "row4"]
    assert all(task.tests == Stdin((("1\n", "2\n"),)) and "Double it." in task.prompt for task in tasks)
    assert tasks[0].canonical == "print(2 * int(input()))"
    called = {"problem": "Write f.", "tests": {"inputs": [[1]], "outputs": [[2]], "fn_name": "f"}}
    (task,) = load_tasks("rlvr", write(tmp_path / "r.jsonl", [called]))
    assert task.tests.pairs == (([1], [[2], 2]),)


def test_packed_json_and_parquet(tmp_path):
    row = {"task_id": 1, "text": "Add.", "code": "def f(): return 1", "test_list": ["assert f() == 1"]}
    (tmp_path / "m.json").write_text(json.dumps([row]))
    (tmp_path / "m.json.gz").write_bytes(gzip.compress(json.dumps([row]).encode()))
    whole = [load_tasks("mbpp", tmp_path / name, sha256="any") for name in ("m.json", "m.json.gz")]
    assert whole[0].hash == whole[1].hash
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed; parquet files need it")
    import pyarrow

    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "m.parquet")
    assert load_tasks("mbpp", tmp_path / "m.parquet", sha256="any").hash == whole[0].hash


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "m.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="pip install pyarrow"):
        load_tasks("rlvr", tmp_path / "m.parquet")


def test_pipelines_and_own_ship():
    tasks = load_tasks("pipelines")
    assert (tasks.split, len(tasks), tasks.data.release) == ("test", 300, "shipped with ra3_lab")
    assert tasks[0].program("    return 1\n").source == tasks[0].prompt + "    return 1\n"
    assert len(load_tasks("own")) == 9


# --- what is not right --------------------------------------------------------------------------------


def test_a_file_with_another_hash(benchmarks_dir, tmp_path):
    original = gzip.decompress((benchmarks_dir / FILES["humaneval"][0]).read_bytes())
    plain = tmp_path / "HumanEval.jsonl"
    plain.write_bytes(original)
    assert load_tasks("humaneval", plain).data.release, "unpacked it is the same data"
    plain.write_bytes(original.replace(b"0.95) == True", b"0.95) == False", 1))
    with pytest.raises(ValueError, match=r"which is no release of 'humaneval' known here.*no score on 'humaneval'"):
        load_tasks("humaneval", plain)
    changed = load_tasks("humaneval", plain, sha256="any")
    assert changed.data.release == "" and len(changed) == 164
    assert len(load_tasks("humaneval", plain, sha256=changed.data.sha256[:12])) == 164
    with pytest.raises(ValueError, match=r"has sha256 [0-9a-f]{64}, not 0123: it is another file, or it was changed"):
        load_tasks("humaneval", plain, sha256="0123")


@pytest.mark.parametrize(
    ("name", "file"), [("pipelines", "pipelines/validation.jsonl"), ("own", "tasks/examples.jsonl")]
)
def test_a_wanted_hash_counts_for_every_format(name, file):
    path = data_dir() / file
    assert load_tasks(name, path, sha256=load_tasks(name, path).data.sha256[:12])
    with pytest.raises(ValueError, match=r"has sha256 [0-9a-f]{64}, not 0123"):
        load_tasks(name, path, sha256="0123")
    with pytest.raises(ValueError, match="sha256 0123 without a file"):
        load_tasks(name, sha256="0123")
    with pytest.raises(ValueError, match="has no splits: leave the split out"):
        load_tasks(name, path, split="validation")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", '{"task_id": 1}\n{', r"x\.jsonl:2 is not JSON"),
        ("x.jsonl", "", r"x\.jsonl holds no row"),
        ("x.jsonl", "[1]", r"x\.jsonl:1: it is no row of 'mbpp'"),
        ("x.jsonl", '{"task_id": 1, "code": "x = 1"}', r"x\.jsonl:1: it is no row of 'mbpp': test_list is missing"),
        ("x.jsonl", '{"task_id": 1, "code": "x = 1", "test_list": [], "text": "t"}', "a test_list with at least one"),
        ("x.jsonl", '{"task_id": 1, "code": "x =", "test_list": ["x"], "text": "t"}', "are not Python"),
        ("x.json", '{"task_id": 1}', "holds dict; a list of rows is needed"),
        ("x.json", "{", r"a file of one row a line is named \.jsonl"),
        ("x.jsonl.gz", "no gzip", "is no readable gzip file"),
        ("x.jsonl", "\udcff", "is not UTF-8"),
    ],
)
def test_files_that_cannot_be_read(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message):
        load_tasks("mbpp", path, sha256="any")


def test_rows_that_cannot_be_tasks(tmp_path):
    good = {"task_id": "1", "prompt": "def f():\n", "canonical_solution": "    pass\n", "entry_point": "f"}
    for change, message in [
        ({"test": "def check("}, "its prompt or its test is not Python"),
        ({"test": 3}, "r.jsonl:1: "),
    ]:
        with pytest.raises(ValueError, match=message):
            load_tasks("humaneval", write(tmp_path / "r.jsonl", [{**good, **change}]), sha256="any")
    with pytest.raises(ValueError, match="neither base_input and plus_input nor a test"):
        load_tasks("humaneval+", write(tmp_path / "r.jsonl", [good]), sha256="any")
    with pytest.raises(ValueError, match=r"'1' stands there 2 times"):
        twice = {**good, "test": "def check(c):\n    assert c() is None\n"}
        load_tasks("humaneval", write(tmp_path / "r.jsonl", [twice, twice]), sha256="any")
    with pytest.raises(ValueError, match="no task is left to judge: the problem is interactive"):
        row = {**ROWS["codeforces"], "interaction_format": "ask"}
        load_tasks("codeforces", write(tmp_path / "r.jsonl", [row]))
    with pytest.raises(ValueError, match="needs tests: one of tests, input_output"):
        load_tasks("rlvr", write(tmp_path / "r.jsonl", [{"problem": "x"}]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("humanevil",), f"benchmark 'humanevil' is unknown: use one of {', '.join(NAMES)}".replace("+", r"\+")),
        (("mbpp", "x.jsonl", "tset"), "split 'tset' of 'mbpp' is unknown: use prompt, test"),
        (("humaneval", "x.jsonl", "test"), "from a file has no splits"),
        (("pipelines", None, "tset"), "split 'tset' of 'pipelines' is unknown: use expert"),
        (("own", None, "test"), "'own' has no splits"),
        (("rlvr",), "'rlvr' has no fixed place on the hub: give its data file"),
    ],
)
def test_names_and_splits_that_are_not_there(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_tasks(*arguments)


def test_a_missing_file(tmp_path):
    for name in ("humaneval", "own", "pipelines"):
        with pytest.raises(FileNotFoundError, match="is no file"):
            load_tasks(name, tmp_path / "nowhere.jsonl")


# --- the hub ------------------------------------------------------------------------------------------


def test_the_hub_gives_the_same_tasks_as_the_file(monkeypatch, tmp_path):
    import huggingface_hub

    rows = {f"test{n}.jsonl": {**ROWS["livecodebench"], "question_id": f"q{n}"} for n in (1, 2)}

    class Api:
        def dataset_info(self, repository):
            siblings = [type("File", (), {"rfilename": name}) for name in ("README.md", *rows)]
            return type("Info", (), {"sha": "5a1e", "siblings": siblings})

    def download(repository, file, repo_type, revision):
        assert (repo_type, revision) == ("dataset", "5a1e")
        return str(write(tmp_path / file, [rows[file]]))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    tasks = load_tasks("livecodebench", split="test2")
    assert [task.task_id for task in tasks] == ["q2"] and tasks.data.release == "hub revision 5a1e"
    from_file = load_tasks("livecodebench", tmp_path / "test2.jsonl")
    assert [replace(task, source="") for task in tasks] == [replace(task, source="") for task in from_file]
    assert len(load_tasks("livecodebench", split="test*")) == 2
    with pytest.raises(ValueError, match=r"has no file v9\.jsonl"):
        load_tasks("livecodebench", split="v9")


@pytest.mark.parametrize("kind", [ConnectionError, RuntimeError])  # the hub's client has had errors of either kind
def test_no_network(kind, monkeypatch):
    import huggingface_hub

    class Api:
        def dataset_info(self, repository):
            raise kind("no route")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    with pytest.raises(ValueError, match=r"could not be fetched from the hub.*Without a network give the data file"):
        load_tasks("humaneval")
