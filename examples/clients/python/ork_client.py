"""A client of ork: submits jobs over RabbitMQ, waits for outcomes, follows and cancels jobs. Copy it and change it.

It needs `pika`, `pydantic`, and `models`, which datamodel-code-generator generates from `schema export`.
"""

from __future__ import annotations

import json
import uuid
from collections import deque
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import pika
from pydantic import BaseModel, TypeAdapter

from models import OrkEvent, OrkOutcome

T = TypeVar("T")


class JobError(Exception):
    """The job failed or was cancelled: see `outcome.state` and `outcome.error`."""

    def __init__(self, outcome: OrkOutcome) -> None:
        super().__init__(outcome.error.message if outcome.error else outcome.state.value)
        self.outcome = outcome


class Client:
    """One connection, for one thread. With `schemas`, from `schema export`, messages name the schema of their input."""

    def __init__(
        self, url: str, schemas: dict[str, Any] | None = None, prefix: str = "ork", events: bool = False
    ) -> None:
        self._schemas = schemas or {"properties": {}}
        self._prefix = prefix
        self._said: dict[str, deque[OrkEvent | OrkOutcome]] = {}
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self._queue = self._channel.queue_declare("", exclusive=True).method.queue or ""
        if events:
            self._channel.queue_bind(self._queue, f"{prefix}.events", "job.#")

    def submit(self, task: str, input: BaseModel | dict[str, Any], output: type[T]) -> Job[T]:
        """Submits a job: RabbitMQ has it when this returns. `output` is the type of the task's output."""
        job = str(uuid.uuid4())
        self._said[job] = deque()
        known = self._schemas["properties"].get(task)
        model = input if isinstance(input, BaseModel) else None
        body = model.model_dump_json(by_alias=True, exclude_unset=True) if model else json.dumps(input)
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            message_id=job,
            reply_to=self._queue,
            correlation_id=job,
            headers={"ork-schema": known["x-ork-fingerprint"]} if known else None,
        )
        self._channel.basic_publish(self._prefix, task, body.encode(), properties, mandatory=True)
        return Job(self, job, TypeAdapter(output))

    def next_word(self, job: str, timeout: float) -> OrkEvent | OrkOutcome:
        """The next message about a job; messages about other jobs of this client are kept until they are read."""
        while not self._said[job]:
            words = self._channel.consume(self._queue, auto_ack=True, inactivity_timeout=timeout)
            method, properties, body = next(words)
            if method is None or properties is None or body is None:
                raise TimeoutError(f"no message about job {job} within {timeout} s")
            word: OrkEvent | OrkOutcome
            if properties.type == "ork.outcome":
                word = outcome = OrkOutcome.model_validate_json(body)
                about = outcome.job
            else:
                word = event = OrkEvent.model_validate_json(body)
                about = event.data.job
            if str(about) in self._said:
                self._said[str(about)].append(word)
        return self._said[job].popleft()

    def forget(self, job: str) -> None:
        """Drops all messages about a job."""
        self._said.pop(job, None)

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


class Job(Generic[T]):
    """A job that was submitted."""

    def __init__(self, client: Client, id: str, output: TypeAdapter[T]) -> None:
        self.id, self._client, self._output = id, client, output
        self._outcome: OrkOutcome | None = None

    def events(self, timeout: float = 30) -> Iterator[OrkEvent]:
        """The events of the job until it ends; for a client with `events`, if the workers publish them."""
        while self._outcome is None:
            word = self._client.next_word(self.id, timeout)
            if isinstance(word, OrkOutcome):
                self._outcome = word
                self._client.forget(self.id)
            else:
                yield word

    def result(self, timeout: float = 30) -> T:
        """The output of the task; a `JobError` if there is none, a `TimeoutError` if no message arrives in time."""
        for _ in self.events(timeout):
            pass
        assert self._outcome is not None
        if self._outcome.state.value != "succeeded":
            raise JobError(self._outcome)
        if self._outcome.output_at is not None:
            raise LookupError(f"no message carries the output of job {self.id}: {self._outcome.output_at!r}")
        return self._output.validate_python(self._outcome.output)

    def cancel(self, timeout: float = 30) -> None:
        """Cancels the job; a `JobError` if it has ended before."""
        self._client.submit("ork.cancel", {"job": self.id}, type(None)).result(timeout)
