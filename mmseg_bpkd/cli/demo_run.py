"""The demo: trains a small student without distillation and with KD, CWD and BPKD. Its teacher is in checkpoints/."""

import json
import os.path as osp
import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from mmseg_bpkd.analysis.figures.networks import Network, TestImages
from mmseg_bpkd.analysis.figures.prediction_grid import grid_figure
from mmseg_bpkd.datasets.check.roots import check_data_roots
from mmseg_bpkd.deploy.predict import Predictor
from mmseg_bpkd.engine.train import resume_last
from mmseg_bpkd.evaluation.evaluate import evaluate
from mmseg_bpkd.fileio.console import ConsoleRunner
from mmseg_bpkd.fileio.package_files import load_config_file
from mmseg_bpkd.fileio.work_dir import check_name, only_process
from mmseg_bpkd.fileio.writing import save_figure, write_json, write_text
from mmseg_bpkd.models.roles import student_config

RUNS = {
    'teacher': 'teacher',
    'student': 'student alone',
    'kd': 'student, KD',
    'cwd': 'student, CWD',
    'bpkd': 'student, BPKD',
}
STUDENTS = [name for name in RUNS if name != 'teacher']
SYNTHETIC = dict(
    teacher='deeplabv3plus_r18w32_1xb8-3k_synthetic-112x112',
    student='deeplabv3plus_r18w8_1xb8-300_synthetic-112x112',
    pair='deeplabv3plus-r18w32_deeplabv3plus-r18w8_1xb8-300_synthetic-112x112',
)
CAMVID = dict(
    teacher='deeplabv3plus_r18w32_1xb6-6k_camvid-240x320',
    student='deeplabv3plus_r18w16_1xb6-4k_camvid-240x320',
    pair='deeplabv3plus-r18w32_deeplabv3plus-r18w16_1xb6-4k_camvid-240x320',
)
COLUMNS = {
    'mIoU': 'mIoU',
    'trimap/mIoU@3px': 'trimap mIoU (3 px)',
    'boundary/mIoU@0.005diag': 'boundary IoU (0.5 %)',
    'aAcc': 'pixel accuracy',
}


class Progress(Hook):
    """Prints a progress line and records the time of each step."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.seconds: list[float] = []

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
        iterations: number of iterations of each student.
        work_dir: folder for everything that the demo writes.
        seed: of the initial weights and of the order and augmentation of the images.
    """

    data: str | None
    iterations: int
    work_dir: str
    seed: int = 0


def run_demo(settings: Settings) -> None:
    """Trains the students, tests all networks, and prints a table. Complete parts of an earlier call are not repeated.

    It writes the table, the results and a picture to the work directory.

    Raises:
        FileNotFoundError: if the data is not there.
        SystemExit: if the work directory holds results of other settings.
        ValueError: if the path of the work directory is not UTF-8.
        WorkDirInUse: if another demo runs in the work directory.
    """
    init_default_scope('mmseg')
    if settings.data and not osp.isdir(settings.data):
        raise FileNotFoundError(f'--data {settings.data}: no such folder; docs/data.md says how to get CamVid')
    demo_config('kd', settings)  # checks the folders of the data
    check_name(settings.work_dir)
    with only_process(settings.work_dir):
        claim_work_dir(settings)
        print(
            f'{len(STUDENTS)} students, {settings.iterations} steps each. Results are kept in {settings.work_dir}; '
            'interrupted runs resume.'
        )
        results = {name: run(name, settings) for name in RUNS}
    text = table(results)
    write_text(osp.join(settings.work_dir, 'table.md'), f'{text}\n')
    picture = osp.join(settings.work_dir, 'comparison.png')
    draw(settings, picture)
    print(f'\n{text}\n\nPicture: {picture} (errors within 3 px of a boundary are orange, others blue)')


def demo_config(name: str, settings: Settings) -> Config:
    """Returns the config of a run, with the iterations, data and work directory of the demo."""
    pair = CAMVID if settings.data else SYNTHETIC
    if name in ('teacher', 'student'):
        cfg = load_config_file(f'mmseg_bpkd::deeplabv3plus/{pair[name]}.py')
    else:
        cfg = load_config_file(f'mmseg_bpkd::{name}/{name}_{pair["pair"]}.py')
    if settings.data:
        cfg.train_dataloader.dataset.data_root = cfg.test_dataloader.dataset.data_root = settings.data
        check_data_roots(cfg, 'train_dataloader', 'test_dataloader')
    cfg.train_cfg.max_iters = cfg.param_scheduler[-1].end = settings.iterations
    cfg.param_scheduler[-1].begin = min(cfg.param_scheduler[-1].begin, settings.iterations - 1)  # after the warm-up
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None  # tested once, after training
    cfg.default_hooks.checkpoint.save_best = None
    cfg.randomness.seed = settings.seed
    cfg.work_dir = osp.join(settings.work_dir, name)
    cfg.log_level = 'ERROR'
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type != 'ProgressHook']  # `Progress` is the demo's
    return cfg


def claim_work_dir(settings: Settings) -> None:
    """Creates the work directory and records the settings in it.

    Raises:
        SystemExit: if it holds results of other settings.
    """
    wanted = dict(data=settings.data and osp.abspath(settings.data), iterations=settings.iterations, seed=settings.seed)
    record = osp.join(settings.work_dir, 'settings.json')
    if osp.isfile(record):
        with open(record) as file:
            kept = json.load(file)
        if kept != wanted:
            raise SystemExit(
                f'{settings.work_dir} holds a demo with {kept}, not with {wanted}: remove it, or choose another folder '
                'with --work-dir'
            )
    write_json(record, wanted)


def checkpoint(name: str, settings: Settings) -> str:
    if name == 'teacher':
        return demo_config('kd', settings).model.teacher_ckpt
    return osp.join(settings.work_dir, name, f'iter_{settings.iterations}.pth')


def train(name: str, settings: Settings) -> float | None:
    """Trains or resumes a run. Returns the median milliseconds per step; None if the run was complete."""
    cfg = demo_config(name, settings)
    resume_last(cfg)
    runner = ConsoleRunner.from_cfg(cfg)
    progress = Progress(f'[{STUDENTS.index(name) + 1}/{len(STUDENTS)}] {RUNS[name]}')
    runner.register_hook(progress, priority='LOWEST')
    runner.train()
    return 1000 * median(progress.seconds) if progress.seconds else None


def run(name: str, settings: Settings) -> dict:
    """Trains a student and tests it, or tests the teacher, or reads the results of an earlier call."""
    record = osp.join(settings.work_dir, f'{name}.json')
    if osp.isfile(record):
        with open(record) as file:
            return json.load(file)
    milliseconds = None if name == 'teacher' else train(name, settings)
    print(f'{RUNS[name]:22} testing', end='\r', flush=True)
    cfg = demo_config(name, settings)
    cfg.work_dir = osp.join(cfg.work_dir, 'test')
    results: dict[str, Any] = evaluate(cfg, checkpoint(name, settings))
    model = MODELS.build(student_config(demo_config(name, settings).model))
    results['parameters'] = sum(p.numel() for p in model.parameters())
    results['ms_per_step'] = milliseconds
    write_json(record, results)
    return results


def table(results: dict[str, dict]) -> str:
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


def draw(settings: Settings, path: str, scenes: int = 2) -> None:
    """Draws some test images, the predictions of all networks, and their errors."""
    networks = []
    for name, title in RUNS.items():
        cfg = demo_config(name, settings)
        networks.append(Network(title, cfg, Predictor(cfg, checkpoint(name, settings), device='cpu')))
    images = TestImages(networks[0].cfg)
    figure, _ = grid_figure(networks, images, images.spread(scenes))
    save_figure(figure, path, dpi=110)
