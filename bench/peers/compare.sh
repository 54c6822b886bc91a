#!/bin/sh
# compare.sh PROGRAM PEER DIR [ROUNDS] - the four jobs of an online iteration, ours beside a peer's, one run after the other, as a table.
#
# PEER is a command that takes `time DIR JOB DTYPE` and prints one JSON line with "rate" and "peak_mb" (the PyTorch script: "python3
# hf_llava.py"); DIR holds the checkpoint and jobs.json that its `make` wrote. Ours and the peer's runs alternate ROUNDS times (default 3), and
# each shows its best: on a shared machine the least disturbed run says most. DTYPES and JOBS in the environment narrow it.
set -e
program=$1 peer=$2 folder=$3 rounds=${4:-3}
[ -f "$folder/jobs.json" ] || { echo "usage: compare.sh PROGRAM PEER DIR [ROUNDS]; DIR needs jobs.json" >&2; exit 2; }
field() { sed -n "s/.*\"$1\": *\([0-9.]*\).*/\1/p"; }
better() { awk -v a="$1" -v b="$2" 'BEGIN { print (b == "" || a + 0 > b + 0) ? a : b }'; }
printf '%-7s %-5s %12s %12s %7s %15s %10s\n' job dtype ours peer ratio 'MB ours / peer' GFLOP/s
for dtype in ${DTYPES:-fp32 bf16}; do
    for job in ${JOBS:-dpo sample label score}; do
        ours= theirs= round=0
        while [ $round -lt "$rounds" ]; do
            a=$("$program" bench jobs --model "$folder" --jobs "$folder/jobs.json" --job $job --dtype $dtype)
            b=$($peer time "$folder" $job $dtype 2>/dev/null | tail -1)
            ours=$(better "$(echo "$a" | field rate)" "$ours") theirs=$(better "$(echo "$b" | field rate)" "$theirs")
            round=$((round + 1))
        done
        awk -v job=$job -v dtype=$dtype -v o="$ours" -v t="$theirs" -v m="$(echo "$a" | field peak_mb)" -v n="$(echo "$b" | field peak_mb)" \
            -v g="$(echo "$a" | field gflops_per_second)" \
            'BEGIN { printf "%-7s %-5s %12.2f %12.2f %6.2fx %15s %10.0f\n", job, dtype, o, t, o / t, m " / " n, g }'
    done
done
