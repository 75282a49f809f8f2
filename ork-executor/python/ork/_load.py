"""Loads the file of a task and finds the function in it."""

from __future__ import annotations

import importlib.util
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


def module_name(folder: str, file: str) -> str:
    """The name by which the file can be imported, so that what is pickled finds its way back, or one that is free."""
    steps = os.path.splitext(os.path.normpath(file))[0].split(os.sep)
    if not all(step.isidentifier() for step in steps) or steps[0] in sys.modules:
        return FALLBACK
    spec = importlib.util.find_spec(steps[0])
    places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
    own = os.path.join(folder, steps[0])
    # Another module may go by the same name, and come first.
    return ".".join(steps) if own in places or own + ".py" in places else FALLBACK


def load(folder: str, file: str) -> Function:
    """The task in a file.

    Raises `Unfit`, `SyntaxError`, or whatever the file itself raises.
    """
    path = os.path.join(folder, file)
    with open(path, "rb") as source:
        # Not through the importer: what it has cached may be older than the file.
        code = compile(source.read(), path, "exec", dont_inherit=True)
    module = types.ModuleType(module_name(folder, file))
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
