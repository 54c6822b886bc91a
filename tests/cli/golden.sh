#!/bin/sh
# golden.sh [DEVICE [DTYPE]] - the commands on the golden checkpoints, against what PyTorch and SentencePiece said; training; and on the CPU, training
# killed and run again.
. tests/tools/script.sh
device=${1:-cpu} dtype=${2:-fp32}
# Bounds of tests/tools/compare.c, where not its own for fp32: about twice the largest differences that bf16 had (docs/cuda.md).
score='' gap='' probe='' steps='' weights=2e-5
[ "$dtype" = bf16 ] && score=8e-2 gap=0.1 probe=7e-2 steps=0.35 weights=8e-3
compare_build

check() { # WHAT COMMAND...: one line for each check; stderr of the command is shown when it fails
    what=$1
    shift
    if "$@" >"$temporary/out" 2>"$temporary/err"; then
        echo "ok: $what: $(tail -1 "$temporary/out")"
    else
        echo "FAILED: $what: exit code $?: $*"
        tail -3 "$temporary/err"
        failed=1
    fi
}

train_config() { # CASE RUN STEPS SAVE_EVERY: the settings that the golden case states
    template=vicuna_v1 eps=1e-8
    [ $1 = omnilmm ] && template=omnilmm eps=1e-4
    cat <<END
[run]
dir = $2
threads = 2
quiet = true
device = $device
dtype = $dtype
[model]
dir = $PWD/tests/golden/$1/model
[chat]
template = $template
[data]
train = $PWD/tests/golden/$1/pairs.jsonl
[train]
loss = sigmoid
beta = 0.1
lr = 5e-4
schedule = cosine
warmup_steps = 2
steps = $3
batch_pairs = 2
order = file
weight_decay = 0.01
clip = 0
adam_eps = $eps
freeze = vision
save_every = $4
END
}

for name in llava15-hub llava15-orig llava15-v5 next-mistral next-yi omnilmm text-llama3 text-mistral text-qwen2; do
    golden=$PWD/tests/golden/$name
    at=$temporary/$name
    mkdir "$at" && ln -s "$golden/images" "$at/images" && cp "$golden/expect/greedy.jsonl" "$at/prompts.jsonl" || exit 1

    aspects='pad crop' template=vicuna_v1
    case $name in
    next-*) aspects='pad crop anyres' ;;
    omnilmm) aspects=squash template=omnilmm ;;
    text-*) aspects= ;;
    esac
    if [ -e "$golden/expect/tokens.jsonl" ]; then
        check "$name tokenize" "$program" tokenize --model "$golden/model" --data "$golden/expect/tokens.jsonl" --out "$at/tokens.jsonl"
        check "$name tokens" "$compare" tokens "$golden/expect/tokens.jsonl" "$at/tokens.jsonl"
    fi

    for aspect in $aspects; do
        check "$name preprocess" "$program" preprocess --model "$golden/model" --aspect $aspect --out "$at/$aspect.safetensors" "$golden"/images/[0-3].png
        check "$name pixels, $aspect" "$compare" pixels "$golden/expect/pixels.safetensors" "$at/$aspect.safetensors" $aspect
    done

    check "$name score" "$program" score --template $template --strict --device "$device" --dtype "$dtype" --model "$golden/model" --data "$golden/pairs.jsonl" --out "$at/score.jsonl"
    check "$name log-probs" "$compare" score "$golden/expect/score.jsonl" "$at/score.jsonl" $score

    check "$name generate" "$program" generate --template $template --strict --device "$device" --dtype "$dtype" --temperature 0 --max-new-tokens 16 --model "$golden/model" --data "$at/prompts.jsonl" --out "$at/greedy.jsonl"
    check "$name greedy ids" "$compare" greedy "$golden/expect/greedy.jsonl" "$at/greedy.jsonl" $gap

    # Transformers' search; where bf16 rounds, another may win
    grep "\"case\": \"$name\".*\"beams\": 3, \"max_new_tokens\": 16" tests/golden/beams.jsonl >"$at/searches.jsonl"
    if [ -s "$at/searches.jsonl" ] && [ "$dtype" = fp32 ]; then
        check "$name generate, beams" "$program" generate --template $template --strict --device "$device" --beams 3 --n 3 --max-new-tokens 16 --model "$golden/model" --data "$at/searches.jsonl" --out "$at/beams.jsonl"
        check "$name answers of beams" "$compare" beams "$at/searches.jsonl" "$at/beams.jsonl"
    fi

    check "$name probe" "$program" probe --template $template --strict --device "$device" --dtype "$dtype" --model "$golden/model" --data "$at/prompts.jsonl" --out "$at/probe.jsonl"
    check "$name yes and no" "$compare" probe "$golden/expect/greedy.jsonl" "$at/probe.jsonl" $probe

    train_config $name "$at/run" 8 0 >"$at/train.ini"
    check "$name train" "$program" train "$at/train.ini"
    check "$name steps" "$compare" steps "$golden/expect/dpo.json" "$at/run/metrics.jsonl" $steps
    [ -e "$golden/expect/dpo_final.safetensors" ] || continue # of text alone only one case keeps them
    check "$name weights in model" "$compare" weights "$golden/expect/dpo_final.safetensors" "$at/run/model" $weights
    check "$name weights in checkpoint-8" "$compare" weights "$golden/expect/dpo_final.safetensors" "$at/run/checkpoint-8" $weights
done

[ "$device" = cpu ] || exit $failed

# Killed twice while it trains, run a third time: the bits of an undisturbed run. The run is long enough to be caught at any speed.
steps=40
train_config llava15-v5 "$temporary/whole" $steps 1 >"$temporary/whole.ini"
train_config llava15-v5 "$temporary/killed" $steps 1 >"$temporary/killed.ini"
check "undisturbed run" "$program" train "$temporary/whole.ini"
for after in 3 12; do
    "$program" train "$temporary/killed.ini" >/dev/null 2>&1 &
    pid=$!
    while [ ! -d "$temporary/killed/checkpoint-$after" ] && kill -0 $pid 2>/dev/null; do sleep 0.01; done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ -d "$temporary/killed/checkpoint-$after" ] || { echo "FAILED: no checkpoint-$after before the kill"; failed=1; }
    [ -d "$temporary/killed/checkpoint-$steps" ] && { echo "FAILED: the run ended before the kill: nothing was tested"; failed=1; }
done
check "killed run, again" "$program" train "$temporary/killed.ini"
check "weights after kills" cmp "$temporary/whole/model/model.safetensors" "$temporary/killed/model/model.safetensors"
check "training state after kills" cmp "$temporary/whole/checkpoint-$steps/optimizer-00001-of-00001.safetensors" "$temporary/killed/checkpoint-$steps/optimizer-00001-of-00001.safetensors"
check "metrics after kills" "$compare" metrics "$temporary/whole/metrics.jsonl" "$temporary/killed/metrics.jsonl"
exit $failed
