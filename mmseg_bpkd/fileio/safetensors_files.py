"""Weights in safetensors files. The package safetensors is an extra."""

import json
import os.path as osp
from types import ModuleType

import torch
from mmengine.runner import CheckpointLoader
from torch import Tensor

SUFFIX = '.safetensors'


@CheckpointLoader.register_scheme(r'.*\.safetensors$')
def load_from_safetensors(filename: str, map_location: str = 'cpu') -> dict:
    """Reads a safetensors file onto the CPU, as MMEngine's `CheckpointLoader` calls it.

    Returns:
        `state_dict`, and as `meta` what `save_safetensors` stored, else {}.
    """
    path = osp.expanduser(filename)
    if not osp.isfile(path):
        raise FileNotFoundError(f'{filename} can not be found.')
    safetensors = _require_safetensors()
    try:
        with safetensors.safe_open(path, framework='pt') as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            meta = json.loads((file.metadata() or {}).get('meta', '{}'))
    except (safetensors.SafetensorError, RecursionError, ValueError) as error:
        raise ValueError(f'cannot read {filename} as a safetensors file: {error}') from error
    return dict(state_dict=state, meta=meta)


def save_safetensors(path: str, state: dict[str, Tensor], meta: dict) -> None:
    """Writes weights, and `meta` as JSON in the metadata.

    Raises:
        ImportError: if safetensors is not installed.
    """
    _require_safetensors()
    from safetensors.torch import save_file

    copies = {name: value.clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    save_file(copies, path, dict(format='pt', meta=json.dumps(meta)))  # it refuses tensors that share memory


def _require_safetensors() -> ModuleType:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError(
            f"{error}: safetensors files need safetensors; pip install 'mmseg-bpkd[safetensors]'"
        ) from error
    return safetensors
