#!/bin/sh
# ranks_kill.sh [KILLS [SEED [TENSOR]]] - the loop on one, two and four ranks (of models in TENSOR slices: on so many at least): the same files; and with kill -9 of one rank, or of all, at random moments: the
# run that goes on ends with the files of an undisturbed one, and no process is left behind.
. tests/tools/script.sh
kills=${1:-20} seed=${2:-1} tensor=${3:-1}
trap 'pkill -9 -f "$temporary" 2>/dev/null; rm -rf "$temporary"' EXIT
"$program" scenes --out "$temporary/scenes" --count 6 --seed 7 2>/dev/null || exit 1
run() { # RANKS NAME: in the background after `&`
    exec mpirun --allow-run-as-root --oversubscribe -np "$1" "$program" run "$here/configs/demo.ini" --run.dir="$temporary/$2" --run.threads=1 \
        --run.quiet=true --run.iterations=2 --data.per_iteration=6 --data.prompts="$temporary/scenes/prompts.jsonl" \
        --data.validation="$temporary/scenes/prompts.jsonl" --data.eval="$temporary/scenes/prompts.jsonl" --sample.n=4 --sample.batch=6 \
        --sample.max_new_tokens=48 --train.epochs=2 --train.batch_pairs=4 --train.save_every=1 --train.keep=1 --ranks.parts=4 --ranks.shard=gradients --ranks.tensor="$tensor" \
        --eval.max_new_tokens=48 --select.rule=last >>"$temporary/$2.out" 2>>"$temporary/$2.err"
}
same() { # NAME NAME
    for file in table.txt model/model.safetensors; do cmp -s "$temporary/$1/$file" "$temporary/$2/$file" || fail "$file of $2 differs from $1's"; done
    for file in candidates claims labels pairs; do
        for iteration in 1 2; do
            cmp -s "$temporary/$1/iter-$iteration/$file.jsonl" "$temporary/$2/iter-$iteration/$file.jsonl" || fail "iter-$iteration/$file.jsonl of $2 differs from $1's"
        done
    done
    find "$temporary/$2" -name '*.growing*' -o -name '*.partial' | grep . && fail "$2 left half-written files"
}
first=whole-$tensor
for count in 1 2 4; do
    [ $count -ge "$tensor" ] || continue
    (run $count whole-$count) || { fail "the run on $count ranks"; tail -3 "$temporary/whole-$count.err"; }
    same $first whole-$count
done

# A linear congruential generator: the moments of a seed are the same everywhere.
random() { # BELOW
    seed=$(((seed * 1103515245 + 12345) % 2147483648))
    echo $((seed / 65536 % $1))
}
done_early=0
for kill in $(seq "$kills"); do
    count=2
    [ $((kill % 5)) -eq 0 ] && count=4
    rm -f "$temporary/killed/config.ini" # written when all ranks have come together
    run $count killed &
    pid=$!
    if [ $((kill % 7)) -ne 0 ]; then # now and then a kill while they start
        for wait in $(seq 600); do [ -f "$temporary/killed/config.ini" ] || ! kill -0 $pid 2>/dev/null && break; sleep 0.1; done
    fi
    sleep "$(awk -v ms="$(random 1500)" 'BEGIN { print ms / 1000 }')"
    # the ranks of this run: not mpirun itself
    ranks=$(pgrep -f "^$program run .*$temporary/killed" | tr '\n' ' ')
    if [ -z "$ranks" ]; then done_early=$((done_early + 1))
    elif [ $((kill % 2)) -eq 0 ]; then kill -9 $pid $ranks 2>/dev/null
    else kill -9 "$(echo $ranks | cut -d' ' -f$((1 + $(random "$(echo $ranks | wc -w)"))))" 2>/dev/null; fi
    wait $pid 2>/dev/null
    for wait in $(seq 50); do pgrep -f "$temporary/killed" >/dev/null || break; sleep 0.1; done
    pgrep -f "$temporary/killed" >/dev/null && { fail "processes are left after kill $kill"; pkill -9 -f "$temporary/killed"; sleep 0.5; }
    # what has ended begins again
    if [ -f "$temporary/killed/table.txt" ]; then
        same "$first" killed
        rm -rf "$temporary/killed"
    fi
done
(run 2 killed) || { fail "the continued run"; tail -3 "$temporary/killed.err"; }
same "$first" killed
said=$(grep -c 'rlaifv: .*rank [0-9]' "$temporary/killed.err")
[ "$said" -gt 0 ] || fail "no rank said who was gone"
echo "$kills kills, $done_early of them after the end; ranks that were left said so $said times"
[ $done_early -lt "$kills" ] || fail "no run was killed"
exit $failed
