"""What the files of a model are, told without loading them: folders, adapters, GGUF files, quantised weights."""
