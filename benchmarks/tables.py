"""Print what `benchmarks/benchmark.py ... --out` wrote as the Markdown tables of README and docs/speed.md.

python benchmarks/tables.py [budgets step losses masks data test scale]
"""

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Dict, Iterator, List

RESULTS = Path(__file__).parent / 'results'
RATIO = '{ratio:.2f} ({ratio_least:.2f} to {ratio_most:.2f})'
BESIDE_CWD = '{%s[ratio]:.2f} ({%s[ratio_least]:.2f} to {%s[ratio_most]:.2f})'
TABLES: Dict[str, List[Dict[str, str]]] = {  # columns; a row is printed of each result that has all that they show
    'budgets': [{'': '{what}', 'measured': '{value:.2f} {of}{spread}', 'aim': '{aim}', 'met?': '{verdict}'}],
    'step': [
        {
            'step': '{config}, {size[0]}x{size[1]}, batch {batch_size}',
            'time': '{ms:.0f} ms',
            'beside the first': RATIO,
            'memory of the process': '{megabytes:.0f} MiB, {memory_ratio:.2f} times',
            'of tensors': '{tensor_megabytes:.0f} MiB, {tensor_ratio:.2f} times',
        }
    ],
    'losses': [
        {
            'logits': '{case}',
            "MMRazor's CWD": "{MMRazor's CWD[ms]:.1f} ms",
            **{loss: BESIDE_CWD.replace('%s', loss) for loss in ('CWD', 'BPKD', 'BPKD, reference')},
            'memory, CWD': '{CWD[memory_ratio]:.2f}',
            'memory, BPKD': '{BPKD[memory_ratio]:.2f}',
        }
    ],
    'masks': [
        {
            'labels': '{case}',
            'ours': '{ms:.1f} ms',
            'one-hot': '{rival_ms:.0f} ms',
            'times faster': '{ratio:.0f} ({ratio_least:.0f} to {ratio_most:.0f})',
            'memory, ours': '{megabytes:.0f} MiB',
            'memory, one-hot': '{rival_megabytes:.0f} MiB',
        }
    ],
    'data': [
        {
            'pipeline': '{case}',
            'images a second, ours': '{images_per_second:.1f}',
            "MMSegmentation's": '{rival_images_per_second:.1f}',
            'time, ours / theirs': RATIO,
            'of it, ours, ms': '{each_part}',
        }
    ],
    'test': [
        {
            'test set': '{case}',
            'time': '{ms:.0f} ms',
            'beside `IoUMetric` alone': RATIO,
            'metrics of an image': '{metrics_ms:.1f} ms',
            '`IoUMetric` alone': '{iou_ms:.1f} ms',
        }
    ],
    'scale': [
        {
            'step of': '{what}',
            'time': '{ms:.0f} ms',
            'least to most': '{least:.0f} to {most:.0f} ms',
            'memory': '{megabytes:.0f} MiB',
        },
        {
            'processes, one thread each': '{what}',
            'step': '{ms:.0f} ms',
            'to share the gradients alone': '{sharing_ms:.0f} ms',
        },
        {
            '': '{what}',
            'gradients': '{gradient_megabytes:.0f} MB',
            'sent by each GPU': '{sent_megabytes:.0f} MB',
            'that takes': '{sending_ms:.1f} ms',
            'of it overlaps with nothing, at most': '{not_overlapping_ms:.1f} ms',
            'SyncBN, two messages a norm': '{synchronised_norms} norms, {norms_ms:.1f} ms',
            'images a second and GPU': '{images_per_second:.0f}',
            'workers for them': '{workers:.1f}',
        },
    ],
}


def lines(name: str) -> Iterator[str]:
    results = rows(name, json.loads((RESULTS / f'{name}_2_cores.json').read_text())[name])
    for columns in TABLES[name]:
        yield from ('', f'| {" | ".join(columns)} |', '|---|' + '---:|' * (len(columns) - 1))
        for result in results:
            try:
                yield f'| {" | ".join(cell.format(**result) for cell in columns.values())} |'
            except KeyError:  # of another table
                continue


def rows(name: str, results: List[dict]) -> List[dict]:
    """One per case of the losses, with a result under each one's name."""
    if name == 'losses':
        return [
            {'case': case, **{result['loss']: result for result in of_case}}
            for case, of_case in groupby(results, lambda result: result['case'])
        ]
    if name == 'data':
        return [
            {**result, 'each_part': ', '.join(f'{part} {ms}' for part, ms in result['parts'].items())}
            for result in results
        ]
    return results


if __name__ == '__main__':
    for name in sys.argv[1:] or TABLES:
        print(f'\n{name}', *lines(name), sep='\n')
