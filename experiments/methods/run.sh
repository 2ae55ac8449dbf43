#!/usr/bin/env bash
# One run of every method on CamVid: the CPU-size pair, crop 128, 1000 iterations, one teacher, one seed.
#     experiments/methods/run.sh [METHOD ...]
# Needs data/camvid. Interrupted runs are resumed; finished runs are not repeated. Environment variables:
#     SEED=1                                            another seed
#     VARIANT=_weight_10 OPTIONS=model.distiller.losses.loss_affinity.weight=10     another setting, saved under its name
#     CONFIG=experiments/methods/ifvd_without_critic.py another config
# variants.sh has examples.
set -euo pipefail
cd "$(dirname "$0")/../.."
results=experiments/methods/results
seed=${SEED:-0}
mkdir -p "$results"

# run NAME CONFIG: train, then test
run() {
    [ -f "$results/$1.json" ] && return
    local work_dir=work_dirs/methods/$1
    python tools/train.py "$2" --resume auto --seed "$seed" --work-dir "$work_dir" --cfg-options \
        train_dataloader.dataset.pipeline.4.crop_size='(128,128)' model.data_preprocessor.size='(128,128)' \
        train_cfg.max_iters=1000 param_scheduler.0.end=1000 train_cfg.val_begin=1001 ${OPTIONS:-}
    python tools/test.py "$2" "$work_dir/iter_1000.pth" --work-dir "$work_dir/test" --out "$results/$1.json"
}

methods=(student kd fitnet at local_affinity skds ifvd cwd cwd_features cirkd apd dist mgd afdcd
    lskd nfd aicsd kt_channel wavelet bpkd)
for method in "${@:-${methods[@]}}"; do
    config=configs/$method/${method}_pspnet-r18w32_pspnet-r18w16_1xb8-2k_camvid-192x192.py
    if [ "$method" = student ]; then config=configs/pspnet/pspnet_r18w16_1xb8-2k_camvid-192x192.py; fi
    run "$method-$seed${VARIANT:-}" "${CONFIG:-$config}"
done
