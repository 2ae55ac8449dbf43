import sys

from mmseg_bpkd.cli.main import main

main(['convert-camvid', *sys.argv[1:]])
