#!/usr/bin/env bash
# The stride-4 pair on CamVid: a student alone and a student of each method, in bfloat16 or, on a GPU, float16.
#     experiments/camvid_stride4/run.sh ITERATIONS SEED [METHOD ...]
# Needs data/camvid. Interrupted runs are resumed; finished runs are not repeated. The teacher is trained only if
# checkpoints/deeplabv3plus_r18w32_camvid.pth does not exist. FLOAT32=1 trains in float32.
set -euo pipefail
cd "$(dirname "$0")/../.."
iterations=$1 seed=$2
shift 2
results=experiments/camvid_stride4/results/$iterations
teacher=checkpoints/deeplabv3plus_r18w32_camvid.pth
amp=${FLOAT32:+ }
mkdir -p "$results" checkpoints

# run NAME CONFIG SEED ITERATIONS [OPTION ...]: train, then test the last checkpoint
run() {
    [ -f "$results/$1.json" ] && return
    local work_dir=work_dirs/camvid_stride4/$4/$1
    python tools/train.py "$2" --resume auto --seed "$3" --work-dir "$work_dir" ${amp:---amp} "${@:5}"
    python tools/test.py "$2" "$work_dir/iter_$4.pth" --work-dir "$work_dir/test" --out "$results/$1.json"
}

if [ ! -f "$teacher" ]; then
    config=configs/deeplabv3plus/deeplabv3plus_r18w32_1xb6-6k_camvid-240x320.py
    run teacher "$config" 0 6000
    python tools/export_student.py "$config" work_dirs/camvid_stride4/6000/teacher/iter_6000.pth "$teacher" --half
fi
methods=(student bpkd cwd kd nfd cwd_features mgd dist skds afdcd lskd at fitnet local_affinity ifvd cirkd apd aicsd
    kt_channel wavelet)
for method in "${@:-${methods[@]}}"; do
    config=configs/$method/${method}_deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320.py
    if [ "$method" = student ]; then config=configs/deeplabv3plus/deeplabv3plus_r18w16_1xb6-4k_camvid-240x320.py; fi
    # tested once, at the end
    run "$method-$seed" "$config" "$seed" "$iterations" --cfg-options train_cfg.max_iters="$iterations" \
        param_scheduler.1.end="$iterations" train_cfg.val_begin=$((iterations + 1))
done
