"""Print the results of run.sh as a Markdown table: one row per run, mean and every seed.

python experiments/camvid_stride4/table.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables import print_table

ROWS = {
    'teacher': 'teacher (width 32)',
    'student': 'student alone (width 16)',
    'kd': 'KD',
    'nfd': 'NFD',
    'cwd': 'CWD',
    'bpkd': 'BPKD',
}

if __name__ == '__main__':
    print_table(Path(__file__).parent / 'results', ROWS)
