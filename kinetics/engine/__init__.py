"""A small exact engine: Llama, Qwen2, Qwen3 and Qwen3-MoE decode over a paged cache under any attention policy."""
