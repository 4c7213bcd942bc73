"""Use the accelerator, the optional distribution ``qualification-gateway-speed``.

It replaces functions and classes of the gateway with faster ones, which give the same bytes. Only
this module knows whether it is installed. See docs/decisions/0102.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, TypeVar

_DISTRIBUTION = "qualification-gateway-speed"
_MODULE = "qualification_gateway_speed"
INTERFACE = 1
"""The version of the interface that this gateway uses. ``speed/src/lib.rs`` states its own."""
_REMEDY = (
    f"The gateway works without it, with the same results. Run `make speed`, "
    f"or remove it with `pip uninstall {_DISTRIBUTION}`."
)
_Part = TypeVar("_Part", bound=Callable[..., Any])


def load(module: str = _MODULE) -> tuple[Any, str]:
    """Return the accelerator, or ``None`` and the reason why an installed one is not used."""
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            return None, ""
        return None, f"{_DISTRIBUTION} is not used, because it is incomplete. {_REMEDY}"
    except Exception:  # noqa: BLE001 - a broken library raises what it likes
        return None, (
            f"{_DISTRIBUTION} is not used, because it does not load: expected a build for this "
            f"Python and this machine. {_REMEDY}"
        )
    interface = getattr(loaded, "INTERFACE", None)
    if interface != INTERFACE:
        return None, (
            f"{_DISTRIBUTION} is not used, because it has the interface {interface}: "
            f"expected {INTERFACE}, from the same release as the gateway. {_REMEDY}"
        )
    return loaded, ""


_accelerator, refusal = load()
is_used = _accelerator is not None
"""Whether the accelerator is installed and fits. ``refusal`` is the reason if it does not fit."""
version: str = getattr(_accelerator, "VERSION", "")
"""The version of the accelerator in use."""


def accelerated(part: _Part) -> _Part:
    """Return the accelerator's function or class of the same name, or ``part`` without it.

    ``part`` defines the meaning.
    """
    replacement: _Part = getattr(_accelerator, part.__name__, part)
    return replacement


def json_reader(
    places: Sequence[tuple[str, ...]],
) -> Callable[[bytes], tuple[Any, ...] | None] | None:
    """Return a function that reads the values at places of a JSON text, if it can be had.

    A place is a path of keys. The function returns the values, and then whether a text may hold
    invisible characters. It returns ``None`` for a text of which it is not certain. A place inside
    another one raises ``ValueError``.
    """
    if _accelerator is None:
        return None
    read: Callable[[bytes], tuple[Any, ...] | None] = _accelerator.JsonReader(places).read
    return read
