"""Checks this project's budgets of speed and memory.

Uses the measurements of the commands masks, losses, step and test.
"""

from collections.abc import Iterator
from functools import partial
from math import inf
from statistics import median

from . import losses, masks, step, testing
from .measuring import DEVICE, milliseconds_in_turn

FORMAT = '{what}: {value:.2f} {of}{spread}, aim {aim}: {verdict}'
STRIDE = 8  # of the recipes' logits
MASKS = {'150 classes, 512x512, 20 in each image': 150, '19 classes, 512x1024, 15 in each image': 20}  # times faster


def compare(runs: int, size: tuple[int, int] | None, batch_size: int | None) -> Iterator[dict]:
    if DEVICE.type == 'cpu':  # the masks have a budget on a CPU only
        for result in masks.compare(runs, MASKS):
            what = f'edge masks, {result["case"]}'
            yield judged(what, 'times faster', result, at_least=MASKS[result['case']])
            yield judged(what, 'times less memory', result['rival_megabytes'] / result['megabytes'], at_least=20)
    else:
        for result in losses.compare(10 * runs, (losses.RIVAL, 'BPKD')):
            if result['loss'] == 'BPKD':
                what = f"BPKD loss beside MMRazor's CWD, {result['case']}"
                yield judged(what, 'of the time', result, at_most=1.0)
                yield judged(what, 'of the memory', result['memory_ratio'], at_most=1.0)
    fast = [step.FAST] if DEVICE.type == 'cuda' else []  # half precision is not fast on a CPU
    for result in step.compare(runs, [], {}, size, batch_size, settings=('', *fast)):
        if not result['config'].startswith('BPKD'):
            continue
        of = f'{result["config"]}, {result["size"][0]}x{result["size"][1]}'
        what = f"step of {of}, beside MMRazor's CWD"
        if result['config'].endswith(step.FAST):
            yield judged(what, 'of the time', result, at_most=0.5)
            continue
        yield judged(what, 'of the time', result, at_most=0.97)
        yield judged(what, 'of the memory', result['memory_ratio'], at_most=0.9)
        if DEVICE.type == 'cpu':
            yield judged(what, "of the tensors' memory", result['tensor_ratio'], at_most=0.9)
        share = 100 * milliseconds_of_loss(result, runs) / result['ms']
        yield judged(
            f'BPKD loss and masks in a step of {of}', '% of the time', share, at_most=3 if DEVICE.type == 'cuda' else 1
        )
    for result in testing.compare(runs):
        what = f'testing with all metrics beside mIoU alone, {result["case"]}'
        yield judged(what, 'of the time', result, at_most=1.1)


def milliseconds_of_loss(step_result: dict, runs: int) -> float:
    """Time of the BPKD loss in ms, with masks and backward pass, on logits of the size that the measured step has."""
    num_classes = int(step_result['config'].split()[1])
    (height, width), images = step_result['size'], step_result['batch_size']
    given = losses.records(num_classes, min(11, num_classes), height, width, STRIDE, images)
    call = partial(losses.forward_and_backward, 'BPKD', given)
    return median(milliseconds_in_turn({'BPKD': call}, 10 * runs)['BPKD'])


def judged(what: str, of: str, measured: float | dict, at_least: float = 0, at_most: float = inf) -> dict:
    """Compares a number, or a result of `measuring.ratio` with its spread, with an aim."""
    aim = f'at least {at_least}' if at_least else f'at most {at_most}'
    if not isinstance(measured, dict):
        return dict(what=what, of=of, value=measured, spread='', aim=aim, verdict=_verdict(measured, at_least, at_most))
    verdicts = [_verdict(measured[key], at_least, at_most) for key in ('ratio', 'ratio_least', 'ratio_most')]
    noise = '' if len(set(verdicts)) == 1 else ' by the median only'
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
