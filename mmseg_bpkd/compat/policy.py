"""Files that are refused, and errors that say what to do. SECURITY.md describes them.

MMSEG_BPKD_TRUST_FILES=1 in the environment switches all of it off.
"""

import functools
import os.path as osp
import pickle
import zipfile
from collections.abc import Callable
from http.client import HTTPException
from types import ModuleType
from urllib.parse import urlparse

from .table import Fix


def falls_back_to_unsafe_loading(checkpoint: ModuleType) -> bool:
    return hasattr(checkpoint, '_safe_torch_load') and checkpoint._safe_torch_load.__module__ != __name__


def keep_loading_safe(checkpoint: ModuleType) -> None:
    def _safe_torch_load(file, map_location=None, weights_only=None):
        import torch

        return torch.load(file, map_location=map_location, weights_only=True)

    checkpoint._safe_torch_load = _safe_torch_load


def downloads_unsafely(checkpoint: ModuleType) -> bool:
    return checkpoint.load_url.__module__ != __name__


def download_safely(checkpoint: ModuleType) -> None:
    checkpoint.load_url = _safe(checkpoint.load_url)


def _safe(load_url: Callable) -> Callable:
    import torch

    def download(url: str, *args, **kwargs):
        cache = osp.join(torch.hub.get_dir(), 'checkpoints', osp.basename(urlparse(url).path))
        try:
            return load_url(url, *args, weights_only=True, **kwargs)
        except (OSError, HTTPException) as error:
            reason = getattr(error, 'reason', error)
            raise FileNotFoundError(
                f'cannot download {url} ({reason}): download it on another machine and copy it to {cache}, or '
                'give the path of a file instead of the URL. If these are the ImageNet weights that a student starts '
                'from, it can also start from random weights: bpkd train --from-scratch'
            ) from error
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise ValueError(
                f'cannot read {cache}, from {url}, as a checkpoint: delete it, so that it is downloaded again, or '
                f'replace it by the right file ({error})'
            ) from error

    return download


def reads_any_file(checkpoint: ModuleType) -> bool:
    return checkpoint.CheckpointLoader._schemes[''].__module__ != __name__


def name_unreadable_files(checkpoint: ModuleType) -> None:
    loader = checkpoint.CheckpointLoader
    loader.register_scheme('', _naming_the_file(loader._schemes['']), force=True)


def _naming_the_file(load_from_local: Callable) -> Callable:
    @functools.wraps(load_from_local)
    def load(filename: str, map_location=None):
        try:
            _check_archive(osp.expanduser(filename))
            return load_from_local(filename, map_location)
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged file can raise anything
            raise ValueError(
                f'cannot read the checkpoint {filename}: it is truncated, or holds objects that torch.load refuses '
                f'with weights_only=True. Copy or download it again, or use another checkpoint ({error})'
            ) from error

    load.__module__ = __name__
    return load


def _check_archive(path: str) -> None:
    """Raises a ValueError for an archive that would need more memory than it has bytes."""
    if not osp.isfile(path):
        return
    size = osp.getsize(path)
    with open(path, 'rb') as file:
        if file.read(4) != b'PK\x03\x04':  # what torch.load reads as an archive
            return
        file.seek(max(size - 42, 0))
        locator = file.read(20)
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError('it is compressed')
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError(f'the entries of this archive overlap: they add up to more than its {size} bytes')
    # PyTorch and zipfile find the table of the entries in different ways, which agree for what torch.save writes.
    other_table = locator[:4] == b'PK\x06\x07' and int.from_bytes(locator[8:16], 'little') != size - 98
    if archive.comment or other_table or min((entry.header_offset for entry in entries), default=0) > 0:
        raise ValueError('it is not laid out as torch.save does')


def runs_configs(runner: ModuleType) -> bool:
    return runner.Runner.load_checkpoint.__module__ != __name__


def ignore_configs(runner: ModuleType) -> None:
    runner.Runner.load_checkpoint = _without_config(runner.Runner.load_checkpoint)


def _without_config(load_checkpoint: Callable) -> Callable:
    @functools.wraps(load_checkpoint)
    def load(*args, **kwargs):
        checkpoint = load_checkpoint(*args, **kwargs)
        checkpoint.get('meta', {}).pop('config', None)
        return checkpoint

    load.__module__ = __name__
    return load


def hides_the_image(loading: ModuleType) -> bool:
    return loading.LoadImageFromFile.transform.__module__ != __name__


def name_the_image(loading: ModuleType) -> None:
    kind = loading.LoadImageFromFile
    kind.transform = _naming_what_it_reads(kind.transform, 'img_path', 'image')


def hides_the_label(loading: ModuleType) -> bool:
    return loading.LoadAnnotations._load_seg_map.__module__ != __name__


def name_the_label(loading: ModuleType) -> None:
    kind = loading.LoadAnnotations
    kind._load_seg_map = _naming_what_it_reads(kind._load_seg_map, 'seg_map_path', 'label')


def _naming_what_it_reads(load: Callable, key: str, what: str) -> Callable:
    @functools.wraps(load)
    def named(self, results: dict):
        try:
            return load(self, results)
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged file can raise anything
            reason = ' '.join(str(error).split()) or type(error).__name__
            raise ValueError(
                f'cannot read the {what} {results.get(key)} ({reason}): bpkd check CONFIG finds all such files'
            ) from error

    named.__module__ = __name__
    return named


FIXES = (
    Fix(
        'safe loading',
        'mmengine.runner.checkpoint',
        'a checkpoint that torch.load refuses is loaded again with weights_only=False, which can run code',
        'onedl-mmengine 0.10.12',
        'OneDL does not fall back',
        falls_back_to_unsafe_loading,
        keep_loading_safe,
    ),
    Fix(
        'safe downloads',
        'mmengine.runner.checkpoint',
        'torch.hub does not load safely by default; errors do not say which file to download and where to put it',
        'mmengine 0.10',
        'MMEngine passes weights_only=True to load_url',
        downloads_unsafely,
        download_safely,
    ),
    Fix(
        'unreadable checkpoints',
        'mmengine.runner.checkpoint',
        'errors do not name the file; compressed files and overlapping entries, which torch.save does not write, can '
        'be much larger in memory than on the disk',
        'mmengine 0.10',
        'never: it is our policy',
        reads_any_file,
        name_unreadable_files,
    ),
    Fix(
        'configs in checkpoints',
        'mmengine.runner.runner',
        'Runner.resume runs the text under meta.config of a checkpoint as Python',
        'mmengine 0.10',
        'Runner.resume no longer does',
        runs_configs,
        ignore_configs,
    ),
    Fix(
        'unreadable images',
        'mmcv.transforms.loading',
        'errors about images that are damaged or too large do not name the file',
        'mmcv 2.1',
        'MMCV names the file',
        hides_the_image,
        name_the_image,
    ),
    Fix(
        'unreadable labels',
        'mmseg.datasets.transforms.loading',
        'errors about labels that are damaged or too large do not name the file',
        'mmsegmentation 1.2',
        'MMSegmentation names the file',
        hides_the_label,
        name_the_label,
    ),
)
