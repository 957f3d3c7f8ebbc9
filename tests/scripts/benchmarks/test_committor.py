"""The committor section of the benchmarks: its table."""


def test_table(script):
    module = script("committor")
    histogram = [0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]
    result = module.CommittorFigures(7, 12345, 4, 25, 3, 0.5, 0.667, 0.17, 0.3, 0.28, 0.1, 2, histogram)
    figures, bins = module.Committor().tables([result])
    line = "| 7 | 4 × 25 | 0.500 | 0.667 ± 0.170 | 0.280 (observed 0.300) | 0.100 | 12,345 |"
    assert figures.splitlines()[-1] == line
    assert bins.splitlines()[-1] == "| 7 | 0 0 0 0 1 0 1 0 0 0 1 |"
