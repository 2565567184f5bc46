"""Inside the test text's process: run HumanEval- and MBPP-style tests while the program runs elsewhere.

A free name of the test text (neither its own nor a builtin) is looked up in the program. A function or class there
becomes a stand-in: calling it sends the arguments over and brings plain data back. An object of the program's own
class comes back as a stand-in, too: it can be passed on, called, iterated, asked for attributes; it equals nothing
but itself, for the program's own `__eq__` is not asked. Modules are never the program's: `math` is imported here.
So every comparison in the test text is made between plain data, by this process's own Python.

The text is third-party code: this process is confined like the program's. It is believed about the verdict, not
about anything else. A program that dies ends the test; catching the exception does not undo that.
"""

from __future__ import annotations

import builtins
import importlib
import json
import sys
from typing import Any

from ra3_lab.sandbox import codec
from ra3_lab.sandbox.candidate import Channel


class ProgramError(RuntimeError):
    """An exception in the program that is no builtin one."""


class _Gone(BaseException):
    """The program's process has ended."""


class Program:
    """The other end: one question, one answer."""

    def __init__(self, calls: Channel) -> None:
        self.calls, self.gone, self.asked, self.last_error = calls, False, 0, ("", None)

    def ask(self, operation: str, *arguments: Any) -> list:
        if self.gone:
            raise _Gone
        self.asked += operation != "name"
        question = codec.dumps([operation, *arguments], refer=_refer)
        try:
            self.calls.write(question)
            line = self.calls.read()
        except OSError:
            line = b""
        if not line:
            self.gone = True
            raise _Gone
        kind, *answer = codec.loads(line, self.revive)
        if kind == "value":
            return answer
        kinds, text = answer
        error = next((getattr(builtins, name) for name in kinds if _is_exception(name)), ProgramError)
        try:
            raised = error(str(text).partition(": ")[2])
        except TypeError:  # an exception that wants other arguments
            raised = ProgramError(str(text))
        if isinstance(raised, StopIteration) and operation != "next":  # it would end the test text's loop (PEP 479)
            raised = RuntimeError("the program raised StopIteration")
        self.last_error = (str(text), raised)
        raise raised

    def revive(self, coded: list) -> Any:
        tag, number = coded
        if tag != "object" or not isinstance(number, int):
            raise codec.Malformed("tag")
        return Object(self, number)

    def function(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            return self.call(name, arguments, named)

        call.__name__ = call.__qualname__ = name
        return call

    def call(self, target: Any, arguments: tuple, named: dict) -> Any:
        value, changed = self.ask("call", target, list(arguments), named)
        for place, now in changed:
            _become(named[place] if isinstance(place, str) else arguments[place], now)
        return value


def _is_exception(name: Any) -> bool:
    found = getattr(builtins, name, None) if isinstance(name, str) else None
    return isinstance(found, type) and issubclass(found, Exception)


def _become(value: Any, now: Any) -> None:
    """What a function did to its argument in place."""
    if isinstance(value, list):
        value[:] = now
    elif isinstance(value, (set, dict)):
        value.clear()
        value.update(now)


class Object:
    """Stands for an object of the program's."""

    __slots__ = ("_number", "_program")

    def __init__(self, program: Program, number: int) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_number", number)

    def _ask(self, operation: str, *arguments: Any) -> Any:
        return self._program.ask(operation, self, *arguments)[0]

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._program.call(self, arguments, named)

    def __getattr__(self, name: str) -> Any:
        return self._ask("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set", name, value)

    def __iter__(self) -> Any:
        return self._ask("iter")

    def __next__(self) -> Any:
        return self._ask("next")

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", key)

    def __len__(self) -> int:
        return self._ask("length")

    def __bool__(self) -> bool:
        return self._ask("truth")

    def __contains__(self, item: Any) -> bool:
        return self._ask("contains", item)

    def __str__(self) -> str:
        return self._ask("text")

    def __repr__(self) -> str:
        return self._ask("repr")


def _refer(value: Any) -> list:
    if type(value) is Object:
        return ["object", value._number]
    raise codec.NotPlain(f"{type(value).__name__} cannot be sent to the program")


class Names(dict):
    """The test text's global names; those it does not define are asked of the program, once."""

    def __init__(self, program: Program, entry_point: str) -> None:
        super().__init__(__name__="tests", __builtins__=builtins)
        self._program, self._entry_point = program, entry_point

    def __missing__(self, name: str) -> Any:
        if name == self._entry_point:
            value = self._program.function(name)
        elif hasattr(builtins, name):
            raise KeyError(name)
        elif name in sys.stdlib_module_names:
            value = importlib.import_module(name)
        else:
            value = self.from_program(name)
        self[name] = value
        return value

    def from_program(self, name: str) -> Any:
        kind, value = self._program.ask("name", name)
        if kind == "callable":
            return self._program.function(name)
        if kind == "module" and str(value).partition(".")[0] in sys.stdlib_module_names:
            return importlib.import_module(value)
        if kind == "value":
            return value
        raise KeyError(name)


def run_tests(channel: Channel, calls: Channel) -> None:
    """Run the text that arrives on `channel` and answer with one line there: "status detail"."""
    job = json.loads(channel.read())
    program = Program(calls)
    channel.write("ready")
    try:
        exec(compile(job["code"], "<tests>", "exec", dont_inherit=True), Names(program, job["entry_point"]))
        text = (
            "passed the test text ran to its end" if program.asked else "unused the test text never called the program"
        )
    except _Gone:
        text = "gone"
    except BaseException as error:
        text = _explain(error, program, job["code"])
    channel.write("gone" if program.gone else text)


def _explain(error: BaseException, program: Program, code: str) -> str:
    """Status and one line about the exception that ended the test text."""
    number, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<tests>":
            number = trace.tb_lineno
        trace = trace.tb_next
    lines = code.splitlines()
    place = f"line {number}: {lines[number - 1].strip()[:120]}" if 0 < number <= len(lines) else "the test text"
    said, raised = program.last_error
    if raised is error and said.startswith("!"):
        status, _, said = said[1:].partition(" ")
        status = status if status in codec.FAILURES else "runtime_error"  # the program's own word
        text = f"{status} {place}: {said}"
    else:
        try:
            said = str(error)
        except BaseException:
            said = "?"
        text = f"wrong_answer {place}: {type(error).__name__}: {said}"
    return text[:400].replace("\n", " ").encode("ascii", "replace").decode()
