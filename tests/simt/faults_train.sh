#!/bin/sh
# faults_train.sh [all] - what training does when a call of the CUDA runtime, a launch or a call of cuBLASLt fails: one DPO step of a run that stopped
# after its first, with each n-th call failing in turn on the emulated device.
#
# Each run must end in time with exit code 1 and one message, or, where what failed was not needed, with exit code 0 and the result. There must be
# no file but those that were there before, as they were, and the undisturbed run's, whole; logs may have grown by whole lines. Without "all"
# some 80 calls are tried, at equal distances.
program=${RLAIFV_SIMT:-$PWD/build/rlaifv-simt}
[ -x "$program" ] || { echo "no $program: make simt builds it"; exit 77; }
temporary=$(mktemp -d) || exit 1
trap 'rm -rf "$temporary"' EXIT
trap 'exit 1' HUP INT TERM
tries=80
[ "$1" = all ] && tries=1000000000
unset SIMT_FAIL_CALL SIMT_MEMORY SIMT_CALLS
failed=0
complain() { # WHAT
    failed=$((failed + 1))
    [ $failed -le 5 ] && { echo "FAILED: $1"; head -n 5 "$temporary/stderr"; }
}

small=$PWD/tests/golden/llava15-v5
run=$temporary/run
cat >"$temporary/train.ini" <<END
[run]
dir = $run
threads = 2
quiet = true
device = simt
dtype = fp32
[model]
dir = $small/model
[data]
train = $small/pairs.jsonl
[train]
lr = 5e-4
steps = 2
batch_pairs = 1
order = file
freeze = vision
save_every = 1
END
train() {
    timeout 120 "$program" train "$temporary/train.ini" >"$temporary/stdout" 2>"$temporary/stderr"
}
# The run as it is when something stops it between its first checkpoint and the second.
stopped() { rm -rf "$run" && cp -a "$temporary/before" "$run"; }
# Every file of the run is one of before, or one of after, byte for byte; logs, which grow by the line, end with a line.
files_check() { # WHAT
    diff -r "$run/checkpoint-1" "$temporary/before/checkpoint-1" >/dev/null || complain "$1: checkpoint-1 changed"
    for folder in checkpoint-2 model; do
        [ ! -e "$run/$folder" ] || diff -r "$run/$folder" "$temporary/after/$folder" >"$temporary/stderr" || complain "$1: $folder is not whole"
    done
    for file in $(ls -A "$run"); do
        [ -e "$temporary/after/$file" ] || complain "$1: it left $file"
    done
    for log in metrics.jsonl metrics.csv reference.jsonl; do
        [ -z "$(tail -c 1 "$run/$log")" ] || complain "$1: $log ends within a line"
    done
}
train || { echo "FAILED: the undisturbed training: exit code $?"; cat "$temporary/stderr"; exit 1; }
rm -rf "$run/checkpoint-2" "$run/model" && mv "$run" "$temporary/before" || exit 1
stopped
SIMT_CALLS=$temporary/calls train || { echo "FAILED: the training that goes on: exit code $?"; cat "$temporary/stderr"; exit 1; }
[ -e "$run/checkpoint-2" ] && [ -e "$run/model" ] && cp -a "$run" "$temporary/after" || { echo "FAILED: no result"; exit 1; }
cmp -s "$run/checkpoint-2/model.safetensors" "$temporary/before/checkpoint-1/model.safetensors" && complain "the second step changed nothing"
calls=$(grep -c '' "$temporary/calls") refused=0 unharmed=0
step=$((calls / tries))
[ $step -ge 1 ] || step=1
n=$((step / 2 + 1))
while [ $n -le "$calls" ]; do
    what="train, call $n of $calls, $(sed -n "${n}p" "$temporary/calls")"
    stopped
    SIMT_FAIL_CALL=$n train
    code=$? lines=$(grep -c '' "$temporary/stderr")
    if [ $code -eq 0 ]; then
        unharmed=$((unharmed + 1))
        [ -e "$run/checkpoint-2" ] && [ -e "$run/model" ] || complain "$what: exit code 0 without the result"
    elif [ $code -ne 1 ]; then complain "$what: exit code $code"
    elif [ "$lines" -ne 1 ] || ! grep -q '^rlaifv: .' "$temporary/stderr"; then complain "$what: $lines lines on stderr"
    else refused=$((refused + 1)); fi
    files_check "$what"
    n=$((n + step))
done
train && files_check "the last run, again" && [ -e "$run/model" ] || complain "the last run, again"
echo "train: $calls calls; failed one at a time: $refused runs refused with one message, $unharmed unharmed, $failed wrong"
[ $failed -eq 0 ] && [ $refused -gt 0 ]
