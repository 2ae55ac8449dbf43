"""Print the table of the PSPNet pair of docs/archive.md.

python experiments/archive/camvid_cpu_pair/table.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tables import METHODS, print_heading, print_table

ROWS = {'teacher': 'teacher (R18, width 32)', 'student': 'student alone (width 16)', **METHODS}

if __name__ == '__main__':
    print_heading('PSPNet pair')
    print_table(Path(__file__).parent / 'results', ROWS)
