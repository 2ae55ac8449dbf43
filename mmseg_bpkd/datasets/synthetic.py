"""Synthetic street scenes, drawn on demand. The dataset needs no files, has thin objects and exact labels.

A scene depends only on its split and index. It is painted from back to front on a canvas three times as large as the
image. The image is the canvas, downsampled by averaging, so that colors blend at boundaries. The label of a pixel is
the label
of the canvas pixel at its center, so that it stays exact.
"""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS

CLASSES = ('sky', 'ground', 'building', 'tree', 'pole', 'wire', 'sign', 'vehicle', 'person')
PALETTE = [
    [128, 180, 230],
    [128, 64, 128],
    [150, 75, 60],
    [90, 140, 40],
    [190, 190, 120],
    [30, 30, 30],
    [230, 190, 30],
    [0, 0, 142],
    [220, 20, 60],
]
SPLITS = {'train': 0, 'val': 1, 'test': 2}  # part of the seed of each scene, so that splits share no scene
SCALE = 3  # canvas pixels per image pixel, in each direction; odd, so that one of them is the center


@DATASETS.register_module()
class SyntheticScenes(BaseDataset):
    """A dataset of synthetic street scenes with 9 classes and no void. Its pipeline draws them with `RenderScene`.

    Args:
        split: 'train', 'val' or 'test'. Splits share no scene.
        num_scenes: length of the dataset.

    Raises:
        ValueError: if `split` is none of these.
    """

    METAINFO = dict(classes=CLASSES, palette=PALETTE)

    def __init__(self, split: str = 'train', num_scenes: int = 400, **kwargs) -> None:
        if split not in SPLITS:
            raise ValueError(f'split must be one of {list(SPLITS)}, got {split!r}')
        self.split = split
        self.num_scenes = num_scenes
        super().__init__(**kwargs)
        self._metainfo.update(label_map=None, reduce_zero_label=False)

    def load_data_list(self) -> list:
        return [
            dict(img_path=f'{self.split}_{i:05d}.png', split=self.split, scene=i, reduce_zero_label=False)
            for i in range(self.num_scenes)
        ]


@TRANSFORMS.register_module()
class RenderScene(BaseTransform):
    """Draws a scene of `SyntheticScenes`: adds `img`, (H, W, 3) uint8 BGR, and `gt_seg_map`, (H, W) uint8.

    Replaces `LoadImageFromFile` and `LoadAnnotations` in a pipeline. The last 512 scenes are cached.

    Args:
        size: (width, height) in pixels.
    """

    def __init__(self, size: tuple[int, int] = (160, 120)) -> None:
        self.size = tuple(size)

    def transform(self, results: dict) -> dict:
        image, label = _render_cached(results['split'], results['scene'], self.size)
        results.update(img=image.copy(), gt_seg_map=label.copy(), seg_fields=['gt_seg_map'])
        results.update(img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return results


def render_scene(split: str, index: int, size: tuple[int, int] = (160, 120)) -> tuple[np.ndarray, np.ndarray]:
    """Draws one scene. The same arguments give the same scene.

    Args:
        split, index: identify the scene.
        size: (width, height) in pixels.

    Returns:
        Image, (height, width, 3) uint8 BGR, and label, (height, width) uint8.
    """
    scene = Scene(np.random.default_rng([SPLITS[split], index]), size)
    scene.backdrop()
    scene.skyline()
    scene.street()
    return scene.finish()


_render_cached = lru_cache(maxsize=512)(render_scene)  # drawing takes longer than a training step of a small network


class Scene:
    """A canvas with its label, painted from back to front. Lengths are in units of the image height.

    Args:
        rng: source of all randomness of the scene.
        size: (width, height) of the image in pixels.
    """

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng = rng
        self.width, self.height = (SCALE * x for x in size)
        self.aspect = size[0] / size[1]
        self.horizon = rng.uniform(0.35, 0.55)
        self.image = np.zeros((self.height, self.width, 3), np.float32)
        self.label = np.zeros((self.height, self.width), np.uint8)

    def backdrop(self) -> None:
        """Paints the sky with clouds, and the ground."""
        rng, height = self.rng, np.linspace(0, 1, self.height, dtype=np.float32)[:, None, None]
        zenith, haze = rng.uniform((150, 110, 80), (235, 190, 170)), rng.uniform(170, 245, 3)
        self.image[:] = zenith + (haze - zenith) * np.minimum(height / self.horizon, 1)
        self.image += 25 * self._noise(rng.uniform(0.1, 0.4))  # clouds
        self.label[:] = CLASSES.index('sky')
        wave = self.horizon + 0.02 * np.sin(rng.uniform(0, 6) + rng.uniform(2, 9) * np.linspace(0, 1, 40))
        x = np.linspace(0, self.aspect, 40)
        asphalt = rng.uniform(60, 140) + rng.normal(0, 8, 3)
        self._polygon('ground', [*zip(x, wave), (self.aspect, 1.1), (0, 1.1)], asphalt, texture=18, grain=0.02)

    def skyline(self) -> None:
        """Paints buildings and trees at the horizon."""
        rng = self.rng
        things = ['building'] * rng.integers(2, 6) + ['tree'] * rng.integers(2, 6)
        for thing in rng.permutation(things):
            getattr(self, f'_{thing}')(rng.uniform(0, self.aspect), self.horizon + rng.uniform(0.0, 0.06))

    def street(self) -> None:
        """Paints wires, then poles, vehicles and persons from far to near."""
        rng = self.rng
        things = ['pole'] * rng.integers(2, 6) + ['vehicle'] * rng.integers(1, 5) + ['person'] * rng.integers(1, 7)
        self._wires()
        depths = np.sort(rng.uniform(0.03, 0.45, len(things)))  # objects lower in the image are nearer
        for thing, depth in zip(rng.permutation(things), depths):
            getattr(self, f'_{thing}')(rng.uniform(0, self.aspect), self.horizon + depth, 0.35 + 1.7 * depth)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Adds light, blur and noise. Returns the image and the label, as `render_scene` does."""
        rng = self.rng
        light = np.linspace(rng.uniform(0.65, 1.1), rng.uniform(0.65, 1.1), self.width, dtype=np.float32)
        shaded = self.image * light[:, None] * (1 + 0.12 * self._noise(0.5))
        size = self.width // SCALE, self.height // SCALE
        image = cv2.resize(shaded, size, interpolation=cv2.INTER_AREA)
        image = cv2.GaussianBlur(image, (3, 3), rng.uniform(0.2, 0.8))
        image = image + rng.uniform(4, 12) * rng.standard_normal(image.shape, dtype=np.float32)
        center = slice(SCALE // 2, None, SCALE)
        return image.clip(0, 255).round().astype(np.uint8), self.label[center, center].copy()

    def _building(self, x: float, base: float) -> None:
        rng = self.rng
        half, top = rng.uniform(0.06, 0.22), base - rng.uniform(0.12, 0.45)
        wall = rng.uniform(60, 200) + rng.normal(0, 18, 3)
        self._polygon('building', [(x - half, base), (x - half, top), (x + half, top), (x + half, base)], wall, 12)
        step, glass = rng.uniform(0.045, 0.09), wall * rng.uniform(0.35, 0.8)
        for wx in np.arange(x - half + step / 2, x + half - step / 2, step):
            for wy in np.arange(top + step / 2, base - step, step):
                self._polygon('building', self._box(wx, wy, step * 0.5, step * 0.55), glass)

    def _tree(self, x: float, base: float) -> None:
        rng = self.rng
        reach, crown = rng.uniform(0.05, 0.13), base - rng.uniform(0.08, 0.25)
        self._polygon('tree', self._box(x - 0.01, crown, 0.02, base - crown), rng.uniform((20, 35, 50), (50, 70, 95)))
        leaf = rng.uniform((20, 60, 30), (70, 140, 110))
        for _ in range(rng.integers(4, 9)):
            center = x + rng.normal(0, reach / 2), crown + rng.normal(0, reach / 2)
            self._ellipse(
                'tree',
                center,
                (reach * rng.uniform(0.4, 0.8), reach * rng.uniform(0.4, 0.8)),
                leaf * rng.uniform(0.75, 1.25),
                30,
            )

    def _wires(self) -> None:
        rng = self.rng
        t = np.linspace(0, 1, 30)
        for _ in range(rng.integers(1, 4)):
            left, right, sag = rng.uniform(0.02, 0.35), rng.uniform(0.02, 0.35), rng.uniform(0, 0.08)
            path = np.stack([t * self.aspect, left + (right - left) * t + 4 * sag * t * (1 - t)], axis=1)
            self._line('wire', path, 2, np.full(3, rng.uniform(10, 70)))

    def _pole(self, x: float, base: float, nearness: float) -> None:
        rng = self.rng
        top = base - nearness * rng.uniform(0.25, 0.55)
        steel = np.full(3, rng.uniform(50, 170))
        self._line('pole', [(x, base), (x + rng.normal(0, 0.01), top)], int(rng.integers(2, 5)), steel)
        kind, r = rng.integers(0, 4), nearness * rng.uniform(0.025, 0.05)
        paint = rng.uniform(40, 255, 3)
        if kind == 0:
            self._ellipse('sign', (x, top + r), (r, r), paint)
        elif kind == 1:
            self._polygon('sign', self._box(x - r, top, 2 * r, 1.5 * r), paint)
        elif kind == 2:
            self._polygon('sign', [(x - r, top + 1.7 * r), (x, top), (x + r, top + 1.7 * r)], paint)

    def _vehicle(self, x: float, base: float, nearness: float) -> None:
        rng = self.rng
        long, tall = nearness * rng.uniform(0.14, 0.26), nearness * rng.uniform(0.07, 0.13)
        paint = rng.uniform(20, 230, 3)
        for wheel in (x + 0.2 * long, x + 0.8 * long):
            self._ellipse('vehicle', (wheel, base), (0.22 * tall, 0.22 * tall), np.full(3, rng.uniform(10, 40)))
        self._polygon('vehicle', self._box(x, base - 0.55 * tall, long, 0.55 * tall), paint, 8)
        a, b = np.sort(rng.uniform(0.05, 0.95, 2)) if rng.random() < 0.3 else (0.15, 0.85)
        cabin = [(a, 0.5), (a + 0.1, 1), (b - 0.1, 1), (b, 0.5)]
        self._polygon('vehicle', [(x + u * long, base - v * tall) for u, v in cabin], paint * 0.5 + rng.uniform(20, 90))

    def _person(self, x: float, base: float, nearness: float) -> None:
        rng = self.rng
        tall = nearness * rng.uniform(0.11, 0.16)
        for leg in (-0.07, 0.07):
            self._polygon(
                'person',
                self._box(x + (leg - 0.05) * tall, base - 0.5 * tall, 0.09 * tall, 0.5 * tall),
                rng.uniform(20, 120, 3),
            )
        self._ellipse('person', (x, base - 0.6 * tall), (0.17 * tall, 0.25 * tall), rng.uniform(20, 230, 3), 8)
        skin = rng.uniform((90, 110, 140), (180, 200, 235))
        self._ellipse('person', (x, base - 0.92 * tall), (0.08 * tall, 0.1 * tall), skin)

    @staticmethod
    def _box(x: float, y: float, width: float, height: float) -> list:
        return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]

    def _polygon(self, name: str, points, color, texture: float = 0, grain: float = 0.03) -> None:
        points = self._to_canvas(points)
        self._paint(name, points, 0, lambda mask, shifted: cv2.fillPoly(mask, [shifted], 1), color, texture, grain)

    def _ellipse(self, name: str, center, radii, color, texture: float = 0) -> None:
        center, radii = self._to_canvas(center), np.maximum(self._to_canvas(radii), 1)
        self._paint(
            name,
            center[None],
            radii.max(),
            lambda mask, shifted: cv2.ellipse(mask, shifted[0].tolist(), radii.tolist(), 0, 0, 360, 1, -1),
            color,
            texture,
            grain=0.02,
        )

    def _line(self, name: str, points, pixels: int, color) -> None:
        """Paints a line with a width of `pixels` image pixels, whatever the image size."""
        thickness = int(pixels) * SCALE
        self._paint(
            name,
            self._to_canvas(points),
            thickness,
            lambda mask, shifted: cv2.polylines(mask, [shifted], False, 1, thickness=thickness),
            color,
        )

    def _to_canvas(self, points) -> np.ndarray:
        """Converts coordinates or lengths from image heights to canvas pixels."""
        return np.round(np.asarray(points, np.float64) * self.height).astype(np.int32)

    def _paint(
        self,
        name: str,
        points: np.ndarray,
        margin: int,
        draw: Callable,
        color,
        texture: float = 0,
        grain: float = 0.03,
    ) -> None:
        """Paints the pixels that `draw(mask, points)` sets to 1.

        For speed, only the part of the canvas within `margin` canvas pixels of the points is processed.

        Args:
            name: the class.
            points: (K, 2) int32, x and y on the canvas.
            color: BGR, 0 to 255.
            texture: amplitude of the noise that is added to the color.
            grain: size of the noise's grid cells, see `_noise`.
        """
        limit = (self.width, self.height)
        left, top = np.clip(points.min(0) - margin, 0, limit)
        right, bottom = np.clip(points.max(0) + margin + 1, 0, limit)
        if left >= right or top >= bottom:
            return
        mask, region = np.zeros((bottom - top, right - left), np.uint8), np.s_[top:bottom, left:right]
        draw(mask, points - np.array([left, top], np.int32))
        inside = mask.astype(bool)
        self.label[region][inside] = CLASSES.index(name)
        self.image[region][inside] = color
        if texture:
            self.image[region][inside] += texture * self._noise(grain, mask.shape)[inside]

    def _noise(self, grain: float, shape: tuple[int, int] | None = None) -> np.ndarray:
        """Smooth noise: standard normal values on a grid with cells of size `grain`, interpolated bilinearly.

        Args:
            shape: (H, W) in canvas pixels; the whole canvas by default.

        Returns:
            (H, W, 1) float32.
        """
        rows, columns = shape or (self.height, self.width)
        cells = [max(2, int(extent / (self.height * grain))) for extent in (rows, columns)]
        coarse = self.rng.standard_normal(cells, dtype=np.float32)
        return cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_LINEAR)[..., None]
