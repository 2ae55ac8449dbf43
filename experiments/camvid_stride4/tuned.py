# The settings that tuning.py chose: for each method, the one with the highest sum of mIoU and trimap mIoU (3 px).
#     python experiments/camvid_stride4/choose.py
_tuned = dict(kd={}, nfd={}, cwd={}, bpkd={})
