#!/usr/bin/env bash
# The stride-4 pair on CamVid: a student alone, and students distilled with KD, NFD, CWD and BPKD.
#     experiments/camvid_stride4/run.sh [SEED ...]
# Needs data/camvid; a GPU is recommended. Interrupted runs are resumed; finished runs are not repeated. The teacher is
# trained only if checkpoints/deeplabv3plus_r18w32_camvid.pth does not exist.
set -euo pipefail
cd "$(dirname "$0")/../.."
results=experiments/camvid_stride4/results
teacher=checkpoints/deeplabv3plus_r18w32_camvid.pth
mkdir -p "$results" checkpoints

# run NAME CONFIG CHECKPOINT SEED: train, then test the checkpoint
run() {
    [ -f "$results/$1.json" ] && return
    python tools/train.py "$2" --resume auto --seed "$4" --work-dir "work_dirs/camvid_stride4/$1"
    python tools/test.py "$2" "work_dirs/camvid_stride4/$1/$3" --work-dir "work_dirs/camvid_stride4/$1/test" \
        --out "$results/$1.json"
}

if [ ! -f "$teacher" ]; then
    config=configs/deeplabv3plus/deeplabv3plus_r18w32_1xb6-6k_camvid-240x320.py
    run teacher "$config" iter_6000.pth 0
    python tools/export_student.py "$config" work_dirs/camvid_stride4/teacher/iter_6000.pth "$teacher" --half
fi
pair=deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320
for seed in "${@:-0}"; do
    run "student-$seed" configs/deeplabv3plus/deeplabv3plus_r18w16_1xb6-4k_camvid-240x320.py iter_4000.pth "$seed"
    for method in kd nfd cwd bpkd; do
        run "$method-$seed" "configs/$method/${method}_$pair.py" iter_4000.pth "$seed"
    done
done
