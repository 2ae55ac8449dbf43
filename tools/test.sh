#!/usr/bin/env bash
# Measure mIoU, trimap mIoU and boundary IoU on any number of GPUs:
#     tools/test.sh CONFIG CHECKPOINT [GPUS] [arguments of tools/test.py]
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,3p "$0"; exit 2; }
if [[ "${3:-}" =~ ^[0-9]+$ ]]; then gpus=$3 rest=4; else gpus=1 rest=3; fi
if [ "$gpus" -eq 1 ]; then
    python "$(dirname "$0")/test.py" "$1" "$2" "${@:$rest}"
else
    "$(dirname "$0")/dist_test.sh" "$1" "$2" "$gpus" "${@:$rest}"
fi
