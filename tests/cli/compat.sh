#!/bin/sh
# compat.sh - run.compat = upstream: training is given the middle of a picture though all else is given the whole, a run says what is as upstream, and
# config.ini holds the keys that it stands for.
. tests/tools/script.sh
golden=$PWD/tests/golden/llava15-hub
cd "$temporary" || exit 1
# a picture that is wider than high, darker to its right: what is cut off shows
{ printf 'P5\n24 12\n255\n'; for y in 1 2 3 4 5 6 7 8 9 10 11 12; do printf 'zzxvtrpnljhfdb`^\\ZXVTRPN'; done; } >wide.pgm
for i in 1 2; do echo '{"image":"wide.pgm","question":"What is it?","chosen":"A dog.","rejected":"A cat sits on a red chair."}'; done >pairs.jsonl
train() { # NAME ARGUMENTS...: the weights' checksum
    name=$1
    shift
    printf '[model]\ndir = %s/model\n[data]\ntrain = pairs.jsonl\n[train]\nsteps = 2\nbatch_pairs = 2\nlr = 1e-3\nwarmup_ratio = 0\n' "$golden" >"$name.ini"
    "$program" train "$name.ini" --run.dir="$name" --threads=1 "$@" >/dev/null 2>"$name.log" || fail "$name: $(tail -1 "$name.log")"
    cksum <"$name/model/model.safetensors"
}
pad=$(train pad)
crop=$(train crop --train.image_aspect=crop)
[ "$pad" != "$crop" ] || fail "crop and pad train alike"
[ "$(train pairs --train.pairs_aspect=crop)" = "$crop" ] || fail "train.pairs_aspect = crop trains otherwise than image_aspect = crop"
[ "$(train back --train.image_aspect=crop --train.pairs_aspect=pad)" = "$pad" ] || fail "train.pairs_aspect = pad trains otherwise than image_aspect = pad"
[ "$(train upstream --run.compat=upstream)" = "$crop" ] || fail "run.compat = upstream does not train on crops"
for key in 'sample.top_k = 50' 'train.pairs_aspect = crop' 'pair.cap = image' 'select.rule = test_set'; do
    grep -q "^as upstream: $key: " upstream.log || fail "the run does not say $key"
    grep -qx "${key#*.}" upstream/config.ini || fail "config.ini does not have $key"
done
grep -q 'as upstream' pad.log && fail "a run that is not as upstream says it is"
[ "$(train kept --run.compat=upstream --train.pairs_aspect=pad)" = "$pad" ] || fail "a key that was given was set over"
grep -q '^not as upstream: train.pairs_aspect' kept.log || fail "the run does not say that a key is not as upstream"
# and sampling looks at the whole picture, whatever training does; what it would say of the centre is something else
echo '{"id":"w","image":"wide.pgm","question":"What is it?"}' >prompts.jsonl
sample() { # NAME KEY...
    name=$1
    shift
    "$program" sample pad.ini --run.dir="s-$name" --data.prompts=prompts.jsonl --sample.max_new_tokens=8 --threads=1 "$@" >/dev/null 2>&1 || fail "sample $name"
}
sample pad
sample pairs --train.pairs_aspect=crop
sample crop --train.image_aspect=crop
cmp -s s-pad/iter-1/candidates.jsonl s-pairs/iter-1/candidates.jsonl || fail "train.pairs_aspect changes what is sampled"
cmp -s s-pad/iter-1/candidates.jsonl s-crop/iter-1/candidates.jsonl && fail "train.image_aspect does not change what is sampled"
exit $failed
