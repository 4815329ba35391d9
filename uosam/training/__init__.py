"""Training of the embedded SAM: pictures, degraded masks, prompts, objective, loop."""
