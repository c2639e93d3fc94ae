"""What a model wrote -> its answer, its thoughts and its calls of tools. Text in, values out: no model, no tokenizer."""
