"""The builder's parts, each by itself: cutting out, likeness, licences, benchmark problems."""

from __future__ import annotations

import ast
import gzip
import json
import random
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from ra3_lab.corpus.contamination import Benchmarks, benchmark_files, quoted_tokens
from ra3_lab.corpus.files import fingerprint, labels, walk
from ra3_lab.corpus.functions import functions
from ra3_lab.corpus.licences import licence_of, named, tidy
from ra3_lab.corpus.likeness import bands, code_tokens, exact_key, hashes, ngrams, signature, similarity, word_tokens
from ra3_lab.trace.python import same_tree, syntax_tree


def cut(code: str, docstrings: bool = True):
    return list(functions(code, ast.parse(code), docstrings))


# --- functions ----------------------------------------------------------------------------------------


def test_decorators_async_classes_and_branches():
    code = (
        "@a\n@b(1,\n   2)\nasync def f():\n    def inner():\n        pass\n    return inner\n"
        "class A:\n    class B:\n        @staticmethod\n        def g(): return 1; x = 2  # why\n"
        "try:\n    def h():\n        return 3\nexcept E:\n    def i():\n        return 4\nelse:\n    def j(): pass\n"
    )
    found = cut(code)
    assert [(f.name, f.line) for f in found] == [("f", 1), ("A.B.g", 10), ("h", 13), ("i", 16), ("j", 19)]
    assert found[0].code == "".join(code.splitlines(keepends=True)[:7])
    assert found[1].code == "@staticmethod\ndef g(): return 1; x = 2  # why\n"
    assert [f.stub for f in found] == [False, False, False, False, True]


def test_functions_in_match_and_except_star():
    code = "match x:\n    case 1:\n        def f(): return 1\n"
    code += "    case _:\n        class A:\n            def g(self): return 2\n"
    assert [(f.name, f.code) for f in cut(code)] == [
        ("f", "def f(): return 1\n"),
        ("A.g", "def g(self): return 2\n"),
    ]
    if sys.version_info >= (3, 11):
        code = "try:\n    def f(): return 1\nexcept* E:\n    def g(): return 2\nfinally:\n    def h(): return 3\n"
        assert [f.name for f in cut(code)] == ["f", "g", "h"]


def test_strings_keep_their_text_whatever_moves():
    code = (
        "class A:\r\n\tdef f(self):\r\n\t\tr'''Doc\r\n\r\n\t\t\\d more\r\n'''\r\n\t\tx = '''\r\n\t\tdeep\r\nflat'''\r\n"
        "# left\r\n\t\ty = [\r\n1,\r\n\t\t'a\\\r\n\t\tb']\r\n\t\t\f\r\n\t\treturn x\r\n"
    )
    (found,) = cut(code)
    assert found.code == (
        "def f(self):\n\tr'''Doc\n\n\t\\d more\n'''\n\tx = '''\n\t\tdeep\nflat'''\n# left\n"
        "\ty = [\n1,\n\t'a\\\n\t\tb']\n\t\f\n\treturn x\n"
    )
    assert found.docstring == "Doc\n\n\\d more"


def test_a_docstring_at_the_first_column_is_no_obstacle():
    code = 'class A:\n    def f(self):\n        """Doc\nat the margin\n        """\n        return 1\n'
    (found,) = cut(code)
    assert found.code == 'def f(self):\n    """Doc\nat the margin\n    """\n    return 1\n'
    (without,) = cut(code, docstrings=False)
    assert without.code == "def f(self):\n    return 1\n"


@pytest.mark.parametrize(
    ("code", "without"),
    [
        ('def f():\n    """Doc"""  # noqa\n\n\n    return 1\n', "def f():\n    return 1\n"),
        ('def f():\n    """Doc"""; return 1\n', None),
        ('def f(): "Doc"; return 1\n', None),
        ('def f(a,\n      r=1): "Doc"; return 1\n', None),
        ('def f(a,\n  b): return """\n  x"""\n', None),
        ('def f():\n    ("Do"\n     "c")\n    @g\n    def h(): pass\n', "def f():\n    @g\n    def h(): pass\n"),
        ('def f():\n    """Only this."""\n', None),
    ],
)  # fmt: skip
def test_taking_a_docstring_out(code, without):
    (found,) = cut(code, docstrings=False)
    assert found.code == (without or code)
    ast.parse(found.code)


def test_standard_library_functions_stay_the_programs_they_are():
    root, checked = Path(sysconfig.get_paths()["stdlib"]), 0
    paths = [p for p in sorted(root.glob("*.py")) + sorted((root / "email").glob("*.py")) if p.stat().st_size < 60_000]
    for path in random.Random(0).sample(paths, 40):
        text = path.read_text("utf-8")
        tree = syntax_tree(text)
        nodes = {
            min([node.lineno, *(d.lineno for d in node.decorator_list)]): node
            for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        }
        for keep in (True, False):
            for found in functions(text, tree, keep):
                (moved,), node = syntax_tree(found.code).body, nodes[found.line]
                assert isinstance(moved, (ast.FunctionDef, ast.AsyncFunctionDef))
                bodies = [list(part.body) for part in (moved, node)]
                if ast.get_docstring(node) is not None:
                    assert not keep or (ast.get_docstring(moved) or "").strip() == found.docstring
                    bodies = [bodies[0][ast.get_docstring(moved) is not None :], bodies[1][1:]]
                assert len(bodies[0]) == len(bodies[1]) and all(map(same_tree, *bodies)), f"{path}:{found.line}"
                assert same_tree(moved.args, node.args)
                checked += 1
    assert checked > 1000


# --- likeness -----------------------------------------------------------------------------------------


def test_layout_and_comments_make_no_difference_and_everything_else_does():
    code = "def f(x):\n    return x + 'a # b'\n"
    for other in ("def f( x ) :  # c\n  return x+'a # b'", "def f(x):\r\n\r\n# c\n\treturn x + \\\n 'a # b'\n"):
        assert exact_key(code_tokens(code)) == exact_key(code_tokens(other))
    for other in (code.replace("+", "-"), code.replace("# b", "b"), code.replace("x", "y")):
        assert exact_key(code_tokens(code)) != exact_key(code_tokens(other))


F_STRINGS = [
    *("f''", "rf'\\\\{x}'", "F'{{'", "f'{x!r:>{w}}'", "f'{d[1:2]}{(lambda: 1)()}'", "f'{x:}}}'", "f'a\\'b'"),
    *("f'''{x\n:{w}\n} ' {y}'''", "f'\\{x}'", "f'\\N{DIGIT ONE}'", "f'{x:%H #}'", "f'{ {1: 2}[1] }'", "f'{\"}\"}'"),
    # Python 3.12 on
    *("f'{d['# k']}'", "f'{f'{f'{1}'}' + '}'}'", "f'{x  # ' }\n}'", "f'{x:{d['# w']}}'", "f'{'\\n'.join(a)}'"),
    *("f'{\"'\"}'", "f'{x!r:{'>'}{w}} # '", "f'''{'''# a'''}'''", "t'{d['# k']}'"),
]


@pytest.mark.parametrize("text", F_STRINGS)
def test_an_f_string_is_one_token_whatever_its_fields_hold(text):
    code = f"x = {text} + one('y')  # f'{{\nz = f(b'') or {text}\n"
    expected = ["x", "=", text, "+", "one", "(", "'y'", ")", "z", "=", "f", "(", "b''", ")", "or", text]
    assert code_tokens(code) == expected
    assert exact_key(code_tokens(code)) != exact_key(code_tokens(code.replace("one", "two")))


@pytest.mark.parametrize("text", ["f'{x", "f'a\n", "f'{x)}'", "it's f\"{", "f'''{x:"])
def test_an_f_string_without_an_end_hides_no_code(text):
    assert code_tokens(f"{text}\nreturn 1")[-2:] == ["return", "1"]


def test_similarity_is_estimated_within_its_error_and_candidates_are_found():
    rng, errors, found = random.Random(0), [], {0.9: 0, 0.3: 0}
    for share in found:
        for _ in range(150):
            words = [str(rng.random()) for _ in range(400)]
            common = round(2 * 200 * share / (1 + share))  # Jaccard = common / (2 * 200 - common)
            a, b = (ngrams(hashes(part), 1) for part in (words[:200], words[200 - common : 400 - common]))
            true = len(np.intersect1d(a, b)) / len(np.union1d(a, b))
            errors.append(similarity(signature(a), signature(b)) - true)
            found[share] += bool(set(bands(signature(a))) & set(bands(signature(b))))
    assert abs(np.mean(errors)) < 0.02 and np.std(errors) < 0.065
    assert found[0.9] >= 149 and found[0.3] < 30  # expected: all, and 1 - (1 - .3^5)^12 = 3 %


def test_hashes_are_those_of_every_process():
    grams = ngrams(hashes(["a", "b", "c"]), 2)
    assert hashes(["def"]).tolist() == [8631541059365646922]
    assert grams.tolist() == [607809312720278169, 8582050934645676003]
    assert signature(grams)[:3].tolist() == [3105223007, 1723243970, 3313254766]
    assert bands(signature(grams))[0] == -8869678195799249888


# --- licences -----------------------------------------------------------------------------------------

MIT = "Permission is hereby granted, free of charge"
ISC = "Permission to use, copy, modify, and/or distribute this software"
BSD = "Redistribution and use in source and binary forms, with or without modification, are permitted"
AS_IS = 'THE SOFTWARE IS PROVIDED "AS IS"'


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Apache License\n  Version 2.0, January 2004", "Apache-2.0"),
        ("Redistribution and use in source and binary forms ...", "BSD-2-Clause"),
        ("Redistribution and use in source and binary forms ... Neither the name of", "BSD-3-Clause"),
        ("GNU LESSER GENERAL PUBLIC LICENSE", "LGPL"),
        ("GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007", "GPL-3.0"),
        ("A. HISTORY OF THE SOFTWARE ... PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2", "PSF-2.0"),
        ("All rights reserved.", "unrecognised"),
        (f"BSD Zero Clause License\n\n{ISC} for any purpose with or without fee is hereby granted.\n{AS_IS}", "0BSD"),
        (f"{ISC} for any purpose with or without fee is hereby granted.\n\n{AS_IS}", "0BSD"),
        (f"{ISC} for any purpose with or without fee is hereby granted,\nprovided that the above {AS_IS}", "ISC"),
        (f"{ISC} and its documentation for any purpose and without fee is hereby granted, provided", "HPND"),
        (f"{ISC} and its documentation for any purpose, without fee, and without a written agreement", "PostgreSQL"),
        (f"{BSD} ... 3. All advertising materials mentioning features ... 4. Neither the name of", "BSD-4-Clause"),
        (f"MIT No Attribution\n\n{MIT}, to any person obtaining a copy", "MIT-0"),
        (f"{MIT}, to any person ... to whom the Software is furnished to do so.\n\n{AS_IS}", "MIT-0"),
        (f"{MIT}, to any person ... furnished to do so, subject to the following conditions: {AS_IS}", "MIT"),
        (f"MIT License\n\n{MIT}\n{'x' * 500}\nzlib:\nMIT No Attribution\n\n{MIT}", "MIT"),
        (f"{ISC} for any purpose ... granted, provided {AS_IS} {'x' * 300} {ISC} is hereby granted.", "ISC"),
    ],
)
def test_licence_texts_are_named(text, name):
    assert named(text) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Apache 2.0 License", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("The MIT License", "MIT"),
        ("new BSD", "BSD"),
        ("3-Clause BSD License", "BSD-3-Clause"),
        ("GNU Lesser General Public License v3 (LGPLv3)", "LGPL-3.0"),
        ("MIT AND PSF-2.0", "MIT AND PSF-2.0"),
        ("Dual License", "Dual License"),
    ],
)
def test_names_in_metadata_are_made_alike(text, name):
    assert tidy(text) == name


def test_the_nearest_place_that_says_it(tmp_path):
    site = tmp_path / "lib" / "site-packages"
    for name, text in {
        "pkg/__init__.py": "",
        "pkg/vendored/LICENSE.txt": "Permission is hereby granted, free of charge",
        "pkg/vendored/x/y.py": "",
        "pkg/licenses.py": "",
        "single.py": "",
        "space/one/a.py": "",
        "space/two/b.py": "",
        "stray/c.py": "",
        "pkg-1.0.dist-info/METADATA": "Name: pkg\nLicense-Expression: Apache-2.0\n\nText",
        "pkg-1.0.dist-info/RECORD": "pkg/__init__.py,,\npkg/vendored/x/y.py,,\n",
        "single-2.dist-info/METADATA": "Name: s\nClassifier: License :: OSI Approved :: MIT License\n",
        "single-2.dist-info/RECORD": "single.py,,\nspace/one/a.py,,\n",
        "other-3.dist-info/METADATA": "Name: o\nLicense: BSD\n",
        "other-3.dist-info/RECORD": "space/two/b.py,,\n",
        "other-3.dist-info/licenses/LICENSE": "Redistribution and use in source and binary forms",
    }.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)

    def of(name: str, root: Path = site, head: str = "") -> tuple[str, str]:
        return licence_of(site / name, root, head)

    assert of("pkg/__init__.py") == ("Apache-2.0", "metadata of pkg-1.0")
    assert of("pkg/__init__.py", root=site / "pkg") == ("Apache-2.0", "metadata of pkg-1.0")
    assert of("pkg/__init__.py", root=tmp_path) == ("Apache-2.0", "metadata of pkg-1.0")
    assert of("pkg/vendored/x/y.py") == ("MIT", "pkg/vendored/LICENSE.txt")
    assert of("single.py") == ("MIT", "metadata of single-2")
    assert of("space/one/a.py") == ("MIT", "metadata of single-2")
    assert of("space/two/b.py") == ("BSD-2-Clause", "metadata of other-3")
    assert of("stray/c.py") == ("none found", "")
    assert of("pkg/__init__.py", head="# SPDX-License-Identifier: MIT OR Apache-2.0\n") == (
        "MIT OR Apache-2.0",
        "SPDX line",
    )


def test_above_the_folder_only_as_far_as_the_project(tmp_path):
    (tmp_path / "LICENSE").write_text("Permission is hereby granted, free of charge")
    source = tmp_path / "project" / "src"
    source.mkdir(parents=True)
    assert licence_of(source / "a.py", source, "") == ("none found", "")
    other = tmp_path / "second" / "src"
    other.mkdir(parents=True)
    (tmp_path / "setup.py").write_text("")
    assert licence_of(other / "a.py", other, "") == ("MIT", "LICENSE")


# --- benchmark problems -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def known(benchmarks_dir) -> Benchmarks:
    return Benchmarks(benchmark_files(benchmarks_dir), n=8, share=0.3)


def test_every_benchmark_solution_is_found_again(known, benchmarks_dir):
    """As it stands; renamed throughout it would not be: that is what n-grams cannot see."""
    assert len(known.names) == 164 + 974 + 427 and known.too_short["code"] == 0
    rows = [json.loads(line) for line in (benchmarks_dir / "mbpp" / "mbpp.jsonl").read_text("utf-8").splitlines()]
    with gzip.open(benchmarks_dir / "humaneval" / "HumanEval.jsonl.gz", "rt", encoding="utf-8") as file:
        human = [json.loads(line) for line in file]
    texts = [(str(row["task_id"]), row["code"]) for row in rows]
    texts += [(row["task_id"], row["prompt"] + row["canonical_solution"]) for row in human]
    for item, code in texts:
        reformatted = code.replace("\r\n", "\n").replace("\n", "  # note\n", 1).replace("\t", "    ")
        tokens = code_tokens("".join(f.code for f in cut(code, docstrings=False)) or reformatted)
        assert item in {found.item for found in known.overlaps(hashes(tokens), hashes([]))}, item


QUOTES = {
    "docstring": ("For example:\n\n    {}", "return 1"),
    "doctest": ("Say so.\n\n>>> {doctest}", "return 1"),
    "string": ("Say so.", "return {whole!r}"),
    "f-string": ("Say so.", "return f{whole!r} + f'{{x}}'"),
    "lines": ("Say so.", "return '\\n'.join({lines!r})"),
    "sum": ("Say so.", "return {halves[0]!r} + {halves[1]!r}"),
    "inner docstring": ("Say so.", "def inner():\n        {whole!r}\n    return inner"),
}


@pytest.mark.parametrize(("docstring", "body"), QUOTES.values(), ids=QUOTES.keys())
def test_a_solution_that_is_quoted_is_found(docstring, body, tmp_path):
    code = "def near(a, limit):\n    for i, x in enumerate(a):\n        if abs(x - a[i - 1]) < limit:\n"
    code += "            return True\n    return False\n"
    (path := tmp_path / "b.jsonl").write_text(json.dumps({"task_id": 3, "text": "Quite other words.", "code": code}))
    lines = code.splitlines()
    body = body.format(whole=code, lines=lines, halves=(code[:50], code[50:]))
    docstring = docstring.format(code, doctest="\n... ".join(lines))
    looked = Benchmarks([path], 8, 0.3)
    found = looked.overlaps(
        hashes([]), hashes([]), hashes(quoted_tokens(docstring, ast.parse(f"def f(x):\n    {body}")))
    )
    assert [(o.item, o.side) for o in found] == [("3", "quoted")]
    assert not looked.overlaps(hashes([]), hashes([]), hashes(quoted_tokens("Say so.", ast.parse("x = 'True', 'a'"))))


def test_a_description_is_found_in_a_docstring_and_common_code_is_not(known):
    words = word_tokens("Note. Write a function to find the shared elements from the given two lists. Returns a tuple.")
    found = known.overlaps(hashes([]), hashes(words))
    assert found[0].side == "words" and found[0].share == 1.0 and found[0].item in ("2",)
    common = "def main(argv=None):\n    parser = argparse.ArgumentParser()\n    args = parser.parse_args(argv)\n"
    assert not known.overlaps(hashes(code_tokens(common)), hashes(word_tokens("Run the command line of this module.")))


def test_benchmarks_that_are_none(tmp_path):
    path = tmp_path / "b.jsonl"
    for text, message in (("{oops\n", r"b\.jsonl:1 is not JSON"), ("[1]", "JSON object"), ('{"a": 1}', "has none of")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            Benchmarks([path], 8, 0.3)
    with pytest.raises(ValueError, match="ngram=1"):
        Benchmarks([], 1, 0.3)


def test_benchmarks_of_the_same_file_name_are_told_apart(tmp_path):
    paths = [tmp_path / folder / "test.jsonl" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        path.write_text(
            json.dumps({"task_id": path.parent.name, "text": "", "code": f"def {path.parent.name}(): pass"})
        )
    found = Benchmarks(paths, 2, 0.3)
    assert len(set(found.hashes.values())) == 2
    assert found.names == [("test.jsonl", "a"), ("test.jsonl-2", "b")]


# --- files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("/a/src", "/b/src", "/c/src-2"), ["src", "src-2", "src-2-2"]),
        (("/c/src-2", "/a/src", "/b/src", "/d/src"), ["src-2", "src", "src-3", "src-4"]),
        (("/", "/root"), ["root", "root-2"]),
    ],
)
def test_no_two_folders_have_one_name(paths, names):
    assert labels([Path(path) for path in paths]) == names


def test_files_come_in_an_order_of_names_and_changes_are_noticed(tmp_path):
    for name in ("b.py", "a/z.py", "a.py", "a/__pycache__/y.py", "c.txt", ".git/d.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    assert [inside for _, inside, _ in walk([tmp_path])] == ["a/z.py", "a.py", "b.py"]
    assert [inside for _, inside, _ in walk([tmp_path], ("a/*",))] == ["a.py", "b.py"]
    count, before = fingerprint([tmp_path])
    assert count == 3 and fingerprint([tmp_path]) == (count, before)
    (tmp_path / "b.py").write_text("x = 12\n")
    assert fingerprint([tmp_path])[1] != before
