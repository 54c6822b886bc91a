#!/bin/sh
# tables.sh PROGRAM [SEEDS] - fills every cell of `rlaifv table all` at Scenes size, as `make tables`: runs of the built-in world below runs/tables, for the
# seeds 1 to SEEDS (3), one process a core, each with one thread. What is done is not done again, unless what it was made of is newer; what was stopped goes on.
#
# tables.sh --one PROGRAM NAME SEED: one run of that name, its talk in runs/tables/NAME-SEED.log. --work: the same, talking.
set -e
here=$(dirname "$0")
runs=runs/tables data=runs/demo/data
if [ "$1" = --one ]; then
    mkdir -p $runs
    start=$(date +%s)
    sh "$0" --work "$2" "$3" "$4" >>"$runs/$3-$4.log" 2>&1 || {
        echo "$3-$4 FAILED: the end of $runs/$3-$4.log:"
        tail -5 "$runs/$3-$4.log"
        exit 1
    }
    echo "$3-$4: $(($(date +%s) - start)) s"
    exit
fi
if [ "$1" = --work ]; then
    program=$2 name=$3 seed=$4 dir=$runs/$3-$4
    with="--threads=1 --run.quiet=true"
    fresh() { [ -e "$1" ] && ! [ "$2" -nt "$1" ]; } # RESULT SOURCE
    run() { "$program" run "$here/$1.ini" $with --seed="$seed" --run.dir="$dir" $2; }
    train() { # PAIRS: and evaluates
        fresh "$dir/model" "$1" || {
            rm -rf "$dir/model" "$dir/eval" "$dir"/checkpoint-*
            "$program" train "$here/$name.ini" $with --seed="$seed" --run.dir="$dir" --data.train="$1"
        }
        "$program" eval "$here/$name.ini" $with --seed="$seed" --run.dir="$dir" --model.dir="$dir/model"
    }
    # RULE-N.json in FOLDER of the full run: which of MODEL's first N answers each rule keeps, held against the truth.
    best() { # FOLDER MODEL COUNTS RULES
        fresh "$1/iter-1/candidates.jsonl" "$2/model.safetensors" || {
            rm -rf "$1"
            "$program" sample "$here/full.ini" $with --seed="$seed" --run.dir="$1" --model.dir="$2" --sample.n="${3##*,}" --data.prompts=$data/eval/prompts.jsonl --data.per_iteration=0
        }
        fresh "$1/reference-ppl-${3##*,}.jsonl" "$dir/model/model.safetensors" || { # the last that it writes
            rm -f "$1"/*.json
            "$program" best --threads 1 --policy "$dir/model" --reference "$here/../demo/policy" --data "$1/iter-1/candidates.jsonl" --out "$1" --n "$3"
        }
        for n in $(echo "$3" | tr , ' '); do
            for rule in $4; do
                [ -f "$1/$rule-$n.json" ] || "$program" eval scenes --data $data/eval/prompts.jsonl --answers "$1/$rule-$n.jsonl" --out "$1/$rule-$n.json"
            done
        done
    }
    agreement() {
        fresh "$dir/iter-1/agreement.json" "$dir/iter-1/pairs.jsonl" ||
            "$program" eval scenes --data $data/prompts/prompts.jsonl --pairs "$dir/iter-1/pairs.jsonl" --out "$dir/iter-1/agreement.json"
    }
    case $name in
    other) [ -d $runs/other/model ] || "$program" sft "$here/other.ini" --threads=1 ;;
    full | holistic)
        run "$name"
        agreement
        ;;
    once-*) # as many checkpoints to choose from as the others' iterations of 1200 prompts have, saved every 10 steps
        prompts=${name#once-}
        run once "--data.per_iteration=$prompts --train.save_every=$((prompts / 120))"
        ;;
    human)
        [ -f "$dir/iter-1/candidates.jsonl" ] || "$program" sample "$here/human.ini" $with --seed="$seed" --run.dir="$dir"
        fresh "$dir/pairs.jsonl" "$dir/iter-1/candidates.jsonl" ||
            "$program" eval scenes --data $data/prompts/prompts.jsonl --partial --answers "$dir/iter-1/candidates.jsonl" --corrections "$dir/pairs.jsonl" --out "$dir/corrected.json"
        train "$dir/pairs.jsonl"
        ;;
    merged) run merged --data.pairs="$runs/human-$seed/pairs.jsonl" ;;
    transfer) train "$runs/large-$seed/iter-1/pairs.jsonl" ;;
    best) # of the full run
        dir=$runs/full-$seed
        best "$dir/best-base" "$here/../demo/policy" 1,2,4,8,16,32,64 "reward reward-sum policy-ppl reference-ppl"
        best "$dir/best-own" "$dir/model" 1,16 reward
        ;;
    *) run "$name" ;;
    esac
    exit
fi
{ # read whole before it runs, so that it may change while it does
    program=$1 seeds=${2:-3}
    sh "$here/../demo/data.sh" "$program"
    stage() { # NAMES: all seeds of each, the first names first
        for name in $1; do for seed in $(seq "$seeds"); do echo "$name $seed"; done; done | OMP_WAIT_POLICY=passive xargs -L 1 -P "$(nproc)" sh "$0" --one "$program"
    }
    start=$(date +%s)
    sh "$0" --one "$program" other 1
    stage "large full human"
    stage "confounded holistic smaller self best merged transfer once-4800 once-2400"
    echo "all runs: $(($(date +%s) - start)) s"
    {
        echo "# The paper's tables"
        echo "Made by \`make tables\`$(git describe --always --dirty 2>/dev/null | sed 's/^/ at commit /'), $(date -u +%Y-%m-%d): seeds 1 to $seeds, the built-in world, answers at temperature 0.7 to $(grep -c '' $data/eval/prompts.jsonl) evaluation scenes that no setting of the loop was tuned on (README). That call took $((($(date +%s) - start + 30) / 60)) minutes on $(nproc) cores."
        echo "How to read them: docs/paper.md, \"Tables\"; what the runs are: configs/tables/README.md."
        echo
        "$program" table all --runs $runs
    } >docs/tables.md.new
    mv docs/tables.md.new docs/tables.md
    "$program" table all --runs $runs --check >/dev/null || echo "docs/tables.md says what does not hold" >&2
    exit
}
