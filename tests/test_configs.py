import os.path as osp
import re
from glob import glob

import pytest
import tiny
import torch
import yaml
from conftest import ROOT
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import get_installed_path

from mmseg_bpkd.segmentors import deployed_model

LEAVES = sorted(path for path in glob(osp.join(ROOT, 'configs/*/*.py')) if '_base_' not in path)
NAME = re.compile(r'(?P<who>[a-z0-9_-]+)_(?P<gpus>\d)xb(?P<batch>\d+)-(?P<its>\d+k?)_'
                  r'(?P<data>[a-z0-9-]+)-(?P<crop>\d+x\d+)')
CLASSES = dict(cityscapes=19, ade20k=150, camvid=11, synthetic=9) | {'pascal-context-59': 59}
PUBLISHED_PARAMETERS = {150: 12.82e6}  # paper's PSPNet-R18, auxiliary head included


def name(path: str) -> str:
    return osp.basename(path)[:-3]


def test_there_are_configs():
    assert len(LEAVES) > 20


@pytest.mark.parametrize('path', LEAVES, ids=name)
def test_a_config_is_what_its_name_says(path):
    cfg = Config.fromfile(path)
    said = NAME.fullmatch(name(path))
    assert said, 'METHOD_TEACHER_STUDENT_GPUSxbBATCH-SCHEDULE_DATA-CROP'
    crop = tuple(int(x) for x in said['crop'].split('x'))
    crops = [t['crop_size'] for t in cfg.train_dataloader.dataset.pipeline if t['type'] == 'RandomCrop']
    model = deployed_model(cfg.model)
    assert crops == [crop]
    assert cfg.model.data_preprocessor['size'] == crop
    assert cfg.train_dataloader.batch_size == int(said['batch'])
    assert cfg.auto_scale_lr.base_batch_size == int(said['gpus']) * int(said['batch'])
    iterations = int(said['its'].replace('k', '000'))
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[0].end == iterations
    if cfg.model.type == 'SegDistill':
        method = osp.basename(osp.dirname(path))
        assert said['who'].startswith(f'{method}_')
        if method != 'mmrazor':
            assert open(path).read().count(f'_base_/distillers/{method}.py') == 1
    if 'mmrazor' not in path:
        assert model.decode_head.num_classes == model.auxiliary_head.num_classes == CLASSES[said['data']]


@pytest.mark.parametrize('path', LEAVES, ids=name)
def test_every_config_evaluates_with_the_three_metrics_and_checks_its_labels(path):
    cfg = Config.fromfile(path)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert [metric.type for metric in evaluator] == ['IoUMetric', 'TrimapIoU', 'BoundaryIoU']
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        transforms = {t.type: t for t in loader.dataset.pipeline}
        checked = transforms.get('LoadCheckedAnnotations')
        assert 'RenderScene' in transforms or checked.num_classes == cfg.num_classes
        assert 'LoadAnnotations' not in transforms
    assert cfg.train_dataloader.dataset.pipeline[0].type == 'SeedAugmentation'
    assert cfg.train_dataloader.sampler.type == 'ResumableSampler'


@pytest.mark.parametrize('path', [p for p in LEAVES if osp.basename(osp.dirname(p)) not in ('cwd', 'kd', 'mmrazor')],
                         ids=name)
def test_every_model_builds(path):
    cfg = Config.fromfile(path)
    model = MODELS.build(cfg.model)
    if cfg.model.type == 'SegDistill':
        student, teacher = model.student, model.teacher
        assert teacher.num_classes == student.num_classes == cfg.num_classes
        count = sum(parameter.numel() for parameter in student.parameters())
        if cfg.num_classes in PUBLISHED_PARAMETERS:
            assert round(count / 1e6, 2) == PUBLISHED_PARAMETERS[cfg.num_classes] / 1e6


@pytest.mark.parametrize('path', [p for p in LEAVES if 'r101' in p], ids=name)
def test_the_papers_settings_are_the_configs(path):
    cfg = Config.fromfile(path)
    pascal = 'pascal-context' in path
    assert cfg.optim_wrapper.optimizer == dict(
        type='SGD', lr=0.004 if pascal else 0.01, momentum=0.9, weight_decay=0.0001 if pascal else 0.0005)
    assert cfg.param_scheduler == [
        dict(type='FallingPolyLR', eta_min=1e-4, power=0.9, begin=0, end=80000, by_epoch=False)]
    resize = next(t for t in cfg.train_dataloader.dataset.pipeline if t.type == 'RandomResize')
    assert resize.ratio_range == (0.5, 2.0)
    if pascal:
        assert cfg.model.test_cfg == dict(mode='slide', crop_size=(480, 480), stride=(320, 320))


@pytest.mark.parametrize('path', [p for p in LEAVES if 'r101' in p], ids=name)
def test_teachers_are_published_where_the_configs_look(path):
    """The address and the config of each teacher stand in one entry of mmseg's own metafiles."""
    cfg = Config.fromfile(path)
    with open(osp.join(get_installed_path('mmseg'), '.mim/configs/pspnet/metafile.yaml')) as file:
        models = yaml.safe_load(file)['Models']
    weights = {model['Config'].split('configs/')[-1]: model['Weights'] for model in models}
    assert weights[cfg.model.teacher.cfg_path.removeprefix('mmseg::')] == cfg.model.teacher_ckpt


def test_a_config_can_be_composed_with_the_40k_schedule(tmp_path):
    bases = ['datasets/cityscapes_512x1024', 'schedules/40k', 'default_runtime', 'distillers/bpkd']
    bases = [osp.join(ROOT, 'configs/_base_', f'{base}.py') for base in bases]
    (tmp_path / 'config.py').write_text(f'_base_ = {bases}\nmodel = dict(distiller=_base_.distiller)')
    cfg = Config.fromfile(tmp_path / 'config.py')
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[0].end == 40000 and cfg.optim_wrapper.optimizer.lr == 0.01


def test_mmrazors_own_recipe_trains_a_step(monkeypatch):
    """Its cfg_path cannot be overridden, so these are the full networks, on a small crop."""
    cfg = Config.fromfile(osp.join(ROOT, 'configs/mmrazor/bpkd_pspnet-r101_pspnet-r18_4xb4-80k_cityscapes-512x1024.py'))
    cfg.model.teacher_ckpt = None
    cfg.model.data_preprocessor.size = (64, 64)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.train()  # MMRazor's returns None
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.01))
    before = model.student.decode_head.conv_seg.weight.clone()
    logs = model.train_step(tiny.batch(extent=64), wrapper)
    assert logs['distill.loss_bpkd'] > 0 and torch.isfinite(logs['loss'])
    assert not torch.equal(model.student.decode_head.conv_seg.weight, before)


@pytest.mark.parametrize('method', ['bpkd', 'cwd', 'kd'])
def test_teacher_student_and_method_can_be_swapped_from_the_command_line(method):
    leaf = f'{method}_pspnet-r101_pspnet-r18_4xb4-80k_ade20k-512x512.py'
    cfg = Config.fromfile(osp.join(ROOT, 'configs', method, leaf))
    cfg.merge_from_dict({
        'model.teacher.cfg_path': 'mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py',
        'model.student.cfg_path': 'mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py',
        'model.student.backbone.depth': 18,
        'model.student.decode_head.in_channels': 512,
        'model.student.auxiliary_head.in_channels': 256,
        'model.distiller.losses.loss_extra.type': 'PixelWiseLoss',
    })
    model = MODELS.build(cfg.model)
    assert type(model.teacher.decode_head).__name__ == 'DepthwiseSeparableASPPHead'
    assert type(model.student.decode_head).__name__ == 'FCNHead'
    assert set(model.distiller.distill_losses) == {f'loss_{method}', 'loss_extra'}


@pytest.mark.parametrize('switches', [
    {}, dict(pre_mask=False), dict(post_mask=False), dict(pre_mask=False, post_mask=False), dict(body_weight=0),
    dict(edge_weight=0), dict(pre_mask=False, body_weight=0), dict(post_mask=False, body_weight=0)])
def test_the_switches_of_table_4_run_from_config(switches, tmp_path):
    losses = dict(loss_bpkd=dict(type='BPKDLoss', **switches))
    model = tiny.distillation(tiny.save_teacher(tmp_path / 'teacher.pth'), losses).train()
    terms = {key for key in tiny.losses_of(model) if key.startswith('distill')}
    assert terms == {f'distill.loss_bpkd_{term}' for term in ('edge', 'body') if switches.get(f'{term}_weight') != 0}
