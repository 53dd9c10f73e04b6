#!/usr/bin/env bash
# Bring into a cache what jobs need; does nothing where it is there already, and several may run at once.
#   prepare.sh source REMOTE COMMIT FOLDER       the repository at a commit, without history
#   prepare.sh environment SOURCE FOLDER PYTHON  a virtual environment with what SOURCE's requirements.txt names; without that
#                                                file, with SOURCE itself and the dependencies of its pyproject.toml. In both
#                                                cases the versions are those of its constraints.txt, if it has one.
set -euo pipefail

source_at() {
    local remote=$1 commit=$2 folder=$3 new=$3.new
    [[ -d $folder ]] && return
    rm -rf "$new"
    git init --quiet "$new"
    git -C "$new" remote add origin "$remote"
    # Some servers hand out branches only; then all of them are asked for.
    git -C "$new" fetch --quiet --depth 1 origin "$commit" || git -C "$new" fetch --quiet origin
    git -C "$new" -c advice.detachedHead=false checkout --quiet "$commit"
    mv "$new" "$folder"
}

environment_for() {
    local source=$1 folder=$2 python=$3
    [[ -f $folder/ready ]] && return
    echo "making the environment $folder, once for this lock file" >&2
    rm -rf "$folder"
    "$python" -m venv "$folder"
    cd "$source"
    local what=(.)
    [[ -f requirements.txt ]] && what=(--requirement requirements.txt)
    [[ -f constraints.txt ]] && what+=(--constraint constraints.txt)
    "$folder/bin/python" -m pip install --disable-pip-version-check --progress-bar off "${what[@]}" >&2
    if [[ ! -x $folder/bin/ired ]]; then
        echo "the environment has no ired: add ired-interp to requirements.txt, or to the dependencies in pyproject.toml" >&2
        exit 1
    fi
    touch "$folder/ready"
}

case $1 in
source) folder=$4 ;;
environment) folder=$3 ;;
esac
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9
case $1 in
source) source_at "$2" "$3" "$4" ;;
environment) environment_for "$2" "$3" "$4" ;;
esac
