"""Checks a copy of a dataset and describes each problem in one sentence. Command line: `bpkd check`."""

from .all_checks import Result, check_datasets, check_files, sample_problems
from .classes import check_classes
from .picture import draw_samples
from .report import as_json, as_text, write_report
from .splits import splits_of

__all__ = [
    'Result',
    'as_json',
    'as_text',
    'check_classes',
    'check_datasets',
    'check_files',
    'draw_samples',
    'sample_problems',
    'splits_of',
    'write_report',
]
