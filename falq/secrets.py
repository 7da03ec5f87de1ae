"""Keys and passwords: text that is sent and never shown.

Owns the two forms in which a secret is held, and how one that came as plain text
leaves the frame that it came into before anything there can fail: a crash reporter
shows the locals of every frame of a traceback. It never reads one from anywhere and
never checks one; `gateways`, `proxies` and whoever takes one from a user do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from attrs import fields

Made = TypeVar("Made")


class Secret:
    """Text that is sent but never shown.

    It is no `str`: `repr`, `str` and formatting give a mask, and JSON and pickling are
    refused, so that a log, a traceback with its locals, a file or a message to another
    process cannot carry it. `reveal` is the one way to the text.

    Args:
        text: What is not shown.
    """

    __slots__ = ("_held",)

    def __init__(self, text: str) -> None:
        # In a function and not in an attribute: crash reporters look into those.
        self._held: Callable[[], str] = lambda: text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __bool__(self) -> bool:
        return bool(self.reveal())

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("<secret>", spec)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a key is not pickled; let the other process read it from its environment")

    def reveal(self) -> str:
        """Return the text itself, as plain `str`."""
        return self._held()


class HeaderSecret(str):
    """A header's value with a key in it: masked in every repr, plain when written.

    aiohttp writes `str(value)` onto the wire, so only `repr` can be masked here.
    That is what logs, tracebacks with locals and exceptions show of headers.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "<secret>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a header with a key is not pickled")


class Withheld:
    """Stands for a value that is neither text nor anything else that was expected.

    Args:
        value: What was given; only the name of its type is kept.
    """

    __slots__ = ("kind",)

    def __init__(self, value: object) -> None:
        self.kind = type(value).__name__

    def __repr__(self) -> str:
        return f"<{self.kind}>"


def hold(given: Any, *kinds: type) -> Any:
    """Return what may be, or have in it, a secret as something that shows none. Never fails.

    Bind the result to the name that it came under, before anything else:
    `proxy = hold(proxy, Proxy)`.

    Args:
        given: Text becomes a `Secret`. None, a path and a `Secret` stay what they are.
        kinds: Types that stay what they are as well: they show nothing by themselves.

    Returns:
        `given`, a `Secret`, or a `Withheld` in place of anything else.
    """
    if given is None or isinstance(given, (Secret, Withheld, Path, *kinds)):
        return given
    return Secret(given) if isinstance(given, str) else Withheld(given)


def hold_in(given: Mapping[str, Any], names: Mapping[str, type]) -> dict[str, Any]:
    """Return arguments with those held that may have a secret in them. Never fails.

    Args:
        given: Arguments by name.
        names: Which of them are held, each with the type that shows nothing by itself.
    """
    return {
        name: hold(value, names[name]) if name in names else value for name, value in given.items()
    }


def show_made(value: Any) -> str:
    """Return the repr of an attrs value, which one that is refused half-made has as well.

    Tracebacks with their locals show it, with what it has by then.

    Args:
        value: Of an attrs class.
    """
    names = [one.name for one in fields(type(value)) if one.repr and hasattr(value, one.name)]
    shown = ", ".join(f"{name}={getattr(value, name)!r}" for name in names)
    return f"{type(value).__name__}({shown})"


def holds(*names: str) -> Callable[[type[Made]], type[Made]]:
    """Make an attrs class hold its secrets before its own `__init__` has them.

    Of an argument that it does not know it shows nothing either: a key under a wrong
    name is a key. Names are all that its arguments can be given by.

    Args:
        names: Those of its fields that are secrets. Their converters get what `hold`
            makes of what was given.
    """

    def decorate(made: type[Made]) -> type[Made]:
        changed: Any = made
        shown = {one.name for one in fields(changed)} - set(names)
        fill = changed.__init__

        @functools.wraps(fill)
        def hold_and_fill(self: Made, /, **given: Any) -> None:
            given = {name: v if name in shown else hold(v) for name, v in given.items()}
            fill(self, **given)

        changed.__init__ = hold_and_fill
        return made

    return decorate
