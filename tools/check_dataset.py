import sys

from mmseg_bpkd.cli.main import main

if __name__ == '__main__':  # not in data workers that are started with forkserver or spawn
    main(['check', *sys.argv[1:]])
