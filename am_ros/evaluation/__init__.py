"""Trials, tables and plots."""
