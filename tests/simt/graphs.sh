#!/bin/sh
# graphs.sh PROGRAM OTHER [DEVICE] - `generate` on a GPU (simt: emulated) with its decoding steps captured as graphs and without: the same files to
# the byte, in both dtypes, drawn and searched; and in fp32 the same answers as on the CPU. The prompts differ in length and more are asked than grow together, so that
# steps of many sizes follow each other.
program=$1 other=$2 device=${3:-simt}
golden=$PWD/tests/golden/llava15-hub
temporary=$(mktemp -d) || exit 1
trap 'rm -rf "$temporary"' EXIT
trap 'exit 1' HUP INT TERM
ln -s "$golden/images" "$temporary/images" && head -n 3 "$golden/expect/greedy.jsonl" >"$temporary/prompts.jsonl" || exit 1
answers() { # NAME PROGRAM DEVICE DTYPE GRAPHS
    # shellcheck disable=SC2086
    RLAIFV_GRAPHS=$5 "$2" generate --strict --device "$3" --dtype "$4" --model "$golden/model" --data "$temporary/prompts.jsonl" \
        --out "$temporary/$1" $how --max-new-tokens 14 --batch 5 2>"$temporary/said" ||
        { echo "$1: $(tail -3 "$temporary/said")"; exit 1; }
}
failed=0
for how in "--n 3 --temperature 0.8 --seed 5" "--n 2 --beams 3"; do for dtype in fp32 bf16; do
    answers with "$other" "$device" $dtype on
    answers without "$other" "$device" $dtype off
    cmp "$temporary/with" "$temporary/without" || { echo "$dtype: graphs change the answers"; failed=1; }
    [ $dtype = fp32 ] || continue
    answers cpu "$program" cpu $dtype on
    for name in with cpu; do sed 's/"logp":[-0-9.e+]*//g' "$temporary/$name" >"$temporary/$name-text"; done # last digits are a kernel's own
    cmp "$temporary/with-text" "$temporary/cpu-text" || { echo "other answers than on the CPU"; failed=1; }
done; done
exit $failed
