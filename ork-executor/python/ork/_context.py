"""What a running task knows about its job, and what it can report."""

from __future__ import annotations

import logging
import math
import threading
from datetime import datetime, timezone
from typing import Any, Callable, Dict, Mapping, Optional

# Sends what a task says; a context made for a test writes it to the log.
Send = Callable[[Dict[str, Any]], None]

LONGEST_LINE = 8 * 1024
LONGEST_LABEL = 1024


class Cancelled(BaseException):
    """Raised in a task whose call was cancelled, or whose worker stops, if it has not ended by itself.

    Like `KeyboardInterrupt` it is no `Exception`, so that `except Exception` does not hold it up.
    """


class CancelEvent(threading.Event):
    """Set when the call is cancelled or its worker stops; `if ctx.cancelled:` asks `ctx.cancelled.is_set()`."""

    def __bool__(self) -> bool:
        return self.is_set()


class Metrics:
    """Records the measurements of a task."""

    def __init__(self, send: Send, log: logging.Logger) -> None:
        self._send = send
        self._log = log

    def record(self, name: str, value: float, labels: Optional[Mapping[str, Any]] = None, **more: Any) -> None:
        """Records one value: `ctx.metrics.record("rows", 3, table="users")`."""
        both = {**(labels or {}), **more}
        labels_sent = {str(key): str(label)[:LONGEST_LABEL] for key, label in both.items()}
        number = float(value)
        if math.isfinite(number):
            self._send({"type": "metric", "name": str(name)[:LONGEST_LABEL], "value": number, "labels": labels_sent})
        else:
            self._log.warning("the measurement %s is %s and was left out", name, number)


class _Handler(logging.Handler):
    """Hands log records to ork."""

    def __init__(self, send: Send) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a wrong format must not end a task
            self.handleError(record)
            return
        self._send({"type": "log", "level": _level(record.levelno), "line": line[:LONGEST_LINE]})


def _level(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warn"
    return "info" if number >= logging.INFO else "debug"


def _to_log(record: Dict[str, Any]) -> None:
    logging.getLogger("ork").info("%s", record)


class Context:
    """What a running task knows about its job, and what it can report."""

    job_id: str
    root_id: str
    task_name: str
    workflow_name: Optional[str]
    attempt: int
    parallel_index: int
    parallel_count: int
    idempotency_key: str
    deadline: Optional[datetime]
    log: logging.Logger
    metrics: Metrics
    cancelled: CancelEvent

    def __init__(self, call: Mapping[str, Any], send: Send) -> None:
        self.job_id = call["job"]
        self.root_id = call["root"]
        self.task_name = call["task"]
        self.workflow_name = call.get("workflow")
        self.attempt = call["attempt"]
        self.parallel_index = call["index"]
        self.parallel_count = call["count"]
        self.idempotency_key = call["key"]
        deadline = call.get("deadline")
        self.deadline = None if deadline is None else datetime.fromtimestamp(deadline / 1000, timezone.utc)
        # Not one of the loggers by name: it ends with its instance.
        self.log = logging.Logger("ork.task", logging.DEBUG)
        self.log.addHandler(_Handler(send))
        self.metrics = Metrics(send, self.log)
        self.cancelled = CancelEvent()
        self._send = send

    def progress(self, percent: float, info: str = "") -> None:
        """Reports progress: a percentage from 0 to 100, and a short text."""
        number = float(percent)
        number = min(max(number, 0.0), 100.0) if math.isfinite(number) else 0.0
        self._send({"type": "progress", "percent": number, "info": str(info)[:LONGEST_LINE]})

    @classmethod
    def for_test(cls, **call: Any) -> "Context":
        """A context for a unit test that calls a task as a plain function: `Context.for_test(index=1, count=4)`."""
        known = {"job": "test", "root": "test", "task": "test", "attempt": 1, "index": 0, "count": 1, "key": "test"}
        return cls({**known, **call}, _to_log)
