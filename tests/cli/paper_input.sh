#!/bin/sh
# paper_input.sh - one iteration on the paper's own input: 30 detail prompts with COCO photographs, of which some are absent. Text of random
# weights is nonsense, but every arrow runs, counts add up, and what was dropped is named by file and line. Skips where the files are absent.
. tests/tools/script.sh
data=$(cd "${RLAIFV_SHARED:-../shared}/data-noncommercial/RLAIF-V" 2>/dev/null && pwd)
[ -f "$data/eval/detail_test_30_input.jsonl" ] || { echo "the paper's example prompts are not here (data-noncommercial/RLAIF-V)"; exit 77; }
fail() {
    echo "FAILED: $case: $*"
    failed=1
}
lines() { wc -l <"$run/iter-1/$1.jsonl"; }
number() { sed -n "s/.*$1.*/\\1/p" "$run.log" | head -1; } # PATTERN with one group: its first match in the run's talk

present=0
for name in $(sed -n 's/.*"image_path": "[^"]*\/\([^"/]*\)".*/\1/p' "$data/eval/detail_test_30_input.jsonl"); do
    [ -f "$data/images/$name" ] && present=$((present + 1))
done
[ "$present" -gt 0 ] || { echo "none of the photographs is here"; exit 77; }

for case in llava15-hub llava15-orig llava15-v5; do
    run=$temporary/$case
    cat >"$temporary/$case.ini" <<INI
[run]
dir = $run
iterations = 1
[model]
dir = $PWD/tests/golden/$case/model
[data]
prompts = $data/eval/detail_test_30_input.jsonl
images = $data/images
[sample]
n = 10
temperature = 1.5
max_new_tokens = 150
[pair]
balance_length = off
[select]
rule = last
INI
    "$program" run "$temporary/$case.ini" >"$run.out" 2>"$run.log" || { fail "run: $(tail -1 "$run.log")"; continue; }
    grep -q "30 rows, $present used, $((30 - present)) dropped" "$run.log" || fail "rows do not add up: $(grep rows, "$run.log" | head -1)"
    [ "$(grep -c 'image not found: .*detail_test_30_input.jsonl:[0-9]*;' "$run.log")" -eq $((30 - present)) ] || fail "not every dropped row is named by file and line"
    [ "$(lines candidates)" -eq $((present * 10)) ] || fail "$(lines candidates) candidates of $present prompts"
    [ "$(lines claims)" -eq "$(lines candidates)" ] && [ "$(lines labels)" -eq "$(lines candidates)" ] || fail "rows of claims and labels are not those of candidates"
    claims=$(number ' \([0-9][0-9]*\) claims = [0-9]* accepted')
    accepted=$(number 'claims = \([0-9][0-9]*\) accepted')
    rejected=$(number 'accepted + \([0-9][0-9]*\) rejected')
    [ -n "$claims" ] && [ "$claims" -eq $((accepted + rejected)) ] || fail "claims do not add up: $claims, $accepted accepted, $rejected rejected"
    [ "$(grep -o '"accepted":true' "$run/iter-1/labels.jsonl" | wc -l)" -eq "$accepted" ] || fail "labels.jsonl holds other numbers of accepted claims than were said"
    kept=$(number '[0-9] drawn = \([0-9]*\) kept')
    [ "$(lines pairs)" -eq "$kept" ] || fail "$(lines pairs) pairs written, $kept said"
    for file in config.ini ledger.jsonl metrics.jsonl model/config.json model/model.safetensors; do
        [ -s "$run/$file" ] || [ -s "$run/$file.index.json" ] || [ "$case" = llava15-orig -a "$file" = model/model.safetensors ] || fail "$file is absent"
    done
    before=$(cat "$run/ledger.jsonl" "$run"/iter-1/*.jsonl | cksum)
    "$program" run "$temporary/$case.ini" >/dev/null 2>&1 || fail "the same command again"
    [ "$before" = "$(cat "$run/ledger.jsonl" "$run"/iter-1/*.jsonl | cksum)" ] || fail "the same command again changed what was done"
done
exit $failed
