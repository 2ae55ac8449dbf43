"""Time and memory of a training step on random images, relative to the first config.

With `--bfloat16`, each config runs in bfloat16 too. Without configs: BPKD with PSPNet R101 to R18, for 19 and 150
classes, with the default and with other settings, against MMRazor's CWD recipe as installed (for 150 classes with the
networks, batch size and crop of our recipe).
"""

import os.path as osp
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData
from mmengine.utils import get_installed_path
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_bpkd.models.roles import student_config
from mmseg_bpkd.models.segmentors import resolve_segmentor

from .masks import regions
from .measuring import DEVICE, milliseconds_in_turn, peak_growth, peak_of_tensors, ratio
from .methods import fill_memories

FORMAT = (
    '{config}: {ms:.0f} ms, {ratio:.2f} times ({ratio_least:.2f} to {ratio_most:.2f}); {megabytes:.0f} MiB, '
    '{memory_ratio:.2f} times; of tensors {tensor_megabytes:.0f} MiB, {tensor_ratio:.2f} times'
)
CONFIGS = osp.join(osp.dirname(osp.abspath(__file__)), '../configs')
RECIPES = {
    classes: osp.join(CONFIGS, f'bpkd/bpkd_pspnet-r101_pspnet-r18_4xb4-80k_{data}.py')
    for classes, data in ((19, 'cityscapes-512x1024'), (150, 'ade20k-512x512'))
}
LAST, COMPILED = {'model.channels_last': True}, {'model.compile_networks': ['teacher', 'student']}
SETTINGS = {'': {}, ', teacher not folded': {'model.fold_teacher': False}, ', channels_last': LAST}
FAST = ', float16, channels_last'
if DEVICE.type == 'cuda':  # on a CPU, half precision is slow and compiling takes minutes
    for name in ('float16', 'bfloat16'):
        SETTINGS[f', {name}'] = {'optim_wrapper.type': 'AmpOptimWrapper', 'optim_wrapper.dtype': name}
        SETTINGS[f', {name}, channels_last'] = {**LAST, **SETTINGS[f', {name}']}
    SETTINGS[', float16, channels_last, compiled'] = {**SETTINGS[FAST], **COMPILED}
BFLOAT16 = (
    {'optim_wrapper.type': 'AmpOptimWrapper', 'optim_wrapper.dtype': 'bfloat16'}
    if DEVICE.type == 'cuda'
    else {'optim_wrapper.type': 'CPUAmpOptimWrapper'}
)
MMRAZOR = 'distill/mmseg/cwd/cwd_logits_pspnet_r101-d8_pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'


def read_config(path: str, options: dict) -> Config:
    """Reads a config and merges the options. The path 'mmrazor of N classes' means MMRazor's CWD recipe."""
    name, _, classes = path.partition(' of ')
    if name != 'mmrazor':
        cfg = Config.fromfile(path)
    else:
        cfg = Config.fromfile(osp.join(get_installed_path('mmrazor'), '.mim/configs', MMRAZOR))
        cfg.num_classes = int(classes.split()[0])
        cfg.model.teacher_ckpt = None  # the weights do not affect the time
        if cfg.num_classes != 19:
            ours = Config.fromfile(RECIPES[cfg.num_classes])
            teacher = resolve_segmentor(ours.model.teacher, cfg.num_classes, ours.model.data_preprocessor)
            cfg.model.teacher = _with_scope(teacher)
            cfg.model.architecture = _with_scope(student_config(ours.model))
            cfg.train_dataloader = ours.train_dataloader
    cfg.merge_from_dict(options)
    return cfg


def _with_scope(model: dict) -> dict:
    return dict(model, _scope_='mmseg', pretrained=None)


def random_batch(num_classes: int, batch_size: int, size: tuple[int, int]) -> dict:
    generator = torch.Generator().manual_seed(0)
    inputs = list(torch.randint(0, 256, (batch_size, 3, *size), generator=generator, dtype=torch.uint8))
    metainfo = dict(img_shape=size, ori_shape=size, pad_shape=size)
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=gt[None]), metainfo=metainfo)
        for gt in regions(num_classes, min(11, num_classes), *size, images=batch_size)
    ]
    return dict(inputs=inputs, data_samples=samples)


def build(path: str, options: dict) -> tuple[Config, BaseModel]:
    """Builds the model of a config with random weights, which do not affect the time."""
    cfg = read_config(path, options)
    torch.backends.cudnn.benchmark = cfg.env_cfg.get('cudnn_benchmark', False)
    MMLogger.get_current_instance().setLevel('WARNING')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    if hasattr(model, 'teacher_loaded'):
        model.teacher_loaded = True
        model.teacher.data_preprocessor.size = None  # checks the folded teacher on a small image
        model.optimize_teacher()
    fill_memories(model)
    model.to(DEVICE).train()  # MMRazor's train() returns nothing
    return cfg, model


def on_random_images(cfg: Config, model: nn.Module, size: tuple[int, int], batch_size: int) -> Callable[[], None]:
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    getattr(model, 'module', model).data_preprocessor.size = size
    batch = random_batch(cfg.num_classes, batch_size, size)
    return lambda: model.train_step(batch, wrapper)


def training_step(path: str, options: dict, size: tuple[int, int], batch_size: int) -> Callable[[], None]:
    return on_random_images(*build(path, options), size, batch_size)


def compare(
    runs: int,
    configs: list[str],
    options: dict,
    size: tuple[int, int] | None = None,
    batch_size: int | None = None,
    settings: Sequence[str] = tuple(SETTINGS),
    bfloat16: bool = False,
) -> Iterator[dict]:
    precisions = {'': {}, ', bfloat16': BFLOAT16} if bfloat16 else {'': {}}
    groups = (
        [{f'{path}{name}': (path, setting) for path in configs for name, setting in precisions.items()}]
        if configs
        else [_beside_mmrazor(classes, settings) for classes in RECIPES]
    )
    for group in groups:
        path, setting = next(iter(group.values()))
        first = read_config(path, {**setting, **options})  # all configs get its batch size and crop
        shape = (size or _crop(first), batch_size or first.train_dataloader.batch_size)
        made = {
            name: partial(training_step, path, {**setting, **options}, *shape)
            for name, (path, setting) in group.items()
        }
        rival, make_rival = next(iter(made.items()))
        call_rival, memory = make_rival(), {}
        for name, make in made.items():  # one by one, so that an interrupted run has results
            times = milliseconds_in_turn({rival: call_rival} | ({name: make()} if name != rival else {}), runs)
            twice = partial(two_steps, make)
            process_peak = peak_growth(twice)
            tensor_peak = peak_of_tensors(twice) if DEVICE.type == 'cpu' else process_peak
            memory[name] = process_peak, tensor_peak
            ratios = [mine / firsts for mine, firsts in zip(memory[name], memory[rival])]
            yield dict(
                ratio(times[name], times[rival]),
                config=name,
                megabytes=process_peak,
                memory_ratio=ratios[0],
                tensor_megabytes=tensor_peak,
                tensor_ratio=ratios[1],
                size=list(shape[0]),
                batch_size=shape[1],
            )


def two_steps(make: Callable[[], Callable[[], None]]) -> Callable[[], None]:
    """Returns a call that runs two steps. The first creates the state of the optimizer, which counts in the second."""
    step = make()
    return lambda: (step(), step())


def _crop(cfg: Config) -> tuple[int, int]:
    return next(
        transform.crop_size
        for transform in cfg.train_dataloader.dataset.pipeline
        if transform.type.endswith('RandomCrop')
    )


def _beside_mmrazor(classes: int, settings: Sequence[str]) -> dict[str, tuple[str, dict]]:
    return {f"MMRazor's CWD recipe, {classes} classes": (f'mmrazor of {classes} classes', {})} | {
        f'BPKD, {classes} classes{name}': (RECIPES[classes], SETTINGS[name]) for name in settings
    }
