#!/usr/bin/env bash
# Test through Slurm:
#     GPUS=4 tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]
# Optional variables: GPUS (the total), GPUS_PER_NODE, CPUS_PER_TASK, and SRUN_ARGS, which are passed to srun.
set -euo pipefail
[ $# -ge 4 ] || { sed -n 2,4p "$0"; exit 2; }
GPUS=${GPUS:-4}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
srun -p "$1" --job-name="$2" --gres=gpu:"$GPUS_PER_NODE" --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    python -u "$(dirname "$0")/test.py" "$3" "$4" --launcher slurm "${@:5}"
