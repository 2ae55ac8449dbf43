"""Parameters, operations and frames per second of segmentors."""

import copy
import os
import statistics
import time
from collections.abc import Callable, Iterator
from tempfile import TemporaryDirectory

import torch
from mmengine.analysis import FlopAnalyzer, parameter_count
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmseg_bpkd.deploy.onnx import write_onnx
from mmseg_bpkd.evaluation.onnx import OnnxNetwork
from mmseg_bpkd.models.roles import is_seg_distill, student_config
from mmseg_bpkd.models.segmentors import forward_heads, input_channels, resolve_teacher


def segmentors(cfg: Config) -> Iterator[tuple[str, ConfigDict]]:
    """Yields (role, model config): 'teacher' and 'student' of a distillation, 'network' of any other config."""
    model = cfg.model
    if is_seg_distill(model):
        yield 'teacher', resolve_teacher(model.teacher, model.get('num_classes'), model.data_preprocessor)
        yield 'student', student_config(model)
    else:
        yield 'network', student_config(model)


def measure(model: BaseModel, size: tuple[int, int], runs: int, onnx: bool = False) -> dict:
    """Measures a segmentor up to its logits, with batch size 1.

    Args:
        model: in eval mode, on the CPU. It is moved to the GPU, if there is one, to be timed.
        size: height and width of the image.
        runs: number of timed forward passes; 0 leaves the speed out.
        onnx: whether to measure the speed in ONNX Runtime, too.

    Returns:
        `parameters`, `parameters_deployed` (without the auxiliary head), `size`, `operations` (see `operations`), and
        `frames_per_second` and `device` if `runs` is not 0; `onnx_frames_per_second` and `onnx_device`, which may be
        another device, if `onnx`.
    """
    image = torch.randn(1, input_channels(model), *size)
    training_only = parameter_count(model.auxiliary_head)[''] if model.with_auxiliary_head else 0
    total = parameter_count(model)['']
    result = dict(
        parameters=total,
        parameters_deployed=total - training_only,
        size=list(size),
        operations=operations(Logits(model), image),
    )
    if runs and onnx:
        with TemporaryDirectory() as folder:
            path = os.path.join(folder, 'network.onnx')
            write_onnx(copy.deepcopy(model), path, size)
            network = OnnxNetwork(path)
            result.update(onnx_frames_per_second=frames_per_second(network, image, runs), onnx_device=network.provider)
    if runs:
        device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        result.update(
            frames_per_second=frames_per_second(Logits(model.to(device)), image.to(device), runs),
            device=torch.cuda.get_device_name() if device.type == 'cuda' else f'CPU, {torch.get_num_threads()} threads',
        )
    return result


class Logits(nn.Module):
    """A segmentor up to its logits, without its auxiliary heads."""

    def __init__(self, model: BaseModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor | tuple:
        return forward_heads(self.model, image, auxiliary=False)[0]


def operations(model: nn.Module, image: Tensor) -> int:
    """Counts the operations of a forward pass as MMEngine does, plus those of `scaled_dot_product_attention`.

    A multiply-add is one operation. Activations and the sampling of deformable attention are not counted.

    Args:
        image: (N, channels, H, W).
    """
    counter = FlopAnalyzer(model, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    counter.set_op_handle('aten::scaled_dot_product_attention', _attention)
    return int(counter.total())


def _attention(inputs: list, outputs: list) -> int:
    """Multiply-adds of the two products of attention: of queries with keys, and of weights with values."""
    (query, key, value) = (x.type().sizes() for x in inputs[:3])
    batch_heads, length = torch.Size(query[:-2]).numel(), query[-2]
    return batch_heads * length * key[-2] * (query[-1] + value[-1])


@torch.no_grad()
def frames_per_second(model: Callable[[Tensor], Tensor], image: Tensor, runs: int) -> float:
    """Returns 1 / the median time of `runs` calls, after two calls that warm up."""
    times = []
    for _ in range(runs + 2):
        _synchronize(image)
        start = time.perf_counter()
        model(image)
        _synchronize(image)
        times.append(time.perf_counter() - start)
    return 1 / statistics.median(times[2:])


def _synchronize(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize()
