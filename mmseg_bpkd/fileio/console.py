"""What a run shows on the terminal. Its log file has everything."""

import logging
import re
import sys
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import Runner

LONGEST = 3  # lines of a message on the terminal
NOISE = re.compile(
    'Exp name: |Distributed training is not used, all SyncBatchNorm|Did not find last_checkpoint|per class results:|'
    '"FileClient" will be deprecated|"HardDiskBackend" is the alias'
)


class ConsoleRunner(Runner):
    """A Runner whose log file has everything, and whose terminal has what a reader needs.

    The environment, the config, the order of the hooks, the initialization of each weight, and the tables of classes of
    a validation, hundreds of lines, are in the log file only, and so are the remarks of `NOISE`. A test shows all.
    """

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        for handler in _terminals(logger):
            handler.addFilter(_is_shown)
        return logger

    def test(self) -> dict:
        for handler in _terminals(self.logger):
            handler.removeFilter(_is_shown)
        return super().test()


def _terminals(logger: logging.Logger) -> list[logging.Handler]:
    return [handler for handler in logger.handlers if type(handler) is logging.StreamHandler]


def _is_shown(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    short = message.strip().count('\n') < LONGEST
    return not NOISE.match(message) and (short or record.levelno >= logging.WARNING)


def show(line: str) -> None:
    """Writes a line to the terminal, and not to the log file."""
    print(line, file=sys.stderr, flush=True)
