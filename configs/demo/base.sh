#!/bin/sh
# base.sh PROGRAM - trains the demo's base models from nothing, as `make base`: tower, then labeler and policy. A stopped run goes on where it was.
set -e
program=$1
here=$(dirname "$0")
work=build/base
for model in policy labeler; do
    mkdir -p $work/shape-$model
    cp "$here"/tokenizer/*.json "$here"/tokenizer/tokenizer.model $work/shape-$model/
    cp "$here"/shapes/$model.json $work/shape-$model/config.json
done
for part in tower labeler policy-a policy-b; do
    [ -d $work/$part/model ] || "$program" sft "$here"/$part.ini
done
for model in labeler:labeler policy-b:policy; do
    rm -rf "$here/${model#*:}"
    cp -r $work/${model%:*}/model "$here/${model#*:}"
done
