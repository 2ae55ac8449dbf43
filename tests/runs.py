"""Helpers that run the command-line tools on configs that train in seconds."""

import os
import os.path as osp
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import tiny
import torch
from conftest import ROOT

ENVIRONMENT = dict(
    os.environ,
    OMP_NUM_THREADS='1',
    PYTHONUNBUFFERED='1',
    PYTHONPATH=os.pathsep.join(filter(None, [osp.dirname(__file__), os.environ.get('PYTHONPATH')])),
    PATH=f'{osp.dirname(sys.executable)}:{os.environ["PATH"]}',
)  # PATH: the shell scripts call `python`
DEMO = 'bpkd/bpkd_pspnet-r18w16_pspnet-r18w8_1xb8-600_synthetic-112x112.py'
INTERRUPTIBLE = """
train_dataloader.update(num_workers=2, persistent_workers=True)
default_hooks.update(slow=dict(type="SlowStepHook"))
custom_imports = dict(imports=["mmseg_bpkd.engine", "slow_step"])
"""


def write_config(folder, max_iters: int = 6, base: str = DEMO, more: str = '') -> str:
    """Writes a config of the repository with smaller networks, crops and schedule, and the teacher's checkpoint.

    Args:
        more: lines to append to the config.

    Returns:
        The path of the config.
    """
    teacher = osp.join(folder, 'teacher.pth')
    if not osp.isfile(teacher):
        tiny.save_teacher(teacher, width=8, num_classes=9)
    path = osp.join(folder, 'config.py')
    with open(path, 'w') as file:
        file.write(f"""
_base_ = {osp.join(ROOT, 'configs', base)!r}
width = dict(
    backbone=dict(base_channels=4, stem_channels=4), decode_head=dict(in_channels=32, channels=8),
    auxiliary_head=dict(in_channels=16, channels=4))
model = dict(
    teacher=dict(backbone=dict(base_channels=8, stem_channels=8), decode_head=dict(in_channels=64, channels=16),
                 auxiliary_head=dict(in_channels=32, channels=8)),
    student=width, teacher_ckpt={teacher!r}, data_preprocessor=dict(size=(48, 48)))
pipeline = _base_.train_pipeline
pipeline[3].crop_size = (48, 48)
train_dataloader = dict(batch_size=2, dataset=dict(num_scenes=7, pipeline=pipeline))
val_dataloader = dict(dataset=dict(num_scenes=5))
test_dataloader = val_dataloader
param_scheduler = [dict(type='FallingPolyLR', eta_min=1e-4, power=0.9, begin=0, end={max_iters}, by_epoch=False)]
train_cfg = dict(max_iters={max_iters}, val_interval={max_iters})
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
{more}
""")
    return path


def command(tool: str, *args) -> list:
    python = [sys.executable] if tool.endswith('.py') else []
    return [*python, osp.join(ROOT, 'tools', tool), *map(str, args)]


def listen_to_ctrl_c() -> None:
    """A job in the background of a shell script, such as the tests may be, ignores SIGINT, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


def call(tool: str, *args, check: bool = True, python_path: str = '') -> subprocess.CompletedProcess:
    environment = dict(ENVIRONMENT, PORT=str(free_port()), PYTHONPATH=f'{ENVIRONMENT["PYTHONPATH"]}:{python_path}')
    done = subprocess.run(command(tool, *args), capture_output=True, text=True, env=environment, cwd=ROOT)
    if check and done.returncode:
        raise AssertionError(f'{tool} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}')
    return done


def kill_when(
    ready, tool: str, *args, number: int = signal.SIGKILL, group: bool = True, prepare: Callable = listen_to_ctrl_c
) -> int:
    """Starts a tool and sends it a signal as soon as `ready()` is true. Returns its exit code.

    Args:
        group: whether its workers get the signal too, as they do from a terminal and from Slurm.
        prepare: called in the new process before the tool starts.
    """
    process = subprocess.Popen(
        command(tool, *args),
        env=dict(ENVIRONMENT, SLOW_STEPS='1', PORT=str(free_port())),
        cwd=ROOT,
        start_new_session=True,
        preexec_fn=prepare,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.time() + 120
    while not ready():
        assert process.poll() is None, f'{tool} ended before it could be killed'
        assert time.time() < deadline, f'{tool} was not ready after 120 s'
        time.sleep(0.002)
    (os.killpg if group else os.kill)(process.pid, number)
    return process.wait(timeout=120)


def student(path) -> dict:
    return torch.load(path)['state_dict']


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
