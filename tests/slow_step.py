"""A hook that slows down steps, and optionally checkpoint writing, for tests that interrupt a run at that point."""

import os
import time

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class SlowStepHook(Hook):
    def __init__(self, slow_writing: bool = False) -> None:
        if slow_writing and os.environ.get('SLOW_STEPS'):
            fsync = os.fsync

            def slow_fsync(descriptor):
                time.sleep(0.5)
                fsync(descriptor)

            os.fsync = slow_fsync

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        if os.environ.get('SLOW_STEPS'):
            time.sleep(0.2)
