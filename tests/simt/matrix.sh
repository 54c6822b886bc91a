#!/bin/sh
# matrix.sh [BUILD [SEEDS]] - the CUDA kernels under every way of running them that finds bugs: the reverse schedule, which also counts the
# kernels' lines that the tests reach, SEEDS random ones, ASan and UBSan, the checker of races and uninitialised reads. A program that takes
# long has its cases dealt over the random schedules (KERNEL_TEST_TURN): as many parts as it runs seconds in reverse, or as there are seeds.
# Takes what BUILD has of the plain emulator and builds the rest. One program runs on each core.
#
# matrix.sh --one LOGS PROGRAM SETTING...: a single run; what it says goes to LOGS when it fails, how long it took always.
if [ "$1" = --one ]; then
    logs=$2 program=$3 log=$(mktemp "$2/log.XXXXXX")
    shift 3
    start=$(date +%s)
    env CMOCKA_MESSAGE_OUTPUT=STDOUT OMP_NUM_THREADS=1 "$@" timeout 900 "$program" >"$log" 2>&1 || {
        {
            echo "FAILED: $* $program"
            grep -aE 'FAILED|simt:|ERROR|runtime error| in |schedule' "$log" | head -n 12
        } >"$log.failed"
    }
    echo "$program $(($(date +%s) - start))" >"$log.seconds"
    rm "$log"
    exit 0
fi
build=${1:-build} seeds=${2:-20}
parts_most=$seeds # of which each has a schedule at least
least=90 # percent of lines
programs() { ls "$build/$1"/tests/kernels/*_test "$build/$1"/tests/simt/*_test; }
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT
trap 'exit 1' HUP INT TERM
failed=0
unset SIMT_SCHEDULE SIMT_SEED KERNEL_TEST_TURN
job() { echo "$*" >>"$logs/jobs"; } # PROGRAM SETTING...
part() { # NAME: runs the jobs
    start=$(date +%s)
    xargs -L 1 -P "$(nproc)" sh "$0" --one "$logs" <"$logs/jobs" || failed=1
    cat "$logs"/*.failed 2>/dev/null && failed=1
    echo "$1: $(grep -c '' "$logs/jobs") programs, $(($(date +%s) - start)) s"
    cat "$logs"/*.seconds >"$logs/seconds"
    rm -f "$logs"/*.failed "$logs"/*.seconds "$logs/jobs"
}
make -s -j"$(nproc)" BUILD="$build" simt-tests simt-asan-tests simt-checker-tests simt-gcov-tests >"$logs/build" 2>&1 || { echo "FAILED: build"; tail -20 "$logs/build"; exit 1; }

find "$build/simt-gcov" -name '*.gcda' -exec rm -f {} +
for program in $(programs simt-gcov); do job "$program" SIMT_SCHEDULE=lifo; done
part "reverse schedule, counting lines"
cp "$logs/seconds" "$logs/reverse"
longest() { # BUILD: its programs, those first that took longest in reverse, so that none is left to run alone at the end
    programs "$1" | awk 'NR == FNR { n = split($1, part, "/"); took[part[n]] = $2; next } { n = split($1, part, "/"); print took[part[n]] + 0, $0 }' "$logs/reverse" - | sort -rn | cut -d" " -f2-
}
while read -r program parts; do
    [ "$parts" -lt 1 ] && parts=1
    [ "$parts" -gt $parts_most ] && parts=$parts_most
    [ "$parts" -gt 1 ] && echo "  $(basename "$program"): cases dealt over $parts schedules"
    for seed in $(seq "$seeds"); do job "$build/simt${program#"$build/simt-gcov"}" "KERNEL_TEST_TURN=$((seed % parts))/$parts" SIMT_SCHEDULE=random "SIMT_SEED=$seed"; done
done <<END
$(sort -k2 -rn "$logs/reverse")
END
part "$seeds random schedules"
for program in $(longest simt-asan); do
    job "$program" ASAN_OPTIONS=detect_stack_use_after_return=0:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
done
part "ASan and UBSan"
for program in $(longest simt-checker); do job "$program"; done
part "checker"
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
    }' || failed=1
[ $failed -eq 0 ]
