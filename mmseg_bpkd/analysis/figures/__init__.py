"""The kinds of figures of the BPKD paper (arXiv 2306.08075), of your own networks and results.

Each function of a figure returns the figure and the numbers that it shows. `tools/analysis/figures.py` writes both.
"""

from .cam import cam_figure, hires_cam
from .entropy import channel_entropy, entropy_figure
from .iou_plots import classes_figure, curves_figure
from .networks import Network, TestImages, activation, load_networks
from .prediction_grid import grid_figure

__all__ = [
    'Network',
    'TestImages',
    'activation',
    'cam_figure',
    'channel_entropy',
    'classes_figure',
    'curves_figure',
    'entropy_figure',
    'grid_figure',
    'hires_cam',
    'load_networks',
]
