"""Loads the file of a task and finds the function in it."""

from __future__ import annotations

import os
import sys
import types
from typing import Any, Callable, List

from ._function import Function, Unfit
from ._task import MARK

FALLBACK = "__ork_task__"


def prepare_path(folder: str, file: str) -> None:
    """Lets the task import what lies in the workflow's folder, and beside its own file.

    They stand after the standard library and before what is installed: a task file named `copy.py` must not replace a
    module that others rely on.
    """
    installed = (at for at, path in enumerate(sys.path) if "site-packages" in path or "dist-packages" in path)
    place = next(installed, len(sys.path))
    beside = os.path.dirname(os.path.join(folder, file))
    sys.path[place:place] = [folder] if os.path.samefile(beside, folder) else [folder, beside]


def module_name(file: str) -> str:
    """The name by which the file could be imported, if it is free; so that what is pickled finds its way back."""
    steps = os.path.splitext(os.path.normpath(file))[0].split(os.sep)
    name = ".".join(steps)
    known = steps[0] in sys.modules or steps[0] in getattr(sys, "stdlib_module_names", ()) or steps[0] == "ork"
    return name if all(step.isidentifier() for step in steps) and not known else FALLBACK


def load(folder: str, file: str) -> Function:
    """The task in a file.

    Raises `Unfit`, `SyntaxError`, or whatever the file itself raises.
    """
    path = os.path.join(folder, file)
    with open(path, "rb") as source:
        # Not through the importer: what it has cached may be older than the file.
        code = compile(source.read(), path, "exec", dont_inherit=True)
    module = types.ModuleType(module_name(file))
    module.__file__ = path
    sys.modules[module.__name__] = module
    exec(code, module.__dict__)
    return Function(find(module, file))


def find(module: types.ModuleType, file: str) -> Callable[..., Any]:
    """The one function with `@task`, or the one named `main`."""
    marked: List[Any] = []
    for value in vars(module).values():
        own = getattr(value, "__module__", None) == module.__name__
        if own and getattr(value, MARK, False) is True and value not in marked:
            marked.append(value)
    if len(marked) == 1:
        found: Callable[..., Any] = marked[0]
        return found
    if marked:
        names = ", ".join(f"`{value.__qualname__}` (line {value.__code__.co_firstlineno})" for value in marked)
        raise Unfit(f"{file} has {len(marked)} functions with @task: {names}; a file has one, so move the others")
    main = getattr(module, "main", None)
    if main is None:
        raise Unfit(f"{file} has no task: put `@task` above its function, or name it `main`")
    if not callable(main) or isinstance(main, type):
        raise Unfit(f"`main` in {file} is not a function, but {type(main).__name__}: put `@task` above the function")
    return main  # type: ignore[no-any-return]
