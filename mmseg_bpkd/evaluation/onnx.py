"""ONNX files in place of a network."""

import importlib
import json
import os

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor

from mmseg_bpkd.models.roles import student_config
from mmseg_bpkd.models.segmentors import head_classes


class OnnxNetwork:
    """Runs an ONNX file of `export_onnx`. Can take the place of a segmentor's `encode_decode`.

    Args:
        path: the file.
        device: 'cpu' runs it on the CPU; default: where ONNX Runtime can, first on a GPU.

    Attributes:
        dataset_meta: `classes` and `palette` of the metadata of the file, if it has them.
        preprocessing: `mean`, `std` and `bgr_to_rgb`, likewise.
        provider: the execution provider that ONNX Runtime tries first, such as 'CPUExecutionProvider'.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if ONNX Runtime is not installed.
        ValueError: if it is no such file, or is damaged.
    """

    def __init__(self, path: str, device: str | None = None) -> None:
        require('onnxruntime')
        import onnxruntime

        if not os.path.isfile(path):
            raise FileNotFoundError(f'no ONNX file {path}')
        self.path = path
        # Azure's provider calls models on a server.
        usable = [name for name in onnxruntime.get_available_providers() if name != 'AzureExecutionProvider']
        try:
            self.session = onnxruntime.InferenceSession(
                path, providers=['CPUExecutionProvider'] if device == 'cpu' else usable
            )
            names = [value.name for value in [*self.session.get_inputs(), *self.session.get_outputs()]]
            if names != ['image', 'logits']:
                raise ValueError(f'its input and output are {names} instead of image and logits')
            texts = self.session.get_modelmeta().custom_metadata_map
            self.dataset_meta, self.preprocessing = (
                {key: json.loads(texts[key]) for key in keys if key in texts}
                for keys in (('classes', 'palette'), ('mean', 'std', 'bgr_to_rgb'))
            )
            _check_metadata(**self.dataset_meta)
        except Exception as error:  # a damaged file can raise anything
            raise ValueError(
                f'{path} is damaged, or no file of bpkd export --format onnx ({_first_line(error)})'
            ) from error
        self.provider = self.session.get_providers()[0]
        self.shape = self.session.get_inputs()[0].shape

    def __call__(self, inputs: Tensor, batch_img_metas: list[dict] | None = None) -> Tensor:
        """Returns the logits, (N, C, H, W), on the device of the images.

        Args:
            inputs: normalized images, (N, channels, H, W), float32.
            batch_img_metas: not used.

        Raises:
            ValueError: if the file was exported for another size, or cannot be run.
        """
        wrong = [n for n, wanted in zip(inputs.shape[1:], self.shape[1:]) if isinstance(wanted, int) and n != wanted]
        if wrong:
            raise ValueError(
                f'{self.path} was exported for inputs of {self.shape}, but got {list(inputs.shape)}: export it without '
                '--size, or resize the images in the test pipeline'
            )
        batches = inputs.split(1) if self.shape[0] == 1 else [inputs]
        try:
            parts = [self.session.run(['logits'], {'image': batch.cpu().numpy()})[0] for batch in batches]
            logits = torch.from_numpy(np.concatenate(parts))
        except Exception as error:
            raise ValueError(f'ONNX Runtime cannot run {self.path} ({_first_line(error)})') from error
        classes = len(self.dataset_meta.get('classes', ())) or logits.shape[1]
        expected = (len(inputs), classes, *inputs.shape[2:])
        if logits.shape != expected or logits.isnan().any():
            found = 'NaN' if logits.shape == expected else f'logits of shape {tuple(logits.shape)}'
            raise ValueError(f'{self.path} is damaged: it returns {found}, expected {expected}')
        return logits.to(inputs.device)


def _check_metadata(classes: list[str] = [], palette: list[list[int]] = []) -> None:
    if len(classes) != len(palette) or any(len(color) != 3 for color in palette):
        raise ValueError(f'{len(classes)} classes have {len(palette)} colors')


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def load_onnx(cfg: Config, path: str, device: str | None = None) -> OnnxNetwork:
    """Returns an ONNX file that is to take the place of the network of a config.

    Args:
        cfg: the config of a distillation, whose student is replaced, or of a plain run.
        path, device: as in `OnnxNetwork`.

    Raises:
        FileNotFoundError, ImportError: as `OnnxNetwork`.
        ValueError: if the metadata of the file have another normalization or number of classes than the config.
    """
    network = OnnxNetwork(path, device)
    expected = json.loads(json.dumps(preprocessing(cfg)))  # tuples become lists, as in the file
    found = dict(network.preprocessing)
    counts = [count for _, count in head_classes(student_config(cfg.model))]
    if counts and network.dataset_meta:
        expected['num_classes'], found['num_classes'] = counts[0], len(network.dataset_meta['classes'])
    wrong = [f'{key} {found[key]} instead of {expected[key]}' for key in found if found[key] != expected[key]]
    if wrong:
        raise ValueError(
            f'{path} does not fit the config, since it was exported with {", ".join(wrong)}: give the config, with '
            'the options, of the export'
        )
    return network


def preprocessing(cfg: Config) -> dict:
    preprocessor = student_config(cfg.model).data_preprocessor
    return dict(mean=preprocessor.mean, std=preprocessor.std, bgr_to_rgb=preprocessor.get('bgr_to_rgb', False))


def require(*packages: str) -> None:
    try:
        for package in packages:
            importlib.import_module(package)
    except ImportError as error:
        raise ImportError(f"{error}: ONNX files need {', '.join(packages)}; pip install 'mmseg-bpkd[onnx]'") from error
