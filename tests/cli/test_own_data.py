"""`bpkd train` and `bpkd test` on data of one's own that is not as expected."""

import re

import layouts
import numpy as np
import pytest
import runs
import tiny
from conftest import ROOT

CONFIG = """
_base_ = ['{root}/configs/_base_/schedules/short.py', '{root}/configs/_base_/default_runtime.py']
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2, save_best=None))
param_scheduler = [dict(type='FallingPolyLR', eta_min=1e-4, power=0.9, begin=0, end=2, by_epoch=False)]
train_cfg = dict(max_iters=2, val_interval=2)
model = dict(type='plain_segmentor', num_classes=2, data_preprocessor={preprocessor}, **{network})
dataset = {dataset}
train = dict(dataset, pipeline=[*dataset['pipeline'], dict(type='PackSegInputs')])
train_dataloader = dict(batch_size=2, num_workers={workers}, sampler=dict(type='ResumableSampler'), dataset=train)
val_dataloader = dict(batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False), dataset=train)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = [dict(type='SegIoU'), dict(type='TrimapIoU'), dict(type='BoundaryIoU')]
"""
IMAGES = [np.random.default_rng(seed).integers(0, 256, (32, 32, 3), np.uint8) for seed in range(4)]
MASKS = [np.random.default_rng(seed).choice(np.uint8([0, 0, 255]), (32, 32)) for seed in range(4)]


def write_config(folder, labels: list, workers: int = 0, **load) -> str:
    data = layouts.own(str(folder / 'data'), IMAGES, labels, ['background', 'building'], **load)
    config, dataset = folder / 'own.py', data['train_dataloader']['dataset']
    network = dict(tiny.pspnet(), test_cfg=dict(mode='whole'))
    config.write_text(
        CONFIG.format(root=ROOT, preprocessor=tiny.PREPROCESSOR, network=network, dataset=dataset, workers=workers)
    )
    return str(config)


@pytest.mark.slow
def test_training_on_binary_masks_warns_and_the_line_of_the_warning_mends_it(tmp_path):
    config = write_config(tmp_path, MASKS)
    done = runs.call('train.py', config, '--work-dir', tmp_path / 'run')
    text = done.stdout + done.stderr
    assert 'background is the only class in all 4 labels read' in text
    assert '1 of 2 classes occur in none of the 4 labels: building' in text
    label_map = eval(re.search(r'label_map=({.*?})', text)[1])
    config = write_config(tmp_path, MASKS, label_map=label_map)
    done = runs.call('train.py', config, '--work-dir', tmp_path / 'run2')
    assert 'only class' not in done.stdout + done.stderr and 'occur in none' not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 1])
def test_training_on_labels_in_color_ends_with_one_line(workers, tmp_path):
    config = write_config(tmp_path, [mask[..., None].repeat(3, 2) for mask in MASKS], workers)
    done = runs.call('train.py', config, '--work-dir', tmp_path / 'run', check=False)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert re.fullmatch(r'error: label \S+png has 3 channels, expected one, of class indices\. .*\n', done.stderr)
