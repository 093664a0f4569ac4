"""The Llama model: its size (`size`, without torch) and its weights (`llama`)."""
