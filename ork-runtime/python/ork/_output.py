"""Writes what a task returns as JSON."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import pathlib
import uuid
from typing import Any

from ._records import is_model


class Unwritable(Exception):
    """What a task returned has no JSON."""


def to_json(value: Any) -> bytes:
    """The JSON of a value, or `Unwritable`."""
    try:
        if is_model(type(value)):
            return _model_json(value).encode("utf-8")
        text = json.dumps(value, default=_plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Unwritable(f"a text that was returned is no Unicode: {error.reason}") from None
    except RecursionError:
        raise Unwritable("what was returned contains itself, or is nested too deeply for JSON") from None
    except (TypeError, ValueError) as error:
        raise Unwritable(f"what was returned cannot be written as JSON: {error}") from None


def _model_json(value: Any) -> str:
    if hasattr(value, "model_dump_json"):
        return str(value.model_dump_json(by_alias=True))
    return str(value.json(by_alias=True))


def _plain(value: Any) -> Any:
    """What JSON has in place of a value that it does not know."""
    if is_model(type(value)):
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
