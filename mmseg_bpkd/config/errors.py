"""Errors in the command line and the config end a program with one line."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config

from .signatures import explain_build_error

RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')  # of torchrun, Slurm and MPI


@contextmanager
def short_errors(cfg: Config | None = None, *kinds: type) -> Iterator[None]:
    """Ends the program with one line, without a traceback, for errors in the command line and the config.

    All processes of a run have these errors, so only the first one prints.

    Args:
        cfg: explains errors that MMEngine raises while it builds a part of this config.
        kinds: exceptions whose message is such a line.
    """
    try:
        yield
    except Exception as error:
        line = _message(error) if isinstance(error, kinds) else cfg and explain_build_error(error, cfg)
        if not line:
            raise
        if any(int(os.environ.get(name, 0)) for name in RANKS):
            time.sleep(10)  # the launcher ends this process when the first one ends; do not end before it
            sys.exit(1)
        if 'MMSEG_BPKD_ERROR_FILE' in os.environ:  # of tools/dist_train.sh, which prints it last
            with open(os.environ['MMSEG_BPKD_ERROR_FILE'], 'w') as file:
                file.write(f'error: {line}\n')
        sys.exit(f'error: {line}')


def _message(error: Exception) -> str:
    """The text of an error. If a worker of a data loader raised it, PyTorch has put the traceback before its line."""
    text = str(error)
    if text.startswith('Caught ') and ' in DataLoader worker process ' in text:
        return text.rstrip().rpartition('\n')[2].partition(': ')[2]
    return text
