import sys

from mmseg_bpkd.cli.main import main

main(['demo', *sys.argv[1:]])
