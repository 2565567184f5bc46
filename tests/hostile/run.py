"""The hostile programs against one isolation, without pytest: what earned a reward, disturbed the next or was left.

    python -m hostile.run ISOLATION     in tests/, with ra3_lab importable: as any user, with any Python

prints one line of JSON, `{"uid", "programs", "statuses", "rewarded", "disturbed", "reached", "failed", "left"}`; the
last five are empty where the isolation keeps its promises ("failed": honest programs that earned nothing).
test_sandbox_hostile.py runs the same in its own process.
"""

import collections
import contextlib
import glob
import json
import os
import secrets
import socket
import sys
import tempfile
import time

from hostile.attacks import CATEGORIES
from hostile.honest import ASSERTS, CALLS, LINES, STDIN, STDIN_ANSWER
from ra3_lab.sandbox import Asserts, Calls, Judge, Limits, Program, Stdin
from ra3_lab.sandbox import worker as worker_module

LIMITS = Limits(cpu_seconds=0.3, memory_mb=256, output_bytes=100_000, scratch_mb=8)
HONEST = Limits(memory_mb=512, scratch_mb=8)
PAIRS = Calls("f", [[[3], 6], [[5], 10]])
TEXT = Asserts("# tests_mark\nassert f(3) == 6, 'tests_mark'\nassert f(5) == 10", "f")
BOTH = ("early exit", "equality", "builtins", "reading tests", "forging", "results")
SENTINEL = Program("def f(x): return 2 * x", PAIRS)
ESCAPE = f"ra3_escape_{os.getpid()}"
"""What hostile programs name the files that they try to leave."""


@contextlib.contextmanager
def bait():
    """What the attacks are after: (words to put into the programs, listeners). A secret is in the environment."""
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        name = f"ra3-attack-{secrets.token_hex(6)}"
        unix.bind("\0" + name)
        for listener in (tcp, unix):
            listener.listen(8)
            listener.setblocking(False)
        os.environ["RA3_SECRET"] = "secret"
        words = {
            "ESCAPE": ESCAPE,
            "TRAINER": str(os.getpid()),
            "PORT": str(tcp.getsockname()[1]),
            "ABSTRACT": name,
            "JUDGE": repr(worker_module.__file__),
            "PREFIX": repr(sys.base_prefix),
            "PYTHON": repr(sys.executable),
            "NR_VFORK": "58" if os.uname().machine == "x86_64" else "-1",
        }
        yield words, (tcp, unix)
        del os.environ["RA3_SECRET"]


def prepared(source, words):
    """An attack with the words of the bait filled in; HERE is the current folder."""
    here = os.getcwd()
    source = source.replace("'HERE/", f"'{here}/").replace("b'HERE/", f"b'{here}/")
    for word, text in words.items():
        source = source.replace(word, text)
    return source.replace("HERE", repr(here))


def attack(judge, categories, words, listeners):
    """Run the categories, an honest program after each attack; the report without "left"."""
    names, programs = [], []
    for category in categories:
        for name, source in CATEGORIES[category].items():
            for tests in (PAIRS, TEXT) if category in BOTH else (PAIRS,):
                names.append(f"{category}: {name} ({type(tests).__name__})")
                programs += [Program(prepared(source, words), tests), SENTINEL]
    verdicts = judge.batch(programs, LIMITS)
    attacks, next_ones = verdicts[::2], verdicts[1::2]
    reached = []
    for listener in listeners:
        with contextlib.suppress(BlockingIOError):
            listener.accept()
            reached.append(str(listener.family))
    return {
        "programs": len(attacks),
        "statuses": dict(collections.Counter(verdict.status for verdict in attacks)),
        "rewarded": [
            (n, v.status) for n, v in zip(names, attacks, strict=True) if v.passed or v.status == "no_verdict"
        ],
        "disturbed": [(n, v.detail) for n, v in zip(names, next_ones, strict=True) if not v.passed],
        "reached": reached,
    }


def fail_honestly(judge):
    """Honest programs that do not pass, with their verdicts."""
    programs = {f"calls: {name}": Program(source, Calls("f", pairs)) for name, (source, pairs) in CALLS.items()}
    programs |= {f"asserts: {name}": Program(source, Asserts(code, "f")) for name, (source, code) in ASSERTS.items()}
    cases = Stdin([(LINES, STDIN_ANSWER)])
    programs |= {f"stdin: {name}": Program(source, cases) for name, source in STDIN.items()}
    verdicts = judge.batch(list(programs.values()), HONEST)
    return [(name, v.status, v.detail) for name, v in zip(programs, verdicts, strict=True) if not v.passed]


def processes(owner=None):
    """Ids of the sandbox's processes that work for a trainer, by default this process."""
    mark, found = b"# for %d\0" % (owner or os.getpid()), set()
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                if mark in file.read():
                    found.add(int(path.split("/")[2]))
        except OSError:
            continue
    return found


def escaped():
    """Files that a program has left outside its scratch folder."""
    places = ("/tmp", "/var/tmp", "/dev/shm", os.getcwd())
    return [
        os.path.join(place, name)
        for place in places
        if os.path.isdir(place)
        for name in _names(place)
        if ESCAPE in name
    ]


def _names(folder):
    with contextlib.suppress(OSError):
        return os.listdir(folder)
    return []


def main():
    """All categories in the isolation that the command names, from an empty folder of its own."""
    with tempfile.TemporaryDirectory(prefix="hostile_") as folder:
        os.chdir(folder)
        temporary = os.path.join(folder, "tmp")
        os.mkdir(temporary)
        os.chmod(folder, 0o711)
        os.chmod(temporary, 0o711)
        tempfile.tempdir = os.environ["TMPDIR"] = temporary
        with bait() as (words, listeners):
            with Judge(2, sys.argv[1]) as judge:
                report = attack(judge, CATEGORIES, words, listeners)
                report["failed"] = fail_honestly(judge)
            end = time.monotonic() + 10
            while processes() and time.monotonic() < end:
                time.sleep(0.05)
            report["left"] = [*os.listdir(temporary), *escaped(), *(f"process {pid}" for pid in processes())]
        report["uid"] = os.getuid()
        os.chdir("/")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
