"""The private pipes to ork: a line of JSON, and after it as many bytes as the line says."""

from __future__ import annotations

import json
import os
import threading
from typing import Any, Dict, Optional, Tuple

LONGEST_HEADER = 1024 * 1024

# A body that is not longer is written with its header at once.
COPIED = 64 * 1024

# Not every text of Python is Unicode, and what is not must not break the conversation.
HEADER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=repr)


class Channel:
    """Sends from every thread, receives on one."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader = os.fdopen(reader, "rb", buffering=64 * 1024)
        self._writer = writer
        self._lock = threading.Lock()
        self._forked = False
        # A copy of this process must neither speak for it nor hold its pipes open.
        os.register_at_fork(after_in_child=self._leave)

    def _leave(self) -> None:
        self._forked = True
        os.close(self._writer)
        os.close(self._reader.fileno())

    def send(self, header: Dict[str, Any], body: Optional[bytes] = None) -> None:
        """Sends one message."""
        if self._forked:
            raise RuntimeError("a process made by `fork` cannot report to ork: report from the process of the task")
        if body is not None:
            header = {**header, "bytes": len(body)}
        line = HEADER.encode(header).encode("utf-8", "replace") + b"\n"
        if len(line) > LONGEST_HEADER:
            raise ValueError(f"{len(line)} bytes are too many for one report, which has at most {LONGEST_HEADER}")
        with self._lock:
            if body is None or len(body) <= COPIED:
                self._write(line + (body or b""))
            else:
                self._write(line)
                self._write(body)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._writer, rest) :]

    def receive(self) -> Optional[Tuple[Dict[str, Any], bytes]]:
        """The next message; `None` when ork is gone or wants no more."""
        line = self._reader.readline(LONGEST_HEADER)
        if not line.endswith(b"\n"):
            return None
        header: Dict[str, Any] = json.loads(line)
        body = self._reader.read(header.get("bytes", 0))
        return (header, body) if len(body) == header.get("bytes", 0) else None
