"""Print the results of the benchmarks as the Markdown tables of docs/speed.md, docs/methods.md and docs/usage.md.

`docs/generate.py` puts them into the pages.

python benchmarks/tables.py [budgets step losses methods masks data test scale onnx]

results/ holds the JSON files, named <benchmark>_<machine>.json.
"""

import json
import re
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

FOLDER = Path(__file__).parent / 'results'
RESULTS = sorted(FOLDER.glob('*.json'))
RATIO = '{ratio:.2f}x ({ratio_least:.2f} to {ratio_most:.2f})'
RELATIVE_TO_CWD = '{%s[ratio]:.2f}x ({%s[ratio_least]:.2f} to {%s[ratio_most]:.2f})'
TABLES: dict[str, list[dict[str, str]]] = {  # {column: cell}; a table shows the results that have all of its values
    'budgets': [{'': '{what}', 'measured': '{value:.2f}{unit}{spread}', 'budget': '{aim}', 'met?': '{verdict}'}],
    'step': [
        {
            'step': '{config}, {size[0]}x{size[1]}, batch {batch_size}',
            'time': '{ms:.0f} ms',
            'time relative to MMRazor': RATIO,
            'process memory': '{megabytes:.0f} MiB, {memory_ratio:.2f}x',
            'tensor memory': '{tensor_megabytes:.0f} MiB, {tensor_ratio:.2f}x',
        }
    ],
    'losses': [
        {
            'logits': '{case}',
            "MMRazor's CWD": "{MMRazor's CWD[ms]:.1f} ms",
            **{f'{loss}, time': RELATIVE_TO_CWD.replace('%s', loss) for loss in ('CWD', 'BPKD', 'BPKD, reference')},
            **{f'{loss}, memory': '{%s[memory_ratio]:.2f}x'.replace('%s', loss) for loss in ('CWD', 'BPKD')},
        }
    ],
    'methods': [
        {
            'losses': '`{method}`',
            'ms': '{ms:.1f}',
            'times KD (least to most)': '{ratio:.1f} ({ratio_least:.1f} to {ratio_most:.1f})',
            'memory (times KD)': '{megabytes:.0f} MiB ({memory_ratio:.1f})',
        }
    ],
    'masks': [
        {
            'labels': '{case}',
            'time, ours': '{ms:.1f} ms',
            'time, one-hot': '{rival_ms:.0f} ms',
            'speed-up': '{ratio:.0f}x ({ratio_least:.0f} to {ratio_most:.0f})',
            'memory, ours': '{megabytes:.0f} MiB',
            'memory, one-hot': '{rival_megabytes:.0f} MiB',
        }
    ],
    'data': [
        {
            'pipeline': '{case}',
            'images per second, ours': '{images_per_second:.1f}',
            'images per second, MMSegmentation': '{rival_images_per_second:.1f}',
            'time relative to MMSegmentation': RATIO,
            'our time per transform, ms': '{each_part}',
        }
    ],
    'test': [
        {
            'test set': '{case}',
            'whole test, all metrics': '{ms:.0f} ms',
            'time relative to `IoUMetric` alone': RATIO,
            'all metrics alone, per image': '{metrics_ms:.1f} ms',
            '`IoUMetric` alone, per image': '{iou_ms:.1f} ms',
        }
    ],
    'scale': [
        {
            'step': '{what}',
            'time, median': '{ms:.0f} ms',
            'minimum to maximum': '{least:.0f} to {most:.0f} ms',
            'process memory': '{megabytes:.0f} MiB',
        },
        {
            'processes with one thread each': '{what}',
            'time of a step': '{ms:.0f} ms',
            'time to average the gradients alone': '{sharing_ms:.0f} ms',
        },
    ],
    'onnx': [
        {
            'network': '{network}',
            'iterations': '{iterations}',
            'test set': '{data}, {images} images',
            'size in the file': '{size}',
            'largest difference of logits': '{difference:.1e}',
            'of the largest logit': '{relative:.1e}',
            'pixels with another label': '{differing_pixels} of {pixels}',
            'mIoU, PyTorch / ONNX Runtime': '{metrics[mIoU][0]:.2f} / {metrics[mIoU][1]:.2f}',
            'trimap mIoU, PyTorch / ONNX Runtime': (
                '{metrics[trimap/mIoU@3px][0]:.2f} / {metrics[trimap/mIoU@3px][1]:.2f}'
            ),
        }
    ],
}


def benchmark_of(path: Path) -> str:
    return path.stem.partition('_')[0]


def lines(path: Path) -> Iterator[str]:
    """Yields the tables of a file of results, each below a heading.

    Raises:
        ValueError: if a result is in no table, or in two.
    """
    name = benchmark_of(path)
    results = rows(name, json.loads(path.read_text())[name])
    shown = 0
    for number, columns in enumerate(TABLES[name], 1):
        yield from ('', f'## {path.stem}' if number == 1 else f'## {path.stem}, table {number}', '')
        yield from (f'| {" | ".join(columns)} |', '|---|' + '---:|' * (len(columns) - 1))
        for result in results:
            try:
                yield f'| {" | ".join(cell.format(**result) for cell in columns.values())} |'
            except KeyError:  # the result belongs to another table
                continue
            shown += 1
    if shown != len(results):
        raise ValueError(f'{path} has {len(results)} results, but the tables show {shown}')


def cost_of_a_step() -> str:
    """The cost of a step of BPKD with 19 classes and crop 512x1024, relative to MMRazor's CWD recipe."""
    texts = []
    for machine, title in (('2_cores', 'two CPU cores'), ('h100', 'one NVIDIA H100')):
        results = json.loads((FOLDER / f'budgets_{machine}.json').read_text())['budgets']
        cost = {r['of']: r['value'] for r in results if r['what'].startswith('step of BPKD, 19 classes, 512x1024')}
        texts.append(f'{cost["of the time"]:.2f}x the time and {cost["of the memory"]:.2f}x the memory on {title}')
    return ', '.join(texts)


def rows(name: str, results: list[dict]) -> list[dict]:
    """The results as the tables show them: one row per case of the losses, and units and lists as text."""
    if name == 'budgets':
        return [{**result, 'unit': re.sub('^ (times|of) ', 'x ', f' {result["of"]}')} for result in results]
    if name == 'losses':
        return [
            {'case': case, **{result['loss']: result for result in case_results}}
            for case, case_results in groupby(results, lambda result: result['case'])
        ]
    if name == 'data':
        return [
            {**result, 'each_part': ', '.join(f'{part} {ms}' for part, ms in result['parts'].items())}
            for result in results
        ]
    return results


if __name__ == '__main__':
    for path in RESULTS:
        if benchmark_of(path) in (sys.argv[1:] or TABLES):
            print(*lines(path), sep='\n')
    print('\n## cost of a step\n', cost_of_a_step(), sep='\n')
