"""Actions: the `@action` decorator, and the table of a class's actions by declared name.

Other agents can reach what is in the table and nothing else. `agency.turn` looks actions up here;
`agency.help` describes them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from types import NoneType, UnionType
from typing import (
    Any,
    Final,
    NotRequired,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    overload,
)

from pydantic import (
    ConfigDict,
    PydanticSchemaGenerationError,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import SchemaError
from typing_extensions import TypedDict

from agency import lifetime
from agency.access import ACCESS_DENIED, ACCESS_PERMITTED, AccessPolicy
from agency.errors import InvalidAction, InvalidArguments, InvalidMessage
from agency.help import Description, parameters_of
from agency.schema import freeze_value

__all__ = ["ActionSpec", "ActionTable", "action", "by_default", "is_default"]

Function = TypeVar("Function", bound=Callable[..., Any])

_NEVER_CONVERTED: Final[tuple[type, ...]] = (str, int, float, bool, NoneType)
"""Types whose values validation returns as they are."""

_ANYTHING: Final = frozenset({*_NEVER_CONVERTED, list, dict})
"""The types of all values that a message can have."""

SPECIAL_ACTIONS: Final = frozenset({"help", "response", "error"})
"""On every agent by default, and left out of what `help` shows."""

CALLBACKS: Final = (
    "after_add",
    "before_remove",
    "before_action",
    "after_action",
    "request_permission",
)
"""What the framework calls on an agent; each may be `async`."""


@dataclass(frozen=True, slots=True)
class _Declaration:
    """What `@action` was told about a method."""

    name: str | None
    help: Any
    access_policy: AccessPolicy
    at_most_once: bool
    specs: dict[tuple[str, Callable[..., Any]], ActionSpec] = field(default_factory=dict)
    """Of the method and those that override it: classes that inherit a method share its spec."""

    def spec(self, attribute: str, method: Callable[..., Any]) -> ActionSpec:
        place = attribute, method
        if place not in self.specs:
            self.specs[place] = ActionSpec(attribute, method, self)
        return self.specs[place]


@overload
def action(function: Function, /) -> Function: ...
@overload
def action(
    *,
    name: str | None = None,
    help: Any = None,
    access_policy: AccessPolicy = ACCESS_PERMITTED,
    at_most_once: bool = False,
) -> Callable[[Function], Function]: ...
def action(
    function: Function | None = None,
    /,
    *,
    name: str | None = None,
    help: Any = None,  # the seeds' name for it
    access_policy: AccessPolicy = ACCESS_PERMITTED,
    at_most_once: bool = False,
) -> Function | Callable[[Function], Function]:
    """Make a method an action: something that other agents can invoke.

    The method may be `def`, `async def`, or a generator of either kind, which sends each value as
    it is produced. A method that overrides an action without being marked again keeps the
    declaration of the one it overrides.

    Args:
        function: the method, when the decorator is written without parentheses.
        name: what others call it; the method's name by default.
        help: replaces the generated help object entirely; any JSON value.
        access_policy: who may invoke it.
        at_most_once: whether it must not be run twice for one message. Where messages outlive the
            receiver's process (`AMQPSpace`), one that a dead process had been given is then not
            begun by the successor: whoever sent it is told that nobody knows whether the action
            ran. By default it is begun again, and `current_redelivered` says so.

    Raises:
        InvalidAction: not used on a function, or an argument is not of the kind described here.
    """
    if name is not None and (type(name) is not str or not name):
        raise InvalidAction(f"@action: name is a string that is not empty, not {name!r}")
    try:
        policy = AccessPolicy(access_policy)
    except ValueError:
        raise InvalidAction(
            f"@action: access_policy is ACCESS_PERMITTED, ACCESS_DENIED or ACCESS_REQUESTED, not {access_policy!r}"
        ) from None
    if type(at_most_once) is not bool:
        raise InvalidAction(f"@action: at_most_once is True or False, not {at_most_once!r}")
    try:
        own_help = freeze_value(help, "help")
    except InvalidMessage as error:
        raise InvalidAction(f"@action: {error}") from error
    declaration = _Declaration(name, own_help, policy, at_most_once)

    def mark(method: Function) -> Function:
        if not inspect.isfunction(method):
            raise InvalidAction(f"@action marks methods defined with def, not {method!r}")
        method.__agency_action__ = declaration  # type: ignore[attr-defined]
        return method

    return mark if function is None else mark(function)


def by_default(method: Function) -> Function:
    """Mark a method as the framework's own: it returns at once, and a callback need not be called at all."""
    method.__agency_default__ = True  # type: ignore[attr-defined]  # any function may have it
    return method


def is_default(method: Callable[..., Any]) -> bool:
    """Whether the framework's own method has not been overridden."""
    return getattr(method, "__agency_default__", False)


class ActionSpec:
    """One action of one class: how it is called, who may, and what it says of itself."""

    def __init__(
        self, attribute: str, method: Callable[..., Any], declaration: _Declaration
    ) -> None:
        self.name: str = declaration.name or _name_in_source(attribute, method)
        self.method_name = attribute
        """Where the class has the method, whatever the function calls itself."""
        self.access_policy = declaration.access_policy
        self.at_most_once = declaration.at_most_once
        self.help_override = declaration.help
        self.is_stream = inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method)
        self.is_async = inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
        self.wraps_async = inspect.iscoroutinefunction(inspect.unwrap(method))
        """Whether there is a coroutine at its heart, whatever a decorator has made of it."""
        self.returns_at_once = self.is_async or is_default(method)
        """Whether calling it cannot block; what it returns may still have to be awaited."""
        self.value_name = f'what "{self.name}" returned'
        try:
            self._parameters, self._takes_others = parameters_of(method)
            self._taken = _taken_by_self(method)
            self.description = Description(
                method, self._parameters, takes_others=self._takes_others
            )
            self._kept_types = {one.name: _kept_by(one.annotation) for one in self._parameters}
            # Of plain types it can always be made, so it waits until it is needed: that saves each
            # worker of a LocalSpace 2 ms and 0.8 MB.
            if not all(self._kept_types.values()):
                self._validator = self._make_validator()
        except (TypeError, PydanticSchemaGenerationError, PydanticUserError, SchemaError) as error:
            raise InvalidAction(f"{method.__qualname__} cannot be an action: {error}") from error

    def check_arguments(self, args: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments, converted to the types of the signature, to be passed by name.

        Raises:
            InvalidArguments: which argument does not fit, and why.
        """
        kept_types = self._kept_types
        if len(args) == len(kept_types):
            for name, value in args.items():
                if type(value) not in kept_types.get(name, ()):
                    break
            else:
                return args  # all are there and need no conversion: 0.1 µs, not the validator's 0.5
        if self._takes_others and self._taken in args:
            raise InvalidArguments(
                f'"{self.name}" cannot be called like this: argument "{self._taken}": is the agent itself'
            )
        try:
            return self._validator.validate_python(args)
        except ValidationError as error:
            reasons = "; ".join(
                f'argument "{".".join(str(step) for step in one["loc"])}": {one["msg"][0].lower()}{one["msg"][1:]}'
                for one in error.errors(
                    include_url=False, include_context=False, include_input=False
                )
            )
            raise InvalidArguments(f'"{self.name}" cannot be called like this: {reasons}') from None

    @cached_property
    def _validator(self) -> TypeAdapter[dict[str, Any]]:
        return self._make_validator()

    def _make_validator(self) -> TypeAdapter[dict[str, Any]]:
        """A validator that keeps what it was not given out of its result, so that Python's own
        defaults apply.
        """
        fields: dict[str, Any] = {}
        for parameter in self._parameters:
            annotation = (
                Any if parameter.annotation is inspect.Parameter.empty else parameter.annotation
            )
            fields[parameter.name] = annotation if parameter.required else NotRequired[annotation]
        shape = cast("Any", TypedDict)(self.name, fields)  # its fields are known at run time only
        shape.__pydantic_config__ = ConfigDict(
            extra="allow" if self._takes_others else "forbid", arbitrary_types_allowed=True
        )
        return TypeAdapter(shape)


class ActionTable:
    """The actions of one class by declared name, and which callbacks it has."""

    def __init__(self, agent_class: type) -> None:
        self._specs: dict[str, ActionSpec] = {}
        for attribute, method, declaration in _declared(agent_class):
            spec = declaration.spec(attribute, method)
            twin = self._specs.get(spec.name)
            if twin is not None:
                raise InvalidAction(
                    f"{agent_class.__qualname__}.{spec.method_name} and .{twin.method_name} "
                    f'are both the action "{spec.name}"'
                )
            self._specs[spec.name] = spec
        self.get = self._specs.get
        """The action of that name, or None."""
        callbacks = {
            name: callback
            for name in CALLBACKS
            if not is_default(callback := getattr(agent_class, name))
        }
        self.has_before_action = "before_action" in callbacks
        self.before_action_takes_message = (
            self.has_before_action
            and len(inspect.signature(callbacks["before_action"]).parameters) > 1
        )
        """The seeds give it no argument, the last release gave it the message: both are right."""
        self.has_after_action = "after_action" in callbacks
        self.needs_event_loop = any(spec.is_async for spec in self._specs.values()) or any(
            inspect.iscoroutinefunction(callback) for callback in callbacks.values()
        )
        """Whether any action or callback is `async`."""
        self.straight = {
            name: spec
            for name, spec in self._specs.items()
            if spec.access_policy is ACCESS_PERMITTED
            and not (spec.is_async or spec.is_stream or spec.wraps_async)
            and not (self.has_before_action or self.has_after_action)
        }
        """The actions that there is nothing to do for but to call them: see `agency.turn.straight`."""

    @classmethod
    def of(cls, agent_class: type) -> ActionTable:
        """The table of a class; built once and kept with the class.

        Raises:
            InvalidAction: two actions have one name, or one cannot be called by name.
        """
        table = vars(agent_class).get("_action_table")
        if not isinstance(table, cls):
            # Pydantic takes what a signal's handler raises within for a mistake in the annotations.
            with lifetime.undisturbed():
                table = cls(agent_class)
            agent_class._action_table = table  # type: ignore[attr-defined]  # any class may have one
        return table

    def shown(self, action_name: str | None = None) -> list[ActionSpec]:
        """The actions that `help` speaks of: not the special ones, unless named, and none that
        nobody may invoke.
        """
        return [
            spec
            for spec in self._specs.values()
            if spec.access_policy is not ACCESS_DENIED
            and (spec.name == action_name if action_name else spec.name not in SPECIAL_ACTIONS)
        ]


def _kept_by(annotation: Any) -> frozenset[type]:
    """The types whose values an argument with this annotation takes as they are, so that nothing needs to
    be asked but the type.
    """
    if annotation is Any or annotation is inspect.Parameter.empty:
        return _ANYTHING
    is_union = get_origin(annotation) in {Union, UnionType}
    types: tuple[type, ...] = get_args(annotation) if is_union else (annotation,)
    return frozenset(types) if all(one in _NEVER_CONVERTED for one in types) else frozenset()


def _taken_by_self(method: Callable[..., Any]) -> str | None:
    """The name that `**kwargs` cannot hold, because it is the method's own name for the agent."""
    for parameter in inspect.signature(method).parameters.values():
        return None if parameter.kind is parameter.POSITIONAL_ONLY else parameter.name
    raise TypeError("it does not take the agent itself (self) as its first argument")


def _name_in_source(attribute: str, method: Callable[..., Any]) -> str:
    """The attribute's name as the class's author wrote it: Python keeps `__secret` as
    `_Class__secret`.
    """
    own_name = method.__name__
    is_private = own_name.startswith("__") and attribute.endswith(own_name)
    return own_name if is_private else attribute


def _declaration_of(member: Any) -> _Declaration | None:
    inner = getattr(member, "__func__", member)  # of a staticmethod or classmethod
    return getattr(inner, "__agency_action__", None)


def _declared(agent_class: type) -> list[tuple[str, Callable[..., Any], _Declaration]]:
    """Every action of a class in the order of definition, bases first: the attribute, the method
    as the class itself has it, and what was declared.

    Raises:
        InvalidAction: something that is no method is marked, such as a `staticmethod`.
    """
    names: dict[str, _Declaration] = {}
    for owner in reversed(agent_class.__mro__):
        for name, member in vars(owner).items():
            declaration = _declaration_of(member)
            if declaration is not None:
                names[name] = declaration
    found: list[tuple[str, Callable[..., Any], _Declaration]] = []
    for name, declaration in names.items():
        member = inspect.getattr_static(agent_class, name)
        if inspect.isfunction(member):
            found.append((name, member, declaration))
        elif _declaration_of(member) is not None:
            raise InvalidAction(
                f"{agent_class.__qualname__}.{name} cannot be an action: "
                f"@action marks methods, not what {type(member).__name__} makes of them"
            )
    return found
