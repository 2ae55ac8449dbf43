"""Predictions for images, folders and videos: label maps, overlays, and the comparison of two models."""

import os
import os.path as osp
from collections.abc import Iterator, Sequence

import cv2
import mmcv
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.utils import ProgressBar
from PIL import Image
from torch import Tensor

from mmseg_bpkd.datasets.check.probes import probe
from mmseg_bpkd.datasets.images import to_bgr
from mmseg_bpkd.evaluation.onnx import load_onnx
from mmseg_bpkd.fileio.checkpoint import read_checkpoint
from mmseg_bpkd.fileio.writing import write_json, write_png
from mmseg_bpkd.models.segmentors import input_channels
from mmseg_bpkd.ops.boundary import boundary_band

from .student import dataset_meta, load_segmentor, test_dataset

IMAGES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')
AT_BOUNDARY, ELSEWHERE = (0, 94, 213), (178, 114, 0)  # BGR; orange and blue, which color-blind people tell apart
OPACITY = 0.5  # of the colors of classes over the image
FOLDERS = ('labels', 'overlays', 'compared')
RECORD = 'predictions.json'  # in a folder of predictions: the models, and the images
COMPLETE = 0.9  # of the frames of a video; with fewer, it breaks off


# Not MMSegInferencer: it would build the teacher of a distillation, numbers the files that it writes, and reads neither
# videos nor ONNX files.
class Predictor:
    """Predicts the classes of the pixels of images, as testing does, without a teacher.

    Args:
        cfg: the config of a distillation, whose student predicts, or of a plain segmentor.
        checkpoint: path or URL of a checkpoint of that run or of an exported student, or path of an ONNX file.
        device: where to run, such as 'cpu' or 'cuda:1'; default: the GPU, if there is one.

    Raises:
        FileNotFoundError: if there is no such checkpoint.
        ImportError: if the checkpoint is an ONNX file, and ONNX Runtime is not installed.
        ValueError: if the checkpoint does not fit the config, if nothing names the classes, or if PyTorch cannot use
            the device.
    """

    def __init__(self, cfg: Config, checkpoint: str, device: str | None = None) -> None:
        onnx = load_onnx(cfg, checkpoint, device) if checkpoint.endswith('.onnx') else None
        loaded = dict(meta=dict(dataset_meta=onnx.dataset_meta)) if onnx else read_checkpoint(checkpoint)
        self.meta = dataset_meta(cfg, loaded, checkpoint)
        self.model = load_segmentor(cfg, None if onnx else loaded, checkpoint)
        try:
            self.model.to(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        except (AssertionError, RuntimeError) as error:
            raise ValueError(f'PyTorch cannot use the device {device!r}: {str(error).splitlines()[0]}') from error
        if onnx:
            self.model.encode_decode = onnx
        pipeline = test_dataset(cfg).pipeline
        loader: dict = next((step for step in pipeline if step['type'] == 'LoadImageFromFile'), {})
        load = dict(type='LoadImageFromNDArray', to_float32=loader.get('to_float32', False))
        self.pipeline = Compose([load, *(step for step in pipeline if not loads(step))])
        self.decoding = dict(flag=loader.get('color_type', 'color'), backend=loader.get('imdecode_backend', 'cv2'))
        self.channels = input_channels(self.model)

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Returns the class of each pixel, (H, W) uint8.

        Args:
            image: (H, W, 3) uint8, BGR; for a network of another number of channels, (H, W) or (H, W, channels).

        Raises:
            ValueError: if the image has another number of channels than the network takes.
        """
        found = 1 if image.ndim == 2 else image.shape[2]
        if found != self.channels:
            raise ValueError(
                f'the image has {found} channels, but the network takes {self.channels}: LoadImageFromFile of the test '
                f'pipeline has color_type={self.decoding["flag"]!r}'
            )
        result = self.model.test_step(self._batch(image))[0]
        return result.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8)

    def preprocess(self, image: np.ndarray) -> Tensor:
        """Returns the image as the network gets it, (1, channels, h, w), after the test pipeline and the normalization.

        Args:
            image: as in a call.
        """
        return self.model.data_preprocessor(self._batch(image), False)['inputs']

    def _batch(self, image: np.ndarray) -> dict:
        return pseudo_collate([self.pipeline(dict(img=image))])

    def overlay(self, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Returns the image with the colors of the classes over it, (H, W, 3) uint8, BGR."""
        colors = np.array(self.meta['palette'], np.uint8)[:, ::-1][labels]
        return cv2.addWeighted(to_bgr(image), 1 - OPACITY, colors, OPACITY, 0)


def predict(predictors: dict[str, Predictor], source: str, out: str) -> None:
    """Writes labels/NAME.png and overlays/NAME.png for each image, and compared/NAME.png if there are two models.

    Args:
        predictors: one or two, by the names that a comparison shows.
        source: path of an image, a folder or a video, see `images_of`.
        out: the folder to write to.

    Raises:
        FileNotFoundError, ValueError: as `images_of`, `check_same_classes` and `check_folders`.
        OSError: if a picture cannot be written.
    """
    names, (first, *others) = list(predictors), predictors.values()
    check_same_classes(names, list(predictors.values()))
    total = count_images(source)
    check_folders(out, source)
    write_json(osp.join(out, RECORD), dict(models=names, source=source))
    progress, count = ProgressBar(total or 0), 0
    sums: dict[str, float] = {}
    try:
        for name, image in images_of(source, **first.decoding):
            labels = first(image)
            _write(out, 'labels', name, labels)
            _write(out, 'overlays', name, first.overlay(image, labels))
            for second in others:
                other_labels = second(image)
                differences, fractions = compare(image, labels, other_labels)
                pictures = [
                    ('image', to_bgr(image)),
                    (names[0], first.overlay(image, labels)),
                    (names[1], second.overlay(image, other_labels)),
                    ('different: orange at boundaries, blue elsewhere', differences),
                ]
                _write(out, 'compared', name, side_by_side(pictures))
                sums = {key: sums.get(key, 0) + value for key, value in fractions.items()}
            count += 1
            progress.update()
    finally:  # also when a video breaks off
        print(f'\nwrote the predictions of {count} image{"s" * (count != 1)} to {out}')
        for key, value in sums.items():
            print(f'pixels that differ {key}: {100 * value / count:.2f} %')


def _write(out: str, folder: str, name: str, picture: np.ndarray) -> None:
    write_png(osp.join(out, folder, f'{name}.png'), picture)


def check_folders(out: str, source: str) -> None:
    """Checks that predictions overwrite nothing but earlier predictions.

    Args:
        out: the folder to write to.
        source: the image, folder or video to predict.

    Raises:
        ValueError: if a folder of predictions has other files, such as the ground truth of a data set, or the source.
    """
    read = source if osp.isdir(source) else osp.dirname(osp.abspath(source))
    for folder in (osp.join(out, name) for name in FOLDERS):
        if not osp.isdir(folder):
            continue
        if osp.samefile(folder, read):
            raise ValueError(f'the source is in {folder}, where predictions would be written: choose another --out')
        if os.listdir(folder) and not osp.isfile(osp.join(out, RECORD)):
            raise ValueError(
                f'{folder} has files that are not of an earlier prediction, such as {os.listdir(folder)[0]!r}, since '
                f'{out} has no {RECORD}: choose another folder with --out'
            )


def check_same_classes(names: Sequence[str], predictors: Sequence[Predictor]) -> None:
    """Checks that models can be compared.

    Args:
        names: of the models, for the error message.

    Raises:
        ValueError: if the names of their classes differ, or how they load images.
    """
    first, *others = predictors
    for name, other in zip(names[1:], others):
        classes, expected = other.meta['classes'], first.meta['classes']
        if classes != expected:
            raise ValueError(
                f'{names[0]} and {name} have different classes: {", ".join(expected)}; {", ".join(classes)}'
            )
        if other.decoding != first.decoding:
            raise ValueError(
                f'{names[0]} and {name} load images differently: {first.decoding}; {other.decoding}. They need the '
                'same color_type and imdecode_backend'
            )


def loads(step: dict) -> bool:
    """Whether a step of a pipeline reads the image or the label."""
    return step['type'].startswith(('Load', 'Render'))


def images_of(source: str, flag: str = 'color', backend: str = 'cv2') -> Iterator[tuple[str, np.ndarray]]:
    """Yields (name, image) of an image, of the images of a folder in the order of their names, or of a video.

    Args:
        source: path of an image, a folder or a video. Hidden files of a folder are left out.
        flag, backend: how to decode them, as in `mmcv.imfrombytes`.

    Yields:
        The name without its extension (frames of a video are `frame_000000`, ...), and the image, by default
        (H, W, 3) uint8, BGR.

    Raises:
        FileNotFoundError: if there is nothing at the path, or no image in the folder.
        ValueError: if two images have the same name without extension; after the last image, if some cannot be read;
            after the last frame, if a video breaks off.
    """
    if _is_video(source):
        for name, frame in _frames(source):
            yield name, cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) if flag == 'grayscale' else frame
        return
    files, faults = _image_files(source), []
    for file in files:
        try:
            image = read_image(file, flag, backend)
        except ValueError as error:
            faults.append(str(error))
        else:
            yield osp.splitext(osp.basename(file))[0], image
    if faults:
        count = f'{len(faults)} of {len(files)} images are left out: ' if len(files) > 1 else ''
        raise ValueError(count + '; '.join(faults))


def read_image(file: str, flag: str = 'color', backend: str = 'cv2') -> np.ndarray:
    """Reads an image, as `LoadImageFromFile` does. Its name need not be UTF-8, with which OpenCV's own reader crashes.

    Args:
        flag, backend: as in `images_of`.

    Raises:
        ValueError: if it cannot be read, is truncated, or is too large for OpenCV.
    """
    try:
        with open(file, 'rb') as stream:
            image = mmcv.imfrombytes(stream.read(), flag=flag, backend=backend)
        if image is not None and not probe(file).complete:
            with Image.open(file) as whole:  # OpenCV fills the rest of a truncated JPEG silently; PIL raises an error
                whole.load()
    except Exception as error:  # a damaged file can raise anything
        reason = getattr(error, 'err', None) or getattr(error, 'strerror', None) or error
        raise ValueError(f'{file} cannot be read as an image ({reason})') from error
    if image is None:
        raise ValueError(f'{file} cannot be read as an image')
    return image


def count_images(source: str) -> int | None:
    """Returns how many images `images_of` yields; None for a video that does not say."""
    if _is_video(source):
        frames = int(cv2.VideoCapture(source).get(cv2.CAP_PROP_FRAME_COUNT))
        return frames if frames > 0 else None
    return len(_image_files(source))


def _is_video(source: str) -> bool:
    if not osp.isfile(source) or source.lower().endswith(IMAGES):
        return False
    if any('\ud800' <= letter <= '\udfff' for letter in source):  # bytes that are not UTF-8
        raise ValueError(f'OpenCV cannot open {source!r}, whose name is not UTF-8: rename it')
    return not cv2.haveImageReader(source)


def _image_files(source: str) -> list:
    if osp.isdir(source):
        names = [name for name in sorted(os.listdir(source)) if name.lower().endswith(IMAGES) and name[0] != '.']
        if not names:
            raise FileNotFoundError(f'no image in {source}: expected files with the endings {", ".join(IMAGES)}')
        with_stem: dict[str, str] = {}
        for name in names:
            other = with_stem.setdefault(osp.splitext(name)[0], name)
            if other != name:
                raise ValueError(
                    f'the predictions of {other} and {name} in {source} would have the same name: rename one of them'
                )
        return [osp.join(source, name) for name in names]
    if not osp.isfile(source):
        raise FileNotFoundError(f'no image, folder or video at {source}')
    return [source]


def _frames(video: str) -> Iterator[tuple[str, np.ndarray]]:
    capture = cv2.VideoCapture(video)
    found, frame = capture.read()
    if not found:
        raise ValueError(f'{video} cannot be read as an image or a video')
    expected, index = capture.get(cv2.CAP_PROP_FRAME_COUNT), 0  # not positive if the file does not say
    while found:
        yield f'frame_{index:06d}', frame
        seconds = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        found, frame = capture.read()
        index += 1
    # OpenCV computes the number of frames from the duration and a rate, if it is not in the file. Either the number or
    # the time tells that the end was reached, also if the rate varies.
    if max(index, seconds * capture.get(cv2.CAP_PROP_FPS)) < COMPLETE * expected:
        raise ValueError(f'{video} breaks off after {index} of about {expected:.0f} frames')


def compare(
    image: np.ndarray, first: np.ndarray, second: np.ndarray, half_width: int = 3
) -> tuple[np.ndarray, dict[str, float]]:
    """Marks where two predictions differ: near a boundary of either prediction, and elsewhere.

    Args:
        image: see `to_bgr`.
        first, second: the classes that the models predict, (H, W) uint8.
        half_width: how far from a boundary a pixel may be, in pixels.

    Returns:
        The gray image with the pixels that differ, orange near boundaries and blue elsewhere, (H, W, 3) uint8, BGR;
        and the fractions of the pixels of the image that differ: {'at boundaries': ..., 'elsewhere': ...}.
    """
    both = torch.from_numpy(np.stack([first, second])).long()
    near = boundary_band(both, half_width).any(0).numpy()
    differs = first != second
    return mark(image, differs, near), {
        'at boundaries': float((differs & near).mean()),
        'elsewhere': float((differs & ~near).mean()),
    }


def mark(image: np.ndarray, differs: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Returns the gray image with some pixels marked, orange near boundaries and blue elsewhere, (H, W, 3) uint8, BGR.

    Args:
        image: see `to_bgr`.
        differs: the pixels to mark, (H, W) bool.
        near: the pixels near boundaries, (H, W) bool.
    """
    picture = cv2.cvtColor(cv2.cvtColor(to_bgr(image), cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    picture[differs & near] = AT_BOUNDARY
    picture[differs & ~near] = ELSEWHERE
    return picture


def distinct_ends(first: str, second: str) -> tuple[str, str]:
    """Returns the shortest ends of two paths that differ: 'kd/x.pth' and 'at/x.pth' for 'runs/kd/x.pth' and
    'runs/at/x.pth'. Returns the names of the files if the paths are the same.
    """
    a, b = (osp.abspath(path).split(osp.sep) for path in (first, second))
    count = next((n for n in range(1, len(a) + 1) if a[-n:] != b[-n:]), 1)
    return osp.sep.join(a[-count:]), osp.sep.join(b[-count:])


def side_by_side(pictures: Sequence[tuple[str, np.ndarray]]) -> np.ndarray:
    """Returns pictures of one size in a row, each under its title.

    Args:
        pictures: (title, picture of shape (H, W, 3), uint8, BGR).
    """
    columns = []
    for title, picture in pictures:
        bar = np.full((24, picture.shape[1], 3), 255, np.uint8)
        title = title.encode('ascii', 'replace').decode()  # all that OpenCV can draw
        cv2.putText(bar, title, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        columns.append(np.concatenate([bar, picture]))
    return np.concatenate(columns, axis=1)
