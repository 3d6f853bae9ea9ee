"""Pretrained models of Hugging Face's transformers, below the rooms of texts and of images.

Read first `base.py`: a model is known by its folder and the hash of what lies in it, and is loaded when it is needed.
`folders.py` finds the folder, `loading.py` loads a model without a word and without drawing a number. `encoder.py` is
what both encoders share; `pooling.py` makes one vector of many, `cache.py` keeps vectors on disk.
"""
