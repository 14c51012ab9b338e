"""One file, one family: µV in (B, C, T), logits out (B, K).

From: ``batches``. To: ``training``. No model knows a dataset's name.
"""
