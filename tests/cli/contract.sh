#!/bin/sh
# contract.sh - what other programs rely on: exit codes (0 done, 1 refused or failed, 2 wrong usage), one line of error, nothing left behind.
. tests/tools/script.sh
golden=$PWD/tests/golden/llava15-hub
out=$temporary/out err=$temporary/err
fail() {
    echo "FAILED: $*"
    head -3 "$err"
    failed=1
}

expect() { # CODE ARGUMENTS...: the exit code, and for refusals exactly one line on stderr that begins with the program's name
    want=$1
    shift
    "$program" "$@" >"$out" 2>"$err"
    code=$?
    [ $code -eq "$want" ] || fail "exit code $code, expected $want: rlaifv $*"
    [ "$want" -eq 0 ] || [ "$(wc -l <"$err")" -eq 1 ] && [ "$want" -eq 0 -o "$(cut -c1-8 "$err")" = "rlaifv: " ] ||
        fail "not exactly one line of error: rlaifv $*"
}
says() { grep -qF -- "$1" "$err" || fail "the error does not say \"$1\""; }

# ---- usage ----
commands=$("$program" --help | sed -n 's/^  \([a-z]*\)  *[a-z].*/\1/p')
[ "$(echo "$commands" | wc -l)" -ge 15 ] || fail "--help lists too few commands: $commands"
for command in $commands; do
    expect 0 "$command" --help
    grep -q "^usage: rlaifv $command" "$out" || fail "$command --help does not begin with its usage"
    [ -s "$err" ] && fail "$command --help talks on stderr"
    expect 2 "$command" --no-such-option
done
expect 0 --help
"$program" >"$out" 2>"$err"
[ $? -eq 2 ] || fail "no command: exit code is not 2"
expect 0 --version
grep -qE '^rlaifv [0-9A-Za-z._-]+$' "$out" || fail "--version says: $(cat "$out")"
[ ! -e .git ] || grep -qF "$(git describe --tags --always 2>/dev/null)" "$out" || fail "--version is not the commit's: $(cat "$out")"
expect 2 trian
says "did you mean train?"
expect 2 generate --modle x
says "did you mean"
expect 2 generate --model "$golden/model"
expect 2 generate --model "$golden/model" --data x --out y --temperature hot
expect 2 preprocess --model "$golden/model" --out "$temporary/x"
expect 2 train --train.learning_rat=1


# ---- the benchmark of loading says what it measured ----
expect 0 bench load --model "$golden/model" --runs 2
for part in "\"bytes\":$(cat "$golden"/model/*.safetensors | wc -c)," '"cached":false,"runs":2,"cached_share":' '"read_through":{"least_seconds":[0-9]' \
    '"read_whole":{"least_seconds":[0-9]' '"load":{"least_seconds":[0-9.e-]*,"median_seconds":[0-9]'; do
    grep -q "$part" "$out" || fail "bench load does not say $part: $(cat "$out")"
done
[ "$(grep -c "^run " "$err")" -eq 2 ] || fail "bench load does not say each run"
expect 0 bench load --model "$golden/model" --runs 1 --cached
grep -qE '"cached_share":(1.0|null)[,}]' "$out" || fail "bench load --cached did not find the files in the page cache: $(cat "$out")"
expect 2 bench load --model "$golden/model" --runs 100

# ---- evaluations over files ----
small=tests/golden/eval
for name in amber pope chair choice mmhal refomb llava-bench; do expect 2 eval $name --answers x; expect 0 eval $name --help; done
for name in export import; do expect 2 eval mhumaneval $name --answer x; expect 0 eval mhumaneval $name --help; done
expect 2 eval pope --annotations x
expect 1 eval mmhal --answers "$small/mmhal.json" --questions "$small/mmhal.json" --out "$temporary/never"
says "expected --judge DIR, --endpoint URL"
expect 1 eval choice --answers "$small/choice_answers.jsonl" --questions "$temporary/absent" --out "$temporary/never"
says absent
expect 1 eval pope --answers "$small/choice_answers.jsonl" --questions "$small/pope_questions.jsonl" --out "$temporary/never"
says --partial
[ -e "$temporary/never" ] && fail "a result of a refused evaluation"
expect 0 eval choice --answers "$small/choice_answers.jsonl" --questions "$small/choice_questions.jsonl" --out "$temporary/choice.json" --resamples 100
grep -q "^  accuracy  *66.67 " "$out" || fail "no accuracy in the table of eval choice"
grep -q '"value": 66.66' "$temporary/choice.json" || fail "no accuracy in the result of eval choice"

# ---- tables ----
expect 2 table wun
says ablation-split
expect 2 table main transfer
expect 1 table main --runs "$temporary/absent"
says "no such folder"
expect 0 table all --runs "$temporary" --format csv
grep -q '^main,rlaif-v,object_responses,%,10.5,v2,v1 8.5,,,0,,,,,rlaifv run ' "$out" || fail "no empty cell with its command in the table"
expect 1 table main --runs "$temporary" --check
says "0 checks that do not hold"
grep -q '^| + RLAIF-V ' "$out" || fail "no table beside what --check says"

# ---- checkpoints that are refused ----
fresh() { # NAME: a copy of the checkpoint to spoil, in $model
    model=$temporary/$1
    cp -r "$golden/model" "$model"
}
score() { expect 1 score --strict --model "$model" --data "$golden/pairs.jsonl" --out "$temporary/never"; }
model=$temporary/absent
score
says "$model"
fresh cut && head -c 100000 "$golden/model/model.safetensors" >"$model/model.safetensors" && score
says model.safetensors
fresh huge && printf '\377\377\377\377\377\377\377\177{}' >"$model/model.safetensors" && score
fresh empty && : >"$model/model.safetensors" && score
fresh weightless && rm "$model/model.safetensors" && score
fresh noconfig && rm "$model/config.json" && score
says config.json
fresh badconfig && echo '{"model_type": "llava",' >"$model/config.json" && score
says config.json
fresh other && echo '{"model_type": "resnet"}' >"$model/config.json" && score
fresh shapes && sed 's/"num_hidden_layers": *[0-9]*/"num_hidden_layers": 9/' "$golden/model/config.json" >"$model/config.json" && score
fresh tokens && head -c 500 "$golden/model/tokenizer.model" >"$model/tokenizer.model" && score
says tokenizer.model
model=$temporary/shards
cp -r tests/golden/llava15-orig/model "$model" && rm "$model/model-00002-of-00002.safetensors" && score
says model-00002-of-00002.safetensors

# ---- rows and images that are refused ----
ln -s "$golden/images" "$temporary/images"
rows() { # COMMAND LINE: one row that the command refuses, by file and line
    printf '%s\n' "$2" >"$temporary/rows.jsonl"
    strict=--strict
    [ "$1" = tokenize ] && strict=
    expect 1 "$1" $strict --model "$golden/model" --data "$temporary/rows.jsonl" --out "$temporary/never"
    says "rows.jsonl:1"
}
rows tokenize '{"text": 3}'
rows tokenize '{"txt": "a"}'
rows tokenize '{"text": "a"'
rows tokenize '{"text": "a", "text": "b"}'
rows tokenize '["a"]'
rows generate '{"image": "images/0.png"}'
rows generate '{"image": "images/none.png", "question": "a"}'
rows score '{"image": "images/0.png", "question": "a", "chosen": "b"}'
rows probe '{"image": 1, "question": "a"}'
: >"$temporary/rows.jsonl"
expect 1 generate --model "$golden/model" --data "$temporary/rows.jsonl" --out "$temporary/never"
expect 1 generate --model "$golden/model" --data "$temporary/nothing.jsonl" --out "$temporary/never"
echo text >"$temporary/text.png"
expect 1 preprocess --model "$golden/model" --out "$temporary/never" "$temporary/text.png"
says text.png
head -c 60 "$golden/images/0.png" >"$temporary/cut.png"
expect 1 preprocess --model "$golden/model" --out "$temporary/never" "$golden/images/1.png" "$temporary/cut.png"
says cut.png
expect 1 tokenize --model "$golden/model" --data "$golden/expect/tokens.jsonl" --out "$temporary/no/such/folder"
[ -e "$temporary/never" ] && fail "a refused command left its output behind"
ls "$temporary" | grep -q '^never' && fail "a refused command left a partial file behind"

# ---- configs that are refused ----
config() { # NEEDLE TEXT
    printf '%b' "$2" >"$temporary/c.ini"
    expect 1 train "$temporary/c.ini"
    says "$1"
}
config "did you mean lr?" '[train]\nlrr = 1\n'
config "c.ini:2" '[train]\nlr = fast\n'
config "c.ini:3" '[train]\nlr = 1\nlr = 2\n'
config "did you mean [train]?" '[trian]\nlr = 1\n'
config "c.ini:1" 'lr = 1\n'
config "c.ini:2" '[train]\nloss = sigmod\n'
config "run.dir" '[train]\nlr = 1\n'
expect 1 train "$temporary/none.ini"
says none.ini
: >"$temporary/file"
printf '[model]\ndir = %s\n[run]\nquiet = true\n' "$golden/model" >"$temporary/c.ini"
expect 1 train "$temporary/c.ini" "--run.dir=$temporary/file" "--data.train=$golden/pairs.jsonl"
expect 1 train "$temporary/c.ini" "--run.dir=$temporary/run" "--data.train=$temporary/rows.jsonl"
expect 1 train "$temporary/c.ini" "--run.dir=$temporary/run" "--data.train=$golden/pairs.jsonl" --run.device=tpu
expect 2 train "--run.dir=$temporary/run"
expect 1 scenes --out "$temporary/file" --count 1
expect 1 generate --device tpu --model "$golden/model" --data "$golden/pairs.jsonl" --out "$temporary/never"

# ---- output that cannot be written ----
if [ -w /dev/full ]; then
    "$program" inspect "$golden/model" >/dev/full 2>"$err"
    [ $? -eq 1 ] || fail "a full disk under stdout goes unnoticed"
fi
RLAIFV_ISA=avx1024 "$program" score --model "$golden/model" --data "$golden/pairs.jsonl" --out "$temporary/never" >"$out" 2>"$err"
[ $? -eq 1 ] || fail "an unknown instruction set is not refused"
exit $failed
