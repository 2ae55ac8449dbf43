import sys

from mmseg_bpkd.cli.main import main

main(['predict', *sys.argv[1:]])
