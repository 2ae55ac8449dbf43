"""What this project promises of its speed and memory, beside what it was measured to be.

All from one run: masks, losses, whole steps and testing, as the commands of these names measure them.
"""
from typing import Iterator, Optional, Tuple

from . import losses, masks, step, testing
from .measuring import DEVICE

FORMAT = '{what}: {value:.2f} {of}{spread}, aim {aim}: {verdict}'
LOSS = ('at most 1.0', 1.0) if DEVICE.type == 'cuda' else ('at most 1.5', 1.5)
MASKS = {'150 classes, 512x512, 20 in each image': 150, '19 classes, 512x1024, 15 in each image': 20}  # times faster


def compare(runs: int, size: Optional[Tuple[int, int]], batch_size: Optional[int]) -> Iterator[dict]:
    for result in masks.compare(runs, MASKS):
        what, times_faster = f'edge masks, {result["case"]}', MASKS[result['case']]
        yield judged(what, 'times faster', result, result['ratio'] >= times_faster, f'at least {times_faster}')
        saved = result['rival_megabytes'] / result['megabytes']
        yield judged(what, 'times less memory', saved, saved >= 20, 'at least 20')
    for result in losses.compare(10 * runs, (losses.RIVAL, 'BPKD')):  # which take milliseconds
        if result['loss'] == 'BPKD':
            what = f"BPKD loss beside MMRazor's CWD, {result['case']}"
            yield judged(what, 'of the time', result, result['ratio'] <= LOSS[1], LOSS[0])
            if DEVICE.type == 'cuda':
                yield judged(what, 'of the memory', result['memory_ratio'], result['memory_ratio'] <= 1, 'at most 1.0')
    for result in step.compare(runs, [], {}, size, batch_size, settings=('',)):
        if result['config'].startswith('BPKD'):
            what = f"step of {result['config']}, {result['size'][0]}x{result['size'][1]}, beside MMRazor's CWD"
            yield judged(what, 'of the time', result, result['ratio'] <= 0.97, 'at most 0.97')
            yield judged(what, 'of the memory', result['memory_ratio'], result['memory_ratio'] <= 0.9, 'at most 0.9')
            yield judged(what, "of the tensors' memory", result['tensor_ratio'], result['tensor_ratio'] <= 0.9,
                         'at most 0.9')
    for result in testing.compare(runs):
        what = f"testing with all metrics beside mIoU alone, {result['case']}"
        yield judged(what, 'of the time', result, result['ratio'] <= 1.1, 'at most 1.1')


def judged(what: str, of: str, measured, met: bool, aim: str) -> dict:
    """Of a ratio, or of a result of `measuring.ratio`, whose spread is told."""
    spread = ''
    if isinstance(measured, dict):
        spread = f' ({measured["ratio_least"]:.2f} to {measured["ratio_most"]:.2f})'
        measured = measured['ratio']
    return dict(what=what, of=of, value=measured, spread=spread, aim=aim, verdict='met' if met else 'missed')
