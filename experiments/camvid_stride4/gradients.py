"""The gradient norms of the losses of every run of grid_1k.py, tuning.py and reading.py, at one and the same student.

    python tools/experiment.py experiments/camvid_stride4/tuning.py --only student-0
    python experiments/camvid_stride4/gradients.py work_dirs/camvid_stride4/tuning/student-0/iter_1000.pth

The student was trained alone, for 1000 steps on the images of tuning.py. The images are the training images of each
grid. Writes gradients.json beside this file.
"""

import json
import sys
from pathlib import Path

from mmengine.logging import MMLogger

import mmseg_bpkd.engine  # noqa: F401
from mmseg_bpkd.analysis.gradients import measure_gradients
from mmseg_bpkd.grids.grid_file import load_grid

BATCHES = 4

if __name__ == '__main__':
    MMLogger.get_current_instance().setLevel('ERROR')
    folder = Path(__file__).parent
    results = {}
    for name in ('grid_1k', 'tuning', 'reading'):
        runs = [run for run in load_grid(str(folder / f'{name}.py')).runs if run.name != 'student']
        results[name] = {run.name: measure_gradients(run.load(), sys.argv[1], BATCHES) for run in runs}
    (folder / 'gradients.json').write_text(json.dumps(results, indent=1) + '\n')
