"""What this project promises of its speed and memory, beside what it was measured to be.

All from one run: masks, losses, whole steps and testing, as the commands of these names measure them.
"""

from math import inf
from typing import Iterator, Optional, Tuple, Union

from . import losses, masks, step, testing
from .measuring import DEVICE

FORMAT = '{what}: {value:.2f} {of}{spread}, aim {aim}: {verdict}'
LOSS = 1.0 if DEVICE.type == 'cuda' else 1.5
MASKS = {'150 classes, 512x512, 20 in each image': 150, '19 classes, 512x1024, 15 in each image': 20}  # times faster


def compare(runs: int, size: Optional[Tuple[int, int]], batch_size: Optional[int]) -> Iterator[dict]:
    for result in masks.compare(runs, MASKS):
        what = f'edge masks, {result["case"]}'
        yield judged(what, 'times faster', result, at_least=MASKS[result['case']])
        yield judged(what, 'times less memory', result['rival_megabytes'] / result['megabytes'], at_least=20)
    for result in losses.compare(10 * runs, (losses.RIVAL, 'BPKD')):  # which take milliseconds
        if result['loss'] == 'BPKD':
            what = f"BPKD loss beside MMRazor's CWD, {result['case']}"
            yield judged(what, 'of the time', result, at_most=LOSS)
            if DEVICE.type == 'cuda':
                yield judged(what, 'of the memory', result['memory_ratio'], at_most=1.0)
    fastest = [step.FASTEST] if DEVICE.type == 'cuda' else []  # half precision is not fast on a CPU
    for result in step.compare(runs, [], {}, size, batch_size, settings=('', *fastest)):
        if result['config'].startswith('BPKD'):
            what = f"step of {result['config']}, {result['size'][0]}x{result['size'][1]}, beside MMRazor's CWD"
            if result['config'].endswith(step.FASTEST):
                yield judged(what, 'of the time', result, at_most=0.5)
                continue
            yield judged(what, 'of the time', result, at_most=0.97)
            yield judged(what, 'of the memory', result['memory_ratio'], at_most=0.9)
            if DEVICE.type == 'cpu':
                yield judged(what, "of the tensors' memory", result['tensor_ratio'], at_most=0.9)
    for result in testing.compare(runs):
        what = f'testing with all metrics beside mIoU alone, {result["case"]}'
        yield judged(what, 'of the time', result, at_most=1.1)


def judged(what: str, of: str, measured: Union[float, dict], at_least: float = 0, at_most: float = inf) -> dict:
    """Of a ratio, or of a result of `measuring.ratio`, whose spread is told, and whether the aim lies within it."""
    aim = f'at least {at_least}' if at_least else f'at most {at_most}'
    if not isinstance(measured, dict):
        return dict(what=what, of=of, value=measured, spread='', aim=aim, verdict=_verdict(measured, at_least, at_most))
    verdicts = [_verdict(measured[key], at_least, at_most) for key in ('ratio', 'ratio_least', 'ratio_most')]
    noise = '' if len(set(verdicts)) == 1 else ', not in every turn'
    return dict(
        what=what,
        of=of,
        value=measured['ratio'],
        aim=aim,
        verdict=verdicts[0] + noise,
        spread=f' ({measured["ratio_least"]:.2f} to {measured["ratio_most"]:.2f})',
    )


def _verdict(value: float, at_least: float, at_most: float) -> str:
    return 'met' if at_least <= value <= at_most else 'missed'
