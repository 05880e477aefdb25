"""Objects followed through the sequences of a data set: what is asked, who answers, and the report."""
