"""Test-time augmentation gives what MMSegmentation's gives, and what a slow loop gives."""

import copy

import cv2
import numpy as np
import pytest
import runs
import torch
from mmengine.config import Config
from mmseg.evaluation import IoUMetric
from torch.nn import functional as F

from mmseg_bpkd.datasets.synthetic import render_scene
from mmseg_bpkd.deploy.student import load_segmentor, plain_config
from mmseg_bpkd.evaluation.evaluate import evaluate
from mmseg_bpkd.evaluation.tta import tta_pipeline, use_tta
from mmseg_bpkd.fileio.package_files import load_config_file
from mmseg_bpkd.models.roles import student_config
from mmseg_bpkd.models.segmentors import build_segmentor

RATIOS = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
LOAD, LABEL = dict(type='LoadImageFromFile'), dict(type='LoadCheckedAnnotations', num_classes=3)
PACK = dict(type='PackSegInputs')


@pytest.fixture
def run(tmp_path) -> tuple[Config, str]:
    """A config with two test images, and a checkpoint of a student that predicts several classes."""
    cfg = Config.fromfile(runs.write_config(tmp_path))
    cfg.work_dir, cfg.log_level = str(tmp_path / 'test'), 'ERROR'
    cfg.test_dataloader.dataset.num_scenes = 2
    torch.manual_seed(0)
    model = build_segmentor(student_config(cfg.model)).eval()
    with torch.no_grad():
        for norm in (module for module in model.modules() if hasattr(module, 'running_var')):
            norm.weight.uniform_(0.5, 2)
        scene = torch.from_numpy(render_scene('val', 0, (160, 120))[0].transpose(2, 0, 1) / 50.0 - 2).float()[None]
        logits = model.encode_decode(scene, [dict(img_shape=(120, 160))])
        model.decode_head.conv_seg.bias -= logits.mean((0, 2, 3))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'student.pth')
    return cfg, str(tmp_path / 'student.pth')


def miou_by_loops(cfg: Config, checkpoint: str) -> float:
    model = load_segmentor(cfg, torch.load(checkpoint), checkpoint)
    mean, std = (np.array(cfg.preprocessing[key], np.float32) for key in ('mean', 'std'))
    metric = IoUMetric()
    metric.dataset_meta = dict(classes=[str(i) for i in range(9)])
    for i in range(2):
        image, label = render_scene('val', i, (160, 120))
        total = 0
        for ratio in RATIOS:
            scaled = cv2.resize(image, (int(160 * ratio + 0.5), int(120 * ratio + 0.5)))
            for flipped in (False, True):
                turned = scaled[:, ::-1] if flipped else scaled
                inputs = torch.from_numpy(((turned[..., ::-1] - mean) / std).transpose(2, 0, 1).copy())[None]
                with torch.no_grad():
                    logits = model.encode_decode(inputs, [dict(img_shape=inputs.shape[2:])])
                logits = logits.flip(3) if flipped else logits
                total = total + F.interpolate(logits, (120, 160), mode='bilinear').softmax(1)
        maps = dict(pred_sem_seg=total.argmax(1), gt_sem_seg=torch.from_numpy(label.astype(int))[None])
        metric.process({}, [{name: dict(data=value) for name, value in maps.items()}])
    return metric.evaluate(2)['mIoU']


def test_the_mean_iou_is_that_of_the_mean_probabilities_over_scales_and_flips(run):
    cfg, checkpoint = run
    plain = evaluate(copy.deepcopy(cfg), checkpoint)['metrics']['mIoU']
    found = evaluate(copy.deepcopy(cfg), checkpoint, tta=True)['metrics']['mIoU']
    assert found == pytest.approx(miou_by_loops(cfg, checkpoint), abs=0.02) and abs(found - plain) > 0.05


@pytest.mark.slow
def test_one_scale_without_flip_gives_the_metrics_of_the_plain_test(run):
    cfg, checkpoint = run
    plain = evaluate(copy.deepcopy(cfg), checkpoint)['metrics']
    scene, pack = cfg.test_dataloader.dataset.pipeline
    once = dict(type='TestTimeAug', transforms=[[dict(type='Resize', scale_factor=1.0)], [pack]])
    cfg.tta_pipeline = [scene, once]
    found = evaluate(cfg, checkpoint, tta=True)['metrics']
    assert {name: value for name, value in found.items() if 'time' not in name} == {
        name: value for name, value in plain.items() if 'time' not in name
    }


def test_the_size_that_the_test_pipeline_resizes_to_is_scaled():
    steps = [LOAD, dict(type='Resize', scale=(200, 100), keep_ratio=True), LABEL, PACK]
    load, augmentation = tta_pipeline(steps, (1.0, 0.5))
    scales, flips, *rest = augmentation['transforms']
    assert load == LOAD and rest == [[LABEL], [PACK]] and [flip['prob'] for flip in flips] == [0, 1]
    assert scales == [dict(type='Resize', scale=scale, keep_ratio=True) for scale in ((200, 100), (100, 50))]
    _, augmentation = tta_pipeline([LOAD, LABEL, PACK])
    assert sorted(step['scale_factor'] for step in augmentation['transforms'][0]) == RATIOS


def test_the_pipeline_of_mmsegmentation_is_used_with_the_loading_of_the_test_pipeline():
    cfg = load_config_file('mmseg_bpkd::_base_/datasets/ade20k_512x512.py')
    scales = cfg.tta_pipeline[1].transforms[0]
    cfg.model = dict(type='EncoderDecoder')
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[cfg.test_dataloader.dataset])
    label = cfg.test_dataloader.dataset.datasets[0].pipeline[2]
    assert label.type == 'LoadCheckedAnnotations' and label.reduce_zero_label
    use_tta(cfg)
    found = cfg.test_dataloader.dataset.datasets[0].pipeline[1].transforms
    assert found[0] == scales and found[2] == [label]
    assert cfg.model == dict(type='SegTTAModel', module=dict(type='EncoderDecoder'))


def test_an_exported_config_keeps_the_pipeline(tmp_path):
    cfg = Config.fromfile(runs.write_config(tmp_path, more="tta_model = dict(type='SegTTAModel')"))
    assert plain_config(cfg).tta_model == dict(type='SegTTAModel')


@pytest.mark.slow
def test_an_onnx_file_takes_the_place_of_the_network(run, tmp_path, monkeypatch):
    """With the network behind a stub of the file, since an export takes long."""
    cfg, checkpoint = run
    network = load_segmentor(cfg, torch.load(checkpoint), checkpoint)
    calls = []

    def encode_decode(inputs, metas=None):
        calls.append(tuple(inputs.shape[2:]))
        return network.encode_decode(inputs, [dict(img_shape=inputs.shape[2:])])

    monkeypatch.setattr('mmseg_bpkd.evaluation.evaluate.load_onnx', lambda cfg, path: encode_decode)
    with torch.no_grad():
        found = evaluate(copy.deepcopy(cfg), 'student.onnx', tta=True)['metrics']['mIoU']
    assert found == evaluate(copy.deepcopy(cfg), checkpoint, tta=True)['metrics']['mIoU']
    assert len(calls) == 12 and len(set(calls)) == 6
