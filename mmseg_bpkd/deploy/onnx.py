"""Export of segmentors to ONNX.

An ONNX file holds the network from the normalized image to the logits at the size of the image, which is what
MMSegmentation calls `encode_decode`. Sliding windows, resizing and metrics therefore work on it unchanged.
"""

import json
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmseg.models.utils import Upsample
from torch import Tensor, nn

from mmseg_bpkd.evaluation.onnx import OnnxNetwork, preprocessing, require
from mmseg_bpkd.fileio.checkpoint import read_checkpoint
from mmseg_bpkd.fileio.writing import check_writable, replacing
from mmseg_bpkd.models.segmentors import input_channels

from .student import check_not_read, dataset_meta, load_segmentor

OPSET, LOWEST_OPSET = 20, 17
AXES = {0: 'batch', 2: 'height', 3: 'width'}  # of the image and of the logits, in a file for any size


def export_onnx(
    cfg: Config,
    checkpoint: str,
    out: str,
    size: tuple[int, int] | None = None,
    tolerance: float = 1e-4,
    opset: int = OPSET,
) -> float:
    """Writes the student of a checkpoint as an ONNX file, in inference mode, and compares it with PyTorch.

    The input 'image' is (N, channels, H, W), float32, normalized. The output 'logits' is (N, C, H, W). The metadata
    hold JSON: `mean` and `std` in the order of the channels of the input, `bgr_to_rgb` (true: that order is RGB, false:
    as OpenCV reads them), `classes` and `palette`.

    Args:
        cfg: the config of the distillation, or of a plain run.
        checkpoint: path or URL of a checkpoint of that run.
        out: path of the file to write, NAME.onnx.
        size: height and width of the images, for a file with a batch size of 1. None: any size and any batch size.
        tolerance: largest difference of the logits, as a fraction of the largest logit.
        opset: version of the operators of the file, at least 17.

    Returns:
        The largest difference found, as a fraction of the largest logit.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ImportError: if a package for ONNX is not installed.
        OSError: if the file cannot be written.
        ValueError: if `out` does not end with '.onnx', or is a file that the export reads, if the checkpoint does not
            fit, if the network cannot be exported, or if the logits differ by more than `tolerance`; then nothing is
            written.
    """
    check_not_read([out], cfg, checkpoint)
    loaded = read_checkpoint(checkpoint)
    metadata = _metadata(cfg, loaded, checkpoint)
    return write_onnx(load_segmentor(cfg, loaded, checkpoint), out, size, tolerance, metadata, opset)


def write_onnx(
    segmentor: BaseModel,
    out: str,
    size: tuple[int, int] | None,
    tolerance: float = 1e-4,
    metadata: dict = {},
    opset: int = OPSET,
) -> float:
    """Does what `export_onnx` does, for a segmentor that is already built. Returns and raises the same.

    Args:
        segmentor: in eval mode, on the CPU. Some of its layers are replaced.
        out, size, tolerance, opset: as in `export_onnx`.
        metadata: {key: text}.
    """
    if not out.endswith('.onnx'):
        raise ValueError(f'the exported file must be named *.onnx, got {out}')
    if opset < LOWEST_OPSET:
        raise ValueError(f'the opset must be at least {LOWEST_OPSET}, got {opset}')
    require('onnx', 'onnxruntime', 'onnxscript')
    check_writable(out)
    # Large enough that no map of a network has one row or column: PyTorch would take that number for a constant.
    channels = input_channels(segmentor)
    shapes = [(1, channels, *size)] if size else [(2, channels, 128, 192), (1, channels, 256, 128)]
    images = [torch.randn(shape) for shape in shapes]
    network = Network(segmentor).eval()
    with torch.no_grad():
        expected = [network(image) for image in images]
    make_exportable(network)
    program = _export(network, images[0], opset, dynamic=size is None)
    for node in program.model.graph:
        node.metadata_props.clear()  # stack traces with the paths of this machine
    program.model.metadata_props.update(metadata)
    with replacing(out) as part:
        program.save(part)
        difference = _largest_difference(part, images, expected)
        if not difference <= tolerance:
            raise ValueError(
                f'the logits of the ONNX file differ from those of PyTorch by {difference:.1e} of the largest logit; '
                f'at most {tolerance:.1e} is allowed. Nothing was written'
            )
    return difference


class Network(nn.Module):
    """A segmentor from the normalized image, (N, channels, H, W), to the logits at its size, (N, C, H, W)."""

    def __init__(self, segmentor: BaseModel) -> None:
        super().__init__()
        self.segmentor = segmentor

    def forward(self, image: Tensor) -> Tensor:
        return self.segmentor.encode_decode(image, [dict(img_shape=image.shape[2:])])


class AdaptiveAveragePool(nn.Module):
    """`nn.AdaptiveAvgPool2d` as two matrix products, which ONNX can express for maps of any size.

    Args:
        output_size: rows and columns of the result.
    """

    def __init__(self, output_size: tuple[int, int]) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (_averages(n, out, x) for n, out in zip(x.shape[2:], self.output_size))
        return rows @ x @ columns.t()


def _averages(n: int, out: int, like: Tensor) -> Tensor:
    """Returns the (out, n) matrix whose row i averages the cells from floor(i * n / out) to ceil((i + 1) * n / out)."""
    i = torch.arange(out, device=like.device).unsqueeze(1)
    cell = torch.arange(n, device=like.device)
    inside = ((cell >= i * n // out) & (cell < ((i + 1) * n + out - 1) // out)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


def make_exportable(model: nn.Module) -> None:
    """Replaces layers that cannot be exported for any size by layers that compute the same, in place."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                size = child.output_size if isinstance(child.output_size, tuple) else (child.output_size,) * 2
                height, width = size
                if height is not None and width is not None:
                    setattr(module, name, AdaptiveAveragePool((height, width)))
            elif isinstance(child, Upsample) and child.scale_factor:  # MMSegmentation's would be exported for one size
                layer = nn.Upsample(None, child.scale_factor, child.mode, child.align_corners)
                setattr(module, name, layer)


def _largest_difference(path: str, images: list[Tensor], expected: list[Tensor]) -> float:
    try:
        run = OnnxNetwork(path)
        return max(float((run(x) - y).abs().max() / y.abs().max()) for x, y in zip(images, expected))
    except Exception as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise ValueError(
            f'ONNX Runtime cannot run this network ({reason}). If it was exported for any size, give a fixed one with '
            '--size HEIGHT WIDTH'
        ) from error


def _export(network: nn.Module, image: Tensor, opset: int, dynamic: bool):
    try:
        program: Any = torch.onnx.export(
            network,
            (image,),
            input_names=['image'],
            output_names=['logits'],
            dynamic_shapes={'image': AXES} if dynamic else None,
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        advice = '. A fixed size may work: --size HEIGHT WIDTH' if dynamic else ''
        raise ValueError(f'PyTorch {torch.__version__} cannot export this network ({reason}){advice}') from error
    found = program.model.opset_imports['']
    if found != opset:  # PyTorch only warns
        raise ValueError(f'PyTorch {torch.__version__} exports this network with opset {found}, not {opset}')
    return program


def _metadata(cfg: Config, loaded: dict, checkpoint: str) -> dict:
    metadata = {**dataset_meta(cfg, loaded, checkpoint), **preprocessing(cfg)}
    return {key: json.dumps(value) for key, value in metadata.items()}
