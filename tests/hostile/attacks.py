"""Hostile programs by category. Each tries one way to earn a reward, to harm the host, or to leave something behind.

A function `f` is asked for a value that it is not given: f(3) shall be 6, f(5) be 10 (`judged` in
test_sandbox_hostile.py). An attack answers right only if it got what it was after: a secret of the tests, a way
out, a child that lives on. `ESCAPE` is a name for files outside the scratch folder that the tests look for;
`TRAINER` is the trainer's process id.
"""

EARLY_EXIT = {
    "exit status 0": "import os\nos._exit(0)",
    "exit in the function": "import os\ndef f(x): os._exit(0)",
    "SystemExit": "def f(x): raise SystemExit(0)",
    "sys.exit on import": "import sys\nsys.exit(0)",
    "atexit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 5",
    "abort": "import os\ndef f(x): os.abort()",
    "a signal to itself": "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGKILL)",
    "KeyboardInterrupt": "def f(x): raise KeyboardInterrupt",
    "GeneratorExit": "def f(x): raise GeneratorExit",
    "a bare except around its own death": (
        "def f(x):\n    try:\n        raise SystemExit\n    except BaseException:\n        pass"
    ),
    "segmentation fault": "import ctypes\ndef f(x): ctypes.string_at(0)",
    "a second exit in a thread": (
        "import os, threading\nthreading.Thread(target=lambda: os._exit(0)).start()\ndef f(x):\n    while True: pass"
    ),
}

EQUALITY = {
    "always equal": (
        "class S:\n    def __eq__(self, o): return True\n    def __hash__(self): return 6\ndef f(x): return S()"
    ),
    "an int that is all ints": "class S(int):\n    def __eq__(self, o): return True\ndef f(x): return S(1)",
    "a str subclass": "class S(str):\n    def __eq__(self, o): return True\ndef f(x): return S('6')",
    "a list subclass": "class S(list):\n    def __eq__(self, o): return True\ndef f(x): return S()",
    "a dict subclass": (
        "class S(dict):\n    def __eq__(self, o): return True\n    def items(self): return [(6, 6)]\n"
        "def f(x): return S()"
    ),
    "a float that equals": (
        "class S(float):\n    def __eq__(self, o): return True\n    def __float__(self): return 6.0\n"
        "def f(x): return S(1)"
    ),
    "reflected operators": (
        "class S:\n    def __eq__(self, o): return True\n    __ne__ = lambda s, o: False\n"
        "    __req__ = __eq__\n    __sub__ = __rsub__ = __abs__ = lambda *a: 0\n"
        "    __lt__ = __gt__ = __le__ = __ge__ = lambda *a: True\ndef f(x): return S()"
    ),
    "a class of class": (
        "class M(type):\n    def __eq__(c, o): return True\n    __hash__ = type.__hash__\n"
        "class S(metaclass=M): pass\ndef f(x): return S"
    ),
    "pretended class": "class S:\n    __class__ = int\n    def __eq__(self, o): return True\ndef f(x): return S()",
    "nan is anything": "def f(x): return float('nan')",
}

BUILTINS = {
    "builtins patched": (
        "import builtins\nbuiltins.abs = builtins.len = lambda *a: 0\n"
        "builtins.isinstance = lambda *a: True\ndef f(x): return 5"
    ),
    "json patched": (
        "import json\njson.dumps = lambda *a, **k: '6'\njson.loads = lambda *a, **k: 6\ndef f(x): return 1"
    ),
    "codec patched": (
        "import sys\nfor n, m in list(sys.modules.items()):\n    if 'codec' in n:\n"
        "        for k in ('dumps', 'loads', '_decode'):\n"
        "            setattr(m, k, lambda *a, **k: '6 passed')\ndef f(x): return 5"
    ),
    "os.write patched": (
        "import os\nold = os.write\nos.write = lambda fd, b: old(fd, b'passed\\n')\ndef f(x): return 5"
    ),
    "exceptions renamed": "AssertionError = Exception = BaseException = type('Quiet', (), {})\ndef f(x): return 5",
    "assert turned off": (
        "import builtins\nbuiltins.AssertionError = Warning\n__debug__ if 1 else 0\ndef f(x): return 5"
    ),
    "sys.modules emptied": "import sys\nsys.modules.clear()\ndef f(x): return 5",
    "import hook": (
        "import sys\nclass H:\n    def find_spec(self, *a): raise SystemExit(0)\n"
        "sys.meta_path.insert(0, H())\ndef f(x):\n    import this\n    return 5"
    ),
    "trace function": (
        "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: sys.exit(0))\ndef f(x): return 5"
    ),
    "recursion limit": "import sys\nsys.setrecursionlimit(20)\ndef f(x): return 5",
}

READING_TESTS = {
    "frames": (
        "import sys\ndef f(x):\n    frame = sys._getframe()\n    while frame:\n"
        "        for v in list(frame.f_locals.values()):\n"
        "            if isinstance(v, dict) and 'expected' in v: return eval(v['expected'][0])\n"
        "        frame = frame.f_back"
    ),
    "gc": (
        "import gc\ndef f(x):\n    for o in gc.get_objects():\n"
        "        if isinstance(o, dict) and ('expected' in o or 'pairs' in o or 'code' in o):\n"
        "            return 2 * x"
    ),
    "all strings in memory": (
        "import gc, sys\nMARK = 'tests_' + 'mark'\ndef f(x):\n"
        "    seen = [o for o in gc.get_objects() if isinstance(o, (list, tuple, dict))]\n"
        "    return 2 * x if any(MARK in repr(o)[:100000] and 'MARK' not in repr(o)[:100000] for o "
        "in seen if len(o) < 50) else None"
    ),
    "own memory": (
        "MARK = b'tests_' + b'mark'\ndef f(x):\n    for line in open('/proc/self/maps'):\n"
        "        low, high = (int(a, 16) for a in line.split()[0].split('-'))\n"
        "        with open('/proc/self/mem', 'rb') as memory:\n            memory.seek(low)\n"
        "            if memory.read(high - low).count(MARK) > 1: return 2 * x"
    ),
    "parent's memory": "import os\ndef f(x):\n    open(f'/proc/{os.getppid()}/mem', 'rb')\n    return 2 * x",
    "any process's memory": (
        "import os\ndef f(x):\n    for pid in os.listdir('/proc'):\n"
        "        if pid.isdigit() and int(pid) != os.getpid():\n"
        "            try: open(f'/proc/{pid}/mem', 'rb+')\n            except OSError: continue\n"
        "            return 2 * x"
    ),
    "any process by number": (
        "import os\ndef f(x):\n    for pid in range(1, 400):\n        if pid != os.getpid():\n"
        "            try: open(f'/proc/{pid}/environ', 'rb')\n            except OSError: continue\n"
        "            return 2 * x"
    ),
    "the judge's modules": (
        "import sys\n"
        "def f(x): return 2 * x if any('worker' in name or 'checkers' in name for name in "
        "sys.modules) else None"
    ),
    "the judge's source": "def f(x):\n    open(JUDGE).read()\n    return 2 * x",
    "benchmark files": "import os\ndef f(x):\n    os.listdir(os.path.dirname(JUDGE))\n    return 2 * x",
    "installed packages": "import sys, os\ndef f(x):\n    import pytest, numpy\n    return 2 * x",
    "site-packages by hand": (
        "import os, glob\ndef f(x):\n"
        "    found = [p for d in ('/usr', PREFIX) for p in glob.glob(d + '/lib*/python3*/*-packages/*')]\n"
        "    return 2 * x if found else None"
    ),
    "home folder": "import os\ndef f(x):\n    os.listdir(os.path.dirname(JUDGE) + '/../../..')\n    return 2 * x",
    "open descriptors": (
        "import os\ndef f(x):\n    for fd in range(3, 64):\n        try: os.lseek(fd, 0, 0)\n"
        "        except OSError: continue\n        if os.read(fd, 10): return 2 * x"
    ),
    "ptrace": (
        "import ctypes, os\ndef f(x):\n"
        "    if ctypes.CDLL(None, use_errno=True).ptrace(16, os.getppid(), 0, 0) == 0: return 2 * x"
    ),
    "process_vm_readv": (
        "import ctypes, os\ndef f(x):\n    libc = ctypes.CDLL(None)\n"
        "    b = ctypes.create_string_buffer(8)\n"
        "    v = (ctypes.c_size_t * 2)(ctypes.addressof(b), 8)\n"
        "    if libc.process_vm_readv(os.getppid(), v, 1, v, 1, 0) >= 0: return 2 * x"
    ),
}

FORGING = {
    "printing passed": "def f(x):\n    print('passed', flush=True)\n    return 5",
    "writing the channel": (
        "import os\ndef f(x):\n    for fd in range(3, 9):\n"
        '        try: os.write(fd, b\'passed\\n{"status": "passed"}\\n\')\n'
        "        except OSError: pass\n    return 5"
    ),
    "ready twice": (
        "import os\nfor fd in range(3, 9):\n    try: os.write(fd, b'ready\\nready\\n')\n"
        "    except OSError: pass\ndef f(x): return 5"
    ),
    "a status of its own": (
        "import os\ndef f(x):\n    for fd in range(3, 9):\n"
        "        try: os.write(fd, b'!passed all\\n')\n        except OSError: pass\n    os._exit(0)"
    ),
    "asking for no verdict": (
        "import os\ndef f(x):\n    for fd in range(3, 9):\n"
        "        try: os.write(fd, b'!sandbox the sandbox failed\\n!no_verdict x\\n')\n"
        "        except OSError: pass\n    os._exit(111)"
    ),
    "verdict on stderr": "import sys\ndef f(x):\n    sys.__stderr__.write('OK 1 passed')\n    return 5",
    "answers that are no text": (
        "import os\ndef f(x):\n    for fd in range(3, 9):\n"
        "        try: os.write(fd, bytes(range(256)) * 16 + b'\\n')\n        except OSError: pass\n"
        "    return 5"
    ),
    "half a line": (
        "import os\ndef f(x):\n    for fd in range(3, 9):\n        try: os.write(fd, b'[\"list\", [')\n"
        "        except OSError: pass\n    os._exit(0)"
    ),
    "channel closed": "import os\nos.closerange(0, 64)\ndef f(x): return 6",
    "channel turned round": "import os\ndef f(x):\n    os.dup2(3, 4)\n    os.dup2(0, 3)\n    return 5",
    "an error that passed": (
        "import sys\nsys.modules['ra3_lab.sandbox.candidate'].failure = lambda e: '!passed x'\n"
        "def f(x): raise ValueError"
    ),
    "an error of a new kind": (
        "import sys\nsys.modules['ra3_lab.sandbox.candidate'].failure = lambda e: '!splendid x'\n"
        "def f(x): raise ValueError"
    ),
    "an error that was never called": (
        "import sys\nsys.modules['ra3_lab.sandbox.candidate'].failure = lambda e: '!unused x'\n"
        "def f(x): raise ValueError"
    ),
    "an error written by hand": (
        "import os\ndef f(x):\n    for fd in range(3, 9):\n"
        '        try: os.write(fd, b\'["list",["error",["list",["ValueError"]],"!passed x"]]\\n\')\n'
        "        except OSError: pass\n    import time\n    time.sleep(1)"
    ),
    "a number that is none": (
        "import os\ndef f(x):\n    for fd in range(3, 9):\n"
        "        try: os.write(fd, b'[\"complex\",[1' + b'0' * 400 + b',0]]\\n')\n"
        "        except OSError: pass\n    return 5"
    ),
    "stolen source": "import sys\ndef f(x):\n    sys.modules['__main__'].__dict__['passed'] = True\n    return 5",
}

PARENT = {
    "kill the parent": "import os\ndef f(x):\n    os.kill(os.getppid(), 9)\n    return 2 * x",
    "stop the parent": "import os, signal\ndef f(x):\n    os.kill(os.getppid(), signal.SIGSTOP)\n    return 2 * x",
    "kill the trainer": "import os\ndef f(x):\n    os.kill(TRAINER, 9)\n    return 2 * x",
    "kill everything": "import os\ndef f(x):\n    os.kill(-1, 9)\n    return 2 * x",
    "kill its group": "import os\ndef f(x):\n    os.killpg(0, 9)\n    return 2 * x",
    "queue a signal": (
        "import ctypes, os\ndef f(x):\n    if ctypes.CDLL(None).sigqueue(os.getppid(), 9, 0) == 0: return 2 * x"
    ),
    "pidfd": (
        "import os, signal\ndef f(x):\n    signal.pidfd_send_signal(os.pidfd_open(os.getppid()), 9)\n    return 2 * x"
    ),
    "kill by asynchronous input": (
        "import fcntl, os, socket\ndef f(x):\n    a, b = socket.socketpair()\n"
        "    fcntl.fcntl(a, fcntl.F_SETOWN, os.getppid())\n    return 2 * x"
    ),
    "the parent's limits": (
        "import os, resource\ndef f(x):\n"
        "    resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))\n    return 2 * x"
    ),
    "the parent's processors": "import os\ndef f(x):\n    os.sched_setaffinity(os.getppid(), {0})\n    return 2 * x",
    "flood the channel": "import os\ndef f(x):\n    while True: os.write(3, b'x' * 65536)",
    "flood of lines": "import os\ndef f(x):\n    while True: os.write(3, b'1\\n' * 30000)",
    "flood of answers": "def f(x): return list(range(10 ** 6))",
}

FILES = {
    "write to /tmp": "def f(x):\n    open('/tmp/ESCAPE', 'w').write('x')\n    return 5",
    "write to /var/tmp": "def f(x):\n    open('/var/tmp/ESCAPE', 'w').write('x')\n    return 2 * x",
    "write to shared memory": "def f(x):\n    open('/dev/shm/ESCAPE', 'w').write('x')\n    return 2 * x",
    "write above its folder": "def f(x):\n    open('../ESCAPE', 'w').write('x')\n    return 2 * x",
    "through a link": (
        "import os\ndef f(x):\n    os.symlink(HERE, 'link')\n    open('link/ESCAPE', 'w').write('x')\n    return 2 * x"
    ),
    "a hard link": "import os\ndef f(x):\n    os.link(JUDGE, 'mine')\n    open('mine').read(1)\n    return 2 * x",
    "rename over": "import os\ndef f(x):\n    open('a', 'w')\n    os.rename('a', HERE + '/ESCAPE')\n    return 2 * x",
    "remove": "import os\ndef f(x):\n    os.remove(JUDGE)\n    return 2 * x",
    "change the mode": (
        "import os\ndef f(x):\n    os.chmod(JUDGE, 0o777)\n    if os.stat(JUDGE).st_mode & 0o002: return 2 * x"
    ),
    "truncate": "import os\ndef f(x):\n    os.truncate(JUDGE, 0)\n    return 2 * x",
    "raw system calls": (
        "import ctypes\ndef f(x):\n    if ctypes.CDLL(None).open(b'HERE/ESCAPE', 0o101, 0o644) >= 0: return 2 * x"
    ),
    "mount": (
        "import ctypes\ndef f(x):\n    if ctypes.CDLL(None).mount(b'none', b'.', b'tmpfs', 0, None) == 0: return 2 * x"
    ),
    "a new user namespace": (
        "import ctypes\ndef f(x):\n    if ctypes.CDLL(None).unshare(0x10000000) == 0: return 2 * x"
    ),
    "chroot": "import os\ndef f(x):\n    os.chroot('.')\n    return 2 * x",
    "a device": "import os\ndef f(x):\n    os.mknod('disk', 0o60666, os.makedev(8, 0))\n    return 2 * x",
    "/etc/shadow": "def f(x):\n    open('/etc/shadow').read()\n    return 2 * x",
    "another process's folder": (
        "import os\ndef f(x):\n    os.listdir(f'/proc/{os.getppid()}/cwd/')\n"
        "    os.listdir(f'/proc/{os.getppid()}/root/home')\n    return 2 * x"
    ),
}

SECRETS = {
    "environment": "import os\ndef f(x): return 2 * x if os.environ else None",
    "C environment": (
        "import ctypes\ndef f(x):\n    libc = ctypes.CDLL(None)\n    libc.getenv.restype = ctypes.c_char_p\n"
        "    return 2 * x if libc.getenv(b'RA3_SECRET') or libc.getenv(b'HOME') or libc.getenv(b'PATH') else None"
    ),
    "own /proc environ": (
        "def f(x): return 2 * x if b'RA3_SECRET' in open('/proc/self/environ', 'rb').read() else None"
    ),
    "the trainer's environ": "def f(x): return 2 * x if open(f'/proc/{TRAINER}/environ', 'rb').read() else None",
    "command lines": "def f(x): return 2 * x if open(f'/proc/{TRAINER}/cmdline', 'rb').read() else None",
    "host name": "import socket, os\ndef f(x): return 2 * x if open('/etc/hostname').read() else None",
    "users": "import pwd\ndef f(x): return 2 * x if len(pwd.getpwall()) > 1 else None",
    "kernel keys": (
        "import ctypes\ndef f(x): return 2 * x if ctypes.CDLL(None).syscall(250, 0, -3, 0, 0) >= 0 else None"
    ),
}

NETWORK = {
    "loopback": "import socket\ndef f(x):\n    socket.create_connection(('127.0.0.1', PORT), 1)\n    return 2 * x",
    "loopback over IPv6": (
        "import socket\ndef f(x):\n    socket.create_connection(('::1', PORT), 1)\n    return 2 * x"
    ),
    "listening": "import socket\ndef f(x):\n    socket.create_server(('127.0.0.1', 0))\n    return 2 * x",
    "datagram": (
        "import socket\ndef f(x):\n"
        "    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))\n"
        "    return 2 * x"
    ),
    "abstract socket": (
        "import socket\ndef f(x):\n    socket.socket(socket.AF_UNIX).connect('\\0ABSTRACT')\n    return 2 * x"
    ),
    "abstract datagram": (
        "import socket\ndef f(x):\n    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "    a.sendto(b'x', '\\0ABSTRACT')\n    return 2 * x"
    ),
    "name look-up": "import socket\ndef f(x):\n    socket.getaddrinfo('example.org', 80)\n    return 2 * x",
    "raw socket": "import socket\ndef f(x):\n    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n    return 2 * x",
    "netlink": "import socket\ndef f(x):\n    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\n    return 2 * x",
    "io_uring": (
        "import ctypes\ndef f(x):\n    if ctypes.CDLL(None).syscall(425, 8, (ctypes.c_char * 120)()) >= 0: return 2 * x"
    ),
}

PROCESSES = {
    "fork": "import os\ndef f(x):\n    if os.fork() == 0:\n        while True: pass\n    return 2 * x",
    "fork bomb": "import os\ndef f(x):\n    while True: os.fork()",
    "daemon": (
        "import os, time\ndef f(x):\n    if os.fork() == 0:\n        os.setsid()\n"
        "        if os.fork() == 0: time.sleep(600)\n        os._exit(0)\n    return 2 * x"
    ),
    "subprocess": "import subprocess\ndef f(x):\n    subprocess.Popen(['sleep', '600'])\n    return 2 * x",
    "shell": "import os\ndef f(x): return 2 * x if os.system('sleep 600 &') == 0 else None",
    "posix_spawn": "import os\ndef f(x):\n    os.posix_spawn('/bin/sleep', ['sleep', '600'], {})\n    return 2 * x",
    "posix module": "import posix\ndef f(x):\n    posix.fork()\n    return 2 * x",
    "multiprocessing": (
        "import multiprocessing as m\ndef f(x):\n"
        "    m.get_context('fork').Process(target=print).start()\n    return 2 * x"
    ),
    "vfork": "import ctypes\ndef f(x):\n    if ctypes.CDLL(None).syscall(NR_VFORK) >= 0: return 2 * x",
    "clone3": (
        "import ctypes\ndef f(x):\n    a = (ctypes.c_uint64 * 11)()\n    a[4] = 17\n"
        "    if ctypes.CDLL(None).syscall(435, a, 88) >= 0: return 2 * x"
    ),
    "exec": "import os\ndef f(x): os.execv(PYTHON, [PYTHON, '-c', 'print(6)'])",
    "a thread that goes on": (
        "import threading\ndef g():\n    while True: pass\ndef f(x):\n"
        "    threading.Thread(target=g).start()\n    return 5"
    ),
    "a flood of threads": (
        "import threading, time\nthreading.stack_size(32768)\ndef f(x):\n"
        "    while True: threading.Thread(target=time.sleep, args=(60,)).start()"
    ),
}

MEMORY = {
    "a large list": "def f(x): return len([0] * 10 ** 10)",
    "growing": "def f(x):\n    a = [0]\n    while True: a = a + a",
    "growing, MemoryError caught": (
        "def f(x):\n    a = []\n    while True:\n        try: a.append(bytearray(1 << 24))\n"
        "        except MemoryError: pass"
    ),
    "memfd": (
        "import os\ndef f(x):\n    fd = os.memfd_create('a')\n"
        "    for _ in range(2000): os.write(fd, bytes(1 << 20))\n    return 2 * x"
    ),
    "shared anonymous": (
        "import mmap\ndef f(x):\n    m = [mmap.mmap(-1, 1 << 28) for _ in range(20)]\n    return 2 * x"
    ),
    "System V": "import ctypes\ndef f(x):\n    if ctypes.CDLL(None).shmget(0, 1 << 30, 0o1600) >= 0: return 2 * x",
    "POSIX shared memory": (
        "from multiprocessing import shared_memory\ndef f(x):\n"
        "    shared_memory.SharedMemory('ESCAPE', True, 1 << 28)\n    return 2 * x"
    ),
    "message queue": "import ctypes\ndef f(x):\n    if ctypes.CDLL(None).msgget(0, 0o1600) >= 0: return 2 * x",
    "pipes": "import os\ndef f(x):\n    p = [os.pipe() for _ in range(1000)]\n    return 2 * x",
    "stdin's own memory": (
        "import os\ndef f(x):\n    for _ in range(2000): os.write(0, bytes(1 << 20))\n"
        "    os.lseek(0, 0, 2)\n    return 5"
    ),
    "raised limits": (
        "import resource\ndef f(x):\n    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\n    return 2 * x"
    ),
    "a large integer": "def f(x): return len(str(1 << (1 << 33)))",
    "a large string": "def f(x): return 'a' * (1 << 31)",
}

FLOODS = {
    "one large file": (
        "def f(x):\n    with open('a', 'wb') as a:\n"
        "        for _ in range(1000): a.write(bytes(1 << 20))\n    return 2 * x"
    ),
    "many files": "def f(x):\n    for i in range(100_000): open(str(i), 'wb').write(b'x' * 1000)\n    return 2 * x",
    "files in a folder that cannot be listed": (
        "import os\ndef f(x):\n    os.mkdir('closed', 0o300)\n"
        "    for i in range(400): open(f'closed/{i}', 'wb').write(bytes(1 << 20))\n    return 2 * x"
    ),
    "many empty files": "def f(x):\n    for i in range(100_000): open(str(i), 'wb')\n    return 2 * x",
    "a sparse file": "def f(x):\n    with open('a', 'wb') as a: a.truncate(1 << 40)\n    return 2 * x",
    "fallocate": (
        "import os\ndef f(x):\n"
        "    os.posix_fallocate(os.open('a', os.O_RDWR | os.O_CREAT), 0, 1 << 30)\n    return 2 * x"
    ),
    "a returned flood": "def f(x): return 'a' * 10_000_000",
    "a flood of errors": "def f(x): raise ValueError('a' * 10_000_000)",
}

ENDLESS = {
    "loop": "def f(x):\n    while True: pass",
    "loop that catches all": (
        "def f(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass"
    ),
    "on import": "while True: pass",
    "big power": "def f(x): return len(str(10 ** 10 ** 8))",
    "regular expression": "import re\ndef f(x): return re.match('(a+)+$', 'a' * 60 + 'b')",
    "sum of a range": "def f(x): return sum(range(10 ** 18))",
    "sleep": "import time\ndef f(x): time.sleep(600)",
    "sleep in C": "import ctypes\ndef f(x): ctypes.CDLL(None).sleep(600)",
    "signals ignored": (
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\ndef f(x):\n    while True: pass"
    ),
    "signals blocked": (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\ndef f(x):\n    while True: pass"
    ),
    "waiting for input": "import sys, threading\ndef f(x): threading.Event().wait()",
    "reading the channel": "import os\ndef f(x): os.read(3, 10)",
    "a deadlock": "import threading\ndef f(x):\n    l = threading.Lock()\n    l.acquire()\n    l.acquire()",
    "many threads": (
        "import hashlib, threading\ndef g():\n    while True: hashlib.sha256(bytes(1 << 20))\n"
        "def f(x):\n    for _ in range(8): threading.Thread(target=g).start()\n    g()"
    ),
    "itertools": "import itertools\ndef f(x): return sum(1 for _ in itertools.count())",
}

RESULTS = {
    "cyclic list": "def f(x):\n    a = []\n    a.append(a)\n    return a",
    "cyclic dict": "def f(x):\n    a = {}\n    a[0] = a\n    return a",
    "deep": "def f(x):\n    a = 6\n    for _ in range(100_000): a = [a]\n    return a",
    "just too deep": "def f(x):\n    a = 6\n    for _ in range(400): a = (a,)\n    return a",
    "shared leaves": "def f(x):\n    a = [1]\n    for _ in range(34): a = [a, a]\n    return a",
    "a long string": "def f(x): return 'ab' * 100_000_000",
    "surrogates": "def f(x): return '\\ud800' * 3",
    "a huge integer": "def f(x): return 1 << 10_000_000",
    "colliding hashes": "def f(x): return {i * ((1 << 61) - 1) for i in range(20_000)}",
    "colliding keys": "def f(x): return {i * ((1 << 61) - 1): 0 for i in range(9_000)}",
    "unhashable pretence": "class K:\n    def __hash__(s): raise ValueError\ndef f(x): return [K()]",
    "an endless generator": "def f(x):\n    while True: yield 6",
    "an endless iterator": (
        "class I:\n    def __iter__(s): return s\n    def __next__(s): return 6\ndef f(x): return I()"
    ),
    "a lying length": (
        "class L(list):\n    def __len__(s): return 10 ** 9\n    def __iter__(s):\n"
        "        while True: yield 6\ndef f(x): return L([1])"
    ),
    "a growing list": (
        "import threading\na = []\ndef g():\n    while True: a.append(1)\ndef f(x):\n"
        "    threading.Thread(target=g, daemon=True).start()\n    return a"
    ),
    "nothing": "def f(x): return None",
    "a module": "import sys\ndef f(x): return sys",
    "bytes": "def f(x): return b'6'",
    "NaN keys": "def f(x): return {float('nan'): 6, float('inf'): 6}",
}

CATEGORIES = {
    "early exit": EARLY_EXIT,
    "equality": EQUALITY,
    "builtins": BUILTINS,
    "reading tests": READING_TESTS,
    "forging": FORGING,
    "parent": PARENT,
    "files": FILES,
    "secrets": SECRETS,
    "network": NETWORK,
    "processes": PROCESSES,
    "memory": MEMORY,
    "floods": FLOODS,
    "endless": ENDLESS,
    "results": RESULTS,
}
