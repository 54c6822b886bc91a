#!/bin/sh
# paper_configs.sh - the paper's configs: every one is read, is planned with the shapes of its models, fits where it says it does, and an ablation differs
# from its base in what its README row says and in nothing else.
. tests/tools/script.sh
cp -r configs/paper "$temporary/paper"
cd "$temporary/paper" || exit 1
ln -s shapes models # the places to fill
plan() { # CONFIG ARGUMENTS...
    "$program" plan "$@" --ranks 8 --brief >"$temporary/out" 2>"$temporary/err"
}
settings() { # CONFIG: what it sets by itself, as "section.key", but where it writes
    awk '/^\[/ { section = substr($1, 2, index($1, "]") - 2) } /^[a-z_0-9]* *=/ { key = section "." $1; sub(/=.*/, "", key); if (key != "run.base" && key != "run.dir") print key }' "$1" | sort | tr '\n' ' ' | sed 's/ $//'
}

n=0
for config in *.ini; do
    n=$((n + 1))
    plan "$config" --gpu-memory 80G || case $config in
    plan-*) ;; # shapes for docs/plan.md, some of which do not fit
    *) fail "$config: $(tail -1 "$temporary/err")" ;;
    esac
    grep -q '^bytes on the rank' "$temporary/out" || fail "$config: no plan: $(tail -1 "$temporary/err")"
    row=$(grep "^| $config " README.md) || { fail "$config is not in README.md"; continue; }
    case $config in
    ablation-*)
        told=$(echo "$row" | awk -F'|' '{ gsub(/[` ]/, "", $4); n = split($4, key, ","); for (i = 1; i <= n; i++) print key[i] }' | sort | tr '\n' ' ' | sed 's/ $//')
        [ "$told" = "$(settings "$config")" ] || fail "$config sets $(settings "$config"), README.md says $told"
        ;;
    esac
done
[ $n -ge 15 ] || fail "only $n configs"
phases() { # CONFIG: those that are planned
    plan "$1" && awk '/^bytes on the rank/ { getline; $1 = $1; print; exit }' "$temporary/out"
}
[ "$(phases llava15-7b.ini)" = "load sample claims label reference train checkpoint evaluate" ] || fail "phases of the 7B run: $(phases llava15-7b.ini)"
[ "$(phases ablation-holistic.ini)" = "load sample label reference train checkpoint evaluate" ] || fail "phases without claims: $(phases ablation-holistic.ini)"
[ "$(phases ablation-transfer.ini)" = "load reference train checkpoint" ] || fail "phases of training alone: $(phases ablation-transfer.ini)"
# a whole answer is a longer question than a claim, and there is one
long() { "$program" plan "$1" --ranks 8 >"$temporary/out" 2>"$temporary/err" || fail "$1: $(tail -1 "$temporary/err")"; }
probe() { sed -n 's/^  tokens of a probe *\([0-9]*\).*/\1/p' "$temporary/out"; }
long llava15-7b.ini
claim=$(probe)
long ablation-holistic.ini
whole=$(probe)
[ "$whole" -gt $((claim + 900)) ] || fail "a probe of a whole answer: $whole tokens, of a claim $claim"
grep -q '^  claims of an answer *1 ' "$temporary/out" || fail "not one claim an answer"
exit $failed
