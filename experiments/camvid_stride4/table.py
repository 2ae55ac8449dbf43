"""Print the results as Markdown tables: for each number of iterations, a row per method.

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
    'fitnet': 'FitNet',
    'at': 'AT',
    'local_affinity': 'local affinity',
    'skds': 'SKDS',
    'ifvd': 'IFVD',
    'cwd': 'CWD',
    'cwd_features': 'CWD, features',
    'cirkd': 'CIRKD',
    'apd': 'APD',
    'dist': 'DIST',
    'mgd': 'MGD',
    'afdcd': 'Af-DCD',
    'lskd': 'LSKD',
    'nfd': 'NFD',
    'aicsd': 'AICSD',
    'kt_channel': 'KT, channel loss',
    'wavelet': 'wavelet (FreeKD)',
    'bpkd': 'BPKD',
}

if __name__ == '__main__':
    for folder in sorted((Path(__file__).parent / 'results').iterdir(), key=lambda path: int(path.name)):
        print(f'\n{folder.name} iterations\n')
        print_table(folder, ROWS)
