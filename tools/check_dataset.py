import sys

from mmseg_bpkd.cli.main import main

main(['check', *sys.argv[1:]])
