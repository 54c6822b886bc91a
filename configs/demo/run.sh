#!/bin/sh
# run.sh PROGRAM [OPTIONS] - the demo: renders the scenes (prompts, validation, evaluation: different worlds) and runs the loop on them.
set -e
program=$1
shift
here=$(dirname "$0")
data=runs/demo/data
[ -f "$here/policy/config.json" ] || { echo "configs/demo/policy is absent: 'make base' trains the base models" >&2; exit 1; }
[ -f $data/prompts/prompts.jsonl ] || "$program" scenes --out $data/prompts --count 4800 --seed 101
[ -f $data/validation/prompts.jsonl ] || "$program" scenes --out $data/validation --count 200 --seed 102
[ -f $data/eval/prompts.jsonl ] || "$program" scenes --out $data/eval --count 400 --seed 203
exec "$program" run "$here.ini" "$@"
