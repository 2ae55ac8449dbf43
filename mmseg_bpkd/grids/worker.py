"""Trains and tests one run of a grid, in a process of its own."""

import ast
import os.path as osp
import platform
import subprocess
import sys
from argparse import Namespace

import mmengine
import mmseg
import torch
from mmengine.runner import Runner

import mmseg_bpkd
from mmseg_bpkd.config.errors import short_errors
from mmseg_bpkd.datasets.check import check_data
from mmseg_bpkd.engine.train import apply_training_options, check_settings, train
from mmseg_bpkd.evaluation.evaluate import evaluate, metrics_only
from mmseg_bpkd.fileio.work_dir import WorkDirInUse, last_checkpoint, only_process
from mmseg_bpkd.fileio.writing import check_writable, write_json

from .grid_file import SETTINGS, Grid, Run, check_checkpoints
from .recorder import RunRecorder

ROOT = osp.dirname(osp.dirname(osp.abspath(mmseg_bpkd.__file__)))


def command(grid: Grid, run: Run) -> list[str]:
    """The command that trains and tests a run. It needs `ROOT` on the Python path."""
    spec = dict(vars(run), folder=grid.folder(run), result=grid.result(run))
    return [sys.executable, '-m', 'mmseg_bpkd.grids.worker', repr(spec)]


def progress_file(folder: str) -> str:
    return osp.join(folder, 'progress.json')


def execute(run: Run, folder: str, result: str) -> None:
    """Trains or resumes a run, tests its last checkpoint, and writes its JSON. Does nothing if the JSON exists.

    Args:
        run: the run.
        folder: its work directory.
        result: path of the JSON. The counts of each image are written to a .npz beside it.

    Raises:
        WorkDirInUse: if another process works on the run.
        ValueError: if the folder has a checkpoint of other settings.
    """
    with only_process(folder):
        if osp.isfile(result):
            return
        check_checkpoints(run, folder)
        write_json(osp.join(folder, SETTINGS), run.settings)
        check_writable(result)
        record = dict(name=run.name, **run.settings, versions=versions(), **_train(run, folder))
        record.update(_test(run, folder, f'{osp.splitext(result)[0]}.npz'))
        write_json(result, record)


def _train(run: Run, folder: str) -> dict:
    cfg = run.load()
    cfg.launcher, cfg.work_dir = 'none', folder
    unused = dict(amp=False, deterministic=False, auto_scale_lr=False, from_scratch=False)  # a grid sets `options`
    apply_training_options(cfg, Namespace(seed=run.seed, resume='auto', **unused))
    check_data(cfg, 'train', 'val')
    with short_errors(cfg):
        runner = Runner.from_cfg(cfg)
    check_settings(runner)
    recorder = RunRecorder(progress_file(folder), dict(commit=commit(), **hardware()))
    runner.register_hook(recorder)
    train(runner)
    return dict(
        **hardware(),
        starts=recorder.starts,
        steps=runner.max_iters,
        wall_clock_s=round(recorder.total_seconds, 1),
        training_s=round(recorder.training_seconds, 1),
        ms_per_step=round(1000 * recorder.training_seconds / runner.max_iters, 2),
        peak_memory_mib=round(recorder.peak_memory, 1),
        curve=recorder.curve,
    )


def _test(run: Run, folder: str, counts: str) -> dict:
    checkpoint = last_checkpoint(folder)
    if checkpoint is None:
        raise ValueError(
            f'the training in {folder} has saved no checkpoint to test: default_hooks.checkpoint must be a '
            'CheckpointHook that saves the last step'
        )
    cfg = run.load()
    cfg.launcher, cfg.work_dir = 'none', osp.join(folder, 'test')
    check_data(cfg, 'test')
    results = evaluate(cfg, checkpoint, counts)
    return dict(checkpoint=checkpoint, metrics=metrics_only(results['metrics']), per_class=results['per_class'])


def hardware() -> dict:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    return dict(device=device, threads=torch.get_num_threads())


def versions() -> dict:
    """The versions of the packages that decide a result, and the commit if this is a checkout."""
    return dict(
        mmseg_bpkd=mmseg_bpkd.__version__,
        commit=commit(),
        python=platform.python_version(),
        torch=torch.__version__,
        mmengine=mmengine.__version__,
        mmseg=mmseg.__version__,
    )


def commit() -> str | None:
    """The commit of this checkout, with "-dirty" if tracked files were changed; None if the package is installed."""

    def git(*arguments: str) -> str:
        done = subprocess.run(['git', '-C', ROOT, *arguments], capture_output=True, text=True)
        return done.stdout.strip()

    try:
        if osp.realpath(git('rev-parse', '--show-toplevel')) != osp.realpath(ROOT):  # in another project's checkout
            return None
        return git('describe', '--always', '--dirty', '--abbrev=12', '--exclude', '*') or None
    except OSError:  # no git
        return None


def main() -> None:
    spec = ast.literal_eval(sys.argv[1])
    folder, result = spec.pop('folder'), spec.pop('result')
    with short_errors(None, OSError, ValueError, WorkDirInUse):
        execute(Run(**spec), folder, result)


if __name__ == '__main__':
    main()
