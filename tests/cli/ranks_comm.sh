#!/bin/sh
# ranks_comm.sh [simt] - several ranks under mpirun: groups of 1 to 4 against what one process computes, ranks that are lost while others wait for
# them, and commands started as several ranks. With simt on the emulated device, where ranks that disagree, share a GPU or leave communicators
# behind are found too, and the calls of one rank fail in turn.
. tests/tools/script.sh
build=$(dirname "$program")
[ "$1" = simt ] && build=$build/simt
test=$build/tests/kernels/comm_test
[ -x "$test" ] || { echo "no $test"; exit 1; }
command -v mpirun >/dev/null || { echo "no mpirun"; exit 1; }
# More ranks than cores, none bound to one; a test machine's root may start them.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export CMOCKA_MESSAGE_OUTPUT=STDOUT
log=$temporary/log token=comm-test-$$
failed=0 checks=0
fail() {
    echo "FAILED: $*"
    tail -20 "$log"
    failed=$((failed + 1))
}

# ---- groups ----
free=$(awk '/MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
for ranks in 1 2 3 4; do
    checks=$((checks + 1))
    unset LARGE
    [ $ranks -eq 2 ] && [ "$1" != simt ] && [ "$free" -gt 5000 ] && export LARGE=1
    timeout 300 mpirun -np $ranks "$test" >"$log" 2>&1 || fail "$ranks ranks: exit code $?"
done
unset LARGE
if [ "$1" = simt ]; then
    for seed in 1 2; do
        checks=$((checks + 1))
        SIMT_SCHEDULE=random SIMT_SEED=$seed timeout 300 mpirun -np 3 "$test" >"$log" 2>&1 || fail "3 ranks, random schedule $seed: exit code $?"
    done
fi

# ---- lost ranks ----
lose() { # HOW WHERE SECONDS SETTING...: what three ranks say when the last is lost must be over in time, with a failure, and nobody left
    how=$1 where=$2 most=$3
    shift 3
    checks=$((checks + 1))
    begin=$(date +%s)
    timeout -s KILL 60 env WATCHDOG=3 "$@" mpirun -np 3 "$test" lose "$how" "$where" $token >"$log" 2>&1
    code=$?
    took=$(($(date +%s) - begin))
    [ $code -ne 0 ] || fail "$how in $where: exit code 0"
    [ $took -le "$most" ] || fail "$how in $where: $took s"
    sleep 0.2
    pgrep -f "comm_test lose .*$token" >/dev/null && fail "$how in $where: processes are left"
}
says() { grep -aqE "$1" "$log" || fail "$how in $where does not say \"$1\""; }
for where in barrier reduce; do
    operation="a barrier of the test"
    [ $where = reduce ] && operation="reduce of gradients"
    lose sleep $where 20
    says "^rlaifv: rank [01]: .*$operation: no answer for 3 s"
    lose kill $where 12
    says "^rlaifv: rank [01]: .*$operation: .*rank 2 \(pid [0-9]*\) is gone"
    lose exit $where 12
    says "^rlaifv: rank [01]: .*$operation: .*rank 2 \(pid [0-9]*\) is gone"
    lose fail $where 12
    says "^rlaifv: rank 2: no more of this"
    [ "$(grep -ac 'no more of this' "$log")" -eq 1 ] || fail "an error is not said once"
done
lose size reduce 20
if [ "$1" = simt ]; then
    says "ranks do not agree: rank [0-2] has a message of [0-9]* x float32.*; rank [0-2] has a message of [0-9]* x float32"
    lose root reduce 20
    says "ranks do not agree: rank [0-2] has ncclBroadcast .* root [01]; rank [0-2] has ncclBroadcast .* root [01]"
    lose leak reduce 20
    says "not destroyed"
    lose none reduce 20 SIMT_DEVICES=2
    says "rlaifv: rank [0-2]: two ranks share one GPU; found ranks 0 and 2"
else
    says "rlaifv: rank [0-2]: reduce of gradients.*rank [0-2], receiving from rank [0-2]"
fi

# ---- the launcher ends, or is ended ----
for signal in TERM KILL; do
    checks=$((checks + 1))
    WATCHDOG=60 mpirun -np 2 "$test" lose sleep reduce $token >"$log" 2>&1 &
    launcher=$! left=60
    until grep -aq '^asleep' "$log" || [ $left -eq 0 ]; do sleep 0.5 && left=$((left - 1)); done
    [ $left -gt 0 ] || fail "the ranks did not begin"
    sleep 0.5
    kill -$signal $launcher
    left=20
    while pgrep -f "comm_test lose .*$token" >/dev/null && [ $left -gt 0 ]; do sleep 0.5 && left=$((left - 1)); done
    [ $left -gt 0 ] || fail "processes outlive a launcher that got SIG$signal"
    wait $launcher
    how=SIG$signal where=reduce
    [ $signal = TERM ] && says "^rlaifv: rank 0: .*reduce of gradients: ended by the launcher"
done

# ---- calls that fail ----
if [ "$1" = simt ]; then
    # shellcheck disable=SC2016
    one='[ "$OMPI_COMM_WORLD_RANK" = 1 ] && export $SETTING; exec "$@"'
    SETTING=SIMT_CALLS=$temporary/calls mpirun -np 2 sh -c "$one" sh "$test" lose none reduce >"$log" 2>&1 || fail "an undisturbed run: exit code $?"
    awk '!seen[$0]++ { print NR, $0 }' "$temporary/calls" >"$temporary/tries"
    refused=0
    while read -r n name; do
        checks=$((checks + 1))
        SETTING=SIMT_FAIL_CALL=$n WATCHDOG=10 timeout -s KILL 60 mpirun -np 2 sh -c "$one" sh "$test" lose none reduce $token >"$log" 2>&1 </dev/null
        code=$?
        [ $code -eq 0 ] && continue # what failed gave something back
        refused=$((refused + 1))
        [ $code -eq 1 ] && grep -aq "^rlaifv: rank 1: " "$log" || fail "call $n, $name: exit code $code"
    done <"$temporary/tries"
    [ $refused -gt 9 ] || fail "only $refused failing calls were refused"
fi

# ---- commands ----
if [ "$1" != simt ]; then
    checks=$((checks + 4))
    mpirun -np 3 "$program" trian >"$log" 2>&1
    code=$?
    [ $code -eq 2 ] || fail "a wrong command on three ranks: exit code $code"
    [ "$(grep -c '^rlaifv: ' "$log")" -eq 1 ] || fail "a wrong command on three ranks is not said once"
    printf '{"text": "two ranks, one answer"}\n' >"$temporary/text.jsonl"
    tokenize() { "$@" tokenize --model tests/golden/llava15-hub/model --data "$temporary/text.jsonl" --out "$out" >"$log" 2>&1; }
    out=$temporary/alone tokenize "$program" || fail "tokenize: exit code $?"
    out=$temporary/ranks tokenize mpirun -np 2 "$program" || fail "tokenize on two ranks: exit code $?"
    cmp "$temporary/alone" "$temporary/ranks" || fail "tokenize on two ranks gives another result"
    OMPI_COMM_WORLD_SIZE=3 "$program" --help >"$log" 2>&1 && fail "ranks that MPI does not see are not refused"
    grep -q "do not agree on the number of processes" "$log" || fail "ranks that MPI does not see are refused without the reason"
fi
echo "$checks checks, $failed failed"
[ $failed -eq 0 ]
