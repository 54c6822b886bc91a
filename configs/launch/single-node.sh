#!/bin/sh
# single-node.sh CONFIG [--section.key=value]... - a run on all GPUs of this machine (or, with RANKS=N, on N ranks; on CPUs too). The same command again
# continues where the run stopped. docs/launch.md explains the settings.
config=${1:?usage: single-node.sh CONFIG [--section.key=value]...}
shift
program=${RLAIFV:-build/rlaifv}
ranks=${RANKS:-$(nvidia-smi --list-gpus 2>/dev/null | wc -l)}
[ "$ranks" -gt 0 ] || { echo "no GPU is seen: say how many with RANKS=N" >&2; exit 2; }

"$program" plan "$config" --ranks "$ranks" --brief "$@" || exit 1

export NCCL_DEBUG="${NCCL_DEBUG:-WARN}"
# Several threads a rank prepare images and rows; bound to one core they would take turns.
threads=$(($(nproc) / ranks))
# shellcheck disable=SC2086 # MPIRUN holds a command and its options
exec ${MPIRUN:-mpirun} -np "$ranks" --bind-to none -x NCCL_DEBUG "$program" run "$config" --run.threads=$((threads > 0 ? threads : 1)) "$@"
