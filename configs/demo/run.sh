#!/bin/sh
# run.sh PROGRAM [OPTIONS] - the demo: renders the scenes (prompts, validation, evaluation: different worlds) and runs the loop on them.
set -e
program=$1
shift
here=$(dirname "$0")
[ -f "$here/policy/config.json" ] || { echo "configs/demo/policy is absent: 'make base' trains the base models" >&2; exit 1; }
sh "$here/data.sh" "$program"
exec "$program" run "$here.ini" "$@"
