"""The student that ``uosam retrain`` teaches: EfficientNet-Lite0 under a light decoder at stride 4.

It answers no prompts: it gives every pixel of a picture a probability for each id it was taught.
May import what the backends may.
"""
