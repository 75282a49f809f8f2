"""Describes an exception: the frames of the user, without those of ork below them."""

from __future__ import annotations

import json
import os
import traceback
from typing import Any, Dict, List, Optional

from ._output import Unwritable, to_json
from ._task import TaskError

LONGEST = 16 * 1024
MOST_DETAILS = 256 * 1024
MOST_PLACES = 8

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep

_MACHINERY = (_OWN, os.path.join(os.path.dirname(os.__file__), "asyncio") + os.sep, "<frozen importlib")


def _is_machinery(frame: traceback.FrameSummary) -> bool:
    # Imports go through frames that no file has.
    return frame.filename.startswith(_MACHINERY)


def _strip(trace: Optional[traceback.TracebackException]) -> None:
    """Drops the frames before the first one of the user."""
    seen = set()
    while trace is not None and id(trace) not in seen:
        seen.add(id(trace))
        frames = list(trace.stack)
        first = next((at for at, frame in enumerate(frames) if not _is_machinery(frame)), len(frames))
        trace.stack = traceback.StackSummary.from_list(frames[first:])
        trace = trace.__cause__ or trace.__context__


def _message(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception that cannot say what it is
        text = "(it has no text)"
    if not isinstance(error, TaskError):
        name = type(error).__name__
        text = f"{name}: {text}" if text else name
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _details(error: BaseException) -> Any:
    """What the task adds for programs, as far as it is JSON that is not too long."""
    if not isinstance(error, TaskError) or error.details is None:
        return None
    try:
        text = to_json(error.details)
    except Unwritable as problem:
        return {"unwritable": str(problem), "repr": repr(error.details)[:LONGEST]}
    if len(text) > MOST_DETAILS:
        return {"too_long": len(text), "most": MOST_DETAILS}
    return json.loads(text)


def describe_exception(error: BaseException, folder: str) -> Dict[str, Any]:
    """An exception in plain data."""
    trace = traceback.TracebackException.from_exception(error)
    frames = list(trace.stack)
    _strip(trace)
    text = "".join(trace.format())
    if len(text) > LONGEST:
        text = "…" + text[-LONGEST:]
    own: List[str] = []
    for frame in frames:
        if frame.filename.startswith(folder + os.sep) and not _is_machinery(frame):
            own.append(f"{os.path.relpath(frame.filename, folder)}:{frame.lineno} in {frame.name}")
    return {
        "message": _message(error),
        "kind": type(error).__name__,
        "details": _details(error),
        "retry": error.retry if isinstance(error, TaskError) else True,
        "traceback": text,
        "at": own[-MOST_PLACES:],
    }
