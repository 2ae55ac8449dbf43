#!/usr/bin/env bash
# The cost of every method: the training step of run.sh against the step of the student alone, and the losses on inputs
# of PSPNet R101 to R18 against those of KD. Needs a machine that does nothing else.
#     experiments/methods/cost.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
configs=(configs/pspnet/pspnet_r18w16_1xb8-2k_camvid-192x192.py)
for method in kd fitnet at local_affinity skds ifvd cwd cwd_features cirkd apd dist mgd afdcd lskd nfd aicsd kt_channel \
    wavelet bpkd; do
    configs+=("configs/$method/${method}_pspnet-r18w32_pspnet-r18w16_1xb8-2k_camvid-192x192.py")
done
python benchmarks/benchmark.py step "${configs[@]}" --size 128 128 \
    --runs 5 --out experiments/methods/step.json
python benchmarks/benchmark.py methods --runs 2 --out experiments/methods/costs.json
