"""Print the results of grid.py and settings.py as Markdown tables.

python experiments/demo/table.py
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables import COLUMNS, METHODS, print_heading, print_table

from mmseg_bpkd.datasets.synthetic import render_scene
from mmseg_bpkd.ops.boundary import edge_masks

HERE = Path(__file__).parent
STUDENTS = {'student': 'student alone', **{method: METHODS[method] for method in ('kd', 'cwd', 'bpkd')}}
WITH_ACCURACY = {**COLUMNS, 'aAcc': 'pixel accuracy'}
SETTINGS = {
    'cwd_default': 'CWD',
    'cwd_tuned': 'CWD, tau 1, weight 5',
    'bpkd_edge20': 'BPKD, edge_weight 20',
    'bpkd_paper': "BPKD, the paper's weights",
    'bpkd_edge5': 'BPKD, edge_weight 5',
    'bpkd_edge5_width3': 'BPKD, edge_weight 5, kernel_size 3',
}


def print_edge_cells() -> None:
    """Prints the share of the cells of the logits that touch an edge, in 20 scenes of 160x120 at stride 4."""
    labels = torch.stack([torch.from_numpy(render_scene('test', i)[1].astype('int64')) for i in range(20)])
    for kernel_size in (7, 3):
        at_edge = edge_masks(labels, 9, (30, 40), kernel_size).amax(1) > 0
        print(f'* `kernel_size` {kernel_size}: {100 * at_edge.float().mean():.0f} % of the cells touch an edge.')


if __name__ == '__main__':
    print_heading('Students')
    print_table(HERE / 'results', STUDENTS, columns=WITH_ACCURACY)
    print_heading('Other settings')
    print_table(HERE / 'settings', SETTINGS, columns=WITH_ACCURACY)
    print_heading('Cells at edges')
    print_edge_cells()
