"""Writes what a task returns as JSON."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import uuid
from typing import Any

from ._records import is_model


class NotFinite(ValueError):
    """A number that JSON does not have."""


class Unwritable(Exception):
    """What a task returned has no JSON."""


def to_json(value: Any) -> bytes:
    """The JSON of a value, or `Unwritable`."""
    try:
        if is_model(type(value)):
            text = _model_json(value)
            # pydantic writes `null`, or no JSON at all, in the place of a number that JSON does not have.
            if any(word in text for word in ("null", "NaN", "Infinity")):
                _check_numbers(value)
            return text.encode("utf-8")
        text = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unwritable(f"a text that was returned is no Unicode: {error.reason}") from None
    except RecursionError:
        raise Unwritable("what was returned contains itself, or is nested too deeply for JSON") from None
    except (TypeError, ValueError) as error:
        if not isinstance(error, NotFinite):
            try:
                _check_numbers(value)
            except NotFinite as found:
                error = found
        raise Unwritable(f"what was returned cannot be written as JSON: {error}") from None


def _check_numbers(value: Any, place: str = "") -> None:
    """Raises `NotFinite` with the place of a number that JSON does not have."""
    if isinstance(value, float):
        if not math.isfinite(value):
            where = f"`{place.lstrip('.')}`" if place else "it"
            raise NotFinite(f"{where} is {value}, and JSON has no such number: return a finite one, or None")
        return
    if is_model(type(value)):
        config = getattr(type(value), "model_config", {})
        # A model that sets another serialization in its place keeps it.
        if isinstance(config, dict) and config.get("ser_json_inf_nan") in ("null", "strings"):
            return
        fields = getattr(type(value), "model_fields", None) or getattr(type(value), "__fields__", {})
        items = [(f".{name}", getattr(value, name, None)) for name in fields]
        items += [(f".{name}", item) for name, item in (getattr(value, "__pydantic_extra__", None) or {}).items()]
        if "root" in fields:
            items = [("", value.root)]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [(f".{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, dict):
        items = [(f".{key}", item) for key, item in value.items()]
    elif isinstance(value, (list, tuple, set, frozenset)):
        items = [(f"[{at}]", item) for at, item in enumerate(value)]
    else:
        return
    for step, item in items:
        _check_numbers(item, place + step)


def _model_json(value: Any) -> str:
    if hasattr(value, "model_dump_json"):
        return str(value.model_dump_json(by_alias=True))
    return str(value.json(by_alias=True))


def _plain(value: Any) -> Any:
    """What JSON has in place of a value that it does not know."""
    if is_model(type(value)):
        _check_numbers(value)
        return json.loads(_model_json(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, pathlib.PurePath, decimal.Decimal)):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return list(value)
    # numpy's numbers and arrays, without numpy.
    if type(value).__module__.startswith("numpy") and hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a value of the type `{type(value).__qualname__}` has no form in JSON")
