"""Errors that users can mend end a program with one line."""

import os
import os.path as osp
import re
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config

from .signatures import explain_build_error

RANKS = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')  # the variables of the launchers
PACKAGE = osp.dirname(osp.dirname(osp.abspath(__file__)))
# The error of a data worker has the traceback of the worker as its text. Groups: the file and
# the line of code that raised, and the message.
IN_WORKER = re.compile(
    r'^Caught .*\n  File "([^"\n]+)", line \d+, in [^\n]*\n    ([^\n]*)\n(?:    [^\n]*\n)*[\w.]+: (.*)$', re.DOTALL
)
# Part of an error's text of a library, and what it means.
LIBRARIES = {
    'The image size in a batch should be the same': 'the images of a batch of validation or test data have different '
    'sizes: set batch_size=1 in val_dataloader and test_dataloader, or let the pipeline resize all images to one size',
    'find_unused_parameters=True': 'some trained parameters get no gradient, which is an error in a distributed run: '
    'add --cfg-options find_unused_parameters=True, or remove these layers from the model (the environment variable '
    'TORCH_DISTRIBUTED_DEBUG=DETAIL names them)',
}


@contextmanager
def short_errors(cfg: Config | None = None, *kinds: type, launcher: str = 'none') -> Iterator[None]:
    """Ends the program with one line, without a traceback, for errors that users can mend.

    These are errors that a `raise` statement of this package raised, also in a worker of a data loader. All others keep
    their traceback, except for those that the arguments name.

    In a distributed run, usually all processes have such an error, and the first one prints it. Another process prints
    an error that it alone has.

    Args:
        cfg: explains errors that MMEngine raises while it builds a part of this config.
        kinds: exceptions whose message is such a line, whoever raised them.
        launcher: what started the processes; without a launcher, variables of a launcher have no meaning.
    """
    try:
        yield
    except Exception as error:
        line = _line(error, cfg, kinds)
        if not line:
            raise
        if int(os.environ.get(RANKS.get(launcher, ''), 0)):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(10)  # the launcher ends this process when the first one ends; do not end before it
        if 'MMSEG_BPKD_ERROR_FILE' in os.environ:  # of tools/dist_train.sh, which prints it last
            with open(os.environ['MMSEG_BPKD_ERROR_FILE'], 'w') as file:
                file.write(f'error: {line}\n')
        sys.exit(f'error: {line}')


def _line(error: Exception, cfg: Config | None, kinds: tuple[type, ...]) -> str | None:
    in_worker = IN_WORKER.search(str(error))
    message = in_worker[3] if in_worker else str(error)
    text = message if isinstance(error, kinds) else (cfg and explain_build_error(error, cfg)) or own_message(error)
    text = text or next((meaning for part, meaning in LIBRARIES.items() if part in str(error)), None)
    return text and ' '.join(line.strip() for line in text.strip().splitlines())


def own_message(error: Exception) -> str | None:
    """The message of an error that a `raise` statement of this package raised; None for any other error."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    raised = [(frame.filename, frame.line or '', str(error))]
    in_worker = IN_WORKER.search(str(error))
    if in_worker:
        raised.append((in_worker[1], in_worker[2], in_worker[3]))
    for file, code, message in raised:
        if osp.abspath(file).startswith(PACKAGE + os.sep) and code.startswith('raise '):
            return message
    return None
