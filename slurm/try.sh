#!/usr/bin/env bash
# Stands in for prepare.sh in the short job of `ired submit --try-node` and `ired check --on-node`, whose script is otherwise
# that of the job to come: says what it finds on the node, and makes no environment. A line of tabs is a check.
set -euo pipefail
prepare=$(dirname "$0")/prepare-job.sh
node=${SLURMD_NODENAME:-$(hostname)}

say() { # ok|FAIL NAME FOUND [REMEDY]; the job takes paths from the standard output
    local IFS=$'\t'
    printf 'ired-node\t%s\n' "$*" >&2
}

last_line() { sed '/^\s*$/d' <<<"$1" | tail -n 1; }

shared="set scratch in the profile to a folder that all nodes see"
case $1 in
source)
    if said=$(bash "$prepare" "$@" 2>&1); then
        say ok source "$node sees the clone of commit ${3:0:10}"
        if scontrol show job --oneline "$SLURM_JOB_ID" | grep -q Requeue=0; then
            say ok requeue "forbidden here: when its time is up the job ends as failed, and goes on by ired submit -- fit --resume RUN"
        else
            say ok requeue "the job may go back into the queue when its time is up"
        fi
    else
        say FAIL source "$node has no clone of commit ${3:0:10} and cannot make one: $(last_line "$said")" "$shared"
        exit 1
    fi
    ;;
environment)
    for made in "$3" "$3".[0-9]*; do
        [[ -f $made/ready ]] && break
    done
    if [[ ! -f $made/ready ]]; then
        say FAIL environment "$node does not see $3, which was made for this lock file" "$shared"
        exit 1
    fi
    echo "$made"
    place=$(mktemp -d)
    look=("$made/bin/python" -m pip --retries 0 --timeout 10 --disable-pip-version-check download --quiet --no-deps
        --dest "$place" pip)
    [[ ${5:-pip} == uv ]] && look=(uv pip compile --quiet --cache-dir "$place" -)
    if said=$("${look[@]}" <<<pip 2>&1); then
        say ok "package index" "$node reaches it"
    else
        say ok "package index" "$node does not reach it ($(last_line "$said")), which matters only if the environment is purged before the job starts"
    fi
    rm -rf "$place"
    ;;
run)
    ((${SLURM_LOCALID:-0} == 0)) || exit 0
    place=$(mktemp)
    if ! bash "$prepare" "$@" 2>&1 | tee "$place"; then
        say FAIL environment "on $node it does not run: $(last_line "$(cat "$place")")" "correct environment, modules or the lock file"
    fi
    rm -f "$place"
    ;;
esac
