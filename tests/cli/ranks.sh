#!/bin/sh
# ranks.sh [DEVICE] - training on 1, 2 and 4 ranks under mpirun: the golden DPO steps in every mode of sharding, one set of bits for all numbers of
# ranks and modes, checkpoints that another number of ranks goes on from, and files that are not what was written. On the emulated device, which is
# slow, a selection of it; and there the state in host memory is another than the device's.
device=${1:-cpu}
. tests/tools/ranks_train.sh

# ---- a selection ----
if [ "$device" != cpu ]; then
    for mode in $modes; do
        config "golden-$mode" llava15-v5 2 8
        train 2 "golden-$mode" --ranks.shard=$mode
        golden_holds "golden-$mode" llava15-v5
        same golden-none "golden-$mode"
    done
    config again llava15-v5 2 8
    train 2 again --ranks.shard=gradients
    same golden-gradients again
    echo "golden steps: done"
    # saved by one rank and its host, continued by two, whose hosts have all of it, and without
    config away llava15-v5 2 8
    train 1 away --train.save_every=3 --ranks.parts=2 --ranks.offload=optimizer
    golden_holds away llava15-v5
    cut away 3
    train 2 away --train.save_every=3 --ranks.parts=2 --ranks.shard=parameters --ranks.offload=optimizer
    golden_holds away llava15-v5
    went_on away 3
    cut away 6
    train 2 away --train.save_every=3 --ranks.parts=2 --ranks.shard=optimizer
    golden_holds away llava15-v5
    went_on away 6
    for dtype in fp32 bf16; do # what the host steps does not depend on who has which part of it
        for mode in none gradients; do
            config "away-$dtype-$mode" llava15-v5 2 3
            train 2 "away-$dtype-$mode" --run.dtype=$dtype --ranks.shard=$mode --ranks.offload=optimizer
        done
        same "away-$dtype-none" "away-$dtype-gradients"
    done
    echo "state in host memory: done"
    # pair by pair: the bits of a row of a product depend on the number of rows there (docs/ranks.md), and references are dealt over the ranks
    config four-1 llava15-hub 4 2
    train 1 four-1 --ranks.parts=4 --train.warmup_steps=0 --train.rows=1
    config four-4 llava15-hub 4 2
    train 4 four-4 --ranks.parts=4 --train.warmup_steps=0 --train.rows=1 --ranks.shard=parameters
    same four-1 four-4
    echo "four ranks: done"
    exit $failed
fi

# ---- the golden steps, of two pairs ----
for mode in $modes; do
    for count in 1 2; do
        config "golden-$mode-$count" llava15-v5 2 8
        train $count "golden-$mode-$count" --ranks.shard=$mode
        golden_holds "golden-$mode-$count" llava15-v5
    done
done
config golden-host llava15-v5 2 8
train 2 golden-host --ranks.offload=optimizer --ranks.shard=optimizer # the state is in host memory already
same golden-optimizer-2 golden-host
echo "golden steps: done"

# ---- one set of bits: four parts on 1, 2 and 4 ranks; and with a trained tower ----
for freeze in vision "vision,projector" ""; do
    name=$(echo "of-$freeze" | tr -d ,)
    for count in 1 2 4; do
        for mode in $modes; do
            [ "$freeze" = vision ] || [ $count = 4 ] || [ "$count $mode" = "1 none" ] || continue
            config "$name-$count-$mode" llava15-hub 8 4
            train $count "$name-$count-$mode" --ranks.shard=$mode --ranks.parts=4 --train.clip=1 --train.freeze="$freeze"
            same "$name-1-none" "$name-$count-$mode"
        done
    done
done
echo "one set of bits: done"

# ---- a part in several chunks; bf16; recomputed blocks: modes agree with themselves, and with one rank to rounding ----
for dtype in fp32 bf16; do
    for mode in $modes; do
        for again in 1 2; do
            config "chunks-$dtype-$mode-$again" llava15-v5 8 3
            train 3 "chunks-$dtype-$mode-$again" --ranks.shard=$mode --train.rows=80 --run.dtype=$dtype --train.recompute=layer
        done
        same "chunks-$dtype-$mode-1" "chunks-$dtype-$mode-2"
    done
done
config chunks-alone llava15-v5 8 3
train 1 chunks-alone
for mode in $modes; do
    "$compare" losses "$temporary/chunks-alone/metrics.jsonl" "$temporary/chunks-fp32-$mode-1/metrics.jsonl" 1e-5 >"$temporary/err" || fail "losses of $mode on 3 ranks"
done
echo "chunks: done"

# ---- saved by four, continued by two, then one; another mode each time ----
config whole llava15-v5 8 9
train 2 whole --ranks.parts=4 --train.save_every=3
config moved llava15-v5 8 9
train 4 moved --ranks.parts=4 --train.save_every=3 --ranks.shard=parameters
same whole moved
cut moved 3
train 2 moved --ranks.parts=4 --train.save_every=3 --ranks.shard=optimizer
same whole moved
went_on moved 3
cut moved 6
train 1 moved --ranks.parts=4 --train.save_every=3 --ranks.shard=none
same whole moved
went_on moved 6
echo "moved: done"

# ---- files that are not what was written ----
refused() { # WHAT: with checkpoint-6 spoilt
    ranks 2 train "$temporary/moved.ini" --ranks.parts=4 --train.save_every=3 --ranks.shard=gradients && fail "$1 was accepted"
    grep -q "rlaifv: .*checkpoint-6" "$temporary/err" || fail "$1: the message does not name checkpoint-6"
    grep -q "checkpoint-3" "$temporary/err" || fail "$1: the message does not offer checkpoint-3"
}
cut moved 6
state=$(ls "$temporary"/moved/checkpoint-6/optimizer-*-of-* | head -1)
cp "$state" "$temporary/kept"
printf x | dd of="$state" bs=1 seek=5000 conv=notrunc 2>/dev/null
refused "a changed byte"
head -c 6000 "$temporary/kept" >"$state"
refused "a cut file"
rm "$state"
refused "an absent file"
rm -rf "$temporary/moved/checkpoint-6"
train 2 moved --ranks.parts=4 --train.save_every=3 --ranks.shard=gradients
same whole moved
echo "spoilt: done"

# ---- what does not divide ----
ranks 3 train "$temporary/whole.ini" --ranks.parts=4 && fail "4 parts on 3 ranks"
grep -q "parts of a step do not divide" "$temporary/err" || fail "4 parts on 3 ranks: another message"
[ "$(errors_said)" -eq 1 ] || fail "the error is not said once"
ranks 3 train "$temporary/golden-none-1.ini" && fail "2 pairs on 3 ranks"
exit $failed
