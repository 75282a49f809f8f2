"""Shapes: how a value of a type is read from JSON, and how JSON Schema describes it."""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

# The definitions that a schema refers to, by name.
Definitions = Dict[str, Any]


class Mismatch(Exception):
    """A value is not what its type takes: where, what was expected and what was found."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"`{path}`: {message}" if path else message)
        self.path = path
        self.message = message


class Unsupported(TypeError):
    """A type has no form in JSON that is known here."""


def found(value: Any) -> str:
    """What was found, in a few words."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 60 else text[:60] + "…"


def inside(path: str, key: object) -> str:
    """The path of what is inside another value."""
    return f"{path}.{key}" if path else str(key)


class Shape:
    """A type as JSON has it."""

    # What is expected, in words.
    expected = "anything"

    def read(self, value: Any, path: str) -> Any:
        """The value, or a `Mismatch`."""
        return value

    def schema(self, definitions: Definitions) -> Dict[str, Any]:
        """Its JSON Schema."""
        return {}

    def wrong(self, value: Any, path: str) -> Mismatch:
        """Says what was expected and what was found."""
        return Mismatch(path, f"expected {self.expected}, found {found(value)}")


class Plain(Shape):
    """A value that Python has as JSON has it."""

    def __init__(self, expected: str, name: str, accepts: Tuple[type, ...]) -> None:
        self.expected = expected
        self._name = name
        self._accepts = accepts

    def read(self, value: Any, path: str) -> Any:
        # `True` is an `int` for Python, and no number for JSON.
        if isinstance(value, self._accepts) and (not isinstance(value, bool) or bool in self._accepts):
            return value
        raise self.wrong(value, path)

    def schema(self, definitions: Definitions) -> Dict[str, Any]:
        return {"type": self._name}


class Integer(Plain):
    """A whole number; JSON does not tell `3.0` from `3`."""

    def read(self, value: Any, path: str) -> Any:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        return super().read(value, path)


class Number(Plain):
    """A number, read as a `float`."""

    def read(self, value: Any, path: str) -> Any:
        try:
            return float(super().read(value, path))
        except OverflowError:
            raise self.wrong(value, path) from None


ANYTHING = Shape()
NOTHING = Plain("null", "null", (type(None),))
TEXT = Plain("a text", "string", (str,))
BOOLEAN = Plain("true or false", "boolean", (bool,))
INTEGER = Integer("an integer", "integer", (int,))
NUMBER = Number("a number", "number", (int, float))


class Spelled(Shape):
    """A value that JSON has as a text, such as a date."""

    def __init__(
        self, expected: str, format_: Optional[str], parse: Callable[[str], Any], numbers: bool = False
    ) -> None:
        self.expected = expected
        self._format = format_
        self._parse = parse
        self._numbers = numbers

    def read(self, value: Any, path: str) -> Any:
        if self._numbers and isinstance(value, (int, float)) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise self.wrong(value, path)
        try:
            return self._parse(value)
        except (ValueError, ArithmeticError):
            raise self.wrong(value, path) from None

    def schema(self, definitions: Definitions) -> Dict[str, Any]:
        text = {"type": "string", "format": self._format} if self._format else {"type": "string"}
        return {"anyOf": [{"type": "number"}, text]} if self._numbers else text


class Items(Shape):
    """A list of values of one type."""

    expected = "a list"

    def __init__(self, item: Shape, make: Callable[[List[Any]], Any], unique: bool = False) -> None:
        self._item = item
        self._make = make
        self._unique = unique

    def read(self, value: Any, path: str) -> Any:
        if not isinstance(value, list):
            raise self.wrong(value, path)
        if self._item is ANYTHING:
            return self._make(value)
        read = self._item.read
        # A path is made only where it is needed: lists may be long.
        try:
            return self._make([read(item, "") for item in value])
        except Mismatch:
            return self._make([read(item, inside(path, at)) for at, item in enumerate(value)])

    def schema(self, definitions: Definitions) -> Dict[str, Any]:
        schema = {"type": "array", "items": self._item.schema(definitions)}
        return {**schema, "uniqueItems": True} if self._unique else schema


class Fixed(Shape):
    """A tuple: each place has its own type."""

    def __init__(self, items: Sequence[Shape]) -> None:
        self._items = items
        self.expected = f"a list of {len(items)}"

    def read(self, value: Any, path: str) -> Any:
        if not isinstance(value, list) or len(value) != len(self._items):
            raise self.wrong(value, path)
        return tuple(shape.read(item, inside(path, at)) for at, (shape, item) in enumerate(zip(self._items, value)))

    def schema(self, definitions: Definitions) -> Dict[str, Any]:
        count = len(self._items)
        items = [item.schema(definitions) for item in self._items]
        return {"type": "array", "prefixItems": items, "minItems": count, "maxItems": count}


class Table(Shape):
    """A `dict` whose keys are texts."""

    expected = "an object"

    def __init__(self, value: Shape) -> None:
        self._value = value

    def read(self, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            raise self.wrong(value, path)
        return {key: self._value.read(item, inside(path, key)) for key, item in value.items()}

    def schema(self, definitions: Definitions) -> Dict[str, Any]:
        inner = self._value.schema(definitions)
        return {"type": "object", "additionalProperties": inner} if inner else {"type": "object"}


class OneOf(Shape):
    """One of several types: the first that takes the value."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self._shapes = shapes
        self.expected = " or ".join(shape.expected for shape in shapes)

    def read(self, value: Any, path: str) -> Any:
        problems = []
        for shape in self._shapes:
            try:
                return shape.read(value, path)
            except Mismatch as problem:
                problems.append(problem)
        # With `Optional` only one of them can be meant, and it knows best what is wrong.
        meant = [problem for shape, problem in zip(self._shapes, problems) if shape is not NOTHING]
        raise meant[0] if len(meant) == 1 and meant[0].path != path else self.wrong(value, path)

    def schema(self, definitions: Definitions) -> Dict[str, Any]:
        return {"anyOf": [shape.schema(definitions) for shape in self._shapes]}


class Choice(Shape):
    """One of these values: a `Literal` or an `Enum`."""

    def __init__(self, choices: Sequence[Tuple[Any, Any]]) -> None:
        self._choices = choices
        self.expected = " or ".join(found(value) for value, _ in choices)

    def read(self, value: Any, path: str) -> Any:
        for choice, means in self._choices:
            if choice == value and isinstance(choice, bool) == isinstance(value, bool):
                return means
        raise self.wrong(value, path)

    def schema(self, definitions: Definitions) -> Dict[str, Any]:
        values = [value for value, _ in self._choices]
        texts = all(isinstance(value, str) for value in values)
        return {"type": "string", "enum": values} if texts else {"enum": values}
