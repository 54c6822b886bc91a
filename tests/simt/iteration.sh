#!/bin/sh
# iteration.sh PROGRAM OTHER [DEVICE] - one iteration of the demo at its smallest size, on the CPU and on a GPU (simt: emulated) in fp32: the same answers,
# claims, scores and pairs, and a loss that agrees. Everything above the kernels is the same code; what differs is every kernel.
program=$1 other=$2 device=${3:-simt}
here=$PWD
temporary=$(mktemp -d) || exit 1
trap 'rm -rf "$temporary"' EXIT
trap 'exit 1' HUP INT TERM
"$program" scenes --out "$temporary/scenes" --count 3 --seed 7 2>/dev/null || exit 1
run() { # NAME PROGRAM DEVICE
    "$2" run "$here/configs/demo.ini" --run.dir="$temporary/$1" --run.device="$3" --run.iterations=1 --data.per_iteration=3 \
        --data.prompts="$temporary/scenes/prompts.jsonl" --data.validation="$temporary/scenes/prompts.jsonl" \
        --data.eval="$temporary/scenes/prompts.jsonl" --sample.n=4 --sample.max_new_tokens=48 --train.epochs=1 --train.batch_pairs=4 \
        --eval.max_new_tokens=48 --select.rule=last >"$temporary/$1.out" 2>"$temporary/$1.err" ||
        { echo "$1: $(tail -3 "$temporary/$1.err")"; exit 1; }
}
run cpu "$program" cpu
run gpu "$other" "$device"
failed=0
for file in candidates claims labels pairs; do
    strip='s/"\(logp\|p_yes\|p_no\)":[-0-9.e+]*//g' # numbers whose last digits are a kernel's own
    sed "$strip" "$temporary/cpu/iter-1/$file.jsonl" >"$temporary/a"
    sed "$strip" "$temporary/gpu/iter-1/$file.jsonl" >"$temporary/b"
    cmp -s "$temporary/a" "$temporary/b" || { echo "$file.jsonl differs:"; diff "$temporary/a" "$temporary/b" | head -4; failed=1; }
done
[ -s "$temporary/gpu/iter-1/pairs.jsonl" ] || { echo "no pairs were made"; failed=1; }
loss() { sed -n 's/.*"phase":"train".*"loss":\([0-9.e-]*\).*/\1/p' "$temporary/$1/metrics.jsonl" | tail -1; }
a=$(loss cpu) b=$(loss gpu)
awk -v a="$a" -v b="$b" 'BEGIN { d = a - b; exit !(a != "" && b != "" && d < 2e-5 && d > -2e-5) }' || { echo "losses: cpu $a, $device $b"; failed=1; }
exit $failed
