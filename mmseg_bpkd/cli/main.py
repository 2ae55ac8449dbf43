"""The command `bpkd`. Each command is a module of this package, whose docstring is its help."""

import argparse
import ast
import os
import os.path as osp
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from mmseg_bpkd import __version__

# `bpkd --help` shows the first line of the docstring of each.
COMMANDS = (
    'train',
    'test',
    'export',
    'predict',
    'new',
    'check',
    'complexity',
    'gradients',
    'figures',
    'demo',
    'experiment',
    'convert-camvid',
)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command that the first argument names, with the other arguments.

    Raises:
        SystemExit: with the exit code of the command; with 2 if there is no such command.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv or argv[0] not in COMMANDS:
        parse_args(argv)
    name, *arguments = argv
    sys.argv = [f'bpkd {name}', *arguments]
    sys.path.append(os.getcwd())  # for the custom_imports of a config
    warnings.filterwarnings('ignore')  # about features of the dependencies that are not used here
    sys.exit(import_module(f'mmseg_bpkd.cli.{module(name)}').main())


def parse_args(argv: Sequence[str]) -> None:
    """Prints the help or the version, or says that there is no such command. It always ends the program."""
    parser = argparse.ArgumentParser(
        prog='bpkd',
        usage='bpkd [--help] [--version] COMMAND ...',
        description='Knowledge distillation for semantic segmentation.',
        epilog='commands:\n'
        + '\n'.join(f'  {name:15} {summary(name)}' for name in COMMANDS)
        + '\n\n"bpkd COMMAND --help" lists the arguments of a command.\n'
        'CONFIG is a config file, or "mmseg_bpkd::METHOD/NAME.py" for a config of the package.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'mmseg_bpkd {__version__}')
    parser.add_argument('command', choices=COMMANDS, metavar='COMMAND', help=argparse.SUPPRESS)
    parser.parse_args(argv or ['--help'])


def module(command: str) -> str:
    return command.replace('-', '_')


def summary(command: str) -> str:
    with open(osp.join(osp.dirname(__file__), f'{module(command)}.py'), encoding='utf-8') as source:
        return (ast.get_docstring(ast.parse(source.read())) or '').partition('\n')[0]
