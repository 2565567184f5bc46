"""Honest programs that careless judges fail. Each earns 1: (source, entry point and pairs | asserts | cases)."""

CALLS = {
    "heavy printing": ("def f(x):\n    print('passed ' * 500_000)\n    return x", [[["é\ud800"], "é\ud800"]]),
    "recursion": (
        "import sys\nsys.setrecursionlimit(10 ** 6)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)",
        [[[9_000], 9_000]],
    ),
    "deep recursion in a thread with a big stack": (
        (
            "import sys, threading\nsys.setrecursionlimit(10 ** 6)\nthreading.stack_size(1 << 27)\n"
            "def g(n): return 0 if n == 0 else 1 + g(n - 1)\ndef f(n):\n    out = []\n"
            "    t = threading.Thread(target=lambda: out.append(g(n)))\n    t.start()\n    t.join()\n"
            "    return out[0]"
        ),
        [[[50_000], 50_000]],
    ),
    "classes": (
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nclass Q(P):\n"
            "    def twice(self): return 2 * self.x\ndef f(x): return Q(x).twice()"
        ),
        [[[3], 6]],
    ),
    "generators": (
        "def g(n):\n    yield from range(n)\ndef f(n): return list(g(n)), sum(g(n))",
        [[[4], ([0, 1, 2, 3], 6)]],
    ),
    "asyncio": (
        (
            "import asyncio\nasync def g(x):\n    await asyncio.sleep(0.01)\n    return 2 * x\n"
            "async def h(x): return await asyncio.gather(*(g(x + i) for i in range(3)))\n"
            "def f(x): return asyncio.run(h(x))"
        ),
        [[[1], [2, 4, 6]]],
    ),
    "thread pool": (
        (
            "from concurrent.futures import ThreadPoolExecutor\ndef f(xs):\n"
            "    with ThreadPoolExecutor(8) as pool: return list(pool.map(abs, xs))"
        ),
        [[[[-1, 2, -3]], [1, 2, 3]]],
    ),
    "big integers": ("def f(n): return 7 ** n", [[[9000], 7**9000]]),
    "huge integers as text": (
        (
            "import sys\nsys.set_int_max_str_digits(0) if hasattr(sys, 'set_int_max_str_digits') else 0\n"
            "def f(n): return len(str(7 ** n))"
        ),
        [[[9000], 7606]],
    ),
    "unicode": (
        "import unicodedata\ndef f(s): return unicodedata.normalize('NFC', s) + '\U0001f600\\0'",
        [[["e\u0301"], "\xe9\U0001f600\0"]],
    ),
    "floats": (
        "def f(): return float('nan'), -0.0, 1e308 * 10, 0.1 + 0.2, None",
        [[[], (float("nan"), 0.0, float("inf"), 0.1 + 0.2, None)]],
    ),
    "dict subclasses": (
        "from collections import Counter, OrderedDict\ndef f(s): return Counter(s), OrderedDict(a=1)",
        [[["aab"], ({"b": 1, "a": 2}, {"a": 1})]],
    ),
    "named tuples": (
        "from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(x): return P(x, 1)",
        [[[3], (3, 1)]],
    ),
    "enumerations": ("from enum import IntEnum\nclass C(IntEnum):\n    A = 6\ndef f(x): return C.A", [[[3], 6]]),
    "sets, bytes, complex": (
        "def f(): return {1, 'a'}, frozenset([2]), b'\\xff\\0', 1 + 2j",
        [[[], ({"a", 1}, frozenset([2]), b"\xff\0", 1 + 2j)]],
    ),
    "arguments changed in place": ("def f(xs):\n    xs.append(1)\n    return xs", [[[[]], [1]], [[[]], [1]]]),
    "state between calls": ("seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)", [[[5], 1], [[5], 2]]),
    "scratch files": (
        (
            "import os, tempfile, shutil\ndef f():\n    open('note.txt', 'w').write('hi')\n"
            "    with tempfile.TemporaryDirectory() as d:\n        shutil.copy('note.txt', d)\n"
            "        os.makedirs(d + '/a/b')\n"
            "        return open(d + '/note.txt').read(), sorted(os.listdir(d))"
        ),
        [[[], ("hi", ["a", "note.txt"])]],
    ),
    "exceptions as values": (
        "def f(x):\n    try: return 1 // x\n    except ZeroDivisionError as e: return str(e)",
        [[[0], "integer division or modulo by zero"], [[1], 1]],
    ),
    "its own equality": (
        (
            "class S:\n    def __init__(s, x): s.x = x\n    def __eq__(s, o): return s.x == o.x\n"
            "def f(x): return S(x) == S(x)"
        ),
        [[[3], True]],
    ),
    "main guard": ("def f(x): return 2 * x\nif __name__ == '__main__':\n    1 / 0", [[[3], 6]]),
    "standard library": (
        (
            "import json, re, math, decimal, fractions, statistics, datetime, hashlib, sqlite3, zlib, "
            "bisect, heapq, string, random, calendar, csv, io, array, struct, pathlib\n"
            "def f(x): return json.loads(json.dumps({'a': math.comb(5, 2), 'b': "
            "str(decimal.Decimal('0.1') * x), 'c': str(fractions.Fraction(1, 3)), 'd': "
            "hashlib.md5(b'').hexdigest()[:4], 'e': datetime.date(2024, 2, 29).isoformat(), 'f': "
            "sqlite3.connect(':memory:').execute('select 6').fetchone()[0], 'g': calendar.isleap(2024)}))"
        ),
        [[[3], {"a": 10, "b": "0.3", "c": "1/3", "d": "d41d", "e": "2024-02-29", "f": 6, "g": True}]],
    ),
    "slow but inside the limit": (
        (
            "import time\ndef f(x):\n    end = time.process_time() + 0.25\n"
            "    while time.process_time() < end: pass\n    return 2 * x"
        ),
        [[[3], 6]],
    ),
    "sleeping inside the limit": ("import time\ndef f(x):\n    time.sleep(0.4)\n    return 2 * x", [[[3], 6]]),
    "much memory inside the limit": ("def f(x): return len(bytearray(200 << 20)) >> 20", [[[3], 200]]),
    "signals of its own": (
        (
            "import signal, time\ndef f(x):\n    hit = []\n"
            "    signal.signal(signal.SIGALRM, lambda *a: hit.append(1))\n"
            "    signal.setitimer(signal.ITIMER_REAL, 0.05)\n    time.sleep(0.2)\n    return hit"
        ),
        [[[3], [1]]],
    ),
    "a lambda as the function": ("f = lambda x: 2 * x", [[[3], 6]]),
    "functools": (
        "import functools\n@functools.lru_cache(None)\ndef f(n): return n if n < 2 else f(n - 1) + f(n - 2)",
        [[[200], 280571172992510140037611932413038677189525]],
    ),
    "warnings and stderr": (
        (
            "import sys, warnings\ndef f(x):\n    warnings.warn('odd')\n    print('odd', file=sys.stderr)\n"
            "    return '\\d' + str(x)"
        ),
        [[[3], "\\d3"]],
    ),
    "processors and random numbers": (
        (
            "import os, random, secrets\n"
            "def f(x): return os.cpu_count() >= 1 and len(os.urandom(4)) == 4 and secrets.randbelow(1) "
            "== 0 and 0 <= random.random() < 1"
        ),
        [[[3], True]],
    ),
}
"""name -> source, pairs for `f`."""

ASSERTS = {
    "check(candidate)": (
        "def f(x): return 2 * x",
        "def check(candidate):\n    assert candidate(3) == 6\n    assert candidate('a') == 'aa'\ncheck(f)",
    ),
    "helpers": ("def helper(x): return x\ndef f(x): return helper(x) * 2", "assert f(helper(3)) == 6"),
    "heavy printing": ("def f(x):\n    print('x' * 10 ** 6)\n    return x", "assert f(3) == 3"),
    "large arguments and results": ("def f(xs): return sorted(xs)", "xs = list(range(5000))\nassert f(xs[::-1]) == xs"),
    "tolerance": (
        "def f(x): return x / 3",
        "import math\nassert math.isclose(f(1), 0.333333, rel_tol=1e-3)\nassert abs(f(2) - 0.6667) < 1e-3",
    ),
    "dictionary order": ("def f(d): return list(d)", "assert f({'b': 1, 'a': 2}) == ['b', 'a']"),
    "keyword arguments": ("def f(x, *, y=1): return x * y", "assert f(3, y=2) == 6 and f(x=6) == 6"),
    "types as arguments": (
        "def f(xs, kind): return [x for x in xs if isinstance(x, kind)]",
        "assert f([1, 'a', 2.0], str) == ['a']",
    ),
}
"""name -> source, test text for `f`."""

LINES = "3\n1 2 3\nlast line"
STDIN = {
    "input": "n = int(input())\nprint(n, input(), input(), sep='|')",
    "sys.stdin": "import sys\nlines = [line.rstrip('\\n') for line in sys.stdin]\nprint('|'.join(lines))",
    "readline": "import sys\nr = sys.stdin.readline\nprint('|'.join(r().rstrip('\\n') for _ in range(3)))",
    "buffer.readline": (
        "import sys\nr = sys.stdin.buffer.readline\nprint('|'.join(r().decode().rstrip('\\n') for _ in range(3)))"
    ),
    "buffer.read": "import sys\nprint('|'.join(sys.stdin.buffer.read().decode().split('\\n')))",
    "read and split": "import sys\nprint('|'.join(sys.stdin.read().split('\\n')))",
    "readlines": "import sys\nprint('|'.join(x.strip() for x in sys.stdin.readlines()))",
    "open(0)": "print('|'.join(open(0).read().split('\\n')))",
    "/dev/stdin": "print('|'.join(open('/dev/stdin').read().split('\\n')))",
    "os.read": "import os\nprint('|'.join(os.read(0, 10 ** 6).decode().split('\\n')))",
    "io.BytesIO": (
        "import io, os\ninput = io.BytesIO(os.read(0, os.fstat(0).st_size)).readline\n"
        "print('|'.join(input().decode().rstrip('\\n') for _ in range(3)))"
    ),
    "fileinput": "import fileinput\nprint('|'.join(line.rstrip('\\n') for line in fileinput.input()))",
    "until EOFError": (
        "out = []\ntry:\n    while True: out.append(input())\nexcept EOFError: pass\nprint('|'.join(out))"
    ),
    "exit after printing": "print(input(), input(), input(), sep='|')\nexit()",
    "sys.exit(0)": "import sys\nprint(input(), input(), input(), sep='|')\nsys.exit(0)",
    "os._exit after flushing": (
        "import os, sys\nprint(input(), input(), input(), sep='|')\nsys.stdout.flush()\nos._exit(0)"
    ),
    "sys.stdout.write": "import sys\nsys.stdout.write('|'.join(sys.stdin.read().split('\\n')) + '\\n')",
    "os.write": "import os, sys\nos.write(1, '|'.join(sys.stdin.read().split('\\n')).encode())",
    "print at exit": "import atexit, sys\natexit.register(print, '|'.join(sys.stdin.read().split('\\n')))",
    "main guard": "def main(): print(input(), input(), input(), sep='|')\nif __name__ == '__main__': main()",
    "a thread with a big stack": (
        "import sys, threading\nsys.setrecursionlimit(10 ** 6)\nthreading.stack_size(1 << 27)\n"
        "def main(): print(input(), input(), input(), sep='|')\nthreading.Thread(target=main).start()"
    ),
    "unused input": "print('3|1 2 3|last line')",
    "stdin replaced": (
        "import sys, io\nsys.stdin = io.StringIO(sys.stdin.read())\nprint(input(), input(), input(), sep='|')"
    ),
    "no newline at the end": "print(input(), input(), input(), sep='|', end='')",
    "white space": "print(input(), input(), input(), sep='|', end=' \\n\\n')",
}
"""name -> source that joins LINES by "|"."""
STDIN_ANSWER = "3|1 2 3|last line\n"
