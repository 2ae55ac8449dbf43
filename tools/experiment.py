import sys

from mmseg_bpkd.cli.main import main

main(['experiment', *sys.argv[1:]])
