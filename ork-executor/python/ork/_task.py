"""What marks a function as a task, and the error with which it says more than an exception can."""

from __future__ import annotations

from typing import Any, Callable, Optional, TypeVar, Union, overload

F = TypeVar("F", bound=Callable[..., Any])

MARK = "__ork_task__"


@overload
def task(function: F) -> F: ...


@overload
def task() -> Callable[[F], F]: ...


def task(function: Optional[F] = None) -> Union[F, Callable[[F], F]]:
    """Marks the function that a file is there for. It stays an ordinary function, which a test can call."""

    def mark(marked: F) -> F:
        if not callable(marked) or isinstance(marked, type):
            raise TypeError(f"@task stands above a function, not above {marked!r}")
        setattr(marked, MARK, True)
        return marked

    return mark if function is None else mark(function)


class TaskError(Exception):
    """A failure with details for programs. With `retry=False` no other attempt is made."""

    def __init__(self, message: str, details: Any = None, retry: bool = True) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.retry = retry
