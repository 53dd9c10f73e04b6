#!/usr/bin/env bash
# Bring into a cache what jobs need; does nothing where it is there already, and several may run at once.
#   prepare.sh source REMOTE COMMIT FOLDER       the repository at a commit, without history
#   prepare.sh environment SOURCE FOLDER PYTHON INSTALLER   a virtual environment with what SOURCE's requirements.txt names; without that
#                                                file, with SOURCE itself and the dependencies of its pyproject.toml. In both
#                                                cases the versions are those of its constraints.txt, if it has one.
# And in every process of a job, run the program:
#   prepare.sh run COMMIT PROJECT ENVIRONMENT RECORD ARGUMENTS…   ired, after a proof that it is the code of PROJECT, a folder of the
#                                                clone, where that has ired_interp; RECORD says whose code it is.
set -euo pipefail

# Whether a clone is whole: scratch folders are purged file by file.
is_whole() {
    local git=(git -C "$2" -c safe.directory="$2") # a group may share the clone
    [[ $("${git[@]}" rev-parse HEAD 2>/dev/null) == "$1" ]] && "${git[@]}" diff --quiet HEAD 2>/dev/null
}

source_at() {
    local remote=$1 commit=$2 folder=$3 new=$3.new
    is_whole "$commit" "$folder" && return
    rm -rf "$new"
    git init --quiet "$new"
    # The address may hold a token, so it is not written into the clone. Some servers hand out branches only; then all are asked for.
    git -C "$new" fetch --quiet --depth 1 "$remote" "$commit" || git -C "$new" fetch --quiet "$remote" "+refs/*:refs/remotes/origin/*"
    git -C "$new" -c advice.detachedHead=false checkout --quiet "$commit"
    if [[ -d $folder ]]; then # jobs that use it find the same files under the same names
        rm -rf "$folder.old"
        mv "$folder" "$folder.old"
    fi
    mv "$new" "$folder"
    rm -rf "$folder.old"
}

environment_for() {
    local source=$1 folder=$2 python=$3 installer=${4:-pip}
    [[ -f $folder/ready ]] && return
    echo "making the environment $folder, once for this lock file" >&2
    rm -rf "$folder"
    cd "$source"
    local what=(.)
    [[ -f requirements.txt ]] && what=(-r requirements.txt)
    [[ -f constraints.txt ]] && what+=(-c constraints.txt)
    if [[ $installer == uv && -f uv.lock ]]; then
        UV_PROJECT_ENVIRONMENT=$folder uv sync --frozen --no-dev --no-editable --python "$python" >&2
    elif [[ $installer == uv ]]; then
        uv venv --python "$python" "$folder" >&2
        uv pip install --python "$folder/bin/python" "${what[@]}" >&2
    else
        "$python" -m venv "$folder"
        "$folder/bin/python" -m pip install --disable-pip-version-check --progress-bar off "${what[@]}" >&2
    fi
    if [[ ! -x $folder/bin/ired ]]; then
        echo "the environment has no ired: add ired-interp to requirements.txt, or to the dependencies in pyproject.toml" >&2
        exit 1
    fi
    touch "$folder/ready"
}

run() {
    local commit=$1 project=$2 environment=$3 record=$4 own found
    shift 4
    local programs=${environment:+$environment/bin/} # without an environment, those of a container or of conda
    found=$("${programs}python" -c 'import sys; from importlib.util import find_spec
sys.path[:] = [path for path in sys.path if path]
print(getattr(find_spec("ired_interp"), "origin", ""))')
    for own in "$project/src/ired_interp/__init__.py" "$project/ired_interp/__init__.py"; do
        if [[ -f $own && ! $found -ef $own ]]; then
            echo "ired: the job would run ${found:-nothing}, not ired_interp of commit $commit; what puts it before PYTHONPATH?" >&2
            exit 1
        fi
    done
    if ((${SLURM_PROCID:-0} == 0)); then
        printf 'commit %s in %s\nired_interp of %s\n' "$commit" "$project" "$(dirname "$found")" | tee "$record"
    fi
    exec "${programs}ired" "$@"
}

if [[ $1 == run ]]; then
    run "${@:2}"
fi
case $1 in
source) folder=$4 ;;
environment) folder=$3 ;;
esac
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9
case $1 in
source) source_at "$2" "$3" "$4" ;;
environment) environment_for "${@:2}" ;;
esac
