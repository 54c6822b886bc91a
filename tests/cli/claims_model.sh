#!/bin/sh
# claims_model.sh - claims by a model as commands: `label` on one rank and on two gives the same files; a run that was killed goes on where it was; a
# prompt's content, not its path, decides what is done again; the plan has its phase; a loop without claims says so. The model is the demo's labeler, which
# knows nothing of such prompts: most replies are malformed.
. tests/tools/script.sh
export OMP_WAIT_POLICY=passive
command -v mpirun >/dev/null || { echo "no mpirun"; exit 1; }
cd "$temporary" || exit 1
"$program" scenes --out scenes --count 12 --seed 7 2>/dev/null || exit 1
echo 'Facts of "{answer}", one a line:' >split.txt
printf 'Questions:\n{facts}\n' >question.txt
options="--run.quiet=true --run.threads=1 --data.per_iteration=0 --data.prompts=scenes/prompts.jsonl --data.eval=scenes/prompts.jsonl --data.validation=scenes/prompts.jsonl
    --sample.n=4 --sample.max_new_tokens=48 --eval.max_new_tokens=48 --select.rule=last
    --sample.batch=1 --claims.mode=model --claims.max_new_tokens=40 --claims.split_prompt=split.txt --claims.question_prompt=question.txt"
rlaifv() { # RANKS COMMAND NAME ARGUMENTS...
    np=$1 command=$2 name=$3
    shift 3
    # shellcheck disable=SC2086
    if [ "$np" = 1 ]; then "$program" "$command" "$here/configs/demo.ini" --run.dir="$name" $options "$@" >"$name.out" 2>"$name.err"
    else mpirun --allow-run-as-root --oversubscribe -np "$np" "$program" "$command" "$here/configs/demo.ini" --run.dir="$name" $options "$@" >"$name.out" 2>"$name.err"; fi
}
answers() { # NAME
    mkdir -p "$1/iter-1" && cp first/iter-1/candidates.jsonl "$1/iter-1/"
}
same() { # NAME
    for file in claims labels; do cmp -s "first/iter-1/$file.jsonl" "$1/iter-1/$file.jsonl" || fail "$file.jsonl of $1 differs"; done
    find "$1" -name '*.growing*' | grep . && fail "$1 left half-written files"
}

# ---- one rank, two ranks ----
rlaifv 1 sample first || { fail sample; tail -2 first.err; }
rlaifv 1 label first || { fail label; tail -2 first.err; }
lines=$(wc -l <first/iter-1/claims.jsonl)
[ "$lines" -eq 48 ] || fail "$lines rows of claims"
dropped=$(grep -c '"dropped":' first/iter-1/claims.jsonl)
[ "$dropped" -gt 0 ] || fail "every reply was a list"
grep -q "replies asked for again, $dropped answers dropped" first.out || fail "what was said: $(cat first.out)"
grep -q "answers without, 0 rejected unasked" first.out || fail "rules were at work: $(cat first.out)"
answers two
rlaifv 2 label two || { fail "label on two ranks"; tail -2 two.err; }
same two

rm two/iter-1/labels.jsonl # claims that are there are not made again
rlaifv 1 label two --run.quiet=false || { fail "label again"; tail -2 two.err; }
grep -q "claims: done before" two.err || fail "claims were made again"
grep -q "replies asked for again, $dropped answers dropped" two.out || fail "what was said the second time: $(cat two.out)"
same two

# ---- killed, on one rank and on two ----
for count in 1 2; do
    answers killed$count
    rlaifv $count label killed$count &
    pid=$!
    for wait in $(seq 600); do
        [ "$(cat killed$count/iter-1/claims.jsonl.growing* 2>/dev/null | wc -l)" -gt 8 ] && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.02
    done
    for rank in $(pgrep -f "^$program label .*--run.dir=killed$count "); do
        [ "$(readlink /proc/"$rank"/cwd)" = "$(pwd -P)" ] && kill -9 "$rank"
    done
    wait $pid && fail "it ended before it was killed"
    kept=$(cat killed$count/iter-1/claims.jsonl.growing* | grep -c '"group"')
    [ "$kept" -gt 0 ] && [ "$kept" -lt 48 ] || fail "$kept answers were kept"
    [ ! -f killed$count/iter-1/claims.jsonl ] || fail "claims.jsonl was there before it was whole"
    rlaifv 2 label killed$count || { fail "going on after a kill"; tail -2 killed$count.err; }
    same killed$count
done

# ---- the loop: what it says, and what it does again ----
rlaifv 1 run loop --run.quiet=false && fail "a loop without claims has pairs"
grep -q "rlaifv: no preference pairs" loop.err || fail "the loop: $(tail -1 loop.err)"
grep -q '"arrow":"claims".*"claims_model":.*"retries":[1-9][0-9.]*,"malformed":[1-9]' loop/ledger.jsonl || fail "the ledger has no account of claims"
grep -q '"phase":"claims".*"claims_per_answer":.*"malformed":' loop/metrics.jsonl || fail "no metrics of claims"
grep -q "dropped: [0-9]* answers: no list in the reply" loop.err || fail "no reason is given: $(grep dropped loop.err)"
cp split.txt copy.txt
rlaifv 1 run loop --run.quiet=false --claims.split_prompt=copy.txt
grep -q "claims: done before" loop.err || fail "the same prompt elsewhere is another"
echo 'All facts of "{answer}":' >split.txt
rlaifv 1 run loop --run.quiet=false
grep -q "sample: done before" loop.err || fail "answers were sampled again"
grep -q "claims: again, as claims_prompts changed" loop.err || fail "a changed prompt: $(grep claims loop.err)"

# ---- the plan, and what is refused ----
# shellcheck disable=SC2086
"$program" plan "$here/configs/demo.ini" $options --brief >plan.out 2>&1 || fail "plan: $(tail -1 plan.out)"
grep -q '^ *load *sample *claims *label ' plan.out && grep -q '^claims  *[1-9]' plan.out || fail "the plan has no claims: $(cat plan.out)"
"$program" plan "$here/configs/demo.ini" --brief >plan.out 2>&1
grep -q claims plan.out && fail "a plan of rules has a model of claims"
answers refused
rlaifv 1 label refused --claims.dir=nowhere && fail "a model that is not there"
grep -q "^rlaifv: .*nowhere" refused.err || fail "the refusal: $(cat refused.err)"
rlaifv 1 label refused --claims.question_prompt=split.txt && fail "a prompt without facts"
grep -q "^rlaifv: not a prompt for claims: split.txt; found {facts} 0 times" refused.err || fail "the refusal: $(cat refused.err)"
exit $failed
