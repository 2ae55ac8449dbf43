"""Every method of `_base_/distillers` trains from its config, resumes exactly, and leaves a plain student."""

import os.path as osp

import pytest
import runs
import tiny
import torch
from methods import DISTILLERS, config_of, train
from mmengine.config import Config
from mmengine.registry import MODELS

from mmseg_bpkd.fileio.checkpoint import segmentor_state
from mmseg_bpkd.models.roles import student_config
from mmseg_bpkd.models.segmentors import build_segmentor

EXPECTED = {
    'bpkd',
    'kd',
    'fitnet',
    'at',
    'local_affinity',
    'skds',
    'ifvd',
    'cwd',
    'cwd_features',
    'cirkd',
    'apd',
    'dist',
    'mgd',
    'afdcd',
    'lskd',
    'nfd',
    'aicsd',
    'kt_channel',
    'wavelet',
    'skds_original',
    'ifvd_original',
    'cwd_cirkd',
    'dist_no_aux',
    'bpkd_paper',
    'kd_cwd',
}
CRITIC = 'distill_losses.loss_adversarial.critic.'
SAVED = {  # {method: prefixes of the parameters and memories of its losses in a checkpoint}
    'afdcd': ['distill_losses.loss_afdcd.generator.'],
    'apd': ['distill_losses.loss_apd.adaptor_S.', 'distill_losses.loss_apd.adaptor_T.'],
    'cirkd': [
        'distill_losses.loss_cirkd.projector.',
        'distill_losses.loss_cirkd.memories.pixel.',
        'distill_losses.loss_cirkd.memories.region.',
    ],
    'cwd_features': ['connectors.loss_cwd_feats_S.'],
    'fitnet': ['connectors.loss_fitnet_feats_S.'],
    'ifvd': [CRITIC],
    'kt_channel': ['connectors.loss_kt_feats_S.'],
    'mgd': ['distill_losses.loss_mgd.generator.'],
    'nfd': ['connectors.loss_nfd_feats_S.'],
    'skds': [CRITIC],
    'wavelet': ['connectors.loss_wavelet_feats_S.'],
    'skds_original': [CRITIC],
    'ifvd_original': [CRITIC],
    'cwd_cirkd': ['connectors.loss_cwd_feats_feats_S.', CRITIC],
    'bpkd_paper': ['distill_losses.loss_bpkd.edge_area'],
}
STATE = ('weight', 'original', 'vectors', 'edge_area')  # ends of the names of what must change in training
every_method = pytest.mark.parametrize('method', DISTILLERS)
# No trained layers, trained layers, memories, an optimizer of its own, auxiliary heads. The others are slow tests.
QUICK = ('bpkd', 'mgd', 'cirkd', 'skds', 'dist')


def tensors(state) -> list:
    """All tensors and numbers in the state of an optimizer, in a fixed order."""
    if isinstance(state, dict):
        return [x for key in sorted(state, key=str) for x in tensors(state[key])]
    if isinstance(state, (list, tuple)):
        return [x for item in state for x in tensors(item)]
    return [torch.as_tensor(state)] if isinstance(state, (torch.Tensor, int, float)) else []


def test_every_expected_method_has_a_config():
    assert set(DISTILLERS) == EXPECTED


@pytest.mark.parametrize(
    'method', [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in DISTILLERS]
)
def test_a_resumed_run_gives_bit_identical_weights_memories_and_optimizer_states(method, tmp_path):
    cfg = Config.fromfile(config_of(method, tmp_path, 4))
    cfg.work_dir = str(tmp_path)
    whole_dir = train(cfg, f'whole_{method}')
    resumed_dir = train(cfg, f'resumed_{method}', f'{whole_dir}/iter_2.pth')
    half, whole, resumed = map(
        torch.load, (f'{whole_dir}/iter_2.pth', f'{whole_dir}/iter_4.pth', f'{resumed_dir}/iter_4.pth')
    )
    assert runs.same(whole['state_dict'], resumed['state_dict'])
    states = [tensors(run['optimizer']) for run in (whole, resumed)]
    assert len(states[0]) == len(states[1]) > 0 and all(torch.equal(a, b) for a, b in zip(*states))

    changed = [
        key.removeprefix('distiller.')
        for key, value in whole['state_dict'].items()
        if not torch.equal(value, half['state_dict'][key])
    ]
    saved = {key.removeprefix('distiller.') for key in whole['state_dict'] if key.startswith('distiller.')}
    assert all(key.startswith(tuple(SAVED.get(method, ('none',)))) for key in saved)
    for prefix in SAVED.get(method, []):
        assert [key for key in changed if key.startswith(prefix) and key.endswith(STATE)]
    student = build_segmentor(student_config(cfg.model))
    assert segmentor_state(whole, student, 'whole').keys() == student.state_dict().keys()  # without the distiller


def test_a_run_applies_the_learning_rates_and_gradient_clipping_of_the_losses(tmp_path):
    cfg = Config.fromfile(config_of('afdcd', tmp_path, 2))
    cfg.work_dir = str(tmp_path)
    cfg.model.distiller.losses.loss_afdcd.max_grad_norm = 1e-12
    cfg.model.distiller.losses.loss_adversarial = dict(type='SKDSCriticLoss', critic_lr=1e-7)
    state = torch.load(f'{train(cfg, "rates")}/iter_2.pth')
    torch.manual_seed(cfg.randomness.seed)
    fresh = MODELS.build(cfg.model).state_dict()
    rates = {group['initial_lr'] for group in state['optimizer']['param_groups']}
    assert sorted(rates) == pytest.approx([1e-7, 0.04])
    change = {
        module: max(
            (state['state_dict'][key] - fresh[key]).abs().max().item()
            for key in fresh
            if module in key and key.endswith('weight')
        )
        for module in ('generator', 'architecture')
    }
    assert change['generator'] < 1e-6 and change['architecture'] > 1e-3


def test_learning_rates_of_losses_require_our_optim_wrapper_constructor(tmp_path):
    cfg = Config.fromfile(config_of('skds', tmp_path, 2))
    cfg.work_dir = str(tmp_path)
    cfg.optim_wrapper.pop('constructor')
    with pytest.raises(ValueError, match=r'loss_adversarial.critic.*DistillOptimWrapperConstructor'):
        train(cfg, 'without_constructor')


@every_method
def test_student_and_teacher_can_have_different_widths_and_map_sizes(method, tmp_path):
    coarse = tiny.pspnet(4)
    coarse['backbone'] = dict(coarse['backbone'], strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))
    distiller = Config.fromfile(DISTILLERS[method]).distiller
    model = tiny.distillation(tiny.save_teacher(tmp_path / 'teacher.pth'), distiller=distiller, student=coarse).train()
    values = {key: value for key, value in tiny.losses_of(model).items() if key.startswith('distill')}
    assert values and all(torch.isfinite(value) for value in values.values())
    sum(values.values()).backward()
    grads = [parameter.grad for parameter in model.student.backbone.parameters()]
    assert all(torch.isfinite(grad).all() for grad in grads) and any(grad.abs().max() > 0 for grad in grads)


@pytest.mark.slow
@every_method
def test_a_killed_and_resumed_run_gives_bit_identical_weights_and_memories(method, tmp_path):
    config = config_of(method, tmp_path, 6, runs.INTERRUPTIBLE)
    runs.call('train.py', config, '--work-dir', tmp_path / 'whole')
    runs.kill_when(
        lambda: osp.exists(tmp_path / 'killed/iter_4.pth'), 'train.py', config, '--work-dir', tmp_path / 'killed'
    )
    assert not osp.exists(tmp_path / 'killed/iter_6.pth')
    runs.call('train.py', config, '--work-dir', tmp_path / 'killed', '--resume', 'auto')
    assert runs.same(runs.student(tmp_path / 'whole/iter_6.pth'), runs.student(tmp_path / 'killed/iter_6.pth'))
