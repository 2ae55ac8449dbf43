import sys

from mmseg_bpkd.cli.main import main

main(['figures', *sys.argv[1:]])
