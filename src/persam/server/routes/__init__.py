"""What the service answers, by what it is about; thin: the work is done beside this folder."""
