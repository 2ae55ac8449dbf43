"""How strongly each loss of a distillation pulls at the student: the norms of the gradients."""

from collections.abc import Iterable
from itertools import islice

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch import Tensor

from mmseg_bpkd.fileio.checkpoint import load_strictly, read_checkpoint, segmentor_state
from mmseg_bpkd.models.algorithms import SegDistill
from mmseg_bpkd.models.roles import is_seg_distill

TASK = 'task'


def measure_gradients(cfg: Config, checkpoint: str | None, batches: int, seed: int = 0) -> dict[str, dict]:
    """Measures the gradients of a config's losses on its first training batches.

    Args:
        cfg: the config of a distillation.
        checkpoint: path or URL of the student's weights, of a plain run or of a distillation. None: as training starts.
            Trained layers of losses have their initial weights.
        batches: number of batches.
        seed: of the initial weights, the order of the images and the augmentation.

    Returns:
        See `gradient_norms`.

    Raises:
        FileNotFoundError: if a checkpoint does not exist.
        ValueError: if the config is not that of a distillation, or the checkpoint does not fit the student.
    """
    if not is_seg_distill(cfg.model):
        raise ValueError(f'expected the config of a distillation, with model.type=SegDistill, got {cfg.model.type}')
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    torch.manual_seed(seed)
    model = MODELS.build({**cfg.model, 'early_gradients': False})  # these would be computed again for each loss
    model.init_weights()
    if checkpoint:
        state = segmentor_state(read_checkpoint(checkpoint), model.student, checkpoint)
        load_strictly(model.student, state, checkpoint)
    loader = dict(cfg.train_dataloader, num_workers=0, persistent_workers=False)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    model = revert_sync_batchnorm(model).to(device)
    return gradient_norms(model, islice(Runner.build_dataloader(loader, seed=seed), batches))


def gradient_norms(model: SegDistill, batches: Iterable[dict]) -> dict[str, dict]:
    """The value of each loss, and the norm of its gradient with respect to all weights of the student.

    Args:
        model: the statistics of its batch norm are updated, its weights are not.
        batches: as the dataloader returns them.

    Returns:
        {name of a loss: dict(value=..., norm=...)}, means over the batches. 'task' is the sum of the student's own
        losses.
    """
    model.train()
    weights = [weight for weight in model.student.parameters() if weight.requires_grad]
    totals: dict[str, list[float]] = {}
    count = 0
    for batch in batches:
        losses = model.loss(**model.data_preprocessor(batch, training=True))
        losses = {name: value.mean() for name, value in losses.items() if 'loss' in name}
        losses = {TASK: sum(value for name, value in losses.items() if name.startswith('student.')), **losses}
        for name, value in losses.items():
            total = totals.setdefault(name, [0.0, 0.0])
            total[0] += value.item()
            total[1] += _norm(value, weights)
        count += 1
    return {name: dict(value=value / count, norm=norm / count) for name, (value, norm) in totals.items()}


def _norm(value: Tensor, weights: list[Tensor]) -> float:
    if not value.requires_grad:
        return 0.0
    gradients = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
    return torch.stack([gradient.norm() for gradient in gradients if gradient is not None] or [value * 0]).norm().item()
