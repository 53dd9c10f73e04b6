"""Classes that are known by a name once their module is imported."""

import sys
from typing import Any, ClassVar, TypeVar, get_type_hints

from ired_interp.errors import InputError

Kind = TypeVar("Kind", bound="Registered")


class Registered:
    """Base of a contract (`Energy`, `Task`, …) whose implementations can be asked for by name.

    A class that states a `name` of its own is registered under it when it is defined; defined again
    (a reloaded module, a notebook's cell run twice), it takes its former place.

    Attributes
    ----------
    name : str
        What the class is called on the command line, in results and in messages.
    aliases : tuple of str
        Further names.
    registry : dict of str to type
        The contract's classes by name.
    """

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    registry: ClassVar[dict[str, type[Any]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if Registered in cls.__bases__:
            cls.registry = {}
        elif isinstance(name := vars(cls).get("name"), str):
            for claimed in (name, *vars(cls).get("aliases", ())):
                _check_free(cls, claimed)
                cls.registry[claimed] = cls

    @classmethod
    def named(cls: type[Kind], name: str) -> type[Kind]:
        """Return the class of a name.

        Parameters
        ----------
        name : str
            A class's `name`, or one of its aliases.

        Returns
        -------
        type
            The class.

        Raises
        ------
        InputError
            If no class that was imported has the name.
        """
        if name not in cls.registry:
            raise InputError(
                f"{cls.__name__.lower()} {name!r} does not exist; there are "
                f"{', '.join(cls.registry)}; one of your own is known once its module is imported."
            )
        found: type[Kind] = cls.registry[name]
        return found


def _check_free(cls: type[Registered], name: str) -> None:
    holder = cls.registry.get(name)
    if holder is not None and _origin(holder) != _origin(cls):
        paths = " and ".join(f"{one.__module__}.{one.__qualname__}" for one in (cls, holder))
        raise InputError(f"{paths} both have the name {name!r}; give one of them another.")


def _origin(cls: type) -> tuple[str, str]:
    """Where a class is written; a program's file has two names, `__main__` and its own."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return file or cls.__module__, cls.__qualname__


def signature_hints(kind: Any) -> dict[str, Any]:
    """Return the types of a class's arguments by name, as far as they can be told."""
    try:
        return get_type_hints(kind.__init__)
    except Exception:  # of any kind: no class, or hints that only a type checker resolves
        return {}
