"""Print the results of grid.py and settings.py as Markdown tables.

python experiments/demo/table.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables import COLUMNS, METHODS, print_table

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

if __name__ == '__main__':
    print_table(HERE / 'results', STUDENTS, columns=WITH_ACCURACY)
    print('\nOther settings\n')
    print_table(HERE / 'settings', SETTINGS, columns=WITH_ACCURACY)
