"""The shape of a type: the one place that knows which types of Python a task may use."""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import decimal
import enum
import pathlib
import types
import typing
import uuid
from typing import Any, Callable, Dict, Mapping, Optional

from ._records import Field, Model, Record, is_class, is_model, pydantic
from ._shapes import ANYTHING, BOOLEAN, INTEGER, NOTHING, NUMBER, TEXT
from ._shapes import Choice, Fixed, Items, OneOf, Shape, Spelled, Table, Unsupported


def _moment(text: str) -> datetime.datetime:
    # Before Python 3.11 `Z` is not understood.
    return datetime.datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)


_PLAIN: Dict[Any, Shape] = {
    Any: ANYTHING,
    object: ANYTHING,
    None: NOTHING,
    type(None): NOTHING,
    str: TEXT,
    bool: BOOLEAN,
    int: INTEGER,
    float: NUMBER,
    list: Items(ANYTHING, list),
    tuple: Items(ANYTHING, tuple),
    set: Items(ANYTHING, set, unique=True),
    frozenset: Items(ANYTHING, frozenset, unique=True),
    dict: Table(ANYTHING),
    collections.abc.Sequence: Items(ANYTHING, list),
    collections.abc.Mapping: Table(ANYTHING),
    datetime.datetime: Spelled("a date and time such as 2024-01-15T10:30:00Z", "date-time", _moment),
    datetime.date: Spelled("a date such as 2024-01-15", "date", datetime.date.fromisoformat),
    datetime.time: Spelled("a time such as 10:30:00", "time", datetime.time.fromisoformat),
    uuid.UUID: Spelled("a UUID", "uuid", uuid.UUID),
    pathlib.Path: Spelled("a path", None, pathlib.Path),
    pathlib.PurePath: Spelled("a path", None, pathlib.PurePath),
    decimal.Decimal: Spelled("a decimal number", None, decimal.Decimal, numbers=True),
}

_LISTS: Dict[Any, Callable[[Any], Any]] = {
    list: list,
    collections.abc.Sequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    set: set,
    frozenset: frozenset,
    collections.abc.Set: frozenset,
}

_TABLES = (dict, collections.abc.Mapping, collections.abc.MutableMapping)

_UNIONS = (typing.Union, getattr(types, "UnionType", typing.Union))

# A record that contains itself must meet its own shape again.
_RECORDS: Dict[type, Record] = {}


def is_record(type_: Any) -> bool:
    """Whether it has fields by name: a pydantic model, a dataclass or a `TypedDict`."""
    return is_model(type_) or is_class(type_) and (dataclasses.is_dataclass(type_) or _is_typed_dict(type_))


def shape_of(type_: Any) -> Shape:
    """The shape of a type.

    Raises `Unsupported` where it has no form in JSON that is known here.
    """
    known = _known(type_)
    if known is not None:
        return known
    if hasattr(pydantic(), "TypeAdapter"):
        try:
            return Model(type_)
        except Exception as error:  # noqa: BLE001 - whatever it is, pydantic does not know the type
            raise Unsupported(f"{_name(type_)} has no form in JSON: {error}") from None
    hint = "use plain types, lists, dicts, dataclasses, TypedDicts, enums or pydantic models"
    raise Unsupported(f"{_name(type_)} has no form in JSON that ork knows: {hint}")


def _name(type_: Any) -> str:
    return f"the type `{getattr(type_, '__qualname__', type_)}`"


def _known(type_: Any) -> Optional[Shape]:
    try:
        if type_ in _PLAIN:
            return _PLAIN[type_]
    except TypeError:  # A type that cannot be a key, such as `Literal[[]]`.
        return None
    if is_model(type_):
        return Model(type_)
    if is_class(type_) and issubclass(type_, enum.Enum):
        return Choice([(member.value, member) for member in type_])
    if is_record(type_):
        return _record(type_)
    if hasattr(type_, "__supertype__"):
        return shape_of(type_.__supertype__)
    return _generic(type_)


def _generic(type_: Any) -> Optional[Shape]:
    origin, args = typing.get_origin(type_), typing.get_args(type_)
    if origin in _UNIONS:
        return OneOf([shape_of(arg) for arg in args])
    if origin is typing.Literal:
        return Choice([(arg.value if isinstance(arg, enum.Enum) else arg, arg) for arg in args])
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        return Items(shape_of(args[0]), tuple)
    if origin is tuple:
        return Fixed([shape_of(arg) for arg in args if arg != ()])
    if origin in _LISTS and len(args) == 1:
        return Items(shape_of(args[0]), _LISTS[origin], unique=origin in (set, frozenset, collections.abc.Set))
    if origin in _TABLES and len(args) == 2:
        if args[0] not in (str, Any):
            raise Unsupported(f"the keys of {_name(type_)} are texts in JSON: write `dict[str, ..]`")
        return Table(shape_of(args[1]))
    if hasattr(type_, "__metadata__"):
        # What pydantic is asked to check, it checks; other notes are for others.
        checks = any(type(note).__module__.startswith(("pydantic", "annotated_types")) for note in type_.__metadata__)
        return None if checks and hasattr(pydantic(), "TypeAdapter") else shape_of(args[0])
    # The generic names of `typing` without their arguments, such as `List`.
    return _PLAIN.get(origin) if origin is not None and not args else None


def _is_typed_dict(type_: type) -> bool:
    return issubclass(type_, dict) and hasattr(type_, "__required_keys__")


def hints(of: Any) -> Dict[str, Any]:
    """The annotations of a function or a class, whether they were written as text or not."""
    return typing.get_type_hints(of, include_extras=True)


def _record(type_: type) -> Record:
    if type_ not in _RECORDS:
        if _is_typed_dict(type_):
            _RECORDS[type_] = Record(type_, lambda: _typed_dict(type_), dict)
        else:
            _RECORDS[type_] = Record(type_, lambda: _dataclass(type_), type_)
    return _RECORDS[type_]


def _dataclass(type_: type) -> Mapping[str, Field]:
    types_, fields = hints(type_), {}
    for field in dataclasses.fields(type_):
        if field.init:
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            fields[field.name] = Field(shape_of(types_[field.name]), required, field.default)
    return fields


def _typed_dict(type_: Any) -> Mapping[str, Field]:
    fields = {}
    for name, hint in hints(type_).items():
        required = name in type_.__required_keys__
        # Written as text, `NotRequired` is still there.
        origin = str(typing.get_origin(hint) or "")
        if origin.endswith(("NotRequired", ".Required", "ReadOnly")):
            required = not origin.endswith("NotRequired") and (required or origin.endswith(".Required"))
            hint = typing.get_args(hint)[0]
        fields[name] = Field(shape_of(hint), required)
    return fields

