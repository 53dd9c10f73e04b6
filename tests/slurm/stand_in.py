"""An environment whose `ired` does what a few lines of bash say."""

from pathlib import Path

# A training leaves what a training leaves; that of n=3 fails until it is mended.
TRAINS = """#!/bin/bash
echo "$@" >>MADE
[[ $1 == fit ]] || exit 0
while (($# > 1)); do
    case $1 in --runs) runs=$2 ;; --experiment) experiment=$2 ;; --name) name=$2 ;; --resume) run=$2 ;; esac
    shift
done
run=${run:-$runs/$experiment/$name}
mkdir -p "$run" && touch "$run/config.yaml"
[[ $run == *n=3* && ! -e MENDED ]] && exit 1
echo '{"state": "done"}' >"$run/state.json"
"""


def stand_in(home: Path, script: str, **files: Path) -> Path:
    """Make it, and return its folder; names of files stand in the script in capitals."""
    for name, path in files.items():
        script = script.replace(name.upper(), str(path))
    programs = home / "environment" / "bin"
    programs.mkdir(parents=True)
    (programs / "ired").write_text(script)
    (programs / "python").write_text("#!/bin/sh\necho nowhere\n")
    for name in ("ired", "python"):
        (programs / name).chmod(0o755)
    return programs.parent
