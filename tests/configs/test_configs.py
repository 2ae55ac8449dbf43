import collections
import functools
import inspect
import json
import os.path as osp
import re
import subprocess
from glob import glob

import pytest
import tiny
import torch
import yaml
from conftest import ROOT
from methods import DISTILLERS
from mmengine.config import Config
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.utils import get_installed_path
from test_published_recipes import PUBLISHED

from mmseg_bpkd.models.distillers import SegDistiller
from mmseg_bpkd.models.roles import student_config
from mmseg_bpkd.models.segmentors import resolve_segmentor

LEAVES = sorted(path for path in glob(osp.join(ROOT, 'configs/*/*.py')) if '_base_' not in path)
NAME = re.compile(
    r'(?P<who>[a-z0-9_-]+)_(?P<gpus>\d)xb(?P<batch>\d+)-(?P<its>\d+k?)_'
    r'(?P<data>[a-z0-9-]+)-(?P<crop>\d+x\d+)'
)
CLASSES = dict(cityscapes=19, ade20k=150, camvid=11, synthetic=9, voc12aug=21) | {'pascal-context-59': 59}
CONVOLUTIONAL = (
    'pspnet-r101_pspnet-r18',
    'fcn-hr48_fcn-hr18s',
    'deeplabv3plus-r101_deeplabv3plus-mv2',
    'isanet-r101_isanet-r18',
    'pspnet-r101_deeplabv3plus-mv2',
)
ON_ADE20K_ONLY = (
    'upernet-swin-b_upernet-swin-t',
    'upernet-deit-adapter-b_upernet-deit-adapter-t',
    'upernet-swin-b_pspnet-r18',
)
HEADS = dict(
    pspnet='PSPHead',
    fcn='FCNHead',
    deeplabv3='ASPPHead',
    deeplabv3plus='DepthwiseSeparableASPPHead',
    isanet='ISAHead',
    upernet='UPerHead',
)
METHODS = ('bpkd', 'cwd', 'kd', 'skds', 'ifvd', 'cirkd')
load = functools.lru_cache(maxsize=None)(Config.fromfile)  # to be read, not changed


def name(path: str) -> str:
    return osp.basename(path)[:-3]


def named(*parts: str) -> list:
    return [path for path in LEAVES if any(part in osp.basename(path) for part in parts)]


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def parts(dataset: dict) -> list:
    """The data sets inside of a ConcatDataset, or the data set itself."""
    return dataset.get('datasets') or [dataset]


def pipelines(loader: dict) -> list:
    return [part['pipeline'] for part in parts(loader['dataset'])]


@pytest.mark.parametrize('method', METHODS)
def test_every_pair_has_every_method_on_every_data_set(method):
    data = ['cityscapes-512x1024', 'ade20k-512x512', 'pascal-context-59-480x480']
    expected = {f'{method}_{pair}_4xb4-80k_{where}' for pair in CONVOLUTIONAL for where in data}
    expected |= {f'{method}_{pair}_4xb4-80k_ade20k-512x512' for pair in ON_ADE20K_ONLY}
    assert len(expected) == 18
    assert expected <= {name(path) for path in glob(osp.join(ROOT, 'configs', method, '*.py'))}


@pytest.mark.parametrize('data', ['cityscapes-512x512', 'ade20k-512x512', 'pascal-context-59-512x512'])
def test_the_40k_schedule_has_the_same_methods_on_every_data_set(data):
    pair = f'pspnet-r101_pspnet-r18_4xb4-40k_{data}'
    found = {name(path) for path in LEAVES if '/ablations/' not in path and f'pspnet-r18_4xb4-40k_{data}' in path}
    assert found == {f'{method}_{pair}' for method in ('bpkd', 'cwd', 'kd')}
    assert f'pspnet_r18_4xb4-40k_{data}' in map(name, LEAVES)


@pytest.mark.parametrize(
    ('student', 'backbone', 'head', 'pretrained'),
    [
        ('pspnet-r18w32', 'ResNetV1c', 64, None),
        ('pspnet-mv2', 'MobileNetV2', 512, 'mmcls://mobilenet_v2'),
        ('deeplabv3-r18', 'ResNetV1c', 128, 'open-mmlab://resnet18_v1c'),
    ],
)
def test_the_other_students_of_cwd_are_the_networks_of_their_names(student, backbone, head, pretrained):
    paths = named(f'{student.replace("-", "_")}_4xb4-40k_cityscapes', f'_{student}_4xb4-40k_cityscapes')
    assert {name(path).split('_')[0] for path in paths} == {'bpkd', 'cwd', student.split('-')[0]}
    for path in paths:
        model = student_config(load(path).model)
        assert (model.backbone.type, model.decode_head.channels, model.pretrained) == (backbone, head, pretrained)


def test_every_distiller_has_a_config_on_camvid():
    methods = {osp.basename(path)[:-3] for path in glob(osp.join(ROOT, 'configs/_base_/distillers/*.py'))}
    leaves = named('deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320')
    assert {osp.basename(osp.dirname(path)) for path in leaves} == methods and len(methods) == 19


@pytest.mark.skipif(not osp.exists(osp.join(ROOT, '.git')), reason='not a git checkout')
def test_no_config_is_ignored_by_git():
    ignored = subprocess.run(
        ['git', '-c', 'safe.directory=*', 'check-ignore', *LEAVES], capture_output=True, text=True, cwd=ROOT
    )
    assert (ignored.returncode, ignored.stdout) == (1, '')  # 1: none of them


@pytest.mark.slow
@pytest.mark.parametrize('path', LEAVES, ids=name)
def test_a_config_is_what_its_name_says(path):
    cfg = load(path)
    said = NAME.fullmatch(name(path))
    assert said, 'METHOD_TEACHER_STUDENT_GPUSxbBATCH-SCHEDULE_DATA-CROP'
    crop = tuple(int(x) for x in said['crop'].split('x'))
    for pipeline in pipelines(cfg.train_dataloader):
        assert [t['crop_size'] for t in pipeline if t['type'] == 'FastRandomCrop'] == [crop]
    assert cfg.model.data_preprocessor['size'] == crop
    assert cfg.train_dataloader.batch_size == int(said['batch'])
    assert cfg.auto_scale_lr.base_batch_size == int(said['gpus']) * int(said['batch'])
    assert cfg.num_classes == CLASSES[said['data']]
    iterations = int(said['its'].replace('k', '000'))
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[-1].end == iterations
    if cfg.model.type == 'SegDistill':
        method, teacher, student = said['who'].split('_')[-3:]
        folder = osp.basename(osp.dirname(path))
        method = method.split('-')[0] if folder == 'ablations' else folder
        assert said['who'].startswith(method)
        losses = load(osp.join(ROOT, f'configs/_base_/distillers/{method}.py')).distiller.losses
        assert [loss.type for loss in cfg.model.distiller.losses.values()] == [loss.type for loss in losses.values()]
        for owner, network in (('teacher', teacher), ('student', student)):
            assert resolve_segmentor(cfg.model[owner]).decode_head.type == HEADS[network.split('-')[0]]


@pytest.mark.parametrize('path', LEAVES, ids=name)
def test_a_model_gets_classes_preprocessing_and_test_settings_from_the_task_of_its_data_set(path):
    cfg = load(path)
    assert cfg.task.keys() == {'num_classes', 'data_preprocessor', 'test_cfg'}
    assert cfg.task.num_classes == cfg.num_classes
    if '/mmrazor/' in path:  # MMRazor cannot override classes and test settings of a network
        assert cfg.model.data_preprocessor == dict(cfg.task.data_preprocessor, _scope_='mmseg')
    else:
        assert {key: cfg.model[key] for key in cfg.task} == cfg.task


def test_pairs_and_leaves_do_not_repeat_the_parts_of_the_task():
    pairs = glob(osp.join(ROOT, 'configs/_base_/pairs/*.py'))
    assert pairs
    for path in pairs + LEAVES:
        text = read(path)
        if re.search("type='(SegDistill|plain_segmentor)'", text):
            assert re.search(r'\*\*(_base_\.)?task\b', text), path
        # The ImageNet weights of EfficientNet-Lite have a normalization of their own.
        if '/mmrazor/' not in path and "type='EfficientNetLite'" not in text:
            assert not re.search(r'\b(num_classes|data_preprocessor)\b', text), path


def test_the_metrics_are_written_once():
    files = glob(osp.join(ROOT, 'configs/**/*.py'), recursive=True)
    assert [osp.relpath(path, ROOT) for path in files if 'TrimapIoU' in read(path)] == ['configs/_base_/evaluators.py']


@pytest.mark.parametrize('path', LEAVES, ids=name)
def test_every_config_evaluates_with_the_three_metrics_and_checks_its_labels(path):
    cfg = load(path)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert [metric.type for metric in evaluator] == ['SegIoU', 'TrimapIoU', 'BoundaryIoU']
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        for pipeline in pipelines(loader):
            transforms = {t.type: t for t in pipeline}
            checked = transforms.get('LoadCheckedAnnotations')
            assert 'RenderScene' in transforms or checked.num_classes == cfg.num_classes
            assert 'LoadAnnotations' not in transforms
    assert {pipeline[0].type for pipeline in pipelines(cfg.train_dataloader)} == {'SeedAugmentation'}
    assert cfg.train_dataloader.sampler.type == 'ResumableSampler'


@pytest.mark.slow
@pytest.mark.parametrize('path', [path for path in LEAVES if '/mmrazor/' not in path], ids=name)
def test_every_model_builds_with_the_classes_of_its_data(path):
    """Models that several configs share are built once."""
    cfg = load(path)
    model = {key: value for key, value in cfg.model.to_dict().items() if key not in ('distiller', 'teacher_ckpt')}
    assert build(json.dumps(model)) == {cfg.num_classes}
    if cfg.model.type == 'SegDistill':
        SegDistiller(**{key: value for key, value in cfg.model.distiller.items() if key != 'type'})


@functools.cache
def build(model: str) -> set:
    """The numbers of classes of all heads of a model."""
    model = json.loads(model)
    if model['type'] == 'SegDistill':
        model['distiller'] = dict(type='SegDistiller', losses=dict(loss_kd=dict(type='KDLoss')))
    built = MODELS.build(model)
    segmentors = (built.teacher, built.student) if model['type'] == 'SegDistill' else (built,)
    return {
        head.conv_seg.out_channels
        for segmentor in segmentors
        for head in (segmentor.decode_head, getattr(segmentor, 'auxiliary_head', segmentor.decode_head))
    }


@pytest.mark.parametrize(
    'path', named(*(f'_{pair}_' for pair in (*CONVOLUTIONAL, 'upernet-swin-b_pspnet-r18'))), ids=name
)
def test_the_settings_of_the_paper_and_of_its_authors_configs_are_the_configs(path):
    """docs/recipes.md says which of the two states a setting."""
    cfg = load(path)
    pascal = 'pascal-context' in path
    assert cfg.optim_wrapper.optimizer == dict(
        type='SGD', lr=0.004 if pascal else 0.01, momentum=0.9, weight_decay=0.0001 if pascal else 0.0005
    )
    assert cfg.param_scheduler == [
        dict(type='FallingPolyLR', eta_min=1e-4, power=0.9, begin=0, end=cfg.train_cfg.max_iters, by_epoch=False)
    ]
    for pipeline in pipelines(cfg.train_dataloader):
        assert [t.ratio_range for t in pipeline if t.type == 'RandomResize'] == [(0.5, 2.0)]
    if pascal and cfg.model.type == 'SegDistill':
        assert cfg.model.test_cfg == dict(mode='slide', crop_size=(480, 480), stride=(320, 320))


@pytest.mark.parametrize('path', named('upernet-swin-b_upernet-swin-t', 'upernet_swin-t'), ids=name)
def test_swin_is_trained_as_in_mmsegmentation(path):
    cfg = load(path)
    stock = load(
        osp.join(
            get_installed_path('mmseg'),
            '.mim/configs/swin',
            'swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
        )
    )
    assert {key: cfg.optim_wrapper[key] for key in ('optimizer', 'paramwise_cfg')} == {
        key: stock.optim_wrapper[key] for key in ('optimizer', 'paramwise_cfg')
    }
    warm_up, decay = stock.param_scheduler
    ours = cfg.param_scheduler
    assert ours == [warm_up, dict(decay, type='FallingPolyLR', end=80000)]


def layer_decay(parameter: str, ndim: int) -> tuple:
    """Multiples of the learning rate and of the weight decay, by the rule of ViT-Adapter's authors."""
    parts = parameter.split('.')
    layer = 13
    if parts[0] == 'backbone' and parts[1] in ('patch_embed', 'pos_embed'):
        layer = 0
    elif parts[:2] == ['backbone', 'blocks']:
        layer = int(parts[2]) + 1
    return round(0.95 ** (13 - layer), 6), 0 if ndim == 1 or parts[-1] == 'bias' else 1


@pytest.mark.parametrize('student', ['alone', 'distilled'])
def test_the_learning_rate_of_the_deit_adapter_falls_from_layer_to_layer(student):
    pattern = 'upernet_deit-adapter-t' if student == 'alone' else 'bpkd_upernet-deit-adapter'
    cfg = load(named(pattern)[0])
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    names = {parameter: key.removeprefix('architecture.') for key, parameter in model.named_parameters()}
    found = {
        names[parameter]: (round(group['lr'] / 12e-5, 6), round(group['weight_decay'] / 0.01, 6))
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    assert found == {key: layer_decay(key, parameter.ndim) for parameter, key in names.items()}


@pytest.mark.parametrize(
    ('who', 'rate', 'iterations', 'batch_size', 'drop_path'),
    [
        ('bpkd_upernet-deit-adapter-b_upernet-deit-adapter-t', 12e-5, 80000, 4, 0.1),
        ('upernet_deit-adapter-t', 12e-5, 80000, 4, 0.1),
        ('upernet_deit-adapter-b', 6e-5, 160000, 2, 0.3),
    ],
)
def test_the_deit_adapter_is_trained_and_tested_as_by_its_authors(who, rate, iterations, batch_size, drop_path):
    """But for the 80000 iterations of the paper, with 4 images on each of 4 GPUs instead of 2 on 8."""
    cfg = load(named(f'{who}_')[0])
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=rate, betas=(0.9, 0.999), weight_decay=0.01)
    assert cfg.param_scheduler == [
        dict(type='LinearLR', start_factor=1e-6, begin=0, end=1500, by_epoch=False),
        dict(type='FallingPolyLR', eta_min=0, power=1, begin=1500, end=iterations, by_epoch=False),
    ]
    assert cfg.train_dataloader.batch_size == batch_size
    model = student_config(cfg.model)
    assert model.backbone.drop_path_rate == drop_path
    assert model.test_cfg == dict(mode='slide', crop_size=(512, 512), stride=(341, 341))
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert [t.type for t in loader.dataset.pipeline][1:3] == ['Resize', 'ResizeToMultiple']
        assert loader.dataset.pipeline[2].size_divisor == 32


@pytest.mark.parametrize('path', named('skds_'), ids=name)
def test_skds_compares_cells_of_16_pixels(path):
    """Where the paper's pairs are: PSPNet's and ISANet's maps have stride 8, all others 4."""
    cfg = load(path)
    stride = 8 if HEADS[name(path).split('_')[1].split('-')[0]] in ('PSPHead', 'ISAHead') else 4
    assert cfg.model.distiller.losses.loss_pair.kernel * stride == 16


ABLATIONS = {
    'body-positions': dict(edge_weight=0),
    'body-classes': dict(edge_weight=0, body_over='classes'),
    'edge-classes': dict(body_weight=0),
    'edge-positions': dict(body_weight=0, edge_over='positions'),
    'prm': dict(body_weight=0, post_mask=False),
    'pom': dict(body_weight=0, pre_mask=False),
    'prm-body': dict(post_mask=False),
    'pom-body': dict(pre_mask=False),
    # The paper's grids without its own setting.
    **{f'width-{k}': dict(kernel_size=k) for k in (3, 5, 10, 15)},
    **{f'edge-{weight}': dict(edge_weight=weight) for weight in (30, 40, 60, 70)},
    **{f'body-{weight}': dict(body_weight=weight) for weight in (5, 10, 15, 25)},
    **{f'inner-{weight}': dict(class_weight=weight) for weight in (1, 2, 3, 4, 5)},
}


def test_every_ablation_has_its_entry_above():
    found = {name(path).split('_')[0].removeprefix('bpkd-') for path in LEAVES if '/ablations/' in path}
    assert {variant for variant in found if 'scratch' not in variant} - {'pspnet', 'paper'} == set(ABLATIONS)


@pytest.mark.parametrize('variant', ABLATIONS)
def test_an_ablation_differs_from_the_papers_setting_in_what_its_name_says_only(variant):
    pair = 'pspnet-r101_pspnet-r18_4xb4-40k_cityscapes-512x512.py'
    cfg = load(osp.join(ROOT, f'configs/ablations/bpkd-{variant}_{pair}')).to_dict()
    base = load(osp.join(ROOT, f'configs/ablations/bpkd-paper_{pair}')).to_dict()
    base['model']['distiller']['losses']['loss_bpkd'].update(ABLATIONS[variant])
    assert cfg == base


@pytest.mark.parametrize('method', ['bpkd', 'cwd', 'skds', 'ifvd', 'cirkd'])
def test_a_student_from_scratch_differs_in_its_start_only(method):
    pair = 'pspnet-r101_pspnet-r18_4xb4-80k_ade20k-512x512.py'
    cfg = load(osp.join(ROOT, f'configs/ablations/{method}-scratch_{pair}')).to_dict()
    base = load(osp.join(ROOT, f'configs/{method}/{method}_{pair}')).to_dict()
    base['model']['student']['pretrained'] = None
    assert cfg == base


@pytest.mark.parametrize(
    ('ours', 'stock'),
    [
        ('cityscapes_512x1024', 'cityscapes'),
        ('ade20k_512x512', 'ade20k'),
        ('pascal_context_59_480x480', 'pascal_context_59'),
        ('pascal_voc12_aug_512x512', 'pascal_voc12_aug'),
    ],
)
def test_data_sets_are_mmsegmentations_but_for_what_is_added(ours, stock):
    """Folders, scales, crops and their order; what is added is seeding, the check of labels, speed, and resuming."""
    ours = load(osp.join(ROOT, f'configs/_base_/datasets/{ours}.py'))
    stock = load(osp.join(get_installed_path('mmseg'), f'.mim/configs/_base_/datasets/{stock}.py'))
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        mine, theirs = (parts(cfg[loader].dataset.to_dict()) for cfg in (ours, stock))
        assert [comparable(part) for part in mine] == [comparable(part) for part in theirs]


def comparable(dataset: dict) -> dict:
    pipeline = [
        dict(t, type=t['type'].replace('Checked', '').replace('Fast', ''))
        for t in dataset['pipeline']
        if t['type'] not in ('SeedAugmentation', 'Pad')  # padding is the preprocessor's, as in the other data sets
    ]
    for transform in pipeline:
        transform.pop('num_classes', None)
    return {key: value for key, value in dataset.items() if key != '_scope_'} | dict(pipeline=pipeline)


def published() -> dict:
    """{config: addresses} of everything in mmseg's own metafiles."""
    found = collections.defaultdict(set)
    for path in glob(osp.join(get_installed_path('mmseg'), '.mim/configs/*/metafile.yaml')):
        with open(path) as file:
            for model in yaml.safe_load(file)['Models']:
                weights = (model.get('Weights') or '').replace(
                    'mmassets.onedl.ai', 'download.openmmlab.com'
                )  # a mirror
                found[model['Config'].split('configs/')[-1]].add(weights)
    return found


def test_teachers_are_published_where_the_configs_look():
    """The address and the config of each teacher stand in one entry of mmseg's own metafiles."""
    known = published()
    teachers = {
        (cfg.model.teacher.cfg_path, cfg.model.teacher_ckpt)
        for cfg in map(load, named('4xb4-'))
        if cfg.model.type == 'SegDistill'
    }
    downloaded = {(path.removeprefix('mmseg::'), address) for path, address in teachers if '://' in address}
    assert len(downloaded) == 13
    assert not [teacher for teacher in downloaded if teacher[1] not in known[teacher[0]]]
    to_train = {address for _, address in teachers if '://' not in address}
    assert len(to_train) == 2
    for address in to_train:
        _, config, checkpoint = address.split('/')
        teacher = load(next(path for path in LEAVES if name(path) == config))
        assert checkpoint == f'iter_{teacher.train_cfg.max_iters}.pth'


def test_a_config_can_be_composed_with_the_40k_schedule(tmp_path):
    bases = ['datasets/cityscapes_512x1024', 'schedules/40k', 'default_runtime', 'distillers/bpkd']
    bases = [osp.join(ROOT, 'configs/_base_', f'{base}.py') for base in bases]
    (tmp_path / 'config.py').write_text(f'_base_ = {bases}\nmodel = dict(distiller=_base_.distiller)')
    cfg = Config.fromfile(tmp_path / 'config.py')
    assert cfg.train_cfg.max_iters == cfg.param_scheduler[0].end == 40000 and cfg.optim_wrapper.optimizer.lr == 0.01


def test_mmrazors_own_recipe_trains_a_step(monkeypatch):
    """Its cfg_path cannot be overridden, so these are the full networks, on a small crop."""
    leaf = 'bpkd-mmrazor_pspnet-r101_pspnet-r18_4xb4-80k_cityscapes-512x1024.py'
    cfg = Config.fromfile(osp.join(ROOT, 'configs/mmrazor', leaf))
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
    cfg.merge_from_dict(
        {
            'model.teacher.cfg_path': 'mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py',
            'model.student.cfg_path': 'mmseg::fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py',
            'model.student.backbone.depth': 18,
            'model.student.decode_head.in_channels': 512,
            'model.student.auxiliary_head.in_channels': 256,
            'model.distiller.losses.loss_extra.type': 'KDLoss',
        }
    )
    model = MODELS.build(cfg.model)
    assert type(model.teacher.decode_head).__name__ == 'DepthwiseSeparableASPPHead'
    assert type(model.student.decode_head).__name__ == 'FCNHead'
    assert set(model.distiller.distill_losses) == {f'loss_{method}', 'loss_extra'}


@pytest.mark.parametrize(
    'switches',
    [
        {},
        dict(pre_mask=False),
        dict(post_mask=False),
        dict(pre_mask=False, post_mask=False),
        dict(body_weight=0),
        dict(edge_weight=0),
        dict(pre_mask=False, body_weight=0),
        dict(post_mask=False, body_weight=0),
    ],
)
def test_the_switches_of_table_4_run_from_config(switches, tmp_path):
    losses = dict(loss_bpkd=dict(type='BPKDLoss', **switches))
    model = tiny.distillation(tiny.save_teacher(tmp_path / 'teacher.pth'), losses).train()
    terms = {key for key in tiny.losses_of(model) if key.startswith('distill')}
    assert terms == {f'distill.loss_bpkd_{term}' for term in ('edge', 'body') if switches.get(f'{term}_weight') != 0}


@pytest.mark.parametrize(
    'path', sorted(glob(osp.join(ROOT, 'configs/_base_/distillers/**/*.py'), recursive=True)), ids=osp.basename
)
def test_a_distiller_states_every_argument_of_its_losses(path):
    """A changed default of the code cannot change a result without a word. The data set decides ignore_index."""
    for loss in Config.fromfile(path).distiller.losses.values():
        arguments = {*inspect.signature(MODELS.module_dict[loss.type].__init__).parameters} - {'self', 'ignore_index'}
        assert arguments == {*loss} - {'type'}


# What a file says beside the defaults of its losses. test_published_recipes.py has the files that are not here.
BESIDE_DEFAULTS = {
    'afdcd': dict(loss_kd={}, loss_afdcd={}),
    'aicsd': dict(loss_kd=dict(weight=10, norm='elements'), loss_icsd={}),
    'apd': dict(loss_kd=dict(weight=10, norm='elements'), loss_apd={}),
    'at': dict(loss_at={}, loss_kd={}),
    'bpkd': dict(loss_bpkd={}),
    'cirkd': dict(loss_kd={}, loss_cirkd={}),
    'cwd': dict(loss_cwd={}),
    'cwd_features': dict(loss_cwd={}),
    'kd': dict(loss_kd={}),
    'kt_channel': dict(loss_cwd=dict(weight=1), loss_cwd_aux=dict(weight=0.4), loss_kt={}),
    'local_affinity': dict(loss_affinity={}),
    'lskd': dict(loss_lskd=dict(weight=9, tau=2, standardize=True)),
    'mgd': dict(loss_mgd={}, loss_cwd={}),
    'nfd': dict(loss_nfd={}),
    'wavelet': dict(loss_wavelet={}),
}


@pytest.mark.parametrize('method', BESIDE_DEFAULTS)
def test_what_a_distiller_states_is_the_default_unless_listed(method):
    differs = {}
    for name, loss in Config.fromfile(
        osp.join(ROOT, f'configs/_base_/distillers/{method}.py')
    ).distiller.losses.items():
        parameters = inspect.signature(MODELS.module_dict[loss.type].__init__).parameters
        differs[name] = {key: x for key, x in loss.items() if key != 'type' and parameters[key].default != x}
    assert differs == BESIDE_DEFAULTS[method]


def test_every_distiller_is_compared_with_the_defaults_or_a_published_recipe():
    assert sorted([*BESIDE_DEFAULTS, *PUBLISHED]) == sorted(DISTILLERS)
