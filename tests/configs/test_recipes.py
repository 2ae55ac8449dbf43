"""Every pair of the recipes, trained and tested on tiny data in its data set's real layout."""

import os.path as osp
from glob import glob

import layouts
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_bpkd.evaluation.evaluate import evaluate
from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor

METHODS = ('bpkd', 'cwd', 'kd', 'skds', 'ifvd', 'cirkd')
PAIRS = [
    osp.basename(path)[len('bpkd_') : -3] for path in sorted(glob(osp.join(ROOT, 'configs/bpkd/bpkd_*_4xb4-80k_*')))
]
DATA = {'cityscapes': layouts.cityscapes, 'ade20k': layouts.ade20k, 'pascal-context-59': layouts.pascal_context}
STEPS = 3  # what starts at zero hides what is behind it: in ViT-Adapter's injectors, twice


def test_there_are_eighteen_pairs():
    assert len(PAIRS) == 18


def recipe(pair: str, folder) -> Config:
    """The recipe of BPKD with the losses of all methods, without downloads, on small images."""
    size = (96, 96) if 'isanet' in pair else (64, 64)  # of less, ISANet compares single positions
    cfg = Config.fromfile(osp.join(ROOT, f'configs/bpkd/bpkd_{pair}.py'))
    for method in METHODS:
        leaf = Config.fromfile(osp.join(ROOT, f'configs/{method}/{method}_{pair}.py'))
        cfg.model.distiller.losses.update(leaf.model.distiller.losses)
    cfg.model.distiller.losses.loss_cirkd.update(pixel_memory=40, region_memory=40)
    root = DATA[pair.rsplit('_', 1)[1].rsplit('-', 1)[0]](str(folder), images=2, size=size)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(batch_size=2 if loader is cfg.train_dataloader else 1, num_workers=0, persistent_workers=False)
        loader.dataset.data_root = root
        for transform in loader.dataset.pipeline:
            if transform.type in ('Resize', 'RandomResize'):
                transform.scale = size
            if transform.type == 'FastRandomCrop':
                transform.crop_size = size
    cfg.model.data_preprocessor.size = size
    cfg.merge_from_dict({'model.student.pretrained': None, 'model.student.backbone.init_cfg': None})
    cfg.param_scheduler = []  # a warm-up starts at a rate that changes nothing in float32
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=STEPS, val_interval=STEPS)
    cfg.work_dir = str(folder / 'run')
    return cfg


def save_teacher(cfg: Config, path) -> str:
    teacher = resolve_segmentor(cfg.model.teacher, cfg.num_classes, cfg.model.data_preprocessor)
    torch.save(build_segmentor(teacher).state_dict(), path)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize('pair', PAIRS)
def test_a_pair_trains_with_every_method_and_is_tested_with_three_metrics(pair, tmp_path):
    cfg = recipe(pair, tmp_path)
    cfg.model.teacher_ckpt = save_teacher(cfg, tmp_path / 'teacher.pth')
    runner = Runner.from_cfg(cfg)
    before = {key: value.clone() for key, value in runner.model.student.named_parameters()}
    runner.train()
    assert all(torch.isfinite(value).all() for value in runner.model.state_dict().values())
    still = [key for key, value in runner.model.student.named_parameters() if torch.equal(value, before[key])]
    assert not still
    scalars = runner.message_hub.log_scalars
    losses = {key.split('train/distill.')[1] for key in scalars if 'train/distill.' in key}
    assert losses == {
        'loss_bpkd_edge',
        'loss_bpkd_body',
        'loss_cwd',
        'loss_kd',
        'loss_pair',
        'loss_ifv',
        'loss_adversarial_critic',
        'loss_adversarial_penalty',
        'loss_cirkd_batch',
        'loss_cirkd_pixel',
        'loss_cirkd_region',
    }
    metrics = evaluate(cfg, str(tmp_path / f'run/iter_{STEPS}.pth'))['metrics']
    assert {'mIoU', 'trimap/mIoU@3px', 'boundary/mIoU@0.005diag'} <= metrics.keys()
    assert {key: value for key, value in metrics.items() if 'IoU' in key} == pytest.approx(
        {key: round(scalars[f'val/{key}'].current(), 4) for key in metrics if 'IoU' in key}
    )
