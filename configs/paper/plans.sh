#!/bin/sh
# plans.sh PROGRAM - every plan that docs/plan.md shows, from the shapes beside this file. Needs no GPU, no weights and no data.
program=${1:-build/rlaifv}
here=$(dirname "$0")
gpu="--gpu-memory 80G --sample.batch=32"
speeds="--tflops 150 --bandwidth 1500 --answer 100"
sums() { # CONFIG ARGUMENTS...: bytes of each phase, and the verdict
    echo "\$ rlaifv plan $*"
    "$program" plan "$here/$@" --brief 2>/dev/null | grep -E '^ .* load|^device|^peak'
}
for ranks in 1 2 4 8; do
    for mode in none optimizer gradients parameters; do
        [ $ranks$mode = 1optimizer ] || [ $ranks$mode = 1gradients ] || [ $ranks$mode = 1parameters ] || sums plan-7b.ini --ranks $ranks --ranks.shard=$mode $gpu
    done
done
sums plan-7b.ini --ranks 8 --ranks.shard=gradients $gpu --labeler.dir="$here/shapes/llava-next-34b"
for config in plan-12b plan-34b; do
    for mode in none optimizer gradients parameters; do sums $config.ini --ranks 8 --ranks.shard=$mode $gpu; done
    sums $config.ini --ranks 8 --ranks.shard=parameters --train.recompute=layer $gpu
done
for network in 200 25; do
    for mode in optimizer gradients parameters; do
        echo "\$ rlaifv plan plan-7b.ini --ranks 8 --ranks.shard=$mode $speeds --network $network --scaling"
        "$program" plan "$here/plan-7b.ini" --ranks 8 --ranks.shard=$mode $speeds --network $network --scaling --brief --sample.batch=32 | sed -n '/^work/,/^$/p;/^scaling/,/^$/p'
    done
done
