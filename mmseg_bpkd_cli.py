"""The command `bpkd`, which runs the tools by name: `bpkd train` runs tools/train.py.

This is a module of its own, because `bpkd --help` needs nothing of the package, whose import takes seconds.
"""

import argparse
import ast
import os
import os.path as osp
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import Optional, Sequence

# Name -> file in tools/, whose `main` is called. `bpkd --help` shows the first line of its docstring.
COMMANDS = {
    'train': 'train.py',
    'test': 'test.py',
    'export': 'export_student.py',
    'predict': 'predict.py',
    'check': 'check_dataset.py',
    'complexity': 'analysis/complexity.py',
    'gradients': 'analysis/gradients.py',
    'figures': 'analysis/figures.py',
    'demo': 'demo.py',
    'experiment': 'experiment.py',
    'convert-camvid': 'dataset_converters/camvid.py',
}
FOLDER = osp.dirname(osp.abspath(__file__))
INSTALLED = osp.join(FOLDER, 'mmseg_bpkd', '.mim')  # in a wheel
TOOLS = osp.join(INSTALLED if osp.isdir(INSTALLED) else FOLDER, 'tools')


def main(argv: Optional[Sequence[str]] = None) -> None:
    """Runs the tool that the first argument names, with the other arguments.

    Raises:
        SystemExit: with the tool's exit code; with 2 if there is no such command.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    if not argv or argv[0] not in COMMANDS:
        parse_args(argv)
    name, *arguments = argv
    sys.argv = [f'bpkd {name}', *arguments]
    sys.path.append(os.getcwd())  # for the custom_imports of a config
    file = COMMANDS[name]
    spec = spec_from_file_location(f'bpkd_{name}', osp.join(TOOLS, file))
    tool = module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.__doc__ = tool.__doc__.replace(f'python tools/{file}', f'bpkd {name}')  # the tool's help
    sys.exit(tool.main())


def parse_args(argv: Sequence[str]) -> None:
    """Prints the help or the version, or says that there is no such command. It always ends the program."""
    parser = argparse.ArgumentParser(
        prog='bpkd',
        usage='bpkd [--help] [--version] COMMAND ...',
        description='Knowledge distillation for semantic segmentation.',
        epilog='commands:\n'
        + '\n'.join(f'  {name:15} {summary(file)}' for name, file in COMMANDS.items())
        + '\n\n"bpkd COMMAND --help" lists the arguments of a command. They are those of its file in tools/.\n'
        'CONFIG is a config file, or "mmseg_bpkd::METHOD/NAME.py" for a config of the package.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'mmseg_bpkd {read_version()}')
    parser.add_argument('command', choices=COMMANDS, metavar='COMMAND', help=argparse.SUPPRESS)
    parser.parse_args(argv or ['--help'])


def summary(file: str) -> str:
    with open(osp.join(TOOLS, file), encoding='utf-8') as source:
        return ast.get_docstring(ast.parse(source.read())).splitlines()[0]


def read_version() -> str:
    with open(osp.join(FOLDER, 'mmseg_bpkd', '__init__.py'), encoding='utf-8') as source:
        return re.search(r"^__version__ = '(.+)'$", source.read(), re.MULTILINE)[1]


if __name__ == '__main__':
    main()
