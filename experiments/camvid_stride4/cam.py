"""Measure how much of the HiResCAM of each class lies on the class (the paper's Figure 4), of main.py's networks.

python experiments/camvid_stride4/cam.py

Needs the checkpoints that main.py leaves in its work_dir, and writes cam.json.
"""

import json

import numpy as np
import torch
from entropy import HERE, main_networks
from mmengine.registry import init_default_scope

from mmseg_bpkd.analysis.figures import TestImages
from mmseg_bpkd.analysis.figures.cam import DEFINITION, hires_cam, share_inside
from mmseg_bpkd.analysis.figures.networks import Network, resize

LAYER = 'backbone:-1'
IMAGES = 11


def shares(network: Network, images: TestImages, indices: list[int]) -> dict[str, list[float]]:
    """{class: share of the map on the class, for each image that has the class and a map that is not zero}."""
    found: dict[str, list[float]] = {name: [] for name in network.classes}
    for index in indices:
        image, label = images[index]
        inputs = network.predictor.preprocess(image)
        for cls, name in enumerate(network.classes):
            inside = label == cls
            if inside.any():
                cam = hires_cam(network.model, inputs, LAYER, cls, torch.from_numpy(inside))
                share = share_inside(resize(cam[None], image.shape[:2])[0].numpy(), inside)
                found[name] += [] if share is None else [share]
    return found


def main() -> None:
    init_default_scope('mmseg')
    networks = main_networks()
    images = TestImages(networks[0].cfg)
    indices = images.spread(IMAGES)
    area: dict[str, list[float]] = {name: [] for name in networks[0].classes}
    for index in indices:
        label = images[index][1]
        for cls, name in enumerate(area):
            area[name] += [float(np.mean(label == cls))] if (label == cls).any() else []
    measured = {network.name: shares(network, images, indices) for network in networks}
    numbers = dict(definition=DEFINITION, layer=LAYER, images=IMAGES, area=area, networks=measured)
    (HERE / 'cam.json').write_text(json.dumps(numbers, indent=1) + '\n')


if __name__ == '__main__':
    main()
