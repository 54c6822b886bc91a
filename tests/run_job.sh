#!/bin/sh
# run_job.sh RESULTS KIND NAME SECONDS COMMAND... - one check of run.sh: runs it, says how it went in one piece, and adds "passed failed skipped" to
# RESULTS.
#
# KIND program: a cmocka program; one that crashes, hangs or prints no closing counts is a failure. KIND script: exit 0 passed, 77 skipped with a
# reason on its last line, anything else failed.
results=$1 kind=$2 name=$3 limit=$4
shift 4
log=$(mktemp) said=$(mktemp) || exit 1
trap 'rm -f "$log" "$said"' EXIT
count() { grep -c "$1" "$log"; }
start=$(date +%s)
CMOCKA_MESSAGE_OUTPUT=STDOUT timeout "$limit" "$@" >"$log" 2>&1
code=$?
seconds=$(($(date +%s) - start))
if [ "$kind" = program ]; then
    ok=$(count '^\[ *OK \] ') bad=$(count '^\[ *FAILED *\] [a-z_A-Z0-9]*$') skip=$(count '^\[ *SKIPPED *\] [a-z_A-Z0-9]*$')
    ran=$(count '^\[==========\].*run\.$')
    if [ $code -ne 0 ] && [ "$bad" -eq 0 ] || [ "$ran" -eq 0 ]; then bad=$((bad + 1)); fi
    {
        printf '%-52s %3d passed %2d failed %2d skipped %4d s\n' "$name" "$ok" "$bad" "$skip" "$seconds"
        grep -iE '^skip|skipp?ed:|: skip' "$log" | sed 's/^/    /'
        [ "$bad" -gt 0 ] && echo "    exit code $code" && grep -vE '^\[ *(OK|RUN) *\]' "$log" | tail -40 | sed 's/^/    /'
    } >"$said"
else
    ok=0 bad=0 skip=0
    case $code in
    0) ok=1 word=passed ;;
    77) skip=1 word="skipped: $(tail -1 "$log")" ;;
    *) bad=1 word=FAILED ;;
    esac
    {
        printf '%-52s %s, %d s\n' "$name" "$word" "$seconds"
        grep -E '^  all |: [0-9]* programs, |not tried|no small disks' "$log" # lines of kernels reached; parts of the matrix; what a script left out
        [ $bad -eq 1 ] && echo "    exit code $code" && tail -40 "$log" | sed 's/^/    /'
    } >"$said"
fi
cat "$said"
echo "$ok $bad $skip" >>"$results"
