"""Print the results as Markdown tables: for each number of iterations, a row per method.

python experiments/camvid_stride4/table.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tables import METHODS, print_table

ROWS = {'teacher': 'teacher (width 32)', 'student': 'student alone (width 16)', **METHODS}

if __name__ == '__main__':
    for folder in sorted((Path(__file__).parent / 'results').iterdir(), key=lambda path: int(path.name)):
        print(f'\n{folder.name} iterations\n')
        print_table(folder, ROWS)
