"""Where data lie beside this machine's disk: URLs that fsspec opens, and what of them is kept here for a while."""
