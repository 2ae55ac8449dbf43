"""A checkpoint that does not fit the config is refused in one sentence, and what it overrides is listed in one line."""

import re
from types import SimpleNamespace

import pytest
import torch
import toy

SGD = dict(type='SGD', lr=0.02, momentum=0.9)
POLY = dict(type='PolyLR', eta_min=0.001, begin=0, end=8, by_epoch=False)


@pytest.fixture(scope='module')
def stopped(tmp_path_factory) -> str:
    """The checkpoint of iteration 2 of 8."""
    folder = tmp_path_factory.mktemp('stopped')
    toy.runner(folder, max_iters=2, param_scheduler=[POLY]).train()
    return f'{folder}/iter_2.pth'


def resume(folder, path: str, optimizer: dict = SGD, **changes) -> str:
    """Resumes, and returns the warnings."""
    changes.setdefault('param_scheduler', [POLY])
    changes['optim_wrapper'] = dict(type='OptimWrapper', optimizer=optimizer, **changes.pop('wrapper', {}))
    toy.runner(folder, resume=True, load_from=path, **changes).train()
    return ''.join(log.read_text() for log in folder.glob('*/*.log'))


def test_the_same_config_overrides_nothing(stopped, tmp_path):
    assert 'overrides' not in resume(tmp_path, stopped) and 'The batch' not in resume(tmp_path, stopped)


def test_what_the_checkpoint_overrides_is_listed_in_one_line(stopped, tmp_path):
    loader = dict(dataset=toy.Images(), sampler=dict(type='ResumableSampler'), batch_size=3, num_workers=0)
    said = resume(
        tmp_path,
        stopped,
        dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=0.1),
        param_scheduler=[dict(POLY, eta_min=0.002, end=9)],
        train_dataloader=loader,
        randomness=dict(seed=5),
    )
    assert (
        f'{stopped} overrides the config: seed 0 (config: 5), weight_decay 0 (config: 0.1), lr 0.02 (config: 0.05), '
        'PolyLR.eta_min 0.001 (config: 0.002), PolyLR.end 8 (config: 9). To use the config, start from its weights '
        'with --cfg-options load_from=PATH, without --resume. The batch is that of the config: 3 images, before 2\n'
    ) in said
    assert said.count('(config:') == 5


def test_a_rate_that_is_scaled_or_without_a_schedule_is_listed_too(tmp_path):
    toy.runner(tmp_path / 'a', max_iters=2, param_scheduler=None).train()
    path = f'{tmp_path}/a/iter_2.pth'
    scaled = resume(
        tmp_path / 'b', path, param_scheduler=None, auto_scale_lr=dict(enable=True, base_batch_size=1)
    )  # of a batch of 2
    assert 'overrides the config: lr 0.02 (config: 0.04). To use' in scaled


def test_groups_of_parameters_with_the_same_difference_are_listed_once(tmp_path):
    groups = dict(paramwise_cfg=dict(bias_decay_mult=0))
    wrapper = dict(type='OptimWrapper', optimizer=dict(SGD, weight_decay=0.1), **groups)
    toy.runner(tmp_path / 'a', max_iters=2, param_scheduler=[POLY], optim_wrapper=wrapper).train()
    said = resume(tmp_path / 'b', f'{tmp_path}/a/iter_2.pth', dict(SGD, lr=0.1, weight_decay=0.1), wrapper=groups)
    assert 'overrides the config: lr 0.02 (config: 0.1). To use' in said


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            dict(optimizer=dict(type='AdamW', lr=1e-4)),
            'the config has AdamW, but the checkpoint is of another optimizer, without betas, eps. Set the optimizer',
        ),
        (
            dict(wrapper=dict(paramwise_cfg=dict(bias_decay_mult=0)), optimizer=dict(SGD, weight_decay=0.1)),
            'its optimizer has groups of [6] parameters, but with this config they are [1, 1, 1, 1, 1, 1]. Set',
        ),
        (
            dict(param_scheduler=[dict(type='CosineAnnealingLR', T_max=8, by_epoch=False)]),
            'param_scheduler 0 is CosineAnnealingLR, but the checkpoint is of another schedule, with power, '
            'total_iters and without T_max. Set the param_scheduler',
        ),
        (
            dict(param_scheduler=[dict(type='LinearLR', begin=0, end=2, by_epoch=False), POLY]),
            'it has the state of 1 schedules, but the config has 2. Set the param_scheduler',
        ),
        (dict(param_scheduler=None), 'it has the state of 1 schedules, but the config has 0. Set the param_scheduler'),
        (dict(max_iters=1), 'it is of iteration 2, expected at most 1, which is train_cfg.max_iters'),
    ],
)
def test_a_checkpoint_of_another_recipe_is_refused(changes, message, stopped, tmp_path):
    with pytest.raises(ValueError, match=re.escape(f'cannot resume from {stopped}: {message}')):
        resume(tmp_path, stopped, **changes)


def test_adamw_is_not_resumed_as_sgd(tmp_path):
    adamw = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-4))
    toy.runner(tmp_path / 'a', max_iters=2, param_scheduler=[POLY], optim_wrapper=adamw).train()
    with pytest.raises(
        ValueError, match='the config has SGD, but .* of another optimizer, without momentum, dampening'
    ):
        resume(tmp_path / 'b', f'{tmp_path}/a/iter_2.pth')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(meta=None), 'damaged.*: meta is a NoneType, expected a dict'),
        (dict(optimizer=[]), 'damaged.*: optimizer is a list, expected a dict'),
        (dict(optimizer={}), 'cannot resume.* its optimizer has no param_groups'),
        (dict(param_schedulers='x'), 'damaged.*: param_schedulers is a str, expected a list or dict'),
        (dict(meta=dict(iter=10**12, epoch=0)), 'cannot resume.* it is of iteration 1000000000000, expected at most 8'),
        (dict(meta=dict(iter=-1, epoch=0)), 'cannot resume.* it is of iteration -1, expected at most 8'),
        (dict(meta=dict(iter='4', epoch=0)), 'damaged.*: meta.iter is a str, expected a int'),
        (dict(meta=dict(iter=2.0, epoch=0)), 'damaged.*: meta.iter is a float, expected a int'),
        (dict(meta=dict(epoch=0)), 'cannot resume.* it is of iteration None, expected at most 8'),
        (dict(meta=dict(iter=2)), 'cannot resume.* its epoch is None, expected a whole number'),
        (dict(meta=dict(iter=2, epoch=0, data_stream=[])), 'damaged.*: meta.data_stream is a list, expected a dict'),
        (dict(meta=dict(iter=2, epoch=0, data_stream=dict(seed=-1, position=0))), 'resume.* its data_stream is .*-1'),
        (dict(message_hub=dict(log_scalars=[1])), 'cannot resume.* its message_hub has no log_scalars'),
    ],
)
def test_a_damaged_checkpoint_is_refused(change, message, stopped, tmp_path):
    torch.save(dict(torch.load(stopped), **change), tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=message) as error:
        resume(tmp_path / 'run', f'{tmp_path}/x.pth')
    assert f'{tmp_path}/x.pth' in str(error.value)


def test_a_finished_run_is_not_an_error(tmp_path):
    toy.runner(tmp_path).train()
    toy.runner(tmp_path, resume=True, load_from=f'{tmp_path}/iter_8.pth').train()


class Distilled(toy.Net):
    """A network whose losses are logged like those of a distiller with the losses `names`."""

    def __init__(self, *names: str, stopped: bool = False) -> None:
        super().__init__()
        losses = torch.nn.ModuleDict({name.split('.')[0]: torch.nn.Identity() for name in names})
        self.distiller = SimpleNamespace(distill_losses=losses)
        terms = ['loss_stopped'] if stopped else [name.replace('.', '_') for name in names]
        self.logged = [f'distill.{term}' for term in terms]

    def forward(self, inputs, mode: str = 'tensor'):
        outputs = super().forward(inputs, mode)
        return {**outputs, **dict.fromkeys(self.logged, 0 * outputs['loss_near'])} if mode == 'loss' else outputs


BPKD = ('loss_bpkd.edge', 'loss_bpkd.body')


@pytest.mark.parametrize(
    ('before', 'now', 'message'),
    [
        (BPKD, ('loss_cwd',), 'it was trained with loss_bpkd_edge, loss_bpkd_body, but the config has loss_cwd. Give'),
        (
            BPKD,
            (*BPKD, 'loss_cwd'),
            'it was trained with loss_bpkd_edge, loss_bpkd_body, but the config has loss_bpkd, ',
        ),
        ((*BPKD, 'loss_cwd'), BPKD, 'it was trained with loss_bpkd_edge, loss_bpkd_body, loss_cwd, but the config has'),
        (BPKD, (), 'it was trained with loss_bpkd_edge, loss_bpkd_body, but the config has no distillation. Give'),
        ((), BPKD, 'it was trained with no distillation, but the config has loss_bpkd. Give the config or --method of'),
        (BPKD, BPKD, None),
        ((), (), None),
    ],
)
def test_a_checkpoint_of_another_method_is_refused(before, now, message, tmp_path):
    toy.runner(tmp_path, max_iters=2, model=Distilled(*before), param_scheduler=[POLY]).train()
    arguments = dict(model=Distilled(*now), resume=True, load_from=f'{tmp_path}/iter_2.pth', param_scheduler=[POLY])
    if not message:
        toy.runner(tmp_path, **arguments).train()
        return
    with pytest.raises(ValueError, match=re.escape(f'cannot resume from {tmp_path}/iter_2.pth: {message}')):
        toy.runner(tmp_path, **arguments).train()


def test_a_run_whose_distillation_has_stopped_resumes(tmp_path):
    toy.runner(tmp_path, max_iters=2, model=Distilled('loss_cwd', stopped=True), param_scheduler=[POLY]).train()
    path = f'{tmp_path}/iter_2.pth'
    toy.runner(tmp_path, model=Distilled('loss_cwd'), resume=True, load_from=path, param_scheduler=[POLY]).train()
