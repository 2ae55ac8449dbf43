#!/usr/bin/env bash
# The CamVid table of docs/results.md: a teacher, a student alone, and students distilled with KD, CWD and BPKD.
#     experiments/camvid_cpu_pair/run.sh [SEED ...]
# Needs data/camvid and two CPU cores. Interrupted runs are resumed; finished runs are not repeated. The teacher is
# trained only if checkpoints/pspnet_r18w32_camvid.pth does not exist.
set -euo pipefail
cd "$(dirname "$0")/../.."
results=experiments/camvid_cpu_pair/results
teacher=checkpoints/pspnet_r18w32_camvid.pth
mkdir -p "$results" checkpoints

# run NAME CONFIG ITERATIONS SEED: train with crop 128 (the configs have 192), then test
run() {
    [ -f "$results/$1.json" ] && return
    python tools/train.py "$2" --resume auto --seed "$4" --work-dir "work_dirs/camvid_cpu_pair/$1" --cfg-options \
        train_dataloader.dataset.pipeline.4.crop_size='(128,128)' model.data_preprocessor.size='(128,128)' \
        train_cfg.val_begin=$(($3 + 1))
    python tools/test.py "$2" "work_dirs/camvid_cpu_pair/$1/iter_$3.pth" --work-dir "work_dirs/camvid_cpu_pair/$1/test" \
        --out "$results/$1.json"
}

if [ ! -f "$teacher" ]; then
    config=configs/pspnet/pspnet_r18w32_1xb8-4k_camvid-192x192.py
    run teacher "$config" 4000 0
    python tools/export_student.py "$config" work_dirs/camvid_cpu_pair/teacher/iter_4000.pth "$teacher" --half
fi
for seed in "${@:-0}"; do
    run "student-$seed" configs/pspnet/pspnet_r18w16_1xb8-2k_camvid-192x192.py 2000 "$seed"
    for method in kd cwd bpkd; do
        run "$method-$seed" "configs/$method/${method}_pspnet-r18w32_pspnet-r18w16_1xb8-2k_camvid-192x192.py" 2000 "$seed"
    done
done
