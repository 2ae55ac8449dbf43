"""What is wrong with a copy of a data set, in sentences; `tools/check_dataset.py` is its command line."""

from .check import Result, check_datasets
from .picture import draw_samples
from .report import as_json, as_text
from .splits import splits_of

__all__ = ['Result', 'as_json', 'as_text', 'check_datasets', 'draw_samples', 'splits_of']
