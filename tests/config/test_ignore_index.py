"""One label of void pixels, `ignore_index` of `task`, reaches loading, augmentation, data sets and metrics."""

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmcv.transforms import Compose
from mmengine.config import Config
from mmseg.registry import METRICS
from PIL import Image

from mmseg_bpkd.config.reading import read_config
from mmseg_bpkd.grids.grid_file import Run

CAMVID = f'{ROOT}/configs/_base_/pairs/deeplabv3plus-r18w32_deeplabv3plus-r18w16_camvid.py'
ROTATE = "dict(type='RandomRotate', prob=1, degree=30)"


def config(folder, options: dict | None = None, more: str = '', rotate: str = ROTATE) -> Config:
    path = folder / 'config.py'
    path.write_text(f"""
_base_ = {CAMVID!r}
pipeline = [*_base_.train_pipeline[:4], {rotate}, *_base_.train_pipeline[4:]]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
{more}
""")
    return read_config(str(path), options or {})


def values(cfg: Config, name: str) -> list:
    steps = [*cfg.train_dataloader.dataset.pipeline, *cfg.val_dataloader.dataset.pipeline]
    places = [*steps, *cfg.val_evaluator, *cfg.test_evaluator, cfg.train_dataloader.dataset]
    return [(node.type, node[name]) for node in places if name in node]


def test_a_config_without_another_label_is_unchanged(tmp_path):
    cfg = config(tmp_path)
    assert not values(cfg, 'ignore_index') and not values(cfg, 'seg_pad_val')


def test_the_label_reaches_everything_that_takes_one(tmp_path):
    cfg = config(tmp_path, more='model = dict(ignore_index=250)')
    found = values(cfg, 'ignore_index')
    loads, crop, data = ('LoadCheckedAnnotations', 250), ('FastRandomCrop', 250), ('CamVidDataset', 250)
    metrics = [(name, 250) for name in ('SegIoU', 'TrimapIoU', 'BoundaryIoU')]
    assert found == [loads, crop, loads, *metrics, *metrics, data]
    assert values(cfg, 'seg_pad_val') == [('RandomRotate', 250)]


def test_the_command_line_can_set_it(tmp_path):
    assert ('SegIoU', 3) in values(config(tmp_path, {'model.ignore_index': 3}), 'ignore_index')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({}, 'pipeline.4.seg_pad_val is 250, but model.ignore_index is 255, since it is not given'),
        (
            {'model.ignore_index': 7},
            r'train_dataloader.dataset.pipeline.4.seg_pad_val is 250, but model.ignore_index is 7',
        ),
    ],
)
def test_another_label_in_one_place_is_an_error_with_both(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        config(tmp_path, options, rotate=ROTATE[:-1] + ', seg_pad_val=250)')


def test_a_metric_with_another_label_is_an_error(tmp_path):
    with pytest.raises(ValueError, match='val_evaluator.0.ignore_index is 250, but model.ignore_index is 255'):
        config(tmp_path, more="val_evaluator = dict(type='SegIoU', ignore_index=250)".replace('dict', '[dict') + ']')


def test_reduce_zero_label_which_makes_void_255_excludes_another(tmp_path):
    path = f'{ROOT}/configs/_base_/pairs/pspnet-r101_pspnet-r18_ade20k.py'
    assert read_config(path, {})
    with pytest.raises(ValueError, match='reduce_zero_label=True makes void pixels 255, but model.ignore_index is 250'):
        read_config(path, {'model.ignore_index': 250})


@pytest.mark.parametrize('void', [250, 0])
def test_the_pipeline_and_the_metrics_treat_it_as_void(tmp_path, void):
    """The area outside a rotated image is void, and a prediction that is wrong at void pixels only is right."""
    cfg = config(tmp_path, {'model.ignore_index': void})
    label = np.random.default_rng(0).integers(1, 11, (64, 64)).astype(np.uint8)
    label[20:40, 20:40] = void
    Image.fromarray(label).save(tmp_path / 'label.png')
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / 'image.png')
    files = dict(img_path=str(tmp_path / 'image.png'), seg_map_path=str(tmp_path / 'label.png'), seg_fields=[])
    steps = [step for step in cfg.train_dataloader.dataset.pipeline[1:] if step.type not in ('PackSegInputs',)]
    out = Compose(steps[:2] + steps[3:4])(dict(files, reduce_zero_label=False))['gt_seg_map']
    assert set(np.unique(out)) <= {*range(1, 11), void} and (out == void).sum() > 400
    for metric in cfg.val_evaluator:
        metric = METRICS.build(metric)
        metric.dataset_meta = dict(classes=tuple('abcdefghijk'))
        predicted = np.where(label == void, 5, label)
        sample = dict(
            gt_sem_seg=dict(data=torch.from_numpy(label)[None].long()),
            pred_sem_seg=dict(data=torch.from_numpy(predicted)[None].long()),
        )
        metric.process({}, [sample])
        name = next(name for name in metric.compute_metrics(metric.results) if 'mIoU' in name)
        assert metric.compute_metrics(metric.results)[name] == 100


def test_a_plain_model_of_mmsegmentation_keeps_its_own_labels(tmp_path):
    """Such as an exported student, whose heads, data set and metrics state the label."""
    more = "model = dict(_delete_=True, type='EncoderDecoder', decode_head=dict(ignore_index=250))\n"
    more += "val_evaluator = [dict(type='SegIoU', ignore_index=250)]"
    assert ('SegIoU', 250) in values(config(tmp_path, more=more), 'ignore_index')


def test_the_options_and_merged_files_of_a_grid_come_first(tmp_path):
    (tmp_path / 'merge.py').write_text('model = dict(ignore_index=7)')
    config(tmp_path)  # writes config.py
    for run, void in (
        (Run('a', 0, str(tmp_path / 'config.py'), (), {'model.ignore_index': 250}), 250),
        (Run('b', 0, str(tmp_path / 'config.py'), (str(tmp_path / 'merge.py'),)), 7),
    ):
        assert ('SegIoU', void) in values(run.load(), 'ignore_index')
