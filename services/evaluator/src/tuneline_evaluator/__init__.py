"""Stage evaluator: is the fine-tuned model better than its base?"""
