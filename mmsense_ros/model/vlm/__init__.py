"""A vision-LLM as the backbone: needs `transformers` and `peft`, which nothing outside this room imports."""
