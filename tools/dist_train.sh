#!/usr/bin/env bash
# Train on several GPUs of this machine, or in several processes if it has no GPU:
#     tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# On several machines, run it on each. Set NNODES, a different NODE_RANK on each, and MASTER_ADDR and PORT of the first.
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,4p "$0"; exit 2; }
MMSEG_BPKD_ERROR_FILE=$(mktemp) && export MMSEG_BPKD_ERROR_FILE
trap 'cat "$MMSEG_BPKD_ERROR_FILE" >&2; rm "$MMSEG_BPKD_ERROR_FILE"' EXIT  # repeats the error after torchrun's report
pid=
# torchrun exits with 1 after a signal. This script exits as tools/train.py does: with 143, 130 or 129.
trap 'code=143; kill -TERM $pid || true' TERM
trap 'code=130; kill -TERM $pid || true' INT
if [ -n "$(trap -p HUP)" ]; then  # ignored, by nohup, which torchrun would overrule
    export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGQUIT
else
    trap 'code=129; kill -TERM $pid || true' HUP
fi
python -m torch.distributed.run --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" --nproc_per_node="$2" \
    "$(dirname "$0")/train.py" "$1" --launcher pytorch "${@:3}" &
pid=$!
status=0
wait $pid || status=$?
while kill -0 $pid 2>/dev/null; do wait $pid || status=$?; done  # a signal ends `wait` before torchrun has ended
exit "${code:-$status}"
