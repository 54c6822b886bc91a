#!/bin/sh
# ranks_tensor.sh [DEVICE] - models in slices (ranks.tensor) under mpirun: the golden DPO steps in every mode of sharding, the numbers of one rank to
# rounding and the same bits again; checkpoints that other numbers of ranks and slices go on from; the loop's answers, claims, labels and pairs; what
# does not divide. On a device other than the CPU the golden steps and the loop's start alone.
device=${1:-cpu}
. tests/tools/ranks_train.sh
close() { # RUN RUN: the same to rounding: losses, all other numbers
    "$compare" losses "$temporary/$1/metrics.jsonl" "$temporary/$2/metrics.jsonl" 1e-5 >"$temporary/err" 2>&1 || fail "losses of $1 and $2"
    "$compare" metrics "$temporary/$1/metrics.jsonl" "$temporary/$2/metrics.jsonl" 5e-5 >"$temporary/err" 2>&1 || fail "metrics of $1 and $2"
}
close_weights() { # RUN RUN: not with a trained tower, whose key biases have gradients of rounding alone
    close "$1" "$2"
    "$compare" weights "$temporary/$1/model/model.safetensors" "$temporary/$2/model" 2e-5 >"$temporary/err" 2>&1 || fail "weights of $1 and $2"
}
cases="llava15-v5 llava15-orig"
[ "$device" = cpu ] || modes="none parameters" cases=llava15-v5 # the emulator computes slowly

# ---- the golden steps: heads in groups; as many key/value heads; two and four ranks, in slices of two ----
for case in $cases; do
    for mode in $modes; do
        for count in 2 4; do
            run=golden-$case-$mode-$count
            config "$run" $case 2 8
            train $count "$run" --ranks.tensor=2 --ranks.shard=$mode
            golden_holds "$run" $case
        done
        same "golden-$case-none-2" "golden-$case-$mode-2"
    done
done

# ---- biases of query, key and value are cut as their rows are: Qwen2's, whose file holds the tied head twice, taken apart ----
if [ "$device" = cpu ]; then
    cp -r "$golden/text-qwen2/model" "$temporary/biased" && sed -i 's/"tie_word_embeddings": true/"tie_word_embeddings": false/' "$temporary/biased/config.json"
    for count in 1 2 4; do
        for mode in $modes; do
            config biased-$count-$mode text-qwen2 2 8
            train $count biased-$count-$mode --model.dir="$temporary/biased" --ranks.parts=2 --ranks.tensor=$((count > 1 ? 2 : 1)) --ranks.shard=$mode
            close_weights biased-1-none biased-$count-$mode
        done
    done
fi
echo "golden steps: done"

# ---- the loop: the same texts; numbers whose last digits are sums of another order are left out ----
"$program" scenes --out "$temporary/scenes" --count 4 --seed 7 2>/dev/null || exit 1
loop() { # RANKS TENSOR NAME ARGUMENTS...
    on=$1 tensor=$2 name=$3
    shift 3
    ranks "$on" run "$here/configs/demo.ini" --run.dir="$temporary/$name" --run.iterations=1 --data.per_iteration=4 --data.prompts="$temporary/scenes/prompts.jsonl" \
        --data.validation="$temporary/scenes/prompts.jsonl" --data.eval="$temporary/scenes/prompts.jsonl" --sample.n=4 --sample.max_new_tokens=48 \
        --sample.batch=6 --train.epochs=1 --train.batch_pairs=4 --run.dtype=fp32 --ranks.tensor="$tensor" --eval.max_new_tokens=48 --select.rule=last "$@" ||
        fail "the loop on $on ranks, tensor $tensor"
}
texts() { # NAME NAME
    for file in candidates claims labels pairs; do
        for name in "$1" "$2"; do
            sed 's/"\(logp\|p_yes\|p_no\)":[-0-9.e+]*//g' "$temporary/$name/iter-1/$file.jsonl" >"$temporary/$name.$file" 2>>"$temporary/err"
        done
        [ -s "$temporary/$1.$file" ] && cmp -s "$temporary/$1.$file" "$temporary/$2.$file" || fail "$file.jsonl of $1 and $2"
    done
    find "$temporary/$2" -name '*.growing*' -o -name '*.partial' | grep . && fail "$2 left half-written files"
}
loop 1 1 alone
loop 2 2 pair
texts alone pair
grep '"phase":"train"' "$temporary/alone/metrics.jsonl" >"$temporary/alone.train"
grep '"phase":"train"' "$temporary/pair/metrics.jsonl" >"$temporary/pair.train"
"$compare" losses "$temporary/alone.train" "$temporary/pair.train" 1e-5 >"$temporary/err" 2>&1 || fail "losses of the loop"
if [ "$device" != cpu ]; then
    exit $failed
fi
loop 4 2 four
texts alone four
cp "$temporary/four/iter-1/pairs.jsonl" "$temporary/pairs" && rm "$temporary/four/iter-1/pairs.jsonl"
ranks 2 pair "$here/configs/demo.ini" --run.dir="$temporary/four" || fail "pair, which rank 0 does alone"
cmp -s "$temporary/pairs" "$temporary/four/iter-1/pairs.jsonl" || fail "pairs.jsonl of the command"
beams="--sample.other_n=2 --sample.other_temperature=0 --sample.other_beams=3 --eval.temperature=0 --eval.beams=2"
# shellcheck disable=SC2086
loop 1 1 self --labeler.dir= $beams
# shellcheck disable=SC2086
loop 4 4 slices --labeler.dir= $beams # the demo's labeler does not divide by four
texts self slices
loop 4 2 again
for file in iter-1/candidates.jsonl iter-1/labels.jsonl table.txt model/model.safetensors; do
    cmp -s "$temporary/four/$file" "$temporary/again/$file" || fail "$file of the same ranks twice"
done
echo "loop: done"

# ---- parts in several chunks, recomputed blocks, a trained tower, bf16: one rank's numbers, and the same bits twice ----
for dtype in fp32 bf16; do
    for freeze in vision ""; do
        name=chunks-$dtype-$freeze
        config "$name-alone" llava15-v5 8 3
        train 1 "$name-alone" --ranks.parts=2 --train.rows=80 --train.freeze="$freeze" --run.dtype=$dtype
        for mode in $modes; do
            for again in 1 2; do
                config "$name-$mode-$again" llava15-v5 8 3
                train 4 "$name-$mode-$again" --ranks.tensor=2 --ranks.shard=$mode --train.rows=80 --train.freeze="$freeze" --run.dtype=$dtype --train.clip=1 \
                    --train.recompute=layer
            done
            same "$name-$mode-1" "$name-$mode-2"
        done
        config "$name-unclipped" llava15-v5 8 3
        train 4 "$name-unclipped" --ranks.tensor=2 --ranks.shard=gradients --train.rows=80 --train.freeze="$freeze" --run.dtype=$dtype
        [ $dtype = bf16 ] || close "$name-alone" "$name-unclipped"
    done
done
echo "chunks: done"

# ---- one set of bits: the same parts on one copy of the model and on two, in every mode ----
for count in 2 4; do
    for mode in $modes; do
        config bits-$count-$mode llava15-v5 8 4
        train $count bits-$count-$mode --ranks.tensor=2 --ranks.shard=$mode --ranks.parts=4 --train.clip=1
        same bits-2-none bits-$count-$mode
    done
done
echo "one set of bits: done"

# ---- saved by four ranks in slices of two, continued whole, in slices, alone: the same run to rounding ----
config whole llava15-v5 8 9
train 1 whole --ranks.parts=2 --train.save_every=3
config moved llava15-v5 8 9
moves() { # STEP RANKS ARGUMENTS...
    from=$1 on=$2
    shift 2
    cut moved "$from"
    train "$on" moved --ranks.parts=2 --train.save_every=3 "$@"
    close_weights whole moved
    [ "$from" -eq 0 ] || went_on moved "$from"
}
moves 0 4 --ranks.tensor=2 --ranks.shard=parameters
moves 3 2 --ranks.shard=optimizer
moves 6 2 --ranks.tensor=2 --ranks.shard=none
moves 3 4 --ranks.tensor=2 --ranks.shard=gradients
moves 6 1
moves 3 2 --ranks.tensor=2 --ranks.shard=none
echo "moved: done"

# ---- kills: a rank, or all, at random moments ----
sh tests/cli/ranks_kill.sh 6 1 2 >"$temporary/err" 2>&1 || fail "ranks that are killed"
echo "kills: done"

# ---- what does not divide ----
refused() { # WHAT
    grep -q "$1" "$temporary/err" || fail "another message than: $1"
    [ "$(errors_said)" -eq 1 ] || fail "the error is not said once: $1"
}
ranks 3 train "$temporary/whole.ini" --ranks.tensor=2 && fail "3 ranks in groups of 2"
refused "do not divide into groups"
config hub llava15-hub 8 1
ranks 2 train "$temporary/hub.ini" --ranks.tensor=2 && fail "3 heads in 2 slices"
refused "3 heads for ranks.tensor = 2"
ranks 4 run "$here/configs/demo.ini" --run.dir="$temporary/never" --data.prompts="$temporary/scenes/prompts.jsonl" --data.validation="$temporary/scenes/prompts.jsonl" \
    --data.eval="$temporary/scenes/prompts.jsonl" --ranks.tensor=4 && fail "a labeler that does not divide"
refused "432 columns of the feed-forward for ranks.tensor = 4"
[ -e "$temporary/never/iter-0" ] && fail "a labeler that does not divide is refused late"
exit $failed
