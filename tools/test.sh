#!/usr/bin/env bash
# mIoU, trimap mIoU and boundary IoU, on any number of GPUs:
#     tools/test.sh CONFIG CHECKPOINT [GPUS] [arguments of tools/test.py]
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,3p "$0"; exit 2; }
if [ "${3:-1}" -eq 1 ] 2>/dev/null; then
    python "$(dirname "$0")/test.py" "$1" "$2" "${@:4}"
else
    "$(dirname "$0")/dist_test.sh" "$@"
fi
