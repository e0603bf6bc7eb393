"""The walk of one sweep, step by step."""
