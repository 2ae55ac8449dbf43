"""Checks a copy of a dataset and describes each problem in one sentence. Command line: `bpkd check`."""

from .all_checks import Result, check_data, check_datasets, check_files, sample_problems
from .classes import check_classes
from .report import write_report
from .splits import splits_of

__all__ = [
    'Result',
    'check_classes',
    'check_data',
    'check_datasets',
    'check_files',
    'sample_problems',
    'splits_of',
    'write_report',
]
