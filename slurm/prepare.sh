#!/usr/bin/env bash
# Bring into a cache what jobs need; does nothing where it is there already, and several may run at once.
#   prepare.sh source REMOTE COMMIT FOLDER       the repository at a commit, without history. A REMOTE of - is read from standard
#                                                input: an address with a token is not for other users' eyes.
#   prepare.sh environment SOURCE FOLDER PYTHON INSTALLER   a virtual environment with what SOURCE's requirements.txt names; without that
#                                                file, with SOURCE itself and the dependencies of its pyproject.toml. In both
#                                                cases the versions are those of its constraints.txt, if it has one. Prints its
#                                                place: FOLDER, or FOLDER.2, FOLDER.3 … where files of an earlier one were purged,
#                                                which jobs may still use.
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
    local remote=$1 commit=$2 folder=$3 new=$3.new user password=
    is_whole "$commit" "$folder" && return
    rm -rf "$new"
    git init --quiet "$new"
    local fetch=(git -C "$new" fetch --quiet)
    # All users of a machine see the arguments of its processes, but not their variables.
    if [[ $remote =~ ^(https?://)([^/@]*)@(.*)$ ]]; then
        remote=${BASH_REMATCH[1]}${BASH_REMATCH[3]} user=${BASH_REMATCH[2]}
        [[ $user == *:* ]] && password=${user#*:}
        printf -v IRED_USER %b "$(sed 's/%/\\x/g' <<<"${user%%:*}")"
        printf -v IRED_PASSWORD %b "$(sed 's/%/\\x/g' <<<"$password")"
        export IRED_USER IRED_PASSWORD
        local answer='!f() { printf "username=%s\npassword=%s\n" "$IRED_USER" "$IRED_PASSWORD"; }; f'
        fetch=(git -C "$new" -c credential.helper= -c credential.helper="$answer" fetch --quiet)
    fi
    # Some servers hand out branches only; then all are asked for.
    "${fetch[@]}" --depth 1 "$remote" "$commit" || "${fetch[@]}" "$remote" "+refs/*:refs/remotes/origin/*"
    git -C "$new" -c advice.detachedHead=false checkout --quiet "$commit"
    if [[ -d $folder ]]; then # jobs may run in it: what is missing or edited comes back, and nothing is taken away
        rm -rf "$folder/.git"
        mv "$new/.git" "$folder/.git"
        rm -rf "$new"
        git -C "$folder" update-index -q --refresh >/dev/null || true
        git -C "$folder" checkout --quiet --force -- .
    else
        mv "$new" "$folder"
    fi
}

environment_for() {
    local source=$1 base=$2 python=$3 installer=${4:-pip} folder=$2 number=1
    while [[ -e $folder && ! -f $folder/ready ]]; do
        number=$((number + 1))
        folder=$base.$number
    done
    echo "$folder"
    [[ -f $folder/ready ]] && return
    echo "making the environment $folder, once for this lock file" >&2
    trap "rm -rf $(printf %q "$folder")" EXIT # which no job uses yet
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
        "$python" -m venv "$folder" >&2
        "$folder/bin/python" -m pip install --disable-pip-version-check --progress-bar off "${what[@]}" >&2
    fi
    if [[ ! -x $folder/bin/ired ]]; then
        echo "the environment has no ired: add ired-interp to requirements.txt, or to the dependencies in pyproject.toml" >&2
        exit 1
    fi
    touch "$folder/ready"
    trap - EXIT
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
source)
    remote=$2
    [[ $remote != - ]] || read -r remote
    source_at "$remote" "$3" "$4"
    ;;
environment) environment_for "${@:2}" ;;
esac
