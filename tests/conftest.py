import os
import os.path as osp
import sys

import pytest

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
sys.path[:0] = [ROOT, osp.join(ROOT, 'tests')]

import mmseg_bpkd  # noqa: F401
import torch
from mmengine.registry import init_default_scope


@pytest.fixture(autouse=True)
def _same_start_for_every_test():
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the tensors are tiny
    init_default_scope('mmseg')


@pytest.fixture(scope='session')
def camvid() -> str:
    """CamVid's folder, from the environment or from beside the checkout."""
    beside = (osp.join(ROOT, place) for place in ('data/camvid', '../shared/data/camvid'))
    for folder in (os.environ.get('CAMVID', ''), *beside):
        if osp.isdir(osp.join(folder, 'images/train')):
            return folder
    pytest.skip('CamVid is not here: set CAMVID to its folder')
