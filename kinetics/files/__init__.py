"""Files of strangers read line by line, files of ours written whole, text made safe to show."""
