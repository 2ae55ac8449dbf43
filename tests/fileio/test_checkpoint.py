"""Checkpoints under other names of the weights, and of other structures."""

import numpy as np
import pytest
import tiny
import torch
import toy
from mmengine.hooks import EMAHook
from mmengine.registry import MODELS
from torch import nn

from mmseg_bpkd.fileio.checkpoint import load_strictly, read_checkpoint, segmentor_state
from mmseg_bpkd.fileio.work_dir import last_checkpoint
from mmseg_bpkd.models.segmentors import build_segmentor, resolve_segmentor


def segmentor(num_classes: int = 3) -> nn.Module:
    return build_segmentor(resolve_segmentor(tiny.pspnet(4), num_classes, tiny.PREPROCESSOR))


@pytest.fixture(scope='module')
def weights() -> dict:
    torch.manual_seed(5)
    return segmentor().state_dict()


@pytest.fixture(scope='module')
def teacher_ckpt(tmp_path_factory) -> str:
    return tiny.save_teacher(tmp_path_factory.mktemp('teacher') / 'teacher.pth')


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def renamed(weights: dict, prefix: str) -> dict:
    return {prefix + key: value for key, value in weights.items()}


@pytest.fixture
def said(monkeypatch) -> list:
    lines = []
    monkeypatch.setattr('mmseg_bpkd.fileio.checkpoint.print_log', lambda text, *_: lines.append(text))
    return lines


# Names


@pytest.mark.parametrize(
    ('prefix', 'logged'),
    [
        ('', False),
        ('module.', True),
        ('_orig_mod.', True),
        ('_orig_mod.module.', True),
        ('model.', True),
        ('architecture.', False),
        ('architecture.model.', False),
        ('module.architecture.', True),
    ],
)
def test_a_prefix_that_fits_is_removed_and_logged_in_one_line(prefix, logged, weights, said):
    checkpoint = dict(state_dict=dict(renamed(weights, prefix), **({'loss.x': torch.ones(1)} if prefix else {})))
    model = segmentor()
    load_strictly(model, segmentor_state(checkpoint, model, 'x.pth'), 'x.pth')
    assert same(model.state_dict(), weights)
    assert said == [f'x.pth: the prefix {prefix} of the weights is removed'] * logged


@pytest.mark.parametrize('inner', ['backbone._orig_mod.', 'model.backbone._orig_mod.', 'model._orig_mod.backbone.'])
def test_the_name_of_a_compiled_part_is_removed(inner, weights):
    compiled = {key.replace('backbone.', inner, 1): value for key, value in weights.items()}
    if inner.startswith('model.'):
        compiled = {key if key.startswith('model.') else f'model.{key}': value for key, value in compiled.items()}
    assert same(segmentor_state(dict(state_dict=compiled), segmentor(), 'x.pth'), weights)


def test_a_compiled_network_is_read(tmp_path, weights):
    model = segmentor()
    model.load_state_dict(weights)
    torch.save(dict(state_dict=torch.compile(model).state_dict()), tmp_path / 'compiled.pth')
    assert same(segmentor_state(read_checkpoint(str(tmp_path / 'compiled.pth')), segmentor(), 'x.pth'), weights)


@pytest.mark.parametrize('wrap', [dict, lambda **x: x['model'], lambda model: dict(state_dict=model, model='PSPNet')])
def test_weights_are_found_under_model_and_at_the_top(wrap, weights):
    assert same(segmentor_state(wrap(model=weights), segmentor(), 'x.pth'), weights)


def test_a_prefix_that_the_network_has_itself_stays():
    network = nn.Sequential()
    network.model = nn.Linear(1, 1)
    assert same(segmentor_state(dict(state_dict=network.state_dict()), network, 'x.pth'), network.state_dict())


def test_the_teacher_in_a_checkpoint_is_not_taken_for_the_student(weights):
    teacher = {f'teacher.{key}': value + 1 for key, value in weights.items()}
    checkpoint = dict(state_dict=dict(teacher, **renamed(weights, 'architecture.')))
    assert same(segmentor_state(checkpoint, segmentor(), 'x.pth'), weights)


# load_from


def runner_of(model: nn.Module, folder, checkpoint: dict, **changes):
    torch.save(checkpoint, folder / 'x.pth')
    return toy.runner(folder / 'run', model=model, load_from=str(folder / 'x.pth'), **changes)


def plain(num_classes: int = 3) -> nn.Module:
    return MODELS.build(
        dict(type='plain_segmentor', num_classes=num_classes, data_preprocessor=tiny.PREPROCESSOR, **tiny.pspnet(4))
    )


@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.', 'model.', 'architecture.'])
@pytest.mark.parametrize('kind', ['plain_segmentor', 'SegDistill'])
def test_load_from_loads_the_student(kind, prefix, weights, teacher_ckpt, tmp_path):
    model = plain() if kind == 'plain_segmentor' else tiny.distillation(teacher_ckpt)
    runner_of(model, tmp_path, dict(state_dict=renamed(weights, prefix))).load_or_resume()
    student = model if kind == 'plain_segmentor' else model.student
    assert same(student.state_dict(), weights)


def test_load_from_loads_the_layers_of_the_losses_too(teacher_ckpt, tmp_path):
    first, second = (tiny.distillation(teacher_ckpt) for _ in range(2))
    for model in (first, second):
        model.distiller.layer = nn.Linear(2, 2)
    assert not torch.equal(first.distiller.layer.weight, second.distiller.layer.weight)
    runner_of(second, tmp_path, dict(state_dict=first.state_dict())).load_or_resume()
    assert same(second.state_dict(), first.state_dict())


@pytest.mark.parametrize('use', ['train', 'test'])
@pytest.mark.parametrize('kind', ['plain_segmentor', 'SegDistill'])
def test_load_from_another_network_is_an_error(use, kind, teacher_ckpt, tmp_path):
    model = plain() if kind == 'plain_segmentor' else tiny.distillation(teacher_ckpt)
    data = dict(dataset=toy.Images(), sampler=dict(type='DefaultSampler', shuffle=False))
    test = dict(test_dataloader=data, test_cfg=dict(type='TestLoop'), test_evaluator=[toy.Mean()])
    runner = runner_of(model, tmp_path, dict(state_dict=toy.Net().state_dict()), **(test if use == 'test' else {}))
    name = 'EncoderDecoder' if kind == 'plain_segmentor' else 'SegDistill'
    with pytest.raises(ValueError, match=rf'load_from=.*x\.pth. holds 0 of the \d+ weights of this {name}, expected'):
        getattr(runner, use)()


def test_load_from_a_network_with_other_classes_leaves_out_their_layers_and_says_so(weights, tmp_path, said):
    model = plain(num_classes=5)
    before = model.decode_head.conv_seg.weight.clone()
    runner_of(model, tmp_path, dict(state_dict=weights)).load_or_resume()
    assert torch.equal(model.decode_head.conv_seg.weight, before)
    loaded = {key: value for key, value in model.state_dict().items() if 'conv_seg' not in key}
    assert same(loaded, {key: value for key, value in weights.items() if 'conv_seg' not in key})
    assert len(said) == 1 and 'lacks 4 of' in said[0] and 'decode_head.conv_seg.weight' in said[0]


def test_load_from_a_failed_run_is_an_error(weights, tmp_path):
    broken = dict(weights, **{'decode_head.conv_seg.bias': torch.full((3,), torch.nan)})
    with pytest.raises(
        ValueError, match=r'x\.pth holds NaN or infinity in 1 of .* first in decode_head\.conv_seg\.bias'
    ):
        runner_of(plain(), tmp_path, dict(state_dict=broken)).load_or_resume()


def test_load_from_gives_the_average_of_the_weights_the_same_start(weights, teacher_ckpt, tmp_path):
    model = tiny.distillation(teacher_ckpt)
    runner = runner_of(model, tmp_path, dict(state_dict=weights))
    hook = EMAHook()
    runner.register_hook(hook)
    hook.before_run(runner)
    runner.load_or_resume()
    assert same(hook.ema_model.module.student.state_dict(), weights)


def test_a_missing_load_from_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no checkpoint .*nowhere\.pth: give the path'):
        toy.runner(tmp_path, load_from=f'{tmp_path}/nowhere.pth').load_or_resume()


# Structure

OTHERS = [None, [1], 'text', 3, torch.ones(1)]


@pytest.mark.parametrize('value', OTHERS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize('key', ['state_dict', 'meta'])
@pytest.mark.parametrize('use', ['read', 'teacher', 'load_from', 'resume', 'pretrained'])
def test_a_checkpoint_of_another_structure_is_one_line_with_its_name(use, key, value, tmp_path, teacher_ckpt):
    path = tmp_path / 'odd.pth'
    content = dict(dict(state_dict=toy.Net().state_dict(), meta={}, optimizer={}, message_hub={}), **{key: value})
    torch.save(content, path)
    with pytest.raises(ValueError, match=rf'odd\.pth is damaged, or not a checkpoint: {key} is a') as caught:
        if use == 'read':
            read_checkpoint(str(path))
        elif use == 'teacher':
            tiny.distillation(str(path))
        elif use == 'pretrained':
            init = dict(type='Pretrained', checkpoint=str(path))
            tiny.distillation(teacher_ckpt, student=tiny.pspnet(4, backbone=dict(init_cfg=init)))
        else:
            toy.runner(tmp_path / 'run', load_from=str(path), resume=use == 'resume').train()
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('content', [None, [1], 'text', {1: torch.ones(1)}, dict(state_dict={None: torch.ones(1)})])
def test_what_has_no_named_weights_is_refused_with_its_name(content, tmp_path):
    torch.save(content, tmp_path / 'odd.pth')
    with pytest.raises(ValueError, match=r'odd\.pth (holds a|is not a checkpoint: it has the key)'):
        read_checkpoint(str(tmp_path / 'odd.pth'))


@pytest.fixture(scope='module')
def trained(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp('trained')
    toy.runner(folder, max_iters=2).train()
    return toy.checkpoint(folder, 2)


WRONG_STATE = {
    'optimizer': [*OTHERS, {}],
    'optimizer.param_groups': [*OTHERS, {}],
    'optimizer.state': OTHERS,
    'param_schedulers': [None, [1], 'text', 3],
    'message_hub': [*OTHERS, {}],
    'message_hub.log_scalars': OTHERS,
    'message_hub.runtime_info': OTHERS,
    'message_hub.resumed_keys': OTHERS,
    'meta.epoch': [None, [1], 'text', 0.5, {}],
    'meta.iter': [None, [1], 'text', 0.5, {}],
    'meta.data_stream': OTHERS,
    'meta.data_stream.seed': [None, [1], 'text', {}],
    'meta.data_stream.position': [None, [1], 'text', {}],
}


@pytest.mark.parametrize('path', WRONG_STATE)
def test_a_state_of_another_structure_is_not_resumed(path, trained, tmp_path):
    runner = toy.runner(tmp_path / 'run', max_iters=4, resume=True, load_from=str(tmp_path / 'odd.pth'))
    for value in WRONG_STATE[path]:
        checkpoint = owner = torch.load(save(tmp_path / 'odd.pth', trained))
        *parents, name = path.split('.')
        for parent in parents:
            owner = owner[parent]
        owner[name] = value
        save(tmp_path / 'odd.pth', checkpoint)
        runner._has_loaded = False
        with pytest.raises(ValueError, match=r'odd\.pth'):
            runner.load_or_resume()


def save(path, content) -> str:
    torch.save(content, path)
    return str(path)


def test_a_checkpoint_without_parts_of_its_meta_is_not_resumed_by_another_config(trained, tmp_path):
    """Without the ExactResumeHook, MMEngine's own errors would not name the file."""
    for key in ('epoch', 'iter'):
        meta = {name: value for name, value in trained['meta'].items() if name != key}
        path = save(tmp_path / 'odd.pth', dict(trained, meta=meta))
        runner = toy.runner(tmp_path / 'run', resume=True, load_from=path, custom_hooks=[])
        with pytest.raises(ValueError, match=rf"cannot resume from .*odd\.pth, which .*\(KeyError: '{key}'\)"):
            runner.load_or_resume()


def test_numbers_of_numpy_in_the_meta_do_not_prevent_resuming(trained, tmp_path):
    path = save(tmp_path / 'x.pth', dict(trained, meta=dict(trained['meta'], note=np.float64(1))))
    toy.runner(tmp_path / 'run', max_iters=4, resume=True, load_from=path).train()
    assert toy.checkpoint(tmp_path / 'run', 4)['meta']['iter'] == 4


@pytest.mark.parametrize('content', [bytes(range(256)), b'iter_2.pth\x00', b'\xff\xfe', b'iter_2.pth\niter_4.pth'])
def test_the_newest_checkpoint_is_the_last_if_a_binary_file_does_not_name_it(content, tmp_path):
    for number in (2, 4):
        (tmp_path / f'iter_{number}.pth').touch()
    (tmp_path / 'last_checkpoint').write_bytes(content)
    assert last_checkpoint(str(tmp_path)) == f'{tmp_path}/iter_4.pth'
    (tmp_path / 'last_checkpoint').write_text('/moved/iter_2.pth\n')
    assert last_checkpoint(str(tmp_path)) == f'{tmp_path}/iter_2.pth'
