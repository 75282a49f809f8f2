"""A task's function: which parameters it has, how they are filled from an input, and its schemas."""

from __future__ import annotations

import inspect
import json
import typing
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from ._context import Context
from ._output import Unwritable, to_json
from ._records import Field, Model, is_model, object_schema, read_fields, standalone
from ._shapes import ANYTHING, NOTHING, Definitions, Mismatch, Shape, Table, Unsupported
from ._types import hints, is_record, shape_of

# What a parameter is called that has no annotation and takes the context.
CONTEXTS = ("ctx", "context")

# Which form of the input the only parameter gets.
FIELD = "field"
EITHER = "either"

# What a foreach calls its item: never the whole input, whatever its type.
ITEM = "item"


class Unfit(Exception):
    """A function cannot be a task; the message says why and what to do."""


class Function:
    """A function with the shapes of what it takes and returns."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.call = function
        self.name = getattr(function, "__qualname__", repr(function))
        code = getattr(inspect.unwrap(function), "__code__", None)
        self.line: int = getattr(code, "co_firstlineno", 1)
        self._contexts: List[inspect.Parameter] = []
        self._data: List[inspect.Parameter] = []
        self._rest: Optional[inspect.Parameter] = None
        try:
            self._hints = hints(function)
        except (NameError, TypeError, AttributeError) as error:
            raise Unfit(f"the annotations of `{self.name}` cannot be read: {error}") from None
        parameters = inspect.signature(function).parameters.values()
        for parameter in parameters:
            self._sort(parameter)
        # Those that cannot be given by name.
        self._placed = [one.name for one in parameters if one.kind is inspect.Parameter.POSITIONAL_ONLY]
        self._whole = self._find_whole()
        self._fields = {p.name: self._field(p) for p in self._data}
        self._output = self._shape("what it returns", self._hints.get("return", Any))

    def _sort(self, parameter: inspect.Parameter) -> None:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            raise Unfit(f"`{self.name}` has `*{parameter.name}`: an input has its values by name, so list them by name")
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            self._rest = parameter
        elif self._is_context(parameter):
            self._contexts.append(parameter)
        else:
            self._data.append(parameter)

    def _is_context(self, parameter: inspect.Parameter) -> bool:
        hint = self._hints.get(parameter.name)
        if hint is None:
            return parameter.name in CONTEXTS
        return hint is Context or Context in typing.get_args(hint)

    def _shape(self, what: str, hint: Any) -> Shape:
        try:
            return shape_of(hint)
        except Unsupported as error:
            raise Unfit(f"{what} of `{self.name}`: {error}") from None

    def _field(self, parameter: inspect.Parameter) -> Field:
        shape = self._shape(f"the parameter `{parameter.name}`", self._hints.get(parameter.name, Any))
        if parameter.default is inspect.Parameter.empty:
            return Field(shape, required=True)
        return Field(shape, required=False, default=parameter.default)

    def _find_whole(self) -> Optional[Shape]:
        """The shape of the one parameter that takes the whole input, if there is one."""
        if len(self._data) != 1 or self._rest is not None:
            return None
        parameter = self._data[0]
        hint = self._hints.get(parameter.name, Any)
        if parameter.name != ITEM and is_record(hint):
            return self._shape(f"the parameter `{parameter.name}`", hint)
        if parameter.name == "input":
            shape = self._shape("the parameter `input`", hint)
            return shape if shape is ANYTHING or isinstance(shape, Table) else None
        return None

    def arguments(self, body: bytes, context: Context, form: str) -> Tuple[List[Any], Dict[str, Any]]:
        """What the function is called with, or a `Mismatch`.

        `form` is what the one parameter that could take the whole input gets: `whole`, the `field` of its name, or
        `either`, which the input decides.
        """
        values: Dict[str, Any] = {parameter.name: context for parameter in self._contexts}
        if self._whole is not None and not (form == FIELD or form == EITHER and self._is_field(body)):
            values[self._data[0].name] = self._read_whole(self._whole, body)
        else:
            whole = json.loads(body)
            values.update(read_fields(self._fields, whole, ""))
            if self._rest is not None:
                values.update({key: value for key, value in whole.items() if key not in values})
        return [values.pop(name) for name in self._placed if name in values], values

    def _is_field(self, body: bytes) -> bool:
        """Whether the input has a field of the only parameter's name, and the type of the parameter has none."""
        name = self._data[0].name
        return name in json.loads(body) and name not in self._input_schema().get("properties", {})

    @staticmethod
    def _read_whole(shape: Shape, body: bytes) -> Any:
        if isinstance(shape, Model):
            return shape.read_json(body)
        return shape.read(json.loads(body), "")

    def write(self, value: Any) -> bytes:
        """The JSON of what the function returned, if it is what the function says that it returns."""
        text = to_json(value)
        returns = self._hints.get("return")
        # What is a model already was checked when it was made.
        checked = self._output is ANYTHING or is_model(returns) and isinstance(value, returns)  # type: ignore[arg-type]
        if not checked:
            try:
                self._output.read(json.loads(text), "")
            except Mismatch as problem:
                where = f"`{problem.path}` of " if problem.path else ""
                raise Unwritable(f"{where}what `{self.name}` returned is not what it says: {problem.message}") from None
        return text

    def signature(self) -> Dict[str, Any]:
        """Its schemas, its name and its line."""
        schemas = {"input": self._input_schema(), "output": self._output_schema()}
        if self._whole is not None:
            definitions: Definitions = {}
            schemas["by_name"] = standalone(object_schema(self._fields, definitions), definitions)
        return {**schemas, "function": self.name, "line": self.line}

    def _input_schema(self) -> Mapping[str, Any]:
        definitions: Definitions = {}
        if self._whole is None:
            schema = object_schema(self._fields, definitions)
        else:
            schema = self._whole.schema(definitions)
        whole = standalone(schema, definitions)
        return whole if whole.get("type") == "object" else {"type": "object", **whole}

    def _output_schema(self) -> Mapping[str, Any]:
        definitions: Definitions = {}
        if isinstance(self._output, Model):
            return standalone(self._output.schema(definitions, mode="serialization"), definitions)
        if self._hints.get("return", Any) is type(None):
            return NOTHING.schema(definitions)
        return standalone(self._output.schema(definitions), definitions)

