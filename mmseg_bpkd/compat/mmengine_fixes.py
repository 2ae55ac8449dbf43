"""Faults of MMEngine."""

import functools
import os.path as osp
from types import ModuleType

from .requirements import ONEDL, has_distribution
from .table import Fix

PACKAGE = __name__.split('.')[0]


def looks_for_openmmlab(utils: ModuleType) -> bool:
    return has_distribution(ONEDL['mmseg']) and utils.MODULE2PACKAGE['mmseg'] != ONEDL['mmseg']


def look_for_onedl(utils: ModuleType) -> None:
    utils.MODULE2PACKAGE['mmseg'] = ONEDL['mmseg']


def is_unknown(_: ModuleType) -> bool:
    from mmengine.config.utils import MODULE2PACKAGE

    return PACKAGE not in MODULE2PACKAGE


def register_configs(config: ModuleType) -> None:
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE[PACKAGE] = PACKAGE  # for mmengine.hub
    original = config.Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str):
        from mmseg_bpkd.fileio.package_files import find_config, similar_config

        ours = cfg_path.startswith(f'{PACKAGE}::')
        try:
            path, scope = (find_config(cfg_path), None) if ours else original(cfg_path, filename)
        except (AssertionError, FileNotFoundError, ModuleNotFoundError):  # of another package
            path = find_config(cfg_path)
        if '::' in cfg_path and not osp.isfile(path):
            nearest = similar_config(cfg_path)
            raise FileNotFoundError(f'{filename}: _base_ names {cfg_path}, but there is no config {path}{nearest}')
        return path, scope

    config.Config._get_cfg_path = staticmethod(get_cfg_path)


def deletes_stored_paths(checkpoint_hook: ModuleType) -> bool:
    return checkpoint_hook.CheckpointHook.before_train.__module__ != __name__


def delete_own_files_only(checkpoint_hook: ModuleType) -> None:
    hook_class = checkpoint_hook.CheckpointHook
    original = hook_class.before_train

    @functools.wraps(original)
    def before_train(hook, runner) -> None:
        folder = runner.work_dir
        if hook.out_dir not in (None, folder):
            folder = osp.join(hook.out_dir, osp.basename(folder.rstrip(osp.sep)))
        load_from = getattr(runner, '_load_from', None)
        _forget_other_files(runner.message_hub.runtime_info, folder, load_from is None or _is_in(folder, load_from))
        original(hook, runner)

    before_train.__module__ = __name__
    hook_class.before_train = before_train


def _forget_other_files(info: dict, folder: str, continued: bool) -> None:
    """Leaves only paths of files that a `CheckpointHook` wrote into a folder.

    Args:
        info: what was resumed; changed in place.
        folder: where the hook writes to.
        continued: whether the checkpoint was in the folder. Then its paths mean files there, even if it was moved.
    """
    if 'keep_ckpt_ids' in info:
        kept = info['keep_ckpt_ids']
        info['keep_ckpt_ids'] = [step for step in kept if type(step) is int] if continued and type(kept) is list else []
    for key, stored in info.items():
        if key == 'best_ckpt' or key.startswith('best_ckpt_'):
            info[key] = None
            if isinstance(stored, str) and (continued or _is_in(folder, stored)):
                path = osp.join(folder, osp.basename(stored))
                if osp.basename(path).startswith('best_') and not osp.isdir(path):  # MMEngine deletes folders, too
                    info[key] = path


def _is_in(folder: str, path: str) -> bool:
    return osp.realpath(osp.dirname(path)) == osp.realpath(folder)


def loads_what_does_not_fit(runner: ModuleType) -> bool:
    return runner.Runner.load_checkpoint.__module__ == runner.__name__


def load_what_fits(runner: ModuleType) -> None:
    def load_checkpoint(self, filename, map_location='cpu', strict=False, revise_keys=[(r'^module.', '')]) -> dict:
        """As MMEngine's, but by the functions that load all checkpoints of this package."""
        from mmseg_bpkd.fileio.checkpoint import fitting_state, read_checkpoint

        resume = getattr(self, '_resume', False)
        checkpoint = read_checkpoint(filename, map_location, resume)
        model = self.model.module if runner.is_model_wrapper(self.model) else self.model
        if not resume:
            # Before hooks, such as that of EMA, use it.
            checkpoint['state_dict'] = fitting_state(checkpoint, model, filename)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        runner._load_checkpoint_to_model(model, checkpoint, strict, revise_keys=revise_keys)
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return checkpoint

    runner.Runner.load_checkpoint = load_checkpoint


def does_not_name_the_checkpoint(runner: ModuleType) -> bool:
    return runner.Runner.resume.__module__ == runner.__name__


def name_the_checkpoint(runner: ModuleType) -> None:
    original = runner.Runner.resume

    def resume(self, filename, *args, **kwargs) -> None:
        try:
            original(self, filename, *args, **kwargs)
        except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            if filename in str(error):
                raise
            raise ValueError(
                f'cannot resume from {filename}, which does not fit this run or is damaged '
                f'({type(error).__name__}: {error}). Resume from another checkpoint, or start from its weights with '
                '--cfg-options load_from=PATH'
            ) from error

    functools.update_wrapper(resume, original, assigned=('__doc__', '__name__', '__qualname__'))
    runner.Runner.resume = resume


def ignores_failed_pictures(backend: ModuleType) -> bool:
    return backend.LocalVisBackend.add_image.__module__ != __name__


def write_pictures_or_fail(backend: ModuleType) -> None:
    def add_image(self, name: str, image, step: int = 0, **kwargs) -> None:
        from mmseg_bpkd.fileio.writing import write_png

        write_png(osp.join(self._img_save_dir, f'{name}_{step}.png'), image[..., ::-1])

    backend.LocalVisBackend.add_image = backend.force_init_env(add_image)


FIXES = (
    Fix(
        'configs of OneDL',
        'mmengine.config.utils',
        '"mmseg::path" is looked up in the distribution of OpenMMLab, also if that of OneDL is installed',
        'onedl-mmengine 0.10.12',
        'OneDL looks for its own distribution',
        looks_for_openmmlab,
        look_for_onedl,
    ),
    Fix(
        'configs of this package',
        'mmengine.config.config',
        'the _base_ of a config accepts names of OpenMMLab packages only, looks in the folder of the installed '
        'distribution, which an editable install does not have, and builds what comes from it in a scope of its own',
        'mmengine 0.10',
        'MMEngine finds the configs of any package',
        is_unknown,
        register_configs,
    ),
    Fix(
        'stored paths',
        'mmengine.hooks.checkpoint_hook',
        'a resumed run deletes the file or folder that the checkpoint names as the best or as a kept one, wherever it '
        'is: in the work directory of another run, or any folder, if the checkpoint is from a stranger',
        'mmengine 0.10',
        'MMEngine deletes in its own work directory only',
        deletes_stored_paths,
        delete_own_files_only,
    ),
    Fix(
        'weights that do not fit',
        'mmengine.runner.runner',
        'Runner.load_checkpoint only warns of weights of load_from that do not fit, even if none does, and does not '
        'know the weights of a student without its distillation',
        'mmengine 0.10',
        'load_from raises if nothing fits, and a model can say how to load a checkpoint',
        loads_what_does_not_fit,
        load_what_fits,
    ),
    Fix(
        'checkpoints that cannot be resumed',
        'mmengine.runner.runner',
        'errors of Runner.resume, such as KeyError, do not name the file',
        'mmengine 0.10',
        'Runner.resume checks what it reads',
        does_not_name_the_checkpoint,
        name_the_checkpoint,
    ),
    Fix(
        'pictures on a full disk',
        'mmengine.visualization.vis_backend',
        'add_image leaves a truncated picture, or none, if the disk is full or the folder cannot be written',
        'mmengine 0.10',
        'LocalVisBackend.add_image raises an error',
        ignores_failed_pictures,
        write_pictures_or_fail,
    ),
)
