"""Test-time augmentation: the mean of the probabilities over several scales of an image and their mirror images."""

import copy
from collections.abc import Sequence

from mmengine.config import Config, ConfigDict

RATIOS = (1.0, 0.5, 0.75, 1.25, 1.5, 1.75)  # MMSegmentation's; the label is taken from the first, which must be 1
FLIPS = [dict(type='RandomFlip', prob=float(flipped), direction='horizontal') for flipped in (False, True)]


def use_tta(cfg: Config) -> None:
    """Changes a config of a plain segmentor so that it is tested as `tools/test.py --tta` of MMSegmentation does.

    `tta_model` and `tta_pipeline` of the config are used if it has them, with the steps of the test pipeline that load.
    The default is MMSegmentation's `SegTTAModel`, with six scales and horizontal flips.

    Args:
        cfg: the config, whose `model` is the segmentor. It is changed in place.
    """
    for dataset in _parts(cfg.test_dataloader.dataset):
        dataset.pipeline = _with_loading_of(cfg.get('tta_pipeline'), dataset.pipeline) or tta_pipeline(dataset.pipeline)
    cfg.model = ConfigDict(cfg.get('tta_model') or dict(type='SegTTAModel'), module=cfg.model)


def tta_pipeline(steps: Sequence[dict], ratios: Sequence[float] = RATIOS) -> list[dict]:
    """Returns a test pipeline with test-time augmentation.

    Args:
        steps: the test pipeline. If it resizes the images, the ratios multiply that size, else the size of the image.
        ratios: the scales; the first must be 1.

    Returns:
        The first step, which loads the image, and a `TestTimeAug` of MMCV.
    """
    end = next((i for i, step in enumerate(steps) if _is_of_label(step) or step['type'].startswith('Pack')), len(steps))
    choices = [[step] for step in steps[1:end]]
    resized = next((i for i, (step,) in enumerate(choices) if step['type'] == 'Resize' and step.get('scale')), None)
    if resized is None:
        choices.append([dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in ratios])
    else:
        (step,) = choices[resized]
        choices[resized] = [dict(step, scale=_scaled(step['scale'], ratio)) for ratio in ratios]
    choices += [FLIPS, *([step] for step in steps[end:])]
    return copy.deepcopy([steps[0], dict(type='TestTimeAug', transforms=choices)])


def _scaled(scale: int | Sequence[int], ratio: float) -> int | tuple[int, ...]:
    return round(scale * ratio) if isinstance(scale, int) else tuple(round(extent * ratio) for extent in scale)


def _is_of_label(step: dict) -> bool:
    return 'Annotations' in step['type']


def _with_loading_of(pipeline: Sequence[dict] | None, steps: Sequence[dict]) -> list[dict] | None:
    """Returns the pipeline with the steps of a test pipeline that load image and label, which may have options."""
    if not pipeline:
        return None
    pipeline = copy.deepcopy(list(pipeline))
    label = next((step for step in steps if _is_of_label(step)), None)
    pipeline[0] = steps[0]
    for augmentation in pipeline[1:]:
        choices = augmentation.get('transforms', [])
        for i, choice in enumerate(choices):
            if label and any(_is_of_label(step) for step in choice):
                choices[i] = [label]
    return pipeline


def _parts(dataset: ConfigDict) -> list[ConfigDict]:
    """Returns the data sets with a pipeline: of several that are joined, each."""
    inner = dataset.get('datasets') or ([dataset.dataset] if 'dataset' in dataset else [])
    return [part for each in inner for part in _parts(each)] or [dataset]
