"""Measure the entropy of early features and the accuracy at boundaries (the paper's Figure 1) of main.py's networks.

python experiments/camvid_stride4/entropy.py

Needs the checkpoints that main.py leaves in its work_dir, and writes entropy.json.
"""

import json
from pathlib import Path

from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from mmseg_bpkd.analysis.figures import TestImages, load_networks
from mmseg_bpkd.analysis.figures.entropy import DEFINITION, measure_entropy
from mmseg_bpkd.analysis.figures.networks import Network

HERE = Path(__file__).parent
NAMES = ['student', 'kd', 'nfd', 'cwd', 'bpkd']
LAYER = 'backbone:0'


def main_networks() -> list[Network]:
    """The teacher, and the students of main.py with their checkpoints."""
    paths = [path for name in NAMES for path in sorted((HERE / 'main').glob(f'{name}-?.json'))]
    runs = {path.stem: json.loads(path.read_text(encoding='utf-8')) for path in paths}
    networks = [f'teacher={runs["bpkd-0"]["config"]},teacher']
    networks += [f'{name}={run["config"]},{run["checkpoint"]}' for name, run in runs.items()]
    return load_networks(networks)


def main() -> None:
    init_default_scope('mmseg')
    MMLogger.get_current_instance().setLevel('ERROR')  # else each metric prints a table
    loaded = main_networks()
    images = TestImages(loaded[0].cfg)
    measured = measure_entropy(loaded, images, images.spread(None), LAYER)
    numbers = dict(definition=DEFINITION, layer=LAYER, images=len(images), networks=measured)
    (HERE / 'entropy.json').write_text(json.dumps(numbers, indent=2) + '\n')


if __name__ == '__main__':
    main()
