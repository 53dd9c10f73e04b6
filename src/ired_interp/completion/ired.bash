# Completion of `ired` for bash (and zsh through bashcompinit). Static, so that a key press never waits for Python.
_ired() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command=${COMP_WORDS[1]} words=
    local training="--config --print_config --seed_everything --experiment --name --runs --model --model.lr --model.compile --data.task
        --data.task.n --data.batch_size --trainer.max_steps --trainer.devices --trainer.accelerator --trainer.precision --debug --help"
    if ((COMP_CWORD == 1)); then
        words="fit configs validate test probe study runs watch report init check submit status logs cancel fetch export publish dashboard completion --debug --help --version"
    else
        case $command in
            fit) words="--resume --save_every --keep_best --stop_on_collapse --trainer.callbacks+ $training" ;;
            validate | test) words="--ckpt --which --weights --model.test_steps --data.test_problems $training" ;;
            probe) words="--ckpt --which --config --probes --weights --problems --variant --device --output --debug --help" ;;
            study) words="--runs --jobs --dry-run --answers --profile --debug --help" ;;
            configs) words="copy --debug --help" ;;
            init) words="slurm --debug --help" ;;
            watch) words="--every --debug --help" ;;
            report) words="--output --figures --debug --help" ;;
            check | submit) words="--profile --array --dry-run --detach --time --nodes --tasks --cpus --gpus --memory --partition --account -- fit probe test
                validate --debug --help" ;;
            status | cancel) words="--profile --debug --help" ;;
            logs) words="--profile --follow --debug --help" ;;
            fetch) words="--profile --to --debug --help" ;;
            export) words="--format --output --debug --help" ;;
            publish) words="--to --energy --debug --help" ;;
            dashboard) words="--entity --project --debug --help" ;;
            completion) words="bash zsh" ;;
        esac
        case $previous in
            --weights) words="average raw" ;;
            --which) words="best last" ;;
            --format) words="csv parquet" ;;
            --variant) words="same harder" ;;
            --config | --ckpt | --resume | --output | --figures | --runs) words= ;;
        esac
    fi
    COMPREPLY=()
    [[ $words ]] && mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    [[ $current == -* ]] || mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current")
}
complete -o filenames -F _ired ired
