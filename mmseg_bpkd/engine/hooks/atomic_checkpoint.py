"""Atomic checkpoints: a file with the name of a checkpoint is always complete, even if the process is killed."""

import os
import os.path as osp
from collections.abc import Iterable
from glob import escape, glob

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.fileio.backends import register_backend
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mmseg_bpkd.fileio.writing import PARTIAL, write_bytes


class AtomicLocalBackend(LocalBackend):
    """Writes local files as `write_bytes` does, which may raise its `WriteError`."""

    def put(self, obj: bytes, filepath: str) -> None:
        write_bytes(filepath, obj)

    def put_text(self, obj: str, filepath: str, encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)


register_backend('atomic', AtomicLocalBackend)


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """A `CheckpointHook` that never loses the last complete checkpoint. It takes the same arguments.

    MMEngine's hook writes in place, and deletes the old checkpoint before it writes the new one. This hook writes each
    checkpoint and `last_checkpoint` under a temporary name, flushes and renames it. Only then does it delete the old
    checkpoint. Temporary files of a killed run are deleted before training.
    """

    def __init__(self, *args, backend_args: dict = dict(backend='atomic'), **kwargs) -> None:
        super().__init__(*args, backend_args=backend_args, **kwargs)

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if is_main_process():
            for leftover in glob(osp.join(escape(self.out_dir), f'*{PARTIAL}')):
                os.remove(leftover)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        expired = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            if len(self.keep_ckpt_ids) == self.max_keep_ckpts:
                expired.append(self._path(self.keep_ckpt_ids.popleft()))
            self.keep_ckpt_ids.append(step)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

        self.last_ckpt = self._path(step)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            self.filename_tmpl.format(step),
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            AtomicLocalBackend().put_text(self.last_ckpt, osp.join(runner.work_dir, 'last_checkpoint'))
            self._remove(expired)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        replaced: list[str] = []
        # MMEngine deletes the old best checkpoint before it writes the new one. Then it rewrites the regular
        # checkpoint, which stores the name of the best one. Defer the deletion until both are written. There is no seam
        # between the two. Only the backend of this hook is changed.
        self.file_backend.remove = replaced.append
        try:
            super()._save_best_checkpoint(runner, metrics)
        finally:
            del self.file_backend.remove
        self._remove(set(replaced) - set(self._best_paths()))  # a repeated validation writes the same file

    def _best_paths(self) -> list:
        return [getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()]

    def _path(self, step: int) -> str:
        return self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))

    def _remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
