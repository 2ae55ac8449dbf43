"""Writes tables, plots and a report from a folder of results."""

import base64
import html
import os
import os.path as osp
from collections.abc import Sequence

from mmseg_bpkd.fileio.writing import save_figure, write_text

from .plots import plots
from .result_tables import Table, tables, write_csv
from .run_results import Results

CAPTIONS = {
    'metrics': 'Mean of each method with the standard deviation of one run. Each small line is a run.',
    'curve_steps': 'Validation during training. Lines are means over the seeds, bands the range of the runs.',
    'curve_time': 'The same over the training time, without validation.',
    'bands': 'Mean IoU over the width of the band around boundaries.',
}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem }
th, td { padding: 0.3rem 0.8rem; text-align: right; border-bottom: 1px solid #d0d0d0; white-space: nowrap }
th:first-child, td:first-child, .left td, .left th { text-align: left } .left td { white-space: normal }
tr:hover td { background: #f3f6fa } figure { margin: 1.5rem 0 } img { max-width: 100% }
figcaption, .note { color: #444; font-size: 0.9rem; max-width: 60rem }
"""


def summarize(
    folder: str,
    out: str,
    names: Sequence[str] | None = None,
    against: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    block: int = 1,
    pictures: Sequence[str] = (),
) -> None:
    """Reads the results in a folder and writes summary.md, runs.csv, plots and report.html.

    Args:
        folder: with the JSON files of the runs.
        out: the folder to write to.
        names: which to show, in this order; default: all.
        against: which to compare the others with; default: 'student' if there is one, else the first.
        metrics: default: each mean IoU.
        block: of the image bootstrap, see `bootstrap_interval`.
        pictures: PNG files to add to the report.

    Raises:
        FileNotFoundError: if a picture does not exist.
        ValueError: if the results cannot be used, see `Results`.
    """
    results = Results(folder, names, metrics)
    references = [results.reference(name) for name in against] if against else [results.reference()]
    all_tables = tables(results, references, block)
    write_text(osp.join(out, 'summary.md'), '\n'.join(table.markdown() for table in all_tables))
    write_csv(results, osp.join(out, 'runs.csv'))
    figures = []
    for name, figure in plots(results, references[0]).items():
        path = osp.join(out, f'{name}.png')
        save_figure(figure, path, dpi=130)
        figures.append(_figure(path, CAPTIONS.get(name, 'Difference to the reference, mean over the seeds.')))
    figures += [_figure(path, osp.splitext(osp.basename(path))[0].replace('_', ' ')) for path in pictures]
    page = _page('/'.join(osp.abspath(folder).split(os.sep)[-2:]), results, all_tables, figures)
    write_text(osp.join(out, 'report.html'), page)


def _page(name: str, results: Results, all_tables: Sequence[Table], figures: Sequence[str]) -> str:
    runs = results.all_runs()
    heading = f'Report: {html.escape(name)}'
    lead = f'{len(runs)} runs of {len(results.names)} names. Made by <code>bpkd experiment summarize</code>.'
    first, *others = all_tables
    body = [_table(first), '<h2>Pictures</h2>', *figures, *map(_table, others)]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{heading}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>\n'
        f'<body>\n<h1>{heading}</h1>\n<p>{lead}</p>\n' + '\n'.join(body) + '\n</body>\n</html>\n'
    )


def _table(table: Table) -> str:
    def line(cells: list[str], tag: str) -> str:
        return '<tr>' + ''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells) + '</tr>'

    side = ' left' if table.heading == 'Settings' else ''
    return '\n'.join(
        [
            f'<h2>{html.escape(table.heading)}</h2>',
            f'<div class="wide{side}"><table>',
            f'<thead>{line(table.header, "th")}</thead>',
            '<tbody>',
            *(line(row, 'td') for row in table.rows),
            '</tbody></table></div>',
            f'<p class="note">{html.escape(table.note)}</p>' if table.note else '',
        ]
    )


def _figure(path: str, caption: str) -> str:
    with open(path, 'rb') as file:
        data = base64.b64encode(file.read()).decode()
    text = html.escape(caption)
    image = f'<img alt="{text}" src="data:image/png;base64,{data}">'
    return f'<figure>{image}<figcaption>{text}</figcaption></figure>'
