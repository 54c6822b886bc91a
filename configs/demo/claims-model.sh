#!/bin/sh
# claims-model.sh PROGRAM - claims.mode = model on a real task: trains a small text decoder from nothing on what the rules of the built-in world do to the
# demo policy's answers (two prompts, as an instruct model would get), then takes fresh answers apart with it and compares with the rules.
set -e
program=$1
here=$(cd "$(dirname "$0")" && pwd)
work=build/claims
mkdir -p $work/shape
cp "$here"/tokenizer/*.json "$here"/tokenizer/tokenizer.model $work/shape/
cp "$here"/shapes/claims.json $work/shape/config.json

answers() { # NAME SCENES SEED N
    [ -f $work/$1/iter-1/labels.jsonl ] && return
    "$program" scenes --out $work/scenes-$1 --count "$2" --seed "$3"
    "$program" sample "$here"/../demo.ini --run.dir=$work/$1 --data.prompts=$work/scenes-$1/prompts.jsonl --data.per_iteration=0 --sample.n="$4" --sample.temperature=1
    "$program" label "$here"/../demo.ini --run.dir=$work/$1
}
answers train 600 901 4
answers test 100 902 2

# Rows of both stages, of answers whose sentences all parse and none of which repeats another.
paste -d '\n' $work/train/iter-1/candidates.jsonl $work/train/iter-1/claims.jsonl | awk '
    function value(line, key) { if (!match(line, "\"" key "\":\"[^\"]*\"")) return ""; return substr(line, RSTART + length(key) + 4, RLENGTH - length(key) - 5) }
    NR % 2 { answer = value($0, "text"); next }
    /"question":null/ || /left_out/ || !/"claim":/ { next }
    {
        facts = questions = ""
        n = split($0, part, /\{"claim":/)
        for (i = 2; i <= n; i++) {
            match(part[i], /^"[^"]*"/); facts = facts (i > 2 ? "\\n" : "") "- " substr(part[i], 2, RLENGTH - 2)
            questions = questions (i > 2 ? "\\n" : "") "- " value(part[i], "question")
        }
        printf "{\"question\":\"Facts:\\n%s\",\"answer\":\"%s\"}\n{\"question\":\"Questions:\\n%s\",\"answer\":\"%s\"}\n", answer, facts, facts, questions
    }' >$work/rows.jsonl
echo "$(wc -l <$work/rows.jsonl) rows"
[ -d $work/model-run/model ] || "$program" sft "$here"/claims.ini

rm -rf $work/by-model
mkdir -p $work/by-model/iter-1
cp $work/test/iter-1/candidates.jsonl $work/by-model/iter-1/
"$program" label "$here"/../demo.ini --run.dir=$work/by-model --claims.mode=model --claims.dir=$work/model-run/model --claims.template=vicuna_v1 \
    --claims.split_prompt="$here"/claims-split.txt --claims.question_prompt="$here"/claims-question.txt --claims.max_new_tokens=300
paste -d '\n' $work/test/iter-1/claims.jsonl $work/by-model/iter-1/claims.jsonl | awk '
    function list(line) { return match(line, /"claims":\[.*\]/) ? substr(line, RSTART, RLENGTH) : "" }
    NR % 2 { rule = $0; next }
    rule ~ /"question":null/ { flawed++; next }
    {
        answers++; same += list(rule) == list($0)
        n = split(rule, part, /\{"claim":/)
        for (i = 2; i <= n; i++) { match(part[i], /^[^}]*\}/); claims++; found += index($0, "{\"claim\":" substr(part[i], 1, RLENGTH)) > 0 }
    }
    END { printf "by model as by rule: %d of %d answers (%.1f %%), %d of %d claims with their questions (%.1f %%); %d answers with flaws left out\n",
        same, answers, 100 * same / answers, found, claims, 100 * found / claims, flawed }'
