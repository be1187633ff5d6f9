#!/usr/bin/env bash
# The control experiments of docs/controls.md, in this folder: data, the run that all start from, the sweep.
# Stopped by a signal, the same command goes on where it was.
set -euo pipefail
recipe="$(dirname "${BASH_SOURCE[0]}")/controls.yaml"

[ -d controls/begin ] || edgeflownas data synth --out controls/begin --train 1600 --val 64 --seed 3 --size 96x128
[ -d controls/pairs ] || edgeflownas data synth --out controls/pairs --train 128 --val 64 --seed 4 --size 96x128

if [ -d runs/controls_begin ]; then
    edgeflownas train --resume runs/controls_begin
else
    edgeflownas train smoke --runtime.experiment_name controls_begin --runtime.num_threads 1 --runtime.tensorboard false \
        --data.train_dir controls/begin/train --data.val_dir controls/begin/val --data.crop_size 96x128 \
        --data.flow_clip null --data.num_workers 0 --train.batch_size 16 --train.num_epochs 12 --train.lr 1e-3 \
        --train.lr_schedule constant --train.lr_warmup_share 0.03 --train.adam_beta2 0.99 --train.weight_decay 0 \
        --train.grad_clip_global_norm 10 --eval.eval_every_epoch 1 --eval.eval_batches_per_arch 8 --eval.bn_recal_batches 8
fi
edgeflownas sweep "$recipe" "$@"
