"""Shapes with fields: dataclasses, `TypedDict`s and pydantic's models."""

from __future__ import annotations

import dataclasses
import sys
import typing
from typing import Any, Callable, Dict, Mapping, Optional

from ._shapes import Definitions, Mismatch, Shape, inside


class Field:
    """A field of a record."""

    def __init__(self, shape: Shape, required: bool, default: Any = dataclasses.MISSING) -> None:
        self.shape = shape
        self.required = required
        self.default = default

    def schema(self, definitions: Definitions) -> Dict[str, Any]:
        """Its JSON Schema, with its default if JSON can say it."""
        schema = self.shape.schema(definitions)
        if self.default is None or isinstance(self.default, (bool, int, float, str)):
            schema = {**schema, "default": self.default}
        return schema


def read_fields(fields: Mapping[str, Field], value: Any, path: str) -> Dict[str, Any]:
    """The fields of an object by name. Other fields are left out."""
    if not isinstance(value, dict):
        raise Shape.wrong(_OBJECT, value, path)
    read = {}
    for name, field in fields.items():
        if name in value:
            read[name] = field.shape.read(value[name], inside(path, name))
        elif field.required:
            raise Mismatch(inside(path, name), f"is missing: expected {field.shape.expected}")
    return read


def object_schema(fields: Mapping[str, Field], definitions: Definitions) -> Dict[str, Any]:
    """The schema of an object with these fields."""
    schema: Dict[str, Any] = {
        "type": "object",
        "properties": {name: field.schema(definitions) for name, field in fields.items()},
    }
    required = [name for name, field in fields.items() if field.required]
    return {**schema, "required": required} if required else schema


class Record(Shape):
    """A dataclass or a `TypedDict`. Its fields are looked at when they are needed, so that it may contain itself."""

    expected = "an object"

    def __init__(self, type_: type, fields: Callable[[], Mapping[str, Field]], make: Callable[..., Any]) -> None:
        self._type = type_
        self._find = fields
        self._make = make
        self._found: Optional[Mapping[str, Field]] = None

    @property
    def fields(self) -> Mapping[str, Field]:
        if self._found is None:
            self._found = self._find()
        return self._found

    def read(self, value: Any, path: str) -> Any:
        return self._make(**read_fields(self.fields, value, path))

    def schema(self, definitions: Definitions) -> Dict[str, Any]:
        name = self._type.__name__
        if name in definitions and definitions[name].get("_of") is not self._type:
            name = f"{self._type.__module__}.{self._type.__qualname__}"
        if name not in definitions:
            definitions[name] = {"_of": self._type}
            schema = object_schema(self.fields, definitions)
            definitions[name] = {"_of": self._type, "title": self._type.__name__, **schema}
        return {"$ref": f"#/$defs/{name}"}


_OBJECT = Record(dict, dict, dict)


def pydantic() -> Any:
    """pydantic, if the task uses it."""
    return sys.modules.get("pydantic")


def is_class(type_: Any) -> bool:
    """Whether it is a class: `list[int]` is none, though some versions of Python say so."""
    return isinstance(type_, type) and typing.get_origin(type_) is None


def is_model(type_: Any) -> bool:
    """Whether it is one of pydantic's models."""
    module = pydantic()
    return module is not None and is_class(type_) and issubclass(type_, module.BaseModel)


class Model(Shape):
    """A type that pydantic reads and describes: a model, or whatever its `TypeAdapter` knows."""

    expected = "an object"

    def __init__(self, type_: Any) -> None:
        self._type = type_
        self._is_model = is_model(type_)
        self._new = hasattr(pydantic(), "TypeAdapter")
        if not self._is_model:
            self.expected = str(getattr(type_, "__name__", type_))
            self._adapter = pydantic().TypeAdapter(type_)

    def read(self, value: Any, path: str) -> Any:
        if not self._is_model:
            return self._validate(lambda: self._adapter.validate_python(value), path)
        return self._validate(lambda: (self._type.model_validate if self._new else self._type.parse_obj)(value), path)

    def read_json(self, text: bytes) -> Any:
        """Reads a whole input, without a detour through Python's own values."""
        if self._is_model and self._new:
            return self._validate(lambda: self._type.model_validate_json(text), "")
        return self._validate(lambda: self._type.parse_raw(text), "")

    def _validate(self, read: Callable[[], Any], path: str) -> Any:
        try:
            return read()
        except pydantic().ValidationError as error:
            problems = error.errors()
            first = problems[0]
            where = ".".join(str(step) for step in first["loc"])
            more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
            at = inside(path, where) if where else path
            raise Mismatch(at, first["msg"] + more) from None

    def schema(self, definitions: Definitions, mode: str = "validation") -> Dict[str, Any]:
        if not self._is_model:
            own = self._adapter.json_schema(mode=mode)
        elif self._new:
            own = self._type.model_json_schema(mode=mode)
        else:
            own = self._type.schema(ref_template="#/$defs/{model}")
        inner = {**own.pop("$defs", {}), **own.pop("definitions", {})}
        names = {name: name for name in inner}
        for name, schema in inner.items():
            while names[name] in definitions and definitions[names[name]] != schema:
                names[name] += "_"
        definitions.update({names[name]: _renamed(schema, names) for name, schema in inner.items()})
        renamed: Dict[str, Any] = _renamed(own, names)
        return renamed


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    """The same schema with its references led to where its definitions are now."""
    if isinstance(schema, list):
        return [_renamed(item, names) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _renamed(value, names) for key, value in schema.items()}
    reference = changed.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        name = reference[len("#/$defs/") :]
        changed["$ref"] = f"#/$defs/{names.get(name, name)}"
    return changed


def _without(schema: Mapping[str, Any], key: str) -> Dict[str, Any]:
    return {name: value for name, value in schema.items() if name != key}


def standalone(schema: Dict[str, Any], definitions: Definitions) -> Dict[str, Any]:
    """The schema with the definitions that it refers to; an object stands at its root and not behind a reference."""
    clean = {name: _without(schema, "_of") for name, schema in definitions.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str):
        schema = {**clean[reference[len("#/$defs/") :]], **_without(schema, "$ref")}
    used: Dict[str, Any] = {}
    queue: list[Any] = [schema]
    while queue:
        item = queue.pop()
        if isinstance(item, list):
            queue.extend(item)
        elif isinstance(item, dict):
            queue.extend(item.values())
            reference = item.get("$ref")
            name = reference[len("#/$defs/") :] if isinstance(reference, str) else None
            if name in clean and name not in used:
                used[name] = clean[name]
                queue.append(clean[name])
    return {**schema, "$defs": used} if used else schema
