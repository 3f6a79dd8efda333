"""A trained detector at work outside of training and evaluation."""
