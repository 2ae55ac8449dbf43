import sys

from mmseg_bpkd.cli.main import main

main(['complexity', *sys.argv[1:]])
