"""What a parser of settings complains of, as one sentence: what was found, what was expected."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from ired_interp.errors import InputError, one_line
from ired_interp.registry import Registered

_WHERE = (
    "modules are looked for among what is installed, beside each --config file and in the current "
    "folder"
)
FIRST = (
    "no task and model are configured; put a task's configuration first, as in --config quickstart"
)
_IMPORT = re.compile(
    r"Problem with given class_path '([^']+)':\s*"
    r"(No module named .+|cannot import name .+|module '.+' has no attribute .+)"
)
_KEY = re.compile(r'Parser key "([^"]+)"')
_UNKNOWN = re.compile(r"Option '(.+)' is not accepted")
_UNRECOGNISED = re.compile(r"unrecognized arguments: (\S+)")
_SUBTYPES = re.compile(r"Subtypes: \[(.*)\]$", re.MULTILINE)
_EXPECTED = re.compile(r"Expected (an? .+?)\. Got value: ", re.DOTALL)
_VALUE = re.compile(r"(?:.*Given|Got) value: (.*)", re.DOTALL)
_NESTED = re.compile(r"NestedArg\(key='(.+?)', val=(.*)\)", re.DOTALL)
_NO_CLASS = re.compile(r"Expected a dot import path string: (.*)")
_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "NoneType": "null",
    "Iterable": "a list",
}


class SettingError(InputError):
    """A setting that is refused, by its key, which the parsers around it make longer.

    Parameters
    ----------
    key : str
        Where the setting stands, as far as is known.
    problem : str
        What is wrong with it, as in "is 3; expected a text".
    """

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"the configuration is not valid: {key} {problem}.")
        self.key, self.problem = key, problem

    def below(self, key: str) -> "SettingError":
        """Return the error with the key of what the setting is part of."""
        inside = self.key == key or self.key.startswith(f"{key}.")
        return self if inside else SettingError(f"{key}.{self.key}", self.problem)


def key_in(message: str) -> str | None:
    """Return the key that a parser's message is about."""
    found = _KEY.search(message)
    return found[1] if found else None


def complaint(message: str, options: Iterable[str]) -> InputError:
    """Make an error of a parser's message.

    Parameters
    ----------
    message : str
        As the parser wrote it, of several lines.
    options : iterable of str
        The parser's options, "--width" and so on.

    Returns
    -------
    InputError
        Of one sentence.
    """
    if refused := _IMPORT.search(message):
        path, reason = refused.groups()
        reason = one_line(reason).rstrip(".")
        return InputError(f"class {path} cannot be imported: {reason}; {_WHERE}.")
    if "are required" in message or "is required" in message:
        if re.search(r"\b(data\.task|model)\b", message):
            return InputError(f"{FIRST}.")
        return InputError(f"the configuration is not valid: {one_line(message)}.")
    names = {option[2:] for option in options if option.startswith("--") and option[-1] != "+"}
    names -= {"help", "print_shtab"}
    if unknown := _UNKNOWN.search(message):
        return SettingError(unknown[1], f"does not exist; {_near(unknown[1], sorted(names))}")
    if unknown := _UNRECOGNISED.search(message):
        name = unknown[1].partition("=")[0]
        return InputError(
            f"option {name} does not exist; {_near(name.lstrip('-'), sorted(names))}."
        )
    key = key_in(message)
    if key is None:
        return InputError(f"the configuration is not valid: {one_line(message).rstrip('.')}.")
    if named := _NO_CLASS.search(message):
        classes = _class_names()
        near = get_close_matches(named[1], classes)
        known = f"near it are {', '.join(near)}" if near else "write module.Class"
        return SettingError(key, f"is {_short(named[1])}, which names no class; {known}")
    if "Not a valid subclass of SolverModule" in message:
        return InputError(f"{FIRST}.")
    value = _value(message)
    if "Unable to load config" in message:
        value = value or _short(message.rpartition('"')[0].rpartition('"')[2])
        return SettingError(key, f"is {value}; expected a mapping of settings")
    expected = _expected(message)
    if value and expected:
        return SettingError(key, f"is {value}; expected {expected}")
    return SettingError(
        key, f"is refused: {one_line(_KEY.sub('', message)).strip(': ').rstrip('.')}"
    )


def _near(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names) or get_close_matches(
        name.rpartition(".")[2], [n for n in names if "." not in n]
    )
    if near:
        return f"near it are {', '.join(near)}"
    top = list(dict.fromkeys(n.partition(".")[0] for n in names))
    return f"choose from {one_line(', '.join(top), 200)}"


def _class_names() -> list[str]:
    return [cls.__name__ for kind in Registered.__subclasses__() for cls in kind.registry.values()]


def _value(message: str) -> str:
    if not (found := _VALUE.search(message)):
        return ""
    if nested := _NESTED.fullmatch(found[1].strip()):
        return _short(nested[2])
    return _short(found[1])


def _short(value: str) -> str:
    return one_line(value, 60) or "empty"


def _expected(message: str) -> str:
    if union := _SUBTYPES.search(message):
        kinds = dict.fromkeys(_type(part) for part in _split(union[1]))
        return " or ".join(kinds)
    if single := _EXPECTED.search(message):
        return _type(re.sub(r"^an? ", "", single[1]))
    return ""


def _type(text: str) -> str:
    """Name a type as people do; as it is written, if it is none of the known ones."""
    text = re.sub(r"<(?:class|enum) '(.+?)'>", r"\1", text.strip())
    if text.startswith("typing.Literal"):
        choices = text[text.index("[") + 1 : -1].replace("'", "")
        return one_line(f"one of {choices}" if "," in choices else choices, 120)
    outer, bracket, inner = text.partition("[")
    name = outer.rpartition(".")[2]
    if bracket:
        return f"{_TYPES.get(name, name)} of {_type(_split(inner[:-1])[0])}"
    if text != outer or " " in text:
        return f"a {text}"
    return _TYPES.get(name, f"a {name}" if name in text and "." in text else name)


def _split(text: str) -> list[str]:
    """Split at the commas that stand in no brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[<(") - (character in "]>)")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts
