"""The life of one worker process: it loads one file, then runs one instance after another until its input ends."""

from __future__ import annotations

import inspect
import json
import os
import queue
import signal
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import _load
from ._channel import Channel
from ._context import Cancelled, Context
from ._function import Function, Unfit
from ._output import Unwritable
from ._shapes import Mismatch
from ._trace import describe_exception

# How long what the task left running may take to end, once there is nothing more to do.
EXIT_GRACE = 2.0

Message = Tuple[Dict[str, Any], bytes]
Answer = Tuple[Dict[str, Any], Optional[bytes]]


class Worker:
    """One process."""

    def __init__(self, channel: Channel, folder: str, file: str) -> None:
        self._channel = channel
        self._folder = folder
        self._file = file
        self._asked: "queue.SimpleQueue[Optional[Message]]" = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._busy: Optional[int] = None
        # The call that was cancelled; it may not have begun.
        self._unwanted: Optional[int] = None
        self._cancel: List[Callable[[], object]] = []
        # Whether asyncio runs the call, and cancels it.
        self._is_async = False
        # Whether it has to end now; and whether it was interrupted, or asyncio does that: it is done once.
        self._hurry = False
        self._interrupted = False

    def run(self) -> None:
        signal.signal(signal.SIGTERM, self._on_sigterm)
        os.register_at_fork(after_in_child=self._forget_signals)
        threading.Thread(target=self._listen, name="ork", daemon=True).start()
        self._channel.send({"type": "ready", "python": ".".join(map(str, sys.version_info[:3]))})
        function = self._load()
        while function is not None:
            message = self._asked.get()
            if message is None:
                return
            header, body = message
            answer, output = self._answer(function, header, body)
            self._flush(header["id"])
            self._channel.send({**answer, "id": header["id"]}, output)
            del message, body, output

    def _load(self) -> Optional[Function]:
        try:
            _load.prepare_path(self._folder, self._file)
            function = _load.load(self._folder, self._file)
        except (Unfit, SyntaxError) as error:
            description = {**describe_exception(error, self._folder), "retry": False}
            if isinstance(error, Unfit):
                description.update(message=str(error), traceback="")
            else:
                where = "" if error.lineno is None else f", line {error.lineno}"
                description.update(message=f"{self._file}{where}: {error.msg}", at=[])
            self._unloadable(description)
            return None
        except (Exception, SystemExit) as error:
            description = describe_exception(error, self._folder)
            self._unloadable({**description, "message": f"{self._file} cannot be imported: {description['message']}"})
            return None
        self._channel.send({"type": "loaded"})
        return function

    def _unloadable(self, description: Dict[str, Any]) -> None:
        self._flush(0)
        self._channel.send({"type": "unloadable", **description})

    def _answer(self, function: Function, header: Dict[str, Any], body: bytes) -> Answer:
        if header["type"] == "describe":
            return self._describe(function)
        number = header["id"]
        context = Context(header["call"], lambda record: self._send(number, record))
        self._begin(number, context)
        try:
            try:
                args, named = function.arguments(body, context, header["form"])
            except Mismatch as problem:
                return {"type": "rejected", "field": problem.path, "message": problem.message}, None
            del body
            output = function.write(self._call(function, args, named))
            most = header["most"]
            if len(output) > most:
                message = f"`{function.name}` returned {len(output)} bytes of JSON, and at most {most} are taken"
                return {"type": "unwritable", "message": message}, None
            return {"type": "returned"}, output
        except Unwritable as problem:
            return {"type": "unwritable", "message": str(problem)}, None
        except BaseException as error:  # noqa: BLE001 - `SystemExit` and `KeyboardInterrupt` of the task, too
            if context.cancelled and type(error).__name__ in ("Cancelled", "CancelledError"):
                return {"type": "cancelled"}, None
            return {"type": "raised", **describe_exception(error, self._folder)}, None
        finally:
            self._end()

    def _send(self, number: int, record: Dict[str, Any]) -> None:
        # What a thread reports after its call has ended is dropped.
        if self._busy == number:
            self._channel.send(record)

    def _describe(self, function: Function) -> Answer:
        try:
            return {"type": "described"}, json.dumps(function.signature()).encode("ascii")
        except Exception as error:  # noqa: BLE001 - a type that pydantic cannot describe, for one
            description = describe_exception(error, self._folder)
            message = f"{self._file}: the types of `{function.name}` cannot be described: {description['message']}"
            return {"type": "raised", **description, "message": message, "retry": False}, None

    def _call(self, function: Function, args: List[Any], named: Dict[str, Any]) -> Any:
        value = function.call(*args, **named)
        if not inspect.isawaitable(value):
            return value

        # Only what is async pays for it.
        import asyncio

        async def supervised() -> Any:
            running, loop = asyncio.current_task(), asyncio.get_running_loop()
            assert running is not None
            self._on_cancel(lambda: loop.call_soon_threadsafe(running.cancel))
            return await value

        return asyncio.run(supervised())

    def _begin(self, number: int, context: Context) -> None:
        with self._lock:
            self._busy, self._is_async = number, False
            self._cancel = [context.cancelled.set]
            if self._unwanted == number:
                context.cancelled.set()

    def _on_cancel(self, then: Callable[[], object]) -> None:
        with self._lock:
            self._is_async = True
            self._cancel.append(then)
            if self._unwanted == self._busy:
                then()

    def _end(self) -> None:
        with self._lock:
            self._busy, self._cancel = None, []

    def _listen(self) -> None:
        """Takes what ork sends, on a separate thread, so that a busy task can be cancelled."""
        while True:
            message = self._channel.receive()
            if message is None:
                break
            header, _ = message
            if header["type"] != "cancel":
                self._asked.put(message)
                del message
                continue
            self._stop(header["id"], header["now"])
        # Without its ork process, nothing reads what a task sends.
        if self._busy is None:
            self._asked.put(None)
            time.sleep(EXIT_GRACE)
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)

    def _stop(self, number: int, now: bool) -> None:
        """Cancels a call, and interrupts what it does if it has to end now."""
        with self._lock:
            again, self._unwanted = self._unwanted == number, number
            if self._busy == number and not again:
                for then in self._cancel:
                    then()
            self._hurry, self._interrupted = now, now and self._is_async
        if self._interrupted:
            self._terminate_what_it_started()
        elif now:
            # Only what a signal calls can raise something in the main thread, wherever that is.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def _on_sigterm(self, _number: int, _frame: object) -> None:
        # A service manager may signal every process of a service. ork decides when this one ends.
        if self._unwanted is None or self._interrupted:
            return
        self._interrupted = True
        if self._hurry:
            # After the task itself: it must not find what it waits for ended before it knows why.
            self._terminate_what_it_started()
        raise Cancelled("the call was cancelled, or its worker stops")

    def _terminate_what_it_started(self) -> None:
        if os.getpgrp() == os.getpid():
            os.killpg(os.getpid(), signal.SIGTERM)

    def _forget_signals(self) -> None:
        # A copy of this process belongs to the task, which may want to end it.
        if signal.getsignal(signal.SIGTERM) == self._on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _flush(self, number: int) -> None:
        """Writes what was printed, and a mark after it, so that ork knows when it has read all of it."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:  # noqa: BLE001 - the task may have closed or replaced it
                continue
        try:
            os.write(2, f"\0ork {number}\0\n".encode("ascii"))
        except OSError:
            return


def serve(reader: int, writer: int, folder: str, file: str) -> None:
    """Runs until ork closes its end."""
    for stream in (sys.stdout, sys.stderr):
        # Lines come as they are written, also from a task that crashes.
        getattr(stream, "reconfigure", dict)(line_buffering=True, errors="backslashreplace")
    worker = Worker(Channel(reader, writer), folder, file)
    try:
        worker.run()
    except Cancelled:
        # SIGTERM arrived outside of the task's own code.
        sys.exit(143)
