"""Drawing of predictions for datasets with or without image files."""

import os
from collections.abc import Sequence

import mmcv
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmseg.engine.hooks import SegVisualizationHook
from mmseg.structures import SegDataSample

from mmseg_bpkd.datasets.images import to_bgr


@HOOKS.register_module()
class DrawPredictionsHook(SegVisualizationHook):
    """A `SegVisualizationHook` that draws prediction and label over the image from the batch.

    MMSegmentation's hook reads each image file again, so that it cannot draw a dataset without files. The arguments are
    the same. A picture is named after its image, and after its folders as far as another image has the same name.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.drawn: dict[str, str] = {}  # {name of a picture: path of its image}

    after_val_iter = Hook.after_val_iter  # they call _after_iter; those of OneDL's SegVisualizationHook do not
    after_test_iter = Hook.after_test_iter

    def _after_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict, outputs: Sequence[SegDataSample], mode: str = 'val'
    ) -> None:
        if not self.draw or mode == 'train' or not self.every_n_inner_iters(batch_idx, self.interval):
            return
        images = data_batch['inputs']
        if isinstance(images[0], (list, tuple)):  # of test-time augmentation: the images at each scale
            images = images[0]
        for image, output in zip(images, outputs):
            height, width = output.ori_shape
            rgb = to_bgr(image.permute(1, 2, 0).cpu().numpy())[..., ::-1]
            self._visualizer.add_datasample(
                f'{mode}_{self._name(output.img_path)}',
                mmcv.imresize(rgb, (width, height)),
                data_sample=output,
                show=self.show,
                wait_time=self.wait_time,
                step=runner.iter,
            )

    def _name(self, path: str) -> str:
        parts = path.split(os.sep)
        names = ('_'.join(parts[-count:]) for count in range(1, len(parts) + 1))
        return next((name for name in names if self.drawn.setdefault(name, path) == path), parts[-1])
