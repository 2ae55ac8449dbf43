#!/usr/bin/env bash
# Test on several GPUs of this machine, or in several processes if it has no GPU:
#     tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# On several machines, run it on each. Set NNODES, a different NODE_RANK on each, and MASTER_ADDR and PORT of the first.
set -euo pipefail
[ $# -ge 3 ] || { sed -n 2,4p "$0"; exit 2; }
MMSEG_BPKD_ERROR_FILE=$(mktemp) && export MMSEG_BPKD_ERROR_FILE
trap 'cat "$MMSEG_BPKD_ERROR_FILE" >&2; rm "$MMSEG_BPKD_ERROR_FILE"' EXIT  # repeats the error after torchrun's report
python -m torch.distributed.run --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" --nproc_per_node="$3" \
    "$(dirname "$0")/test.py" "$1" "$2" --launcher pytorch "${@:4}"
