"""Know the 1000 classes of ImageNet: EfficientNet-Lite0 with the weights that a package brings.

It answers no prompts: it tells which classes a picture, a crop or each cell of a picture shows.
May import what the backends may.
"""
