"""Options that several commands share. Importing this module costs nothing, so that `--help` is fast."""

import argparse
from typing import Any


class CfgOptions(argparse.Action):
    """KEY=VALUE ..., as MMEngine's `DictAction` reads them. The error names the option that is not KEY=VALUE."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, *args) -> None:
        from mmengine.config import DictAction

        parse = DictAction(self.option_strings, self.dest)
        for value in values:
            try:
                parse(parser, namespace, [value], *args)
            except (ValueError, AssertionError):
                parser.error(f'{self.option_strings[0]} expects KEY=VALUE, with balanced brackets, got {value!r}')


def add_cfg_options(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Adds the option `--cfg-options` to a parser. `purpose` starts its help."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=CfgOptions,
        default={},
        metavar='KEY=VALUE',
        help=f'{purpose}; a key that the config does not have must start with "+"',
    )


def add_config_arguments(
    parser: argparse.ArgumentParser,
    purpose: str = 'changes to the config, for example model.distiller.losses.loss_bpkd.tau_edge=2',
) -> None:
    """Adds the options that change the config, `--method` and `--cfg-options`, for `config.reading.read_config`."""
    parser.add_argument(
        '--method',
        metavar='NAME',
        help='replaces the distiller of the config by configs/_base_/distillers/NAME.py, or by the file NAME',
    )
    add_cfg_options(parser, purpose)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that training and testing share."""
    parser.add_argument('--work-dir', help='folder for logs and results; default: work_dirs/<name of the config>')
    add_config_arguments(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by some launchers')
