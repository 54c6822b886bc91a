#!/bin/sh
# images.sh - pictures embedded in rows give what their files give, in every command that reads rows; decoding ahead and an orientation in the
# wrong place change nothing, an orientation that is applied does; what is written leads later commands to the pictures.
. tests/tools/script.sh
golden=$PWD/tests/golden
model=$golden/llava15-hub/model
cd "$temporary" || exit 1
run() { "$program" "$@" >out 2>err || fail "rlaifv $*: $(tail -1 err)"; }
same() { cmp -s "$1" "$2" || fail "$1 and $2 differ"; }
without_images() { sed 's/"image":"[^"]*",//' "$1" >"$2"; }

# Rows with paths, and the same with the pictures inside: as text, as data URLs, as objects with bytes or base64, in turn.
cp -r "$golden/llava15-hub/images" .
cp "$golden/images/420.jpg" "$golden/images/orientation6.jpg" images
sed -e '5s/"images[^"]*"/"images\/420.jpg"/' -e '6s/"images[^"]*"/"images\/orientation6.jpg"/' "$golden/llava15-hub/pairs.jsonl" >paths.jsonl
n=0
while read -r row; do
    path=$(echo "$row" | sed 's/.*"image": "\([^"]*\)".*/\1/')
    text=$(base64 <"$path" | tr -d '\n')
    n=$((n + 1))
    case $((n % 4)) in
    0) new="\"$text\"" ;;
    1) new="\"data:image\\/png;base64,$text\"" ;;
    2) new="{\"bytes\": \"$text\", \"path\": \"$n.png\"}" ;;
    3) new="{\"base64\": \"$text\"}" ;;
    esac
    echo "$row" | sed "s|\"image\": \"[^\"]*\"|\"image\": $new|"
done <paths.jsonl >inside.jsonl
[ "$n" -eq 8 ] && ! grep -q '"images/' inside.jsonl || fail "the rows were not made"

run score --model "$model" --data paths.jsonl --out paths.score
run score --model "$model" --data inside.jsonl --out inside.score
without_images paths.score a
without_images inside.score b
same a b
[ "$(ls inside.score.images | wc -l)" -eq "$(sed 's/.*"image": "\([^"]*\)".*/\1/' paths.jsonl | sort -u | wc -l)" ] || fail "not a file for each picture"
[ "$(sed 's/.*"image":"\([^"]*\)".*/\1/' inside.score | xargs ls | wc -l)" -eq 8 ] || fail "rows of results do not lead to the pictures"
for prefetch in 0 1 100; do
    run score --model "$model" --data paths.jsonl --out ahead.score --prefetch $prefetch
    same paths.score ahead.score
done
run score --model "$model" --data paths.jsonl --out upright.score --exif apply
[ "$(diff paths.score upright.score | grep -c '^<')" -eq 1 ] || fail "an orientation that is applied does not change the one picture that has one"
run generate --model "$model" --data inside.jsonl --out generated --max-new-tokens 5
run probe --model "$model" --data inside.jsonl --out probed

printf '[model]\ndir = %s\n[train]\nsteps = 2\nbatch_pairs = 4\nlr = 1e-3\n[sft]\nbatch_images = 4\n' "$model" >run.ini

# Training reads them too, and a sample leads to its pictures.
for form in paths inside; do
    run train run.ini --run.dir=train-$form --data.train=$form.jsonl
    sed 's/"chosen"/"answer"/' $form.jsonl >answers-$form.jsonl
    run sft run.ini --run.dir=sft-$form --data.train=answers-$form.jsonl
done
same sft-paths/model/model.safetensors sft-inside/model/model.safetensors
same train-paths/model/model.safetensors train-inside/model/model.safetensors
run train run.ini --run.dir=train-now --data.train=paths.jsonl --data.prefetch=0
same train-paths/model/model.safetensors train-now/model/model.safetensors
run train run.ini --run.dir=train-upright --data.train=paths.jsonl --data.exif=apply
cmp -s train-paths/model/model.safetensors train-upright/model/model.safetensors && fail "training does not see the orientation"
run sample run.ini --run.dir=sampled --data.prompts=inside.jsonl --sample.n=2 --sample.max_new_tokens=5
[ "$(sed 's/.*"image":"\([^"]*\)".*/\1/' sampled/iter-1/candidates.jsonl | xargs ls | wc -l)" -eq 16 ] || fail "candidates do not lead to the pictures"
run label run.ini --run.dir=sampled
run plan run.ini --run.dir=planned --data.train=inside.jsonl
[ -e planned/images ] && fail "a plan unpacked pictures"

# One that is no picture is named by file and line, and left out.
{
    head -1 paths.jsonl
    sed -n '2s/"image": "[^"]*"/"image": {"bytes": "R0lGODlhAQABAAAAADs="}/p' paths.jsonl
} >bad.jsonl
run score --model "$model" --data bad.jsonl --out bad.score
grep -q 'bad.jsonl:2: field "image"; found a GIF' err || fail "a bad picture is not named: $(cat err)"
exit $failed
