#!/usr/bin/env bash
# More settings and seeds than run.sh, which explain the results of some methods.
#     experiments/methods/variants.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
losses=model.distiller.losses

# variant METHOD NAME OPTIONS
variant() { VARIANT="_$2" OPTIONS="${*:3}" experiments/methods/run.sh "$1"; }

variant local_affinity weight_100 $losses.loss_affinity.weight=100
variant at weight_10000 $losses.loss_at.weight=10000
CONFIG=experiments/methods/ifvd_without_critic.py variant ifvd without_critic
CONFIG=experiments/methods/ifvd_without_critic.py variant ifvd without_critic_weight_2 $losses.loss_ifv.weight=2
variant apd adaptors_at_the_rate_of_the_student $losses.loss_apd.student_lr_mult=1 $losses.loss_apd.teacher_lr=0.04 \
    $losses.loss_apd.teacher_optimizer=None
for seed in 1 2; do SEED=$seed experiments/methods/run.sh student; done
