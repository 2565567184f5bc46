"""Settings from a TOML or JSON file: the same fields that Python and the command line know, checked the same way.

A settings dataclass is declared once. Python makes an instance, tyro makes flags of its fields, and this module fills
it from a file: tables are nested dataclasses, keys are field names. Unknown keys are refused with the nearest valid
one, values of the wrong type with what is wanted.

    method = "ra3"          # ra3-lab midtrain --config FILE; a flag beside it overrides the file
    rounds = 2

    [estep]
    cost = 0.05             # --estep.cost
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import json
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
_FLAGS = ("settings", "resume", "json")  # of the command line only, see commands/output.py


def load_config(
    cls: type[T], source: str | Path | Mapping[str, Any], base: T | None = None, name: str = "settings"
) -> T:
    """An instance of a settings dataclass from a .toml or .json file, or from a mapping, which `name` stands for in
    messages; what is left out is as in `base`, or keeps its default.

    Raises FileNotFoundError, and ValueError naming file, key, value and what is allowed.

    >>> from ra3_lab.midtrain.em import MidtrainConfig
    >>> load_config(MidtrainConfig, {"rounds": 2, "estep": {"cost": 0.05}}).estep.cost
    0.05
    >>> load_config(MidtrainConfig, {"estep": {"costs": 0.05}})
    Traceback (most recent call last):
    ...
    ValueError: settings: there is no 'estep.costs'; did you mean 'estep.cost'?
    """
    values, where = (source, name) if isinstance(source, Mapping) else (read_settings(Path(source)), str(source))
    return _build(cls, base, values, where, "")


def read_settings(path: Path) -> dict[str, Any]:
    """The table in a .toml or .json file; of a run's run.json its settings. Raises ValueError where it is neither."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give a .toml or .json file of settings.")
    try:
        if path.suffix == ".toml":
            if sys.version_info >= (3, 11):
                import tomllib
            else:
                import tomli as tomllib  # pyright: ignore[reportMissingImports]
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".json":
            values = json.loads(path.read_text(encoding="utf-8"))
        else:
            raise ValueError("its name ends in neither .toml nor .json")
    except ValueError as error:  # what both parsers raise
        raise ValueError(f"{path} cannot be read as settings: {error}.") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} cannot be read as settings: it holds no table.")
    if "settings" in values and "command" in values:  # run.json
        from ra3_lab.runs import check_schema

        check_schema(values, path)
        return values["settings"]
    return values


def with_settings(function: Callable[..., Any], values: Mapping[str, Any], where: str) -> Callable[..., Any]:
    """The function with new defaults for its parameters, as its command line names them.

    A parameter that is a dataclass without a name of its own (`Annotated[Config, tyro.conf.arg(name="")]`) takes the
    keys that are its fields. Raises ValueError as `load_config` does.
    """
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    flat = {name: hint for name, hint in hints.items() if name in parameters and _flattened(hint)}
    own = {name: hint for name, hint in hints.items() if name in parameters and name not in flat and name not in _FLAGS}
    fields = {key: name for name, hint in flat.items() for key in _keys(_bare(hint))}
    values = {_field_name(key): value for key, value in values.items()}
    for key in values:
        if key not in own and key not in fields:
            raise ValueError(_unknown(key, [*own, *fields], where, ""))
    filled = {key: _convert(own[key], None, values[key], where, key) for key in values if key in own}
    for name, hint in flat.items():
        mine = {key: value for key, value in values.items() if fields.get(key) == name}
        default = parameters[name].default
        filled[name] = _build(_bare(hint), None if default is inspect.Parameter.empty else default, mine, where, "")
    return functools.partial(function, **filled)


def _build(cls: Any, base: Any, values: Mapping[str, Any], where: str, under: str) -> Any:
    """`base` (or the defaults) with these values."""
    hints, keys = get_type_hints(cls, include_extras=True), _keys(cls)
    nested: dict[str, Any] = {}
    for key, value in values.items():
        name = _field_name(key)
        if name not in keys:
            raise ValueError(_unknown(key, list(keys), where, under))
        if keys[name] != name:  # a field of a dataclass whose flags have no prefix
            nested.setdefault(keys[name], {})[name] = value
        elif isinstance(value, Mapping) and name in nested:
            nested[name] |= value
        else:
            nested[name] = value
    changes = {}
    for name, value in nested.items():
        present = getattr(base, name) if base is not None else _default(cls, name)
        changes[name] = _convert(hints[name], present, value, where, under + name)
    if missing := [f.name for f in dataclasses.fields(cls) if base is None and f.name not in changes and _needed(f)]:
        wanted = ", ".join(under + name for name in missing)
        raise ValueError(f"{where}: {wanted} {'is' if len(missing) == 1 else 'are'} missing.")
    try:
        return dataclasses.replace(base, **changes) if base is not None else cls(**changes)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _keys(cls: Any) -> dict[str, str]:
    """Every key that a table for this dataclass may have -> the field that it goes into. Those of a nested dataclass
    without a name of its own (`tyro.conf.arg(name="")`) stand beside the others, as its flags do."""
    hints = get_type_hints(cls, include_extras=True)
    keys = {field.name: field.name for field in dataclasses.fields(cls)}
    for field in dataclasses.fields(cls):
        if _flattened(hints[field.name]):
            keys |= {inner: field.name for inner in _keys(_bare(hints[field.name])) if inner not in keys}
    return keys


def _needed(field: dataclasses.Field) -> bool:
    """Whether a field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _default(cls: Any, name: str) -> Any:
    (field,) = (field for field in dataclasses.fields(cls) if field.name == name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _convert(hint: Any, present: Any, value: Any, where: str, name: str) -> Any:
    """The value as the annotation wants it. Raises ValueError."""
    hint = _bare(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    wrong = ValueError(f"{where}: {name} = {value!r}: {_wanted(hint, name)} is wanted.")
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None or (value in ("none", "None") and str not in arguments):  # TOML has no null
            if type(None) in arguments:
                return None
            raise wrong
        for one in arguments:
            try:
                return _convert(one, present, value, where, name)
            except ValueError:
                continue
        raise wrong
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise wrong
        return _build(hint, present, value, where, name + ".")
    if origin is Literal:
        if value not in arguments:
            raise wrong
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise wrong
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(value):
            raise wrong
        return tuple(_convert(kind, None, item, where, name) for kind, item in zip(kinds, value, strict=True))
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        if isinstance(value, str) and value not in ("inf", "-inf", "nan"):  # how JSON records write them
            raise wrong
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint in (bool, int, float, str) and type(value) is hint:
        return value
    raise wrong


def _wanted(hint: Any, name: str) -> str:
    """The annotation of this key in words."""
    hint = _bare(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join(_wanted(one, name) for one in arguments)
    if dataclasses.is_dataclass(hint):
        return "a table of settings"
    if origin is tuple:
        if dataclasses.is_dataclass(arguments[0]):
            return f"a list of tables ([[{name}]])"
        if arguments[-1] is Ellipsis:
            return f"a list, of each entry {_wanted(arguments[0], name)},"
        return f"a list of {len(arguments)}, of each entry {_wanted(arguments[0], name)},"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
    return "none" if hint is type(None) else names.get(hint, str(hint))


def _unknown(key: str, names: list[str], where: str, under: str) -> str:
    near = difflib.get_close_matches(_field_name(key), names, n=1, cutoff=0.6)
    hint = f"did you mean {under + near[0]!r}?" if near else f"there are {', '.join(under + name for name in names)}."
    return f"{where}: there is no {under + key!r}; {hint}"


def _field_name(key: str) -> str:
    return key.replace("-", "_")


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _flattened(hint: Any) -> bool:
    return get_origin(hint) is Annotated and dataclasses.is_dataclass(_bare(hint))
