import sys

from mmseg_bpkd.cli.main import main

main(['gradients', *sys.argv[1:]])
