"""A training of a tiny network that takes a second, with the hooks of a real one."""

import itertools

import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

_numbers = itertools.count()


class Images(Dataset):
    metainfo = dict(classes=('a', 'b'))

    def __init__(self, size: int = 10) -> None:
        self.images = torch.randn(size, 1, 6, 6, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> dict:
        return dict(inputs=self.images[i])


class Net(BaseModel):
    """Batch norm and dropout, and two terms of the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Conv2d(4, 1, 3))

    def forward(self, inputs, mode: str = 'tensor'):
        images = torch.stack(inputs)
        predicted = self.layers(images)
        if mode == 'predict':
            return [dict(value=float(value)) for value in predicted.mean((1, 2, 3))]
        return dict(loss_near=(predicted - images[:, :, 2:-2, 2:-2]).square().mean(), loss_small=predicted.abs().mean())


class Mean(BaseMetric):
    def process(self, data_batch, data_samples) -> None:
        self.results += [sample['value'] for sample in data_samples]

    def compute_metrics(self, results) -> dict:
        return dict(mean=sum(results) / len(results))


def runner(folder, max_iters: int = 8, hooks: tuple = (), **changes) -> Runner:
    """Builds a run that saves every second step and validates every fourth.

    Args:
        hooks: beside those for exact resuming, signals and NaN.
        changes: other arguments of the Runner.
    """
    torch.manual_seed(0)
    settings = dict(
        model=Net(),
        work_dir=str(folder),
        experiment_name=f'toy{next(_numbers)}',  # MMEngine keeps the log of a name
        train_dataloader=dict(dataset=Images(), sampler=dict(type='ResumableSampler'), batch_size=2, num_workers=0),
        val_dataloader=dict(
            dataset=Images(), sampler=dict(type='DefaultSampler', shuffle=False), batch_size=2, num_workers=0
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=4),
        val_cfg=dict(type='ValLoop'),
        val_evaluator=[Mean()],
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9)),
        param_scheduler=[dict(type='PolyLR', eta_min=0.001, begin=0, end=max_iters, by_epoch=False)],
        default_hooks=dict(
            checkpoint=dict(type='AtomicCheckpointHook', by_epoch=False, interval=2, max_keep_ckpts=1),
            logger=dict(type='LoggerHook', interval=1),
        ),
        custom_hooks=[dict(type='ExactResumeHook'), dict(type='StopOnNaNHook'), dict(type='SaveOnSignalHook'), *hooks],
        log_processor=dict(by_epoch=False),
        log_level='WARNING',
        randomness=dict(seed=0),
        default_scope='mmseg',
    )
    settings.update(changes)
    return Runner(**settings)


def checkpoint(folder, iteration: int) -> dict:
    return torch.load(f'{folder}/iter_{iteration}.pth')


def same(a: dict, b: dict) -> bool:
    """Whether two checkpoints have the same weights, buffers and momentum, bit for bit."""
    momenta = [[state['momentum_buffer'] for state in c['optimizer']['state'].values()] for c in (a, b)]
    weights = [list(c['state_dict'].values()) for c in (a, b)]
    return all(torch.equal(x, y) for pair in (momenta, weights) for x, y in zip(*pair, strict=True))
