"""Figures over a whole data set, each sample counted once: accuracies, average precisions, confusion matrices."""
