# ranks_train.sh - read by the checks that train under mpirun (tests/cli/ranks*.sh), which set `device` first: the program on N ranks, runs on the golden
# checkpoints, and their comparison. Ends the check when mpirun is absent.
. tests/tools/script.sh
golden=$PWD/tests/golden
command -v mpirun >/dev/null || { echo "no mpirun"; exit 1; }
compare_build

fail() {
    echo "FAILED: $*"
    tail -3 "$temporary/err"
    failed=1
}
ranks() { # N ARGUMENTS...: the program on N ranks
    count=$1
    shift
    timeout 300 mpirun --allow-run-as-root --oversubscribe -np "$count" "$program" "$@" --run.device="$device" --run.threads=1 --run.quiet=true \
        >"$temporary/out" 2>"$temporary/err"
}
# How many lines the ranks said.
errors_said() { grep -c 'rlaifv: ' "$temporary/err"; }
config() { # RUN CASE PAIRS STEPS: the settings that the golden cases state, with steps of PAIRS pairs
    cat >"$temporary/$1.ini" <<END
[run]
dir = $temporary/$1
[model]
dir = $golden/$2/model
[chat]
template = vicuna_v1
[data]
train = $golden/$2/pairs.jsonl
[train]
lr = 5e-4
warmup_steps = 2
steps = $4
batch_pairs = $3
order = file
weight_decay = 0.01
freeze = vision
END
}
train() { # RANKS RUN ARGUMENTS...
    count=$1 run=$2
    shift 2
    ranks "$count" train "$temporary/$run.ini" "$@" || fail "train on $count ranks: $run $*"
}
golden_holds() { # RUN CASE: the golden steps and weights
    "$compare" steps "$golden/$2/expect/dpo.json" "$temporary/$1/metrics.jsonl" >"$temporary/err" 2>&1 || fail "golden steps: $1"
    "$compare" weights "$golden/$2/expect/dpo_final.safetensors" "$temporary/$1/model" 2e-5 >"$temporary/err" 2>&1 || fail "golden weights: $1"
}
same() { # RUN RUN: the same weights and the same numbers at every step
    cmp -s "$temporary/$1/model/model.safetensors" "$temporary/$2/model/model.safetensors" || fail "$1 and $2 have other weights"
    "$compare" metrics "$temporary/$1/metrics.jsonl" "$temporary/$2/metrics.jsonl" >"$temporary/err" 2>&1 || fail "$1 and $2 have other metrics"
}
cut() { # RUN STEP: as if the run had been killed after checkpoint-STEP
    for step in "$temporary/$1"/checkpoint-*; do [ -d "$step" ] && [ "${step##*-}" -gt "$2" ] && rm -rf "$step"; done
    rm -rf "$temporary/$1/model"
    touch "$temporary/mark"
}
went_on() { # RUN STEP: since cut, from checkpoint-STEP and not from the beginning
    [ -d "$temporary/$1/checkpoint-$2" ] && [ -z "$(find "$temporary/$1/checkpoint-$2" -newer "$temporary/mark")" ] || fail "checkpoint-$2 of $1 was made again"
}
modes="none optimizer gradients parameters"
