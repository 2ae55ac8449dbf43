import sys

from mmseg_bpkd.cli.main import main

main(['test', *sys.argv[1:]])
