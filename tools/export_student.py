import sys

from mmseg_bpkd.cli.main import main

main(['export', *sys.argv[1:]])
