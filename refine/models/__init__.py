"""Models: everything below as one object that is trained, sampled, scored, saved and shared.

Items and conditions enter. Codes, losses, likelihoods, samples and checkpoints leave.
"""
