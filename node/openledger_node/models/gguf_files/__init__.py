"""GGUF files: their header, their weights under Hugging Face names, and the description folder of one."""
