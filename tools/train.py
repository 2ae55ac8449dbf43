import sys

from mmseg_bpkd.cli.main import main

main(['train', *sys.argv[1:]])
