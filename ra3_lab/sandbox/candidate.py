"""Inside the program's process, once it is confined: run the text it is given and send plain data out.

Whatever stands here is in the program's reach: it may patch, replace or imitate all of it. So nothing here decides
anything; a program that writes to the channel itself can only send values, which are compared elsewhere, or say
that it failed. The text arrives after the fork, so no other program's text is in this process's memory.

Three ways to run, one for each kind of tests (`program.py`): `run_calls`, `run_asserts`, `run_stdin`. Lines on the
channel to the judge: "ready" before the program begins; then values as `codec` writes them, or "!status text",
which ends it.
"""

from __future__ import annotations

import _sitebuiltins
import builtins
import json
import os
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

from ra3_lab.sandbox import codec

_DENIED = (1, 13, 30, 38)  # EPERM, EACCES, EROFS, ENOSYS: how the layers say no


class Channel:
    """Lines of bytes over a descriptor or two; `read` gives b"" at the end."""

    def __init__(self, reader: int, writer: int | None = None) -> None:
        self.reader, self.writer = reader, reader if writer is None else writer
        self._rest = bytearray()

    def read(self) -> bytes:
        """The next line without its newline; b"" when the other side is gone."""
        start = 0
        while (end := self._rest.find(b"\n", start)) < 0:
            start = len(self._rest)
            try:
                chunk = os.read(self.reader, 1 << 16)
            except ConnectionError:
                return b""
            if not chunk:
                return b""
            self._rest += chunk
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return line

    def write(self, line: str) -> None:
        """Send one line of ASCII."""
        view = memoryview(line.encode("ascii") + b"\n")
        while view:
            view = view[os.write(self.writer, view) :]


def failure(error: BaseException) -> str:
    """What a program says of the exception that ended it: "!status text"."""
    if isinstance(error, MemoryError):
        status = "memory_limit"
    elif isinstance(error, codec.TooLarge):
        status = "output_limit"
    elif isinstance(error, codec.NotPlain):
        status = "wrong_answer"
    elif isinstance(error, OSError) and error.errno in _DENIED:
        status = "forbidden"
    else:
        status = "runtime_error"
    try:
        text = str(error)
    except BaseException:  # a hostile __str__
        text = "?"
    return f"!{status} {type(error).__name__}: {text}"[:300].replace("\n", " ").encode("ascii", "replace").decode()


def furnish(modules: Iterable[str]) -> None:
    """Before any program: import what shall be warm, and bring `exit` and `quit`, which `site` would have brought."""
    for name in modules:
        __import__(name)
    for name in ("exit", "quit"):
        setattr(builtins, name, _sitebuiltins.Quitter(name, "end of input"))


def load(source: str, name: str = "solution") -> dict[str, Any]:
    """Run the program's text as a module; its names."""
    module = types.ModuleType(name)
    module.__file__ = "<program>"
    sys.modules[name] = module  # dataclasses and typing look their module up by name
    exec(compile(source.removeprefix("\ufeff"), "<program>", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__


def function_of(names: dict[str, Any], entry_point: str) -> Callable:
    """The function under test. NameError where the program defines none."""
    function = names.get(entry_point)
    if not callable(function):
        raise NameError(f"the program defines no function {entry_point!r}")
    return function


def run_calls(channel: Channel, refer: Callable[[Any], Any] | None = None, revive: Callable | None = None) -> None:
    """One line back for each line of arguments. `refer` and `revive` let more than plain data cross (arrays)."""
    job = json.loads(channel.read())
    left = int(job["output_bytes"])
    channel.write("ready")
    try:
        function = function_of(load(job["source"]), job["entry_point"])
        for arguments in job["inputs"]:
            line = codec.dumps(function(*codec.loads(arguments, revive)), left, refer)
            left -= len(line)
            channel.write(line)
    except BaseException as error:
        channel.write(failure(error))


def run_stdin(channel: Channel) -> None:
    """The program as a script: `__main__`, real standard input and output, ended as an interpreter ends."""
    job = json.loads(channel.read())
    channel.write("ready")
    code = 0
    try:
        try:
            load(job["source"], "__main__")
        finally:
            if "threading" in sys.modules:
                sys.modules["threading"]._shutdown()  # wait for its threads
            import atexit

            atexit._run_exitfuncs()
            _close_up()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if code:
            channel.write(f"!runtime_error exit status {code & 255}")
    except BaseException as error:
        channel.write(failure(error))
        code = 1
    os._exit(code & 255)


def _close_up() -> None:
    """What the end of an interpreter does for output: files that nobody closed are flushed, then the standard one."""
    import gc

    sys.modules["__main__"].__dict__.clear()
    gc.collect()
    for stream in {id(stream): stream for stream in (sys.stdout, sys.__stdout__)}.values():
        if stream is not None and not getattr(stream, "closed", False):
            stream.flush()


class _Objects:
    """The program's objects that test text holds stand-ins of, by number."""

    def __init__(self) -> None:
        self.known: list[Any] = []

    def refer(self, value: Any) -> list:
        if len(self.known) >= 100_000:
            raise codec.TooLarge("too many objects")
        self.known.append(value)
        return ["object", len(self.known) - 1]

    def revive(self, coded: list) -> Any:
        if coded[0] != "object":
            raise codec.Malformed("tag")
        return self.known[coded[1]]


def run_asserts(channel: Channel, calls: Channel) -> None:
    """Answer the test text's process, which calls the program's functions from outside over `calls`."""
    job = json.loads(channel.read())
    size = int(job["output_bytes"])
    channel.write("ready")
    try:
        names = load(job["source"])
        if job["entry_point"]:
            function_of(names, job["entry_point"])
    except BaseException as error:
        channel.write(failure(error))
        return
    objects = _Objects()
    while line := calls.read():
        operation, *arguments = codec.loads(line, objects.revive)
        try:
            answer = _OPERATIONS[operation](names, *arguments)
            text = codec.dumps(["value", *answer], size, objects.refer)
        except BaseException as error:
            kinds = [kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind]
            text = codec.dumps(["error", kinds, failure(error)])
        size -= len(text)
        calls.write(text)


def _name(names: dict[str, Any], name: str) -> tuple:
    """What a free name of the test text is in the program: ("callable" | "module" | "value" | "missing", value)."""
    if name not in names:
        return "missing", None
    value = names[name]
    if isinstance(value, types.ModuleType):
        return "module", types.ModuleType.__getattribute__(value, "__name__")
    return ("callable" if callable(value) else "value"), value


def _call(names: dict[str, Any], target: Any, arguments: list, named: dict) -> tuple:
    """The value, and those lists, sets and dicts among the arguments that the function has changed in place, by number
    or name."""
    function = function_of(names, target) if isinstance(target, str) else target
    given = {**dict(enumerate(arguments)), **named}
    mutable = {place: item for place, item in given.items() if type(item) in (list, set, dict)}
    before = {place: codec.dumps(item, refer=_anything) for place, item in mutable.items()}
    value = function(*arguments, **named)
    changed = [(place, item) for place, item in mutable.items() if codec.dumps(item, refer=_anything) != before[place]]
    return value, changed


def _anything(value: Any) -> str:
    return hex(id(value))


_OPERATIONS: dict[str, Callable[..., tuple]] = {
    "name": _name,
    "call": _call,
    "get": lambda names, target, name: (getattr(target, name),),
    "set": lambda names, target, name, value: (setattr(target, name, value),),
    "iter": lambda names, target: (iter(target),),
    "next": lambda names, target: (next(target),),
    "item": lambda names, target, key: (target[key],),
    "length": lambda names, target: (len(target),),
    "truth": lambda names, target: (bool(target),),
    "contains": lambda names, target, item: (item in target,),
    "text": lambda names, target: (str(target),),
    "repr": lambda names, target: (repr(target),),
}
