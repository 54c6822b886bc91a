#!/bin/sh
# faults.sh [all] - what the program does when a call of the CUDA runtime, a launch or a call of cuBLASLt fails: `score` on one golden
# pair, and `generate` for as many tokens as make a graph, update it and launch it again, with each n-th call failing in turn on the emulated
# device, and with too little device memory.
#
# Each run must end in time, with exit code 1, one message, nothing leaked and no output file; or, where what failed was not needed for
# the result (giving memory back, a cache that finds no room), with exit code 0 and the undisturbed output. Without "all" the first and
# the last call of every name are tried, and some 100 of the others at equal distances.
program=${RLAIFV_SIMT:-$PWD/build/rlaifv-simt}
golden=$PWD/tests/golden/llava15-hub
[ -x "$program" ] || { echo "no $program: make simt builds it"; exit 77; }
temporary=$(mktemp -d) || exit 1
trap 'rm -rf "$temporary"' EXIT
trap 'exit 1' HUP INT TERM
others=100
[ "$1" = all ] && others=1000000000
mkdir "$temporary/out" && ln -s "$golden/images" "$temporary/images" && head -n 1 "$golden/pairs.jsonl" >"$temporary/score.jsonl" &&
    echo '{"question":"What is in the picture?"}' >"$temporary/generate.jsonl" || exit 1
unset SIMT_FAIL_CALL SIMT_MEMORY SIMT_CALLS RLAIFV_GRAPHS

disturbed() { # runs $command; leaves in the file stderr what is not said of data, the template and progress
    options=
    [ $command = generate ] && options='--n 2 --temperature 1 --max-new-tokens 5'
    # shellcheck disable=SC2086 # several words
    timeout 120 "$program" $command --strict --device simt --dtype fp32 --model "$golden/model" --data "$temporary/$command.jsonl" \
        --out "$temporary/out/result.jsonl" $options >"$temporary/stdout" 2>"$temporary/said"
    code=$?
    grep -v -e "^$command: " -e '^chat template ' -e 'rows, .* used, .* dropped$' "$temporary/said" >"$temporary/stderr"
    return $code
}
failed=0
complain() { # WHAT
    failed=$((failed + 1))
    [ $failed -le 5 ] && { echo "FAILED: $1"; head -n 5 "$temporary/stderr"; }
}
# Looks at what a disturbed run did. CODE WHAT
judge() {
    left=$(ls -A "$temporary/out")
    lines=$(grep -c '' "$temporary/stderr")
    if [ "$1" -eq 0 ]; then
        if [ "$left" = result.jsonl ] && cmp -s "$temporary/out/result.jsonl" "$temporary/undisturbed"; then unharmed=$((unharmed + 1))
        else complain "$2: exit code 0 and another output"; fi
    elif [ "$1" -ne 1 ]; then complain "$2: exit code $1"
    elif [ "$lines" -ne 1 ] || ! grep -q '^rlaifv: .' "$temporary/stderr"; then complain "$2: $lines lines on stderr"
    elif [ -n "$left" ]; then complain "$2: it left $left"
    else refused=$((refused + 1)); fi
    rm -rf "$temporary/out" && mkdir "$temporary/out"
}

sweep() { # of $command
    refused=0 unharmed=0
    SIMT_CALLS=$temporary/calls disturbed || { echo "FAILED: the undisturbed run: exit code $?"; cat "$temporary/stderr"; exit 1; }
    mv "$temporary/out/result.jsonl" "$temporary/undisturbed" || exit 1
    [ -s "$temporary/stderr" ] && { echo "FAILED: the undisturbed run says:"; cat "$temporary/stderr"; exit 1; }
    calls=$(grep -c '' "$temporary/calls")
    awk -v others="$others" '
        { name[NR] = $0; last[$0] = NR; if (!($0 in first)) first[$0] = NR }
        END {
            step = int(NR / others); if (step < 1) step = 1
            for (i = 1; i <= NR; i++) if (i % step == 0 || first[name[i]] == i || last[name[i]] == i) print i, name[i]
        }' "$temporary/calls" >"$temporary/tries"
    while read -r n name; do
        SIMT_FAIL_CALL=$n disturbed
        judge $? "$command: call $n of $calls, $name"
    done <"$temporary/tries"
    # Too little memory: for nothing at all, for the weights, for what follows.
    for megabytes in 1 32 65 66 67 68 70; do
        SIMT_MEMORY=$((megabytes << 20)) disturbed
        judge $? "$command: $megabytes MiB of device memory"
    done
    echo "$command: $calls calls; failed one at a time: $refused runs refused with one message, $unharmed unharmed, $failed wrong"
    [ $refused -gt 0 ] || failed=$((failed + 1))
}
for command in score generate; do sweep; done
grep -q cudaGraphExecUpdate "$temporary/calls" || { echo "FAILED: generate updated no graph"; exit 1; }
[ $failed -eq 0 ]
