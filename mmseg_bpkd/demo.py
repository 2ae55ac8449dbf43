"""The demo: trains a small teacher, then the same student without distillation and with KD, CWD and BPKD."""

import json
import os
import os.path as osp
import time
from dataclasses import dataclass
from statistics import median
from typing import Dict, List, Optional

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from .boundary import boundary_band
from .checkpoint import load_strictly, read_checkpoint, segmentor_state
from .evaluate import evaluate
from .files import load_config_file
from .launch import check_data_roots
from .segmentors import student_config

RUNS = {
    'teacher': 'teacher',
    'student': 'student alone',
    'kd': 'student, KD',
    'cwd': 'student, CWD',
    'bpkd': 'student, BPKD',
}
SYNTHETIC = dict(
    teacher='pspnet_r18w16', student='pspnet_r18w8', pair='pspnet-r18w16_pspnet-r18w8', run='1xb8-600_synthetic-112x112'
)
CAMVID = dict(
    teacher='deeplabv3plus_r18w32',
    student='deeplabv3plus_r18w16',
    pair='deeplabv3plus-r18w32_deeplabv3plus-r18w16',
    run='1xb6-4k_camvid-240x320',
    teacher_run='1xb6-6k_camvid-240x320',
)
COLUMNS = {'mIoU': 'mIoU', 'trimap/mIoU@3px': 'trimap mIoU', 'boundary/mIoU@0.005diag': 'boundary IoU'}


class Progress(Hook):
    """Prints a progress line and records the time of each step."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.seconds: List[float] = []

    def before_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        self.began = time.perf_counter()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self.seconds.append(time.perf_counter() - self.began)
        done, total = runner.iter + 1, runner.max_iters
        if done % 20 == 0 or done == total:
            ms = 1000 * median(self.seconds)
            print(
                f'{self.title:22} {done:5d}/{total}  loss {outputs["loss"].item():6.3f}  {ms:4.0f} ms/step',
                end='\n' if done == total else '\r',
                flush=True,
            )


@dataclass
class Settings:
    """What the demo trains on.

    Args:
        data: folder of CamVid; None for synthetic scenes.
        iterations: number of iterations of each of the five runs.
        work_dir: folder for everything that the demo writes.
    """

    data: Optional[str]
    iterations: int
    work_dir: str


def run_demo(settings: Settings) -> None:
    """Trains and tests the five networks, and prints a table. Complete parts of an earlier call are not repeated.

    It writes the table, the results and a picture to the work directory.

    Raises:
        SystemExit: if the work directory holds results of other settings.
    """
    init_default_scope('mmseg')
    claim_work_dir(settings)
    print(
        f'Five runs of {settings.iterations} steps each. Results are kept in {settings.work_dir}; interrupted runs '
        'resume.'
    )
    results = {name: run(name, settings) for name in RUNS}
    text = table(results)
    with open(osp.join(settings.work_dir, 'table.md'), 'w') as file:
        file.write(text + '\n')
    draw(settings, osp.join(settings.work_dir, 'comparison.png'))
    print(f'\n{text}\n\nPicture: {settings.work_dir}/comparison.png (errors within 3 px of a boundary in red)')


def demo_config(name: str, settings: Settings) -> Config:
    """Returns the config of a run, with the iterations, data and work directory of the demo."""
    pair = CAMVID if settings.data else SYNTHETIC
    if name in ('teacher', 'student'):
        run = pair.get(f'{name}_run', pair['run'])
        cfg = load_config_file(f'mmseg_bpkd::{pair[name].split("_")[0]}/{pair[name]}_{run}.py')
    else:
        cfg = load_config_file(f'mmseg_bpkd::{name}/{name}_{pair["pair"]}_{pair["run"]}.py')
        cfg.model.teacher_ckpt = checkpoint('teacher', settings)
    if settings.data:
        cfg.train_dataloader.dataset.data_root = cfg.test_dataloader.dataset.data_root = settings.data
        check_data_roots(cfg, 'train_dataloader', 'test_dataloader')
    cfg.train_cfg.max_iters = cfg.param_scheduler[-1].end = settings.iterations
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None  # tested once, after training
    cfg.default_hooks.checkpoint.save_best = None
    cfg.work_dir = osp.join(settings.work_dir, name)
    cfg.log_level = 'ERROR'
    return cfg


def claim_work_dir(settings: Settings) -> None:
    """Creates the work directory and records the settings in it.

    Raises:
        SystemExit: if it holds results of other settings.
    """
    wanted = dict(data=settings.data and osp.abspath(settings.data), iterations=settings.iterations)
    record = osp.join(settings.work_dir, 'settings.json')
    if osp.isfile(record):
        with open(record) as file:
            kept = json.load(file)
        if kept != wanted:
            raise SystemExit(
                f'{settings.work_dir} holds a demo with {kept}, not with {wanted}: remove it, or choose another folder '
                'with --work-dir'
            )
    os.makedirs(settings.work_dir, exist_ok=True)
    with open(record, 'w') as file:
        json.dump(wanted, file)


def checkpoint(name: str, settings: Settings) -> str:
    return osp.join(settings.work_dir, name, f'iter_{settings.iterations}.pth')


def train(name: str, settings: Settings) -> Optional[float]:
    """Trains or resumes a run. Returns the median milliseconds per step; None if the run was complete."""
    cfg = demo_config(name, settings)
    cfg.resume = True
    runner = Runner.from_cfg(cfg)
    progress = Progress(f'[{list(RUNS).index(name) + 1}/{len(RUNS)}] {RUNS[name]}')
    runner.register_hook(progress, priority='LOWEST')
    runner.train()
    return 1000 * median(progress.seconds) if progress.seconds else None


def run(name: str, settings: Settings) -> dict:
    """Trains and tests one of the five networks, or reads the results of an earlier call."""
    record = osp.join(settings.work_dir, f'{name}.json')
    if osp.isfile(record):
        with open(record) as file:
            return json.load(file)
    milliseconds = train(name, settings)
    print(f'{"":22} testing', end='\r', flush=True)
    cfg = demo_config(name, settings)
    cfg.work_dir = osp.join(cfg.work_dir, 'test')
    results = evaluate(cfg, checkpoint(name, settings))
    results['parameters'] = sum(p.numel() for p in load(name, settings).parameters())
    results['ms_per_step'] = milliseconds
    with open(f'{record}.part', 'w') as file:
        json.dump(results, file, indent=2)
    os.replace(f'{record}.part', record)
    return results


def load(name: str, settings: Settings) -> torch.nn.Module:
    model = MODELS.build(student_config(demo_config(name, settings).model))
    load_strictly(model, segmentor_state(read_checkpoint(checkpoint(name, settings))), checkpoint(name, settings))
    return model.eval()


def table(results: Dict[str, dict]) -> str:
    rows = [['', *COLUMNS.values(), 'parameters', 'ms per step']]
    for name, result in results.items():
        step = result['ms_per_step']
        rows.append(
            [
                RUNS[name],
                *(f'{result["metrics"][key]:.2f}' for key in COLUMNS),
                f'{result["parameters"] / 1e6:.2f} M',
                f'{step:.0f}' if step else '',
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ['| ' + ' | '.join(cell.ljust(w) for cell, w in zip(row, widths)) + ' |' for row in rows]
    rule = '|' + '|'.join('-' * (w + 1) + (':' if i else '-') for i, w in enumerate(widths)) + '|'
    return '\n'.join([lines[0], rule, *lines[1:]])


def draw(settings: Settings, path: str, scenes: int = 3, half_width: int = 3) -> None:
    """Draws one row per scene: image, label, and the predictions, with errors in the boundary band in red."""
    cfg = demo_config('teacher', settings)
    runner_data = Runner.build_dataloader(cfg.test_dataloader).dataset
    palette = np.array(runner_data.metainfo['palette'], np.uint8)
    models = {title: load(name, settings) for name, title in RUNS.items()}
    figure = Figure(figsize=(2.4 * (2 + len(models)), 1.9 * scenes))
    axes = figure.subplots(scenes, 2 + len(models), squeeze=False)
    for row, index in zip(axes, np.linspace(0, len(runner_data) - 1, scenes).astype(int)):
        sample = runner_data[index]
        gt = sample['data_samples'].gt_sem_seg.data
        void, band = gt[0] == 255, boundary_band(gt, half_width)[0]
        row[0].imshow(sample['inputs'].permute(1, 2, 0).numpy()[..., ::-1])
        row[1].imshow(np.where(void[..., None], 0, palette[gt[0].clamp(max=len(palette) - 1)]))
        for axis, model in zip(row[2:], models.values()):
            with torch.no_grad():
                pred = model.test_step(pseudo_collate([sample]))[0].pred_sem_seg.data[0]
            painted = palette[pred] // 2 + 64
            painted[band & (pred != gt[0])] = (255, 0, 0)
            axis.imshow(painted)
    for axis, title in zip(axes[0], ['image', 'label', *models]):
        axis.set_title(title, fontsize=10)
    for axis in axes.flat:
        axis.axis('off')
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=110)
