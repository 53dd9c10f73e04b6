"""`ired completion`: the shell's completion script, as shipped with the package."""

from importlib.resources import files

from ired_interp.errors import InputError

SHELLS = ("bash", "zsh")


def main(command: str, arguments: list[str]) -> int:
    """Run the command.

    Raises
    ------
    InputError
        If no shell is named, or an unknown one.
    """
    if arguments in (["--help"], ["-h"]):
        print(
            "usage: ired completion {bash,zsh}\n\nPrint the script; use it with: source <(ired "
            "completion bash)"
        )
        return 0
    if len(arguments) != 1 or arguments[0] not in SHELLS:
        raise InputError(
            f"completion takes one of {', '.join(SHELLS)}; got {' '.join(arguments) or 'nothing'}."
        )
    script = files("ired_interp").joinpath("completion/ired.bash").read_text()
    print(
        ("autoload -U +X bashcompinit && bashcompinit\n" if arguments[0] == "zsh" else "") + script,
        end="",
    )
    return 0
