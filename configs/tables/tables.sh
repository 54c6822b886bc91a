#!/bin/sh
# tables.sh PROGRAM [SEEDS] - fills every cell of `rlaifv table all` at Scenes size, as `make tables`: runs of the built-in world below runs/tables, for the
# seeds 1 to SEEDS (3), one process a core, each with one thread. What is done is not done again; what was stopped goes on.
#
# tables.sh --one PROGRAM NAME SEED: one run of that name.
set -e
here=$(dirname "$0")
runs=runs/tables data=runs/demo/data
if [ "$1" = --one ]; then
    program=$2 name=$3 seed=$4 dir=$runs/$3-$4
    with="--threads=1 --run.quiet=true"
    run() { "$program" run "$here/$1.ini" $with --seed="$seed" --run.dir="$dir" $2; }
    evaluate() { "$program" eval "$here/$name.ini" $with --seed="$seed" --run.dir="$dir" --model.dir="$dir/model"; }
    train() { [ -d "$dir/model" ] || "$program" train "$here/$name.ini" $with --seed="$seed" --run.dir="$dir" --data.train="$1"; }
    # RULE-N.json in FOLDER of the full run: which of the first N answers of candidates.jsonl each rule keeps, held against the truth.
    best() { # FOLDER MODEL COUNTS RULES
        [ -f "$1/iter-1/candidates.jsonl" ] || "$program" sample "$here/full.ini" $with --seed="$seed" --run.dir="$1" --model.dir="$2" --sample.n=64 --data.prompts=$data/eval/prompts.jsonl --data.per_iteration=0
        [ -f "$1/scores.jsonl" ] || "$program" best --threads 1 --policy "$dir/model" --reference "$here/../demo/policy" --data "$1/iter-1/candidates.jsonl" --out "$1" --n "$3"
        for n in $(echo "$3" | tr , ' '); do
            for rule in $4; do
                [ -f "$1/$rule-$n.json" ] || "$program" eval scenes --data $data/eval/prompts.jsonl --answers "$1/$rule-$n.jsonl" --out "$1/$rule-$n.json"
            done
        done
    }
    agreement() { [ -f "$dir/iter-1/agreement.json" ] || "$program" eval scenes --data $data/prompts/prompts.jsonl --pairs "$dir/iter-1/pairs.jsonl" --out "$dir/iter-1/agreement.json"; }
    mkdir -p $runs
    start=$(date +%s)
    case $name in
    other) [ -d $runs/other/model ] || "$program" sft "$here/other.ini" --threads=1 ;;
    once-*) run once --data.per_iteration="${name#once-}" ;;
    human)
        mkdir -p "$dir"
        [ -f "$dir/iter-1/candidates.jsonl" ] || "$program" sample "$here/human.ini" $with --seed="$seed" --run.dir="$dir"
        [ -f "$dir/pairs.jsonl" ] || "$program" eval scenes --data $data/prompts/prompts.jsonl --partial --answers "$dir/iter-1/candidates.jsonl" --corrections "$dir/pairs.jsonl" --out "$dir/corrected.json"
        train "$dir/pairs.jsonl"
        evaluate
        ;;
    merged) run merged --data.pairs="$runs/human-$seed/pairs.jsonl" ;;
    transfer)
        train "$runs/large-$seed/iter-1/pairs.jsonl"
        evaluate
        ;;
    best) # of the full run
        dir=$runs/full-$seed
        best "$dir/best-base" "$here/../demo/policy" 1,2,4,8,16,32,64 "reward reward-sum policy-ppl reference-ppl"
        best "$dir/best-own" "$dir/model" 1,16 reward
        ;;
    *)
        run "$name"
        case $name in full | holistic) agreement ;; esac
        ;;
    esac >>"$runs/$name-$seed.log" 2>&1 || { echo "$name-$seed FAILED: the end of $runs/$name-$seed.log:"; tail -5 "$runs/$name-$seed.log"; exit 1; }
    echo "$name-$seed: $(($(date +%s) - start)) s"
    exit 0
fi
{ # read whole before it runs, so that it may change while it does
    program=$1 seeds=${2:-3}
    mkdir -p $runs
    sh "$here/../demo/data.sh" "$program"
    jobs() { # NAMES: all seeds of each, the first names first
        for name in $1; do for seed in $(seq "$seeds"); do echo "$program $name $seed"; done; done | OMP_WAIT_POLICY=passive xargs -L 1 -P "$(nproc)" sh "$0" --one
    }
    start=$(date +%s)
    sh "$0" --one "$program" other 1
    jobs "large full human"
    jobs "confounded holistic smaller self best merged transfer once-4800 once-2400 once-3600"
    echo "all runs: $(($(date +%s) - start)) s"
    {
        echo "# The paper's tables"
        echo "Made by \`make tables\`$(git log -1 --format=' at commit %h' 2>/dev/null), $(date -u +%Y-%m-%d): seeds 1 to $seeds, the built-in world, answers at temperature 0.7 to $(grep -c '' $data/eval/prompts.jsonl) evaluation scenes that nothing was chosen by."
        echo "How to read them: docs/paper.md, \"Tables\"; what the runs are: configs/tables/README.md."
        echo
        "$program" table all --runs $runs
    } >docs/tables.md.new && mv docs/tables.md.new docs/tables.md
    "$program" table all --runs $runs --check >/dev/null
    exit
}
