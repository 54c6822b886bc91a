#!/bin/sh
# matrix.sh [BUILD [SEEDS]] - the CUDA kernels under every way of running them that finds bugs: the reverse schedule and SEEDS random ones,
# ASan and UBSan, the checker of races and uninitialised reads, and the share of the kernels' lines that the tests reach. A program that takes
# long has its cases dealt over the random schedules (KERNEL_TEST_TURN): as many parts as it runs seconds in reverse, 10 at most. Takes what
# BUILD has of the plain emulator and builds the rest.
build=${1:-build} seeds=${2:-20} parts_most=10
least=90 # percent of lines
programs() { ls "$build/$1"/tests/kernels/*_test "$build/$1"/tests/simt/*_test; }
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM
failed=0 runs=0
unset SIMT_SCHEDULE SIMT_SEED
run() { # PROGRAM SETTING...
    runs=$((runs + 1))
    env CMOCKA_MESSAGE_OUTPUT=STDOUT "$@" >"$log" 2>&1 && return
    failed=$((failed + 1))
    echo "FAILED: $*"
    grep -aE 'FAILED|simt:|ERROR|runtime error| in |schedule' "$log" | head -n 12
}
part() { # NAME: what has run since the last part
    echo "$1: $runs programs, $(($(date +%s) - part_start)) s"
    runs=0 part_start=$(date +%s)
}
part_start=$(date +%s)
make -s BUILD="$build" simt-tests simt-asan-tests simt-checker-tests simt-gcov-tests >"$log" 2>&1 || { echo "FAILED: build"; tail -20 "$log"; exit 1; }

for program in $(programs simt); do
    start=$(date +%s)
    run SIMT_SCHEDULE=lifo timeout 600 "$program"
    parts=$(($(date +%s) - start))
    [ $parts -lt 1 ] && parts=1
    [ $parts -gt $parts_most ] && parts=$parts_most
    seed=0
    while [ $seed -lt "$seeds" ]; do
        run KERNEL_TEST_TURN=$((seed % parts))/$parts SIMT_SCHEDULE=random SIMT_SEED=$((seed + 1)) timeout 600 "$program"
        seed=$((seed + 1))
    done
    [ $parts -gt 1 ] && echo "  $(basename "$program"): cases dealt over $parts schedules"
done
part "reverse schedule and $seeds random ones"

for program in $(programs simt-asan); do
    run ASAN_OPTIONS=detect_stack_use_after_return=0:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 timeout 900 "$program"
done
part "ASan and UBSan"

for program in $(programs simt-checker); do run timeout 900 "$program"; done
part "checker"

find "$build/simt-gcov" -name '*.gcda' -exec rm -f {} +
for program in $(programs simt-gcov); do run timeout 900 "$program"; done
part "lines reached"
for data in "$build"/simt-gcov/kernels/cuda/*.gcda; do gcov -p -t -o "$(dirname "$data")" "$data" 2>/dev/null; done | awk -F: -v least=$least '
    /^ *-: *0:Source:/ { file = $4; if (!sub(/^kernels\/cuda\//, "", file)) file = "" }
    file != "" && $1 !~ /-/ && $2 + 0 > 0 {
        key = file ":" ($2 + 0)
        if (!(key in seen)) { seen[key] = 1; lines[file]++; all++ }
        if ($1 !~ /#|=/ && !(key in hit)) { hit[key] = 1; hits[file]++; sum++ }
    }
    END {
        for (f in lines) printf "  %-32s %5.1f %% of %d lines\n", f, 100 * hits[f] / lines[f], lines[f]
        if (!all) { print "no line was reached"; exit 1 }
        printf "  %-32s %5.1f %% of %d lines; %d %% is the least\n", "all", 100 * sum / all, all, least
        exit 100 * sum / all < least
    }' || failed=$((failed + 1))
[ $failed -eq 0 ]
