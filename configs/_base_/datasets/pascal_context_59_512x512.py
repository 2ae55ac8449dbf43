_base_ = 'pascal_context_59_480x480.py'
crop_size = (512, 512)
task = dict(data_preprocessor=dict(size=crop_size))  # tested with windows of 480, the teacher's crop
train_pipeline = _base_.train_pipeline
train_pipeline[4].crop_size = crop_size  # FastRandomCrop
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
