"""What an action says of itself: the `help` object of the seeds, and a full JSON Schema.

Both are drawn from the method's signature, which wins, and its Google-style docstring.
`agency.actions` builds one `Description` per action, on first use; nothing here knows agents.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import docstring_parser
import pydantic_core
from docstring_parser import Docstring
from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic_core import SchemaError
from typing_extensions import is_typeddict

__all__ = ["Description", "Parameter", "parameters_of", "return_annotation_of"]

JSONSchema = dict[str, Any]

_NO_TYPE = (NameError, TypeError, AttributeError, SyntaxError)
"""What looking up an annotation may raise."""

_DOCSTRING_TYPES = {
    "str": "string",
    "string": "string",
    "int": "integer",
    "integer": "integer",
    "float": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "list": "array",
    "tuple": "array",
    "set": "array",
    "dict": "object",
    "object": "object",
    "none": "null",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument that a caller of an action may name."""

    name: str
    annotation: Any
    """`inspect.Parameter.empty` if the signature does not say."""
    default: Any
    """`inspect.Parameter.empty` if the argument is required."""

    @property
    def required(self) -> bool:
        """Whether every call has to give it."""
        return self.default is inspect.Parameter.empty


def parameters_of(function: Callable[..., Any]) -> tuple[tuple[Parameter, ...], bool]:
    """The arguments of an action without `self`, and whether it takes any others (`**kwargs`)
    besides.

    Raises:
        TypeError: an argument could not be given by name.
    """
    hints = _type_hints(function)
    found: list[Parameter] = []
    takes_others = False
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(
                f'argument "{parameter.name}" is positional-only; the arguments of actions have names'
            )
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_others = True
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            annotation = hints.get(parameter.name, parameter.annotation)
            found.append(Parameter(parameter.name, annotation, parameter.default))
    return tuple(found), takes_others


def return_annotation_of(function: Callable[..., Any]) -> Any:
    """What the signature says is returned, or `inspect.Parameter.empty`."""
    return _type_hints(function).get("return", inspect.Parameter.empty)


class Description:
    """What one action says of itself, worked out on first use and then kept."""

    def __init__(
        self, function: Callable[..., Any], parameters: tuple[Parameter, ...], *, takes_others: bool
    ) -> None:
        self._function = function
        self._parameters = parameters
        self._takes_others = takes_others

    @cached_property
    def help(self) -> dict[str, Any]:
        """`{"description": …, "args": {name: {"type": …, "description": …}}, "returns": {…}}`.

        Keys that nothing is known about are left out; `args` is always there, `returns` only when
        documented.
        """
        documented = {entry.arg_name.lstrip("*"): entry for entry in self._docstring.params}
        args = {}
        for parameter in self._parameters:
            entry = documented.get(parameter.name)
            args[parameter.name] = _short(
                parameter.annotation, entry.type_name if entry else None
            ) | _described(entry.description if entry else None)
        shown = _described(self.text) | {"args": args}
        returns = self._docstring.returns
        if returns is not None:
            annotation = return_annotation_of(self._function)
            shown["returns"] = _short(annotation, returns.type_name) | _described(
                returns.description
            )
        return shown

    @cached_property
    def json_schema(self) -> dict[str, Any]:
        """`{"description": …, "parameters": {JSON Schema of an object}, "returns": {JSON Schema}}`.

        `parameters` has `properties`, `required`, defaults, enums and `additionalProperties`, as
        language models and MCP take them. `$defs` of nested models stand inside `parameters`.
        """
        documented = {
            entry.arg_name.lstrip("*"): entry.description for entry in self._docstring.params
        }
        properties: dict[str, JSONSchema] = {}
        definitions: JSONSchema = {}
        for parameter in self._parameters:
            schema = dict(_schema(parameter.annotation))
            definitions |= schema.pop("$defs", {})
            schema |= _described(documented.get(parameter.name)) | _default(parameter)
            properties[parameter.name] = schema
        whole: JSONSchema = {
            "type": "object",
            "properties": properties,
            "required": [parameter.name for parameter in self._parameters if parameter.required],
            "additionalProperties": self._takes_others,
        }
        if definitions:
            whole["$defs"] = definitions
        returns = self._docstring.returns
        return _described(self.text) | {
            "parameters": whole,
            "returns": _schema(return_annotation_of(self._function))
            | _described(returns.description if returns else None),
        }

    @cached_property
    def text(self) -> str | None:
        """What the action does, in the docstring's words, as one paragraph."""
        parts = (self._docstring.short_description, self._docstring.long_description)
        return " ".join(" ".join(part.split()) for part in parts if part) or None

    @cached_property
    def _docstring(self) -> Docstring:
        return docstring_parser.parse(
            inspect.getdoc(self._function) or "", style=docstring_parser.DocstringStyle.GOOGLE
        )


def _type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The types that the signature names. One that cannot be found, as it exists for type checkers
    only, or is a remark and no type, leaves its own argument without.
    """
    try:
        return typing.get_type_hints(function, include_extras=True)
    except _NO_TYPE:
        annotations = inspect.get_annotations(function)
        return {name: _type_hint(function, text) for name, text in annotations.items()}


def _type_hint(function: Callable[..., Any], annotation: Any) -> Any:
    def alone() -> None: ...

    alone.__annotations__ = {"it": annotation}
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return typing.get_type_hints(alone, names, include_extras=True)["it"]
    except _NO_TYPE:
        return inspect.Parameter.empty if isinstance(annotation, str) else annotation


def _short(annotation: Any, documented: str | None) -> dict[str, Any]:
    """`{"type": …}` in JSON Schema's words, with what belongs to it (`enum`, `items`, …); the
    signature wins.
    """
    if annotation is inspect.Parameter.empty:
        if not documented:
            return {}
        name = documented.removesuffix("optional").rstrip(", ")
        return {"type": _DOCSTRING_TYPES.get(name.lower(), name)}
    return _flat(_schema(annotation))


def _flat(schema: JSONSchema) -> JSONSchema:
    """A one-level schema as it is; a union of plain types as JSON Schema's list of type names."""
    choices = schema.get("anyOf", [])
    if choices and all(choice.keys() == {"type"} for choice in choices):
        return {"type": [choice["type"] for choice in choices]}
    reference = schema.get("$ref", "").removeprefix("#/$defs/")
    if reference:
        return {
            key: value
            for key, value in schema["$defs"][reference].items()
            if key not in {"title", "description"}
        }
    return schema


def _schema(annotation: Any) -> JSONSchema:
    """The JSON Schema of a type that pydantic understands, without titles; of any other: no
    constraint.
    """
    if annotation is inspect.Parameter.empty or annotation is Any:
        return {}
    try:
        adapter = TypeAdapter(annotation, config=_config_for(annotation))
        schema = adapter.json_schema(mode="validation")
    except (
        PydanticSchemaGenerationError,
        PydanticInvalidForJsonSchema,
        PydanticUserError,
        SchemaError,
    ):
        return {}
    return {key: value for key, value in schema.items() if key != "title"}


def _config_for(annotation: Any) -> ConfigDict | None:
    # pydantic refuses a config for types that bring their own.
    brings_own = hasattr(annotation, "__pydantic_config__") or hasattr(
        annotation, "__pydantic_core_schema__"
    )
    return (
        None
        if brings_own or hasattr(annotation, "__dataclass_fields__") or is_typeddict(annotation)
        else (ConfigDict(arbitrary_types_allowed=True))
    )


def _default(parameter: Parameter) -> JSONSchema:
    if parameter.required:
        return {}
    try:
        default = pydantic_core.to_jsonable_python(parameter.default, inf_nan_mode="constants")
        json.dumps(default, allow_nan=False)
    except ValueError:  # infinity is one that JSON does not have
        return {}
    return {"default": default}


def _described(text: str | None) -> dict[str, Any]:
    return {"description": " ".join(text.split())} if text else {}
