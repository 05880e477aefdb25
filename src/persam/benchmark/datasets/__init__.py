"""Data sets in their own layouts, as episodes. One file a data set; `catalog.py` lists them."""
