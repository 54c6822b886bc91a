#!/bin/sh
# run.sh BUILD [--sanitize] [--cuda] - runs every check and closes with "N passed, N failed, N skipped".
#
# The cmocka programs BUILD/tests/*/*_test, the shell checks tests/cli/*.sh (with RLAIFV naming the program), the layer check; with --sanitize
# the same programs built with ASan and UBSan; with --cuda the CUDA backend: compiled by nvcc, and executed by the emulator (docs/cuda.md). A
# program that crashes, hangs or prints no closing counts is a failure.
build=$1
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export RLAIFV_SHARED="${RLAIFV_SHARED:-../shared}"

count() { grep -c "$1" "$log"; }
run_program() { # NAME PROGRAM
    CMOCKA_MESSAGE_OUTPUT=STDOUT timeout "${3:-600}" "$2" >"$log" 2>&1
    code=$?
    ok=$(count '^\[ *OK \] ') bad=$(count '^\[ *FAILED *\] [a-z_A-Z0-9]*$') skip=$(count '^\[ *SKIPPED *\] [a-z_A-Z0-9]*$')
    ran=$(count '^\[==========\].*run\.$')
    if [ $code -ne 0 ] && [ "$bad" -eq 0 ] || [ "$ran" -eq 0 ]; then bad=$((bad + 1)); fi
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
    printf '%-44s %3d passed %2d failed %2d skipped\n' "$1" "$ok" "$bad" "$skip"
    grep -iE '^skip|skipp?ed:|: skip' "$log" | sed 's/^/    /'
    [ "$bad" -gt 0 ] && { echo "    exit code $code"; grep -vE '^\[ *(OK|RUN) *\]' "$log" | tail -40 | sed 's/^/    /'; }
    return 0
}
run_script() { # NAME COMMAND...: a check: exit 0 passed, 77 skipped with a reason on its last line, anything else failed
    name=$1
    shift
    timeout 1800 "$@" >"$log" 2>&1
    case $? in
    0) passed=$((passed + 1)) word=passed ;;
    77) skipped=$((skipped + 1)) word="skipped: $(tail -1 "$log")" ;;
    *) failed=$((failed + 1)) word=FAILED ;;
    esac
    printf '%-44s %s\n' "$name" "$word"
    grep -E '^  all ' "$log" # lines of kernels reached
    [ "$word" = FAILED ] && tail -40 "$log" | sed 's/^/    /'
    return 0
}
export RLAIFV="$PWD/$build/rlaifv"
for program in "$build"/tests/*/*_test; do [ -x "$program" ] && run_program "${program#"$build"/}" "$program"; done
if [ "$build" != build-asan ]; then
    for script in tests/layers.sh tests/cli/*.sh; do run_script "$script" sh "$script"; done
fi
wants() { case " $options " in *" $1 "*) return 0 ;; esac; return 1; }
options="$2 $3"
if wants --sanitize; then
    if make -s sanitize-build >"$log" 2>&1; then
        for program in build-asan/tests/*/*_test; do run_program "${program#build-}" "$program" 1200; done
    else
        failed=$((failed + 1))
        echo "sanitizer build FAILED"
        tail -20 "$log"
    fi
fi
if wants --cuda; then
    if [ -z "$(make -s cuda-headers)" ]; then
        skipped=$((skipped + 1))
        echo "the CUDA backend is skipped: no CUDA toolkit on this machine"
    else
        run_script "nvcc for sm_80, sm_90a, sm_100; registers" make -s BUILD="$build" cuda
        homes=$(make -s cudnn-home)
        if [ -n "$homes" ]; then run_script "cuDNN: plans for our graphs" sh tests/tools/cudnn_plans.sh $homes
        else skipped=$((skipped + 1)) && echo "cuDNN's plans are skipped: no cudnn.h on this machine"; fi
        run_script "emulator: build" make -s BUILD="$build" simt simt-counts simt-tests
        for program in "$build"/simt/tests/*/*_test; do run_program "${program#"$build"/}" "$program"; done
        run_script "emulator: schedules, sanitizers, checker" sh tests/simt/matrix.sh "$build"
        for dtype in fp32 bf16; do
            run_script "emulator: golden cases, $dtype" env RLAIFV="$PWD/$build/rlaifv-simt" sh tests/cli/golden.sh simt $dtype
        done
        run_script "emulator: ranks" sh tests/cli/ranks_comm.sh simt
        run_script "emulator: training on ranks" env RLAIFV="$PWD/$build/rlaifv-simt" sh tests/cli/ranks.sh simt
        run_script "emulator: models in slices over ranks" env RLAIFV="$PWD/$build/rlaifv-simt" sh tests/cli/ranks_tensor.sh simt
        run_script "emulator: the plan" env RLAIFV="$PWD/$build/rlaifv-simt" sh tests/cli/plan.sh simt
        run_script "emulator: a demo iteration as on the CPU" sh tests/simt/iteration.sh "$build/rlaifv" "$build/rlaifv-simt"
        run_script "emulator: steps as graphs and without" sh tests/simt/graphs.sh "$build/rlaifv" "$build/rlaifv-simt"
        run_script "emulator: every call failing in turn" env RLAIFV_SIMT="$PWD/$build/rlaifv-simt" sh tests/simt/faults.sh
        run_script "emulator: every call of training failing" env RLAIFV_SIMT="$PWD/$build/rlaifv-simt" sh tests/simt/faults_train.sh
        run_script "emulator: kernels at the models' shapes" "$build/rlaifv-simt-counts" bench kernels --device simt
    fi
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
