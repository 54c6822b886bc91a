#!/bin/sh
# gpu.sh BUILD REPORT - everything there is to check and measure on a machine with a GPU, in one go, into one file: the operations' tests and the
# golden cases on the device, compute-sanitizer's four tools, the kernels at the models' shapes, and one iteration of the demo on both devices.
# Ends with "N passed, N failed, N skipped"; what is skipped says why.
build=$1 report=$2
passed=0 failed=0 skipped=0
log=$(mktemp) && temporary=$(mktemp -d) || exit 1
trap 'rm -rf "$log" "$temporary"' EXIT
trap 'exit 1' HUP INT TERM
say() { echo "$*" | tee -a "$report"; }
check() { # NAME COMMAND...
    name=$1
    shift
    if "$@" >"$log" 2>&1; then passed=$((passed + 1)) word=passed; else failed=$((failed + 1)) word=FAILED; fi
    say "$(printf '%-60s %s' "$name" "$word")"
    [ "$word" = FAILED ] && tail -40 "$log" | sed 's/^/    /' | tee -a "$report"
    return 0
}
: >"$report" || exit 1
say "rlaifv on $(nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -1), $(date -u +%Y-%m-%d)"
command -v nvidia-smi >/dev/null || { say "no nvidia-smi: there is no GPU here"; exit 1; }

for program in "$build"/gpu/tests/kernels/*_test; do check "$(basename "$program")" "$program"; done
gpus=$(nvidia-smi -L | wc -l)
if [ "$gpus" -gt 1 ] && command -v mpirun >/dev/null; then
    check "groups of $gpus ranks, a GPU each" mpirun --allow-run-as-root -np "$gpus" "$build/gpu/tests/kernels/comm_test"
    check "the plan" env RLAIFV="$PWD/$build/rlaifv" sh tests/cli/plan.sh cuda
    if [ "$gpus" -ge 4 ]; then
        check "training on ranks" env RLAIFV="$PWD/$build/rlaifv" sh tests/cli/ranks.sh cuda
        check "models in slices over ranks" env RLAIFV="$PWD/$build/rlaifv" sh tests/cli/ranks_tensor.sh cuda
    else
        skipped=$((skipped + 1))
        say "skipped: training on ranks needs four GPUs; here are $gpus"
    fi
else
    skipped=$((skipped + 1))
    say "skipped: groups of ranks need two GPUs and mpirun; here are $gpus"
fi
for dtype in fp32 bf16; do check "golden cases, $dtype" env RLAIFV="$PWD/$build/rlaifv" sh tests/cli/golden.sh cuda $dtype; done
check "a demo iteration, the CPU's and the GPU's" sh tests/simt/iteration.sh "$build/rlaifv" "$build/rlaifv" cuda
check "steps as graphs and without, the CPU's and the GPU's" sh tests/simt/graphs.sh "$build/rlaifv" "$build/rlaifv" cuda

if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck initcheck synccheck; do
        for program in "$build"/gpu/tests/kernels/*_test; do
            check "$tool $(basename "$program")" compute-sanitizer --tool $tool --error-exitcode 9 "$program"
        done
    done
else
    skipped=$((skipped + 1))
    say "skipped: no compute-sanitizer on this machine"
fi

say ""
check "kernels, products by our choice" sh -c "'$build/rlaifv' bench kernels --device cuda >'$temporary/auto.json' 2>'$temporary/auto.txt'"
check "kernels, products all ours" sh -c "RLAIFV_PRODUCTS=own '$build/rlaifv' bench kernels linear --device cuda >'$temporary/own.json' 2>'$temporary/own.txt'"
check "kernels, products all cuBLASLt's" sh -c "RLAIFV_PRODUCTS=cublaslt '$build/rlaifv' bench kernels linear --device cuda >'$temporary/lt.json' 2>'$temporary/lt.txt'"
for part in auto own lt; do
    say ""
    say "$part:"
    cat "$temporary/$part.txt" | tee -a "$report"
done
say ""
say "$passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
