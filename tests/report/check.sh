#!/bin/sh
# check.sh PROGRAM OUT - the report of a small run, tried in a browser (check.js) at a phone's and a desktop's width: a whole run, the same as it stood after its
# first training, the same with hostile text in its rows, and without gnuplot. Leaves reports and screenshots in OUT.
program=$(realpath "$1") out=$2 here=$PWD
mkdir -p "$out" && out=$(realpath "$out") || exit 1
profile=$(mktemp -d) || exit 1
trap 'rm -rf "$profile"' EXIT
trap 'exit 1' HUP INT TERM
failed=0
export OMP_WAIT_POLICY=passive # others may need the cores

browser() { # FLAGS... ADDRESS
    [ "$(id -u)" = 0 ] && set -- --no-sandbox "$@"
    timeout 120 chromium --headless=new --disable-gpu --user-data-dir="$profile" --allow-file-access-from-files --force-prefers-reduced-motion \
        --virtual-time-budget=3000000 --enable-logging=stderr "$@"
}
trial() { echo "file://$1/report.html&$2&$3&$4"; } # RUN WIDTH HEIGHT [SECTION]
page="file://$here/tests/report/check.html?"
try() { # NAME...: are their pages right, at both widths?
    all=
    for name; do for size in "390 844" "1280 900"; do all="$all;$(trial "$out/$name" $size)"; done; done
    browser --dump-dom "$page${all#;}" >"$profile/dom" 2>"$profile/log" || { echo "the browser failed"; failed=1; }
    sed 's/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g' "$profile/dom" | sed -n '/id="verdict"/,/^done/p' >"$out/verdict.txt"
    grep -q '^done' "$out/verdict.txt" || { echo "the check did not come to an end"; failed=1; }
    grep -o 'wrong: .*' "$out/verdict.txt" && failed=1
    grep 'CONSOLE' "$profile/log" && failed=1
    for name; do grep -q "right: $name, 390: .*edge" "$out/verdict.txt" && grep -q "right: $name, 1280: .*edge" "$out/verdict.txt" || { echo "$name was not tried"; failed=1; }; done
    echo "$(grep -c 'right: ' "$out/verdict.txt") right, $(grep -c 'wrong: ' "$out/verdict.txt") wrong"
}
shot() { # NAME PICTURE WIDTH HEIGHT SECTION [FLAG]
    browser --hide-scrollbars $6 --window-size="$3,$4" --screenshot="$out/$2.png" "$page$(trial "$out/$1" "$3" "$4" "$5")" >/dev/null 2>&1
    [ -s "$out/$2.png" ] || { echo "no screenshot $2"; failed=1; }
}

if [ ! -s "$out/run/table.txt" ]; then
    for set in "prompts 24 7" "validation 6 8" "eval 12 9"; do
        set -- $set
        "$program" scenes --out "$out/$1" --count "$2" --seed "$3" 2>/dev/null || exit 1
    done
    "$program" run configs/demo.ini --run.dir="$out/run" --run.iterations=2 --data.per_iteration=12 --data.prompts="$out/prompts/prompts.jsonl" \
        --data.validation="$out/validation/prompts.jsonl" --data.eval="$out/eval/prompts.jsonl" --sample.n=6 --sample.max_new_tokens=64 --train.batch_pairs=4 \
        --train.save_every=4 --eval.max_new_tokens=64 --eval.examples=6 --run.quiet=true >/dev/null 2>"$out/run.log" || { tail -3 "$out/run.log"; exit 1; }
    "$program" plan "$out/run/config.ini" >"$out/run/plan.txt" || exit 1
fi

rm -rf "$out/partial" "$out/hostile" "$out/plain"
cp -r "$out/run" "$out/partial"
sed '/"arrow":"train"/q' "$out/run/ledger.jsonl" >"$out/partial/ledger.jsonl"
sed '/"iteration":1,"phase":"train","step":3/q' "$out/run/metrics.jsonl" >"$out/partial/metrics.jsonl"
rm -rf "$out/partial/iter-2" "$out/partial/iter-1/eval" "$out/partial/iter-1/eval.json" "$out/partial/iter-1/select.json" "$out/partial/model" \
    "$out/partial/labeler" "$out/partial/examples" "$out/partial/plan.txt"
cp -r "$out/run" "$out/hostile"
nasty='<\/script><script>document.title=1<\/script><img src=x onerror=\\"document.title=2\\">WWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWWW '
find "$out/hostile" -name candidates.jsonl -o -name pairs.jsonl | xargs sed -i "s/\"question\":\"/&$nasty/"
cp -r "$out/run" "$out/plain"

for name in run partial hostile; do "$program" report "$out/$name" >/dev/null || exit 1; done
mkdir -p "$profile/nothing"
(PATH=$profile/nothing "$program" report "$out/plain" >/dev/null) || exit 1
grep -q 'gnuplot was not found' "$out/plain/report.html" || { echo "plain: does not say that gnuplot is absent"; failed=1; }
grep -q 'gnuplot was not found' "$out/run/report.html" && { echo "run: gnuplot did not draw"; failed=1; }
try run partial hostile plain

shot run phone 390 3000 results
shot run phone-answers 390 1600 answers
shot run desktop 1280 1400 results
shot run desktop-answers 1280 1200 answers
shot run desktop-pairs 1280 1200 browse
shot run desktop-ledger 1280 1200 dropped
shot run dark 1280 1400 curves --blink-settings=preferredColorScheme=0
shot plain plain-curves 1280 1000 curves
shot partial partial 1280 1400 results
shot hostile hostile-phone 390 1200 answers
browser --no-pdf-header-footer --print-to-pdf="$out/print.pdf" "file://$out/run/report.html" >/dev/null 2>&1
[ -s "$out/print.pdf" ] || { echo "it does not print"; failed=1; }
echo "screenshots: $out/*.png"
exit $failed
