"""Whoever commands the arm: steps, episodes, goals."""
