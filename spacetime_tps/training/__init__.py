"""Training of denoisers: fits of mixtures, and networks on top of them."""
