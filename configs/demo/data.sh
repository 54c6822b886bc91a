#!/bin/sh
# data.sh PROGRAM - renders the demo's scenes where they are not there yet: prompts, validation, evaluation, each of its own worlds.
set -e
data=runs/demo/data
[ -f $data/prompts/prompts.jsonl ] || "$1" scenes --out $data/prompts --count 4800 --seed 101
[ -f $data/validation/prompts.jsonl ] || "$1" scenes --out $data/validation --count 200 --seed 102
[ -f $data/eval/prompts.jsonl ] || "$1" scenes --out $data/eval --count 400 --seed 203
