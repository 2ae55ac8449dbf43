"""Print the results as Markdown tables: for each number of iterations, a row per method; then the paper's ablations.

python experiments/camvid_stride4/table.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables import METHODS, print_table

HERE = Path(__file__).parent
ROWS = {'teacher': 'teacher (width 32)', 'student': 'student alone (width 16)', **METHODS}
BELOW = {
    'aicsd_constant_weights': 'AICSD, weights that stay constant',
    'wavelet_tenth': 'wavelet (FreeKD), a tenth of the weights',
}
ABLATIONS = {
    'bpkd_prm': 'edge term without POM, no body term',
    'bpkd_pom': 'edge term without PRM, no body term',
    'bpkd_edge-classes': 'edge term, no body term',
    'bpkd_edge-positions': 'edge term over positions, no body term',
    'bpkd_body-positions': 'body term, no edge term',
    'bpkd_body-classes': 'body term over classes, no edge term',
    'bpkd_prm-body': 'without POM',
    'bpkd_pom-body': 'without PRM',
    **{f'bpkd_width-{k}': f'kernel_size {k}' for k in (3, 5, 10, 15)},
}

if __name__ == '__main__':
    for folder in sorted((HERE / 'results').iterdir(), key=lambda path: int(path.name)):
        print(f'\n{folder.name} iterations\n')
        print_table(folder, ROWS)
    print('\nAICSD and the wavelet loss\n')
    print_table(HERE / 'below_student', BELOW)
    print("\nThe paper's ablations\n")
    print_table(HERE / 'paper_tables', ABLATIONS)
