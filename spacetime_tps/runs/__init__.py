"""The folder of a run: the one place that names, writes and reads its files."""
