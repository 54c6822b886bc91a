#!/bin/sh
# ranks_failures.sh - what several ranks say and leave when something fails: a full disk, a folder that cannot be written, a rank that is gone or
# stopped, ranks with other files. One message names the rank, the file or operation and what to do; no process is left; what was whole stays;
# and the same command ends, once it can, with the bits of an undisturbed run.
. tests/tools/script.sh
golden=$PWD/tests/golden/llava15-v5
command -v mpirun >/dev/null || { echo "no mpirun"; exit 1; }
disk=$temporary/disk err=$temporary/err
mkdir "$disk"
trap 'umount "$disk" 2>/dev/null; rm -rf "$temporary"' EXIT
compare_build
mounts=1
mount -t tmpfs -o size=1m tmpfs "$disk" 2>"$err" || { mounts=0; echo "no small disks here: $(tail -1 "$err")"; }

fail() {
    echo "FAILED: $*"
    grep -a rlaifv: "$err" | tail -3
    failed=1
}
mpi() { timeout -s KILL 60 mpirun --allow-run-as-root --oversubscribe "$@" 2>"$err" >"$temporary/out"; }
config() { # NAME FOLDER STEPS
    cat >"$temporary/$1.ini" <<END
[run]
dir = $2
threads = 1
quiet = true
[model]
dir = $golden/model
[data]
train = $temporary/pairs.jsonl
images = $golden/images
[train]
lr = 5e-4
warmup_steps = 2
steps = $3
batch_pairs = 2
order = file
freeze = vision
[ranks]
watchdog = 2
END
}
train() { # NAME ARGUMENTS...: on two ranks
    name=$1
    shift
    mpi -np 2 "$program" train "$temporary/$name.ini" "$@"
}
says() { grep -aqE "$1" "$err" || fail "$what: the message is not \"$1\""; }
says_once() {
    says "$1"
    [ "$(grep -acE '^rlaifv: ' "$err")" -eq "$(grep -acE "$1|because rank [0-9]+ failed" "$err")" ] || fail "$what: more than one message"
}
nobody_left() {
    for look in 1 2 3 4 5 6 7 8 9 10; do pgrep -f "$program .*$temporary" >/dev/null || return 0; sleep 0.2; done
    fail "$what: processes are left"
    pkill -KILL -f "$program .*$temporary"
}
refused() { # PATTERN COMMAND...: exit code 1 and one message
    pattern=$1
    shift
    "$@"
    code=$?
    [ $code -eq 1 ] || fail "$what: exit code $code"
    says_once "$pattern"
    nobody_left
}
cp "$golden/pairs.jsonl" "$temporary/pairs.jsonl"

# ---- a full disk while a checkpoint is written ----
for mode in none gradients; do
    config "whole-$mode" "$temporary/whole-$mode" 4
    train "whole-$mode" --train.save_every=2 --ranks.shard=$mode || fail "the undisturbed run"
    config full "$disk/$mode" 4
    what="a full disk, $mode"
    full() { train full --train.save_every=2 --ranks.shard=$mode; }
    if [ $mounts = 1 ]; then
        checkpoint=$(du -sk "$temporary/whole-$mode/checkpoint-2" | cut -f1)
        mount -o remount,size=$((checkpoint * 3 / 2 + 64))k "$disk"
        refused "^rlaifv: rank [01]: .*$disk/$mode/checkpoint-4.partial/.* No space left on device; free space" full
        diff -r "$temporary/whole-$mode/checkpoint-2" "$disk/$mode/checkpoint-2" >/dev/null || fail "$what: checkpoint-2 is not what it was"
        mount -o remount,size=64m "$disk"
    else
        limited() {
            # shellcheck disable=SC2016
            mpi -np 2 sh -c 'trap "" XFSZ; ulimit -f 100; exec "$@"' sh "$program" train "$temporary/full.ini" --train.save_every=2 --ranks.shard=$mode
        }
        refused "^rlaifv: rank [01]: .*$disk/$mode/checkpoint-2.partial.* File too large; raise the limit" limited
    fi
    full || fail "$what: the run that goes on"
    cmp -s "$temporary/whole-$mode/model/model.safetensors" "$disk/$mode/model/model.safetensors" || fail "$what: other weights"
    "$compare" metrics "$temporary/whole-$mode/metrics.jsonl" "$disk/$mode/metrics.jsonl" 2>"$err" >/dev/null || fail "$what: other metrics"
    find "$disk" -name '*.partial*' | grep . && fail "$what: half-written files are left"
    rm -rf "${disk:?}/$mode"
done
echo "checkpoints on a full disk: done"

# ---- what a kill left of a checkpoint ----
what="a checkpoint that was being written"
mkdir -p "$temporary/whole-none/checkpoint-3.partial"
echo half >"$temporary/whole-none/checkpoint-3.partial/model.safetensors"
train whole-none --train.save_every=2 || fail "$what"
[ -e "$temporary/whole-none/checkpoint-3.partial" ] && fail "$what is left"

# ---- folders that cannot be written ----
what="a folder below a file"
touch "$temporary/file"
config below "$temporary/file/run" 4
refused "^rlaifv: rank 0: .*$temporary/file" train below
if [ $mounts = 1 ]; then
    what="a disk that may only be read"
    config read "$disk/read" 4
    mount -o remount,ro "$disk"
    refused "^rlaifv: rank 0: .*$disk/read.*Read-only file system; check the permissions" train read
    mount -o remount,rw "$disk"
fi

# ---- a rank that is gone, or stopped, in the middle ----
rank_pid() { # RANK: of the run that goes on
    for pid in $(pgrep -f "^$program .*$temporary"); do
        tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$1" && echo "$pid" && return 0
    done
}
await() { # FILE: until it has something to read
    for look in $(seq 300); do [ -s "$1" ] && return 0; sleep 0.05; done
    fail "$what: no $1"
}
disturbed() { # SIGNAL FILE MOST COMMAND...: rank 1 gets the signal once FILE is there; all must be over in MOST seconds
    signal=$1 file=$2 most=$3
    shift 3
    "$@" &
    job=$!
    await "$file"
    pid=$(rank_pid 1)
    began=$(date +%s)
    kill -"$signal" "$pid" || fail "$what: no rank 1"
    wait $job && fail "$what: exit code 0"
    [ $(($(date +%s) - began)) -le "$most" ] || fail "$what: over after $(($(date +%s) - began)) s"
    nobody_left
}
config long "$temporary/long" 2000
what="a killed rank"
disturbed KILL "$temporary/long/metrics.jsonl" 6 train long --train.save_every=50 --train.keep=2
says "^rlaifv: rank 0: [a-z ]+: rank 1 \(pid [0-9]+\) is gone"
what="a stopped rank"
rm -f "$temporary/long/metrics.jsonl"
disturbed STOP "$temporary/long/metrics.jsonl" 12 train long --train.save_every=50 --train.keep=2
says "^rlaifv: rank 0: [a-z ]+: no answer for 2 s; rank 1 \(pid [0-9]+\) is stopped"
rm -rf "$temporary/long"
what="a job that is stopped for longer than a wait may take, and goes on" # as batch systems do with it
config paused "$temporary/paused" 200
train paused --train.log_every=1 &
job=$!
await "$temporary/paused/metrics.jsonl"
pids="$(rank_pid 0) $(rank_pid 1)"
# shellcheck disable=SC2086
kill -STOP $pids || fail "$what: it was over"
sleep 5
# shellcheck disable=SC2086
kill -CONT $pids
wait $job || fail "$what"
rm -rf "$temporary/paused"
echo "lost ranks: done"

# ---- the loop: a full disk, and a stopped rank, while answers grow ----
"$program" scenes --out "$temporary/scenes" --count 20 --seed 7 2>/dev/null >/dev/null || fail "scenes"
head -4 "$temporary/scenes/prompts.jsonl" >"$temporary/scenes/few.jsonl"
loop() { # FOLDER
    mpi -np 2 "$program" run "$here/configs/demo.ini" --run.dir="$1" --run.threads=1 --run.quiet=true --run.iterations=1 --data.per_iteration=20 \
        --data.prompts="$temporary/scenes/prompts.jsonl" --data.validation="$temporary/scenes/few.jsonl" --data.eval="$temporary/scenes/few.jsonl" \
        --sample.n=10 --sample.batch=10 --sample.max_new_tokens=48 --train.epochs=1 --train.batch_pairs=8 --ranks.parts=4 --ranks.watchdog=2 \
        --eval.max_new_tokens=48 --select.rule=last
}
what="the loop"
loop "$temporary/whole" || fail "the undisturbed loop"
goes_on() { # FOLDER
    loop "$1" || fail "$what: the run that goes on"
    for file in table.txt model/model.safetensors iter-1/candidates.jsonl iter-1/labels.jsonl iter-1/pairs.jsonl; do
        cmp -s "$temporary/whole/$file" "$1/$file" || fail "$what: $file is not that of the undisturbed loop"
    done
    find "$1" -name '*.partial*' -o -name '*.growing*' | grep . && fail "$what: half-written files are left"
}
if [ $mounts = 1 ]; then
    what="a full disk, answers"
    mount -o remount,size=72k "$disk"
    refused "^rlaifv: rank [01]: .*$disk/run/iter-1/candidates.jsonl.growing.* No space left on device; free space" loop "$disk/run"
    mount -o remount,size=64m "$disk"
    goes_on "$disk/run"
fi
what="a stopped rank, answers"
disturbed STOP "$temporary/stopped/iter-1/candidates.jsonl.growing" 12 loop "$temporary/stopped"
says "^rlaifv: rank 0: [a-z0' ]+: no answer for 2 s; rank 1 \(pid [0-9]+\) is stopped"
goes_on "$temporary/stopped"
echo "the loop: done"

# ---- ranks with other files ----
# Rank 1 sees another file under the same name: a mount that it alone has.
other() { # FILE OTHER
    # shellcheck disable=SC2016
    mpi -np 1 "$program" train "$temporary/whole-none.ini" --run.dir="$temporary/other" : \
        -np 1 unshare -m sh -c 'mount --bind "$1" "$2" || exit 9; shift 2; exec "$@"' sh "$2" "$1" \
        "$program" train "$temporary/whole-none.ini" --run.dir="$temporary/other"
}
if unshare -m true 2>"$err"; then
    what="other pairs on a rank"
    head -7 "$golden/pairs.jsonl" >"$temporary/pairs-other.jsonl"
    refused "^rlaifv: rank 1: this rank would make something else than rank 0: rank 1: what to train; .*every node needs the same files" \
        other "$temporary/pairs.jsonl" "$temporary/pairs-other.jsonl"
    what="another model on a rank"
    weights=$(ls "$golden"/model/*.safetensors | head -1)
    cp "$weights" "$temporary/weights"
    size=$(stat -c %s "$temporary/weights")
    printf '\1' | dd of="$temporary/weights" bs=1 seek=$((size - 200000)) conv=notrunc 2>/dev/null
    refused "^rlaifv: rank 1: this rank would make something else than rank 0: rank 1: what to train; " other "$weights" "$temporary/weights"
    echo "other files: done"
else
    echo "ranks with other files are not tried: $(tail -1 "$err")"
fi
exit $failed
