"""Pictures of images of any type and number of channels."""

import numpy as np


def to_bgr(image: np.ndarray) -> np.ndarray:
    """Returns a picture of an image of any type and number of channels, (H, W, 3) uint8: of more than three, the first
    three.
    """
    if image.dtype != np.uint8:
        image = (image * (255 / max(1, image.max()))).astype(np.uint8)
    image = image if image.ndim == 3 else image[..., None]
    return np.ascontiguousarray(image[..., :3] if image.shape[2] >= 3 else image[..., :1].repeat(3, 2))
