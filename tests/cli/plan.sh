#!/bin/sh
# plan.sh [DEVICE] - the plan against what happens: sampling, labelling and training in every mode of sharding, with and without recomputed blocks, on one
# rank and two, and on two that hold slices of one model. On every device what its own account says was held is within 5 % of the plan, either way (on
# the emulated device 2 %). On CPUs the most anonymous memory that was resident, less what the program has before it opens a model, is no more than 5 %
# above it, and no more than 15 % below: pages that nothing was written to, of answers that ended early, are not resident. Training saves a checkpoint
# after its first step and goes on: what a checkpoint needs is kept. Then: what does not fit is refused, with settings that do fit.
. tests/tools/script.sh
device=${1:-cpu}
command -v mpirun >/dev/null || { echo "no mpirun"; exit 1; }
${CC:-cc} -std=c11 -D_GNU_SOURCE -O1 -Wall -Wextra -Werror -o "$temporary/rss" "$here/tests/tools/rss.c" || exit 1
cd "$temporary" || exit 1

# ---- a model whose weights and activations outweigh the program, with random weights; rows that are all about as long ----
# The emulator computes slowly and counts exactly: a small model, and a narrower margin, as what does not depend on the model is half of it.
case $device in
cpu) width=768 ff=2048 layers=6 heads=12 leaves=16 tokens=32 within=1.05 ;;
*) width=128 ff=352 layers=3 heads=4 leaves=4 tokens=8 within=1.02 ;;
esac
mkdir shape label
cp "$here"/configs/demo/tokenizer/* shape/
sed -e "/\"text_config\"/,/\"vision_config\"/{s/\"hidden_size\": [0-9]*/\"hidden_size\": $width/;s/\"intermediate_size\": [0-9]*/\"intermediate_size\": $ff/
s/\"num_hidden_layers\": [0-9]*/\"num_hidden_layers\": $layers/;s/heads\": [0-9]*/heads\": $heads/;s/\"max_position_embeddings\": [0-9]*/\"max_position_embeddings\": 1024/}" \
    -e 's/"bfloat16"/"float32"/' "$here/configs/demo/shapes/policy.json" >shape/config.json
"$program" scenes --out scenes --count 8 --seed 7 2>/dev/null || exit 1
cat >base.ini <<END
[run]
dir = base
[model]
dir = shape
[sft]
source = scenes
random = true
batch_images = 1
captions = 1
yes_no = 0
open = 0
[train]
steps = 1
END
"$program" sft base.ini --run.quiet=true >/dev/null 2>err || { cat err; exit 1; }
words='There is a large red ball in the north. A small blue cube is in the south. There is a green star in the east.'
words="$words $words $words"
sed "s/,\"truth\":.*/,\"chosen\":\"$words\",\"rejected\":\"$words $words\"}/" scenes/prompts.jsonl >scenes/pairs.jsonl
awk -v words="$words" -v here="$temporary/scenes/" '{
    match($0, /"id":"[^"]*"/); id = substr($0, RSTART, RLENGTH); match($0, /"image":"[^"]*"/); image = substr($0, RSTART + 9, RLENGTH - 10)
    for (i = 0; i < 4; i++) printf "{%s,\"image\":\"%s%s\",\"question\":\"q\",\"candidate\":%d,\"text\":\"%s\",\"tokens\":9,\"logp\":-1,\"finished\":true}\n", id, here, image, i, words
}' scenes/prompts.jsonl >label/candidates.jsonl
echo 'The facts that are in this answer: {answer}' >split.txt
echo 'A question for each of these: {facts}' >question.txt
cat >run.ini <<END
[run]
dir = run
device = $device
threads = 1
[model]
dir = base/model
[claims]
grammar = scenes
[data]
prompts = scenes/prompts.jsonl
train = scenes/pairs.jsonl
[sample]
n = 4
batch = $leaves
max_new_tokens = $tokens
[label]
batch = 200
[train]
steps = 2
save_every = 1
batch_pairs = 4
END
pair=$("$program" plan run.ini --data.prompts= | sed -n 's/^  tokens of a pair *\([0-9]*\) .*/\1/p')
echo "rows = $((2 * pair))" >>run.ini # a chunk holds two pairs, and no more: what is reserved is used

printf '{"text":"%s"}\n' "$words" >words.jsonl
"$program" tokenize --model base/model --data words.jsonl --out words-ids.jsonl || exit 1
answer=$(sed 's/.*"ids_plain":\[\([^]]*\)\].*/\1/' words-ids.jsonl | awk -F, '{ print NF }')

# ---- the comparison ----
ranks() { # N ARGUMENTS...
    count=$1
    shift
    rm -f rss
    timeout 600 mpirun --allow-run-as-root --oversubscribe --bind-to none -np "$count" ./rss-of rss "$program" "$@" >out 2>err
}
mv rss rss-of
# what the program has before it opens a model
golden=$here/tests/golden/llava15-v5
ranks 1 tokenize --model "$golden/model" --data "$golden/expect/tokens.jsonl" --out tokens || { cat err; exit 1; }
idle=$(cat rss)
peak() { # the most of the phases named: PHASES RANKS ARGUMENTS...
    phases=$1 count=$2
    shift 2
    "$program" plan run.ini --ranks "$count" --brief "$@" --data.prompts="$prompts" --claims 15 --probe-text 30 >planned 2>>err
    awk -v phases=" $phases " '
        /^bytes on the rank/ { getline; for (i = 1; i <= NF; i++) name[i] = $i }
        /^(device memory|buffers) / { for (i = 1; i <= n(); i++) at[i] += $(NF - n() + i) }
        /^host memory beside it / { for (i = 1; i <= n(); i++) host[i] += $(NF - n() + i) }
        function n() { return length(name) }
        END { for (i in name) if (index(phases, " " name[i] " ")) { if (at[i] + 0 > most) most = at[i]; if (at[i] + host[i] > all) all = at[i] + host[i] }
            print most + 0, all + 0 }' planned
}
near() { # WHAT REAL PLANNED [BELOW]: BELOW: how far the plan may be above
    awk -v real="$2" -v planned="$3" -v by=$within -v below="${4:-$within}" \
        'BEGIN { exit !(real > 0 && planned > 0 && real < planned * by && planned < real * below) }' || fail "$1: $2 bytes, planned $3"
}
compare() { # NAME PHASES RANKS ARGUMENTS...: after `ranks`
    name=$1
    shift
    planned=$(peak "$@")
    held=$(sed -n 's/.*memory: at most \([0-9]*\) bytes.*/\1/p' err)
    echo "$name: held $held, planned ${planned% *}; resident $(echo $(cat rss)), $idle of them idle, planned ${planned#* }"
    near "$name, held on the device" "$held" "${planned% *}"
    [ "$device" = cpu ] || return 0
    for rss in $(cat rss); do near "$name, resident" $((rss - idle)) "${planned#* }" 1.15; done
}
prompts=scenes/prompts.jsonl
# the emulator computes slowly: what differs most
modes="none optimizer gradients parameters" recomputes="none layer" counts="1 2"
[ "$device" = cpu ] || modes="none parameters" recomputes=none counts=2
for count in $counts; do
    rm -rf run
    ranks $count sample run.ini || { fail "sample on $count"; tail -2 err; }
    compare "sample on $count" "load sample" $count
    rm -rf run && mkdir -p run/iter-1 && cp label/candidates.jsonl run/iter-1/
    ranks $count label run.ini || { fail "label on $count"; tail -2 err; }
    compare "label on $count" "load label" $count
    # claims by a model: answers as long as the settings allow, replies of a random model, which never end
    rm -rf run && mkdir -p run/iter-1 && cp label/candidates.jsonl run/iter-1/
    by_model="--claims.mode=model --claims.max_new_tokens=$tokens --claims.split_prompt=split.txt --claims.question_prompt=question.txt --sample.max_new_tokens=$answer --eval.max_new_tokens=$answer"
    # shellcheck disable=SC2086
    ranks $count label run.ini $by_model || { fail "claims by a model on $count"; tail -2 err; }
    # shellcheck disable=SC2086
    compare "claims by a model on $count" "load claims" $count $by_model
done
prompts=
for count in 1 2; do
    for mode in $modes; do
        [ "$count$mode" = 1none ] || [ $count = 2 ] || continue
        for recompute in $recomputes; do
            rm -rf run
            ranks $count train run.ini --ranks.shard=$mode --train.recompute=$recompute || { fail "train on $count"; tail -2 err; }
            compare "train on $count, $mode, recompute $recompute" "load reference train checkpoint" $count --ranks.shard=$mode --train.recompute=$recompute
        done
    done
done

# ---- a model in two slices ----
rm -rf run
ranks 2 train run.ini --ranks.tensor=2 --train.recompute=layer || { fail "train in slices"; tail -2 err; }
compare "train in slices" "load reference train checkpoint" 2 --ranks.tensor=2 --train.recompute=layer
prompts=scenes/prompts.jsonl
rm -rf run
ranks 2 sample run.ini --ranks.tensor=2 || { fail "sample in slices"; tail -2 err; }
compare "sample in slices" "load sample" 2 --ranks.tensor=2

# ---- what does not fit ----
"$program" plan run.ini --gpu-memory 1M >out 2>err && fail "a plan fits into 1 MB"
"$program" plan run.ini --gpu-memory 64Gi >out 2>err || fail "a plan does not fit into 64 GiB"
most=$("$program" plan run.ini --data.prompts= --ranks 2 --json | sed -n 's/^ "peak": \([0-9]*\),/\1/p')
"$program" plan run.ini --data.prompts= --ranks 2 --gpu-memory $((most * 9 / 10)) >out 2>err && fail "a plan fits into less than its peak"
change=$(sed -n 's/.*it fits with \(.*\)/\1/p' err)
case $change in
*"ranks.shard = "* | *"train.recompute = "* | *"train.rows = "*) ;;
*) fail "no change of settings is offered: $(cat err)" ;;
esac
settings=$(echo "$change" | sed 's/ = /=/g; s/, / /g; s/\([a-z]*\.\)/--\1/g')
# shellcheck disable=SC2086 # several settings
"$program" plan run.ini --data.prompts= --ranks 2 --gpu-memory $((most * 9 / 10)) $settings >out 2>err || fail "what is offered does not fit: $change"
"$program" plan run.ini --gpu-memory 12Q >out 2>err && fail "12Q is a size"

# ---- the start of a run ----
rm -rf run
if [ "$device" = cpu ]; then
    large="--sample.batch=65536 --sample.max_new_tokens=900 --data.per_iteration=0"
    for i in $(seq 2000); do sed "s/\"id\":\"/&$i-/" scenes/prompts.jsonl; done >scenes/many.jsonl
    # shellcheck disable=SC2086
    ranks 1 sample run.ini --data.prompts=scenes/many.jsonl $large && fail "a run that cannot fit was begun"
    grep -q "rlaifv: the run does not fit in memory: sample" err || fail "the refusal: $(tail -1 err)"
    grep -q "it fits with sample.batch = " err || fail "the refusal offers nothing: $(tail -1 err)"
fi
exit $failed
