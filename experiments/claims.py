"""What the pages conclude from the committed results. `docs/generate.py` checks each function that a page names."""

import json
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from pathlib import Path

import numpy as np

from mmseg_bpkd.grids.run_results import Results
from mmseg_bpkd.grids.statistics import Difference

HERE = Path(__file__).parent
CAMVID = 'camvid_stride4'
METRICS = ('mIoU', 'trimap/mIoU@3px', 'boundary/mIoU@0.005diag')
FRAMES = 15  # as in camvid_stride4/table.py


def _json(path: str) -> dict:
    return json.loads((HERE / path).read_text(encoding='utf-8'))


def _scores(run: str, metrics: Iterable[str] = METRICS) -> np.ndarray:
    found = _json(f'{run}.json')['metrics']
    return np.array([found[metric] for metric in metrics])


@cache
def _main() -> Results:
    return Results(HERE / CAMVID / 'main')


def _difference(name: str, other: str, metric: str) -> Difference:
    return _main().difference(name, other, metric, FRAMES)


def _clear(*differences: Difference) -> bool:
    """Whether all intervals, over seeds and over images, are above 0."""
    return all(min(difference.over_seeds + difference.over_images) > 0 for difference in differences)


def _open(*differences: Difference) -> bool:
    """Whether all intervals include 0."""
    return all(low < 0 < high for d in differences for low, high in (d.over_seeds, d.over_images))


def _accuracy(name: str) -> float:
    return _main().values(name, 'aAcc').mean()


@cache
def _demo() -> dict[str, np.ndarray]:
    """(seeds, mIoU, trimap mIoU, boundary IoU, pixel accuracy) of each student of the demo."""
    names = ('student', 'kd', 'cwd', 'bpkd')
    return {n: np.array([_scores(f'demo/results/{n}-{i}', (*METRICS, 'aAcc')) for i in range(3)]) for n in names}


def bpkd_beats_student_and_kd() -> bool:
    """In the main comparison, BPKD is clearly better than the student alone and KD in every metric."""
    return _clear(*(_difference('bpkd', other, metric) for other in ('student', 'kd') for metric in _main().metrics))


def bpkd_barely_helps_on_the_gpu() -> bool:
    """With the paper's weights on a GPU, BPKD has less than 2 mIoU above the student alone, and less trimap mIoU."""
    lead = _scores(f'{CAMVID}/results/1000/bpkd-0') - _scores(f'{CAMVID}/results/1000/student-0')
    return 0 < lead[0] < 2 and lead[1] < 0


def bpkd_equals_cwd() -> bool:
    """All intervals of BPKD minus CWD include 0, in mIoU and trimap mIoU, and exclude the goals 1.0 and 3."""
    leads = [_difference('bpkd', 'cwd', metric) for metric in METRICS[:2]]
    return _open(*leads) and all(
        max(d.over_seeds + d.over_images) < goal for d, goal in zip(leads, (1.0, 3.0), strict=True)
    )


def nfd_has_better_boundary_iou() -> bool:
    """NFD is clearly above BPKD in boundary IoU."""
    return _clear(_difference('nfd', 'bpkd', METRICS[2]))


def bpkd_beats_nfd_over_seeds_only() -> bool:
    """In mIoU, BPKD is better than NFD: clear over seeds, not over images."""
    lead = _difference('bpkd', 'nfd', 'mIoU')
    return min(lead.over_seeds) > 0 > min(lead.over_images)


def bpkd_beats_student_at_equal_time() -> bool:
    """BPKD is clearly better than the student alone with as much time, by less than half the lead at equal steps."""
    at_equal_time = [_difference('bpkd', 'student_same_time', metric) for metric in METRICS]
    return _clear(*at_equal_time) and at_equal_time[0].mean < _difference('bpkd', 'student', 'mIoU').mean / 2


def only_bpkd_and_cwd_win_at_equal_time() -> bool:
    """BPKD and CWD, and no other, are clearly better than the student alone with as much time in mIoU and trimap mIoU.
    NFD is in boundary IoU. KD has less mIoU."""
    ahead = [
        name
        for name in ('kd', 'nfd', 'cwd', 'bpkd')
        if _clear(*(_difference(name, 'student_same_time', metric) for metric in METRICS[:2]))
    ]
    others = _difference('nfd', 'student_same_time', METRICS[2]), _difference('student_same_time', 'kd', 'mIoU')
    return ahead == ['cwd', 'bpkd'] and _clear(*others)


def kd_has_better_pixel_accuracy() -> bool:
    """In pixel accuracy, KD is more than 1 point ahead of BPKD, NFD and CWD are ahead of it, the student is behind."""
    student, kd, nfd, cwd, bpkd = map(_accuracy, ('student', 'kd', 'nfd', 'cwd', 'bpkd'))
    return kd - bpkd > 1 and student < bpkd < min(nfd, cwd)


def lead_over_cwd_grows_with_the_band() -> bool:
    """BPKD's trimap mIoU is below CWD's at 1 and 2 px, above from 3 px on; over seeds, no difference is clear."""
    leads = [_difference('bpkd', 'cwd', f'trimap/mIoU@{width}px') for width in (1, 2, 3, 5, 8, 12)]
    signs = [lead.mean > 0 for lead in leads] == [False, False, True, True, True, True]
    return signs and all(lead.over_seeds[0] < 0 < lead.over_seeds[1] for lead in leads)


def one_teacher_class_is_poor() -> bool:
    """The teacher of CamVid misses 20 % IoU on poles, and on no other class."""
    return [cls for cls, iou in _json(f'{CAMVID}/long/teacher.json')['per_class']['IoU'].items() if iou < 20] == [
        'pole'
    ]


def parts_of_the_loss() -> bool:
    """The body term brings more than half of the gain in mIoU, and its mask changes less than the noise. The edge term
    alone has less mIoU than the student alone; beside the body term it adds at most 1.1 times the noise. PRM costs the
    edge term more than the noise. Both terms are better with the softmax over positions, by more than the noise."""
    body, by_classes, edge, by_positions, without_prm = (
        _scores(f'{CAMVID}/paper_tables/bpkd_{name}-0')
        for name in ('body-positions', 'body-classes', 'edge-classes', 'edge-positions', 'pom')
    )
    student, cwd, whole = (_scores(f'{CAMVID}/main/{name}-0') for name in ('student', 'cwd', 'bpkd'))
    noise = 2 * 2**0.5 * np.std([_scores(f'{CAMVID}/main/bpkd-{seed}') for seed in range(5)], axis=0, ddof=1)
    gain = (body - student)[0] > (whole - student)[0] / 2 and edge[0] < student[0]
    small = (np.abs(body - cwd) < noise).all() and (whole - body < 1.1 * noise).all()
    large = (body - by_classes, by_positions - edge, without_prm - edge)
    return gain and small and all((difference > noise).all() for difference in large)


def demo_favors_bpkd() -> bool:
    """In the demo, with every seed, distillation helps in every column, and BPKD is ahead in the first three."""
    demo = _demo()
    helps = all((demo[name] > demo['student']).all() for name in ('kd', 'cwd', 'bpkd'))
    return helps and all((demo['bpkd'] > demo[name])[:, :3].all() for name in ('student', 'kd', 'cwd'))


def demo_bpkd_has_more_errors() -> bool:
    """In the demo, BPKD has a lower pixel accuracy than CWD and KD."""
    accuracy = {name: runs[:, 3].mean() for name, runs in _demo().items()}
    return accuracy['bpkd'] < min(accuracy['cwd'], accuracy['kd'])


def demo_tuned_cwd_is_far_ahead() -> bool:
    """In the demo, tuned CWD is more than 5 mIoU ahead of BPKD, whose body term without mask it is."""
    cwd, bpkd = (
        np.mean([_scores(f'demo/settings/{name}-{i}') for i in (0, 1)]) for name in ('cwd_tuned', 'bpkd_edge5')
    )
    return cwd > bpkd + 5


def entropy_has_no_clear_relation() -> bool:
    """Over the students, the correlation of the entropy with trimap mIoU changes its sign with the scale."""
    found = _json(f'{CAMVID}/entropy.json')['networks']
    students = [run for name, run in found.items() if not name.startswith('teacher')]
    trimap = [run['trimap/mIoU@3px'] for run in students]
    raw, scaled = (np.corrcoef(trimap, [run[kind]['near'] for run in students])[0, 1] for kind in ('raw', 'scaled'))
    return raw < 0 < scaled


def cam_looks_more_at_the_class() -> bool:
    """With BPKD, the share of HiResCAM on the class is above the teacher's; CWD's and NFD's lie within the spread of
    BPKD's; KD's lies within that spread of the student's."""
    of_runs = {
        run: 100 * np.mean([np.mean(s) for s in of.values()])
        for run, of in _json(f'{CAMVID}/cam.json')['networks'].items()
    }
    groups = {
        name: [of_runs[run] for run in runs] for name, runs in groupby(of_runs, lambda run: run.rsplit('-', 1)[0])
    }
    mean, spread = {name: np.mean(values) for name, values in groups.items()}, np.std(groups['bpkd'], ddof=1)
    close = all(mean['bpkd'] - mean[name] < spread for name in ('nfd', 'cwd')) and mean['kd'] - mean['student'] < spread
    return close and mean['bpkd'] > max(mean['teacher'], mean['student'] + spread)


def student_of_seed_1_is_the_worst() -> bool:
    """Of the five seeds of the student alone, seed 1 has the lowest mIoU."""
    return int(np.argmin(_main().values('student', 'mIoU'))) == 1


def bpkd_helped_in_the_search() -> bool:
    """In the search, BPKD with the default weights was more than 5 mIoU above the student alone."""
    return _scores(f'{CAMVID}/tuning/bpkd_edge5-0')[0] > _scores(f'{CAMVID}/tuning/student-0')[0] + 5


def variants_stay_below_the_student() -> bool:
    """With a tenth of its weights, the wavelet loss stays below the student alone in mIoU and trimap mIoU, and so does
    AICSD with constant weights. In boundary IoU, the wavelet loss is equal within 0.1."""
    names = ('student', 'wavelet_tenth', 'aicsd_constant_weights')
    student, wavelet, aicsd = (_scores(f'{CAMVID}/below_student/{name}-0') for name in names)
    return (student > wavelet)[:2].all() and (student > aicsd)[:2].all() and abs(student - wavelet)[2] < 0.1


def step_is_cheaper() -> bool:
    """A step of BPKD takes less time and memory than MMRazor's CWD recipe, on two CPU cores and on an H100."""
    results = (_json(f'../benchmarks/results/budgets_{machine}.json')['budgets'] for machine in ('2_cores', 'h100'))
    steps = [r['value'] for rows in results for r in rows if r['what'].startswith('step of BPKD, 19 classes, 512x1024')]
    return len(steps) > 3 and max(steps) < 1
