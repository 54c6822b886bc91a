#!/bin/sh
# run.sh BUILD [--sanitize] [--cuda] [--matrix] - runs the checks, one on each core, and closes with "N passed, N failed, N skipped".
#
# The cmocka programs BUILD/tests/*/*_test, the shell checks tests/cli/*.sh (with RLAIFV naming the program), the layer check; with --sanitize
# the same programs built with ASan and UBSan; with --cuda the CUDA backend: compiled by nvcc, and executed by the emulator (docs/cuda.md);
# with --matrix under every schedule and tool, which takes ten minutes more, and some to build.
build=$1
options=" $2 $3 $4 "
jobs=$(mktemp) results=$(mktemp) || exit 1
trap 'rm -f "$jobs" "$results"' EXIT
trap 'exit 1' HUP INT TERM
export RLAIFV_SHARED="${RLAIFV_SHARED:-../shared}" RLAIFV="$PWD/$build/rlaifv"
export OMP_WAIT_POLICY=passive # two programs share the cores
lost=0
wants() { case $options in *" $1 "*) return 0 ;; esac; return 1; }

job() { # KIND NAME SECONDS COMMAND...
    for word; do printf ' "%s"' "$word"; done >>"$jobs" # no blank at the end, which would join the line with the next
    echo >>"$jobs"
}
program() { job program "$@"; }
script() { job script "$@"; }
together() { # runs what was given, one on each core
    xargs -r -L 1 -P "$(nproc)" sh tests/run_job.sh "$results" <"$jobs" || { echo "FAILED: checks that did not come to an end"; lost=1; }
    : >"$jobs"
}
skipped() { # WHY
    echo "$1"
    echo "0 0 1" >>"$results"
}

for test in "$build"/tests/*/*_test; do [ -x "$test" ] && program "${test#"$build"/}" 600 "$test"; done
[ "$build" != build-asan ] && for test in tests/cli/*.sh tests/layers.sh; do script "$test" 1800 sh "$test"; done
wants --sanitize && script "ASan and UBSan: build" 1800 make -s sanitize-build
cuda=
if wants --cuda; then
    [ -n "$(make -s cuda-headers)" ] && cuda=yes || skipped "the CUDA backend is skipped: no CUDA toolkit on this machine"
fi
[ "$cuda" ] && script "emulator: build" 1800 make -s BUILD="$build" simt simt-counts simt-tests
together

wants --sanitize && for test in build-asan/tests/*/*_test; do program "${test#build-}" 1200 "$test"; done
if [ "$cuda" ]; then
    simt=$PWD/$build/rlaifv-simt
    script "emulator: every call of training failing" 1800 env RLAIFV_SIMT="$simt" sh tests/simt/faults_train.sh
    script "emulator: every call failing in turn" 1800 env RLAIFV_SIMT="$simt" sh tests/simt/faults.sh
    script "emulator: models in slices over ranks" 1800 env RLAIFV="$simt" sh tests/cli/ranks_tensor.sh simt
    script "emulator: ranks" 1800 sh tests/cli/ranks_comm.sh simt
    script "emulator: training on ranks" 1800 env RLAIFV="$simt" sh tests/cli/ranks.sh simt
    script "emulator: the plan" 1800 env RLAIFV="$simt" sh tests/cli/plan.sh simt
    script "emulator: kernels at the models' shapes" 1800 "$build/rlaifv-simt-counts" bench kernels --device simt
    for dtype in fp32 bf16; do script "emulator: golden cases, $dtype" 1800 env RLAIFV="$simt" sh tests/cli/golden.sh simt $dtype; done
    script "emulator: a demo iteration as on the CPU" 1800 sh tests/simt/iteration.sh "$build/rlaifv" "$build/rlaifv-simt"
    script "emulator: steps as graphs and without" 1800 sh tests/simt/graphs.sh "$build/rlaifv" "$build/rlaifv-simt"
    for test in "$build"/simt/tests/*/*_test; do program "${test#"$build"/}" 600 "$test"; done
    script "nvcc for sm_80, sm_90a, sm_100; registers" 1800 make -s BUILD="$build" cuda
    homes=$(make -s cudnn-home)
    if [ -n "$homes" ]; then script "cuDNN: plans for our graphs" 600 sh tests/tools/cudnn_plans.sh $homes
    else skipped "cuDNN's plans are skipped: no cudnn.h on this machine"; fi
fi
together
[ "$cuda" ] && wants --matrix && sh tests/run_job.sh "$results" script "emulator: schedules, sanitizers, checker, lines" 3000 sh tests/simt/matrix.sh "$build"

awk -v lost=$lost '{ passed += $1; failed += $2; skipped += $3 }
    END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped; exit failed > 0 || lost > 0 || passed == 0 }' "$results"
