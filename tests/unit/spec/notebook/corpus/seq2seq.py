# %%
from transformers import AutoModelForSeq2SeqLM, Seq2SeqTrainer, Seq2SeqTrainingArguments
from datasets import load_dataset
args = Seq2SeqTrainingArguments("o", learning_rate=2e-5, num_train_epochs=4, optim="adafactor", lr_scheduler_type="constant")
raw = load_dataset("acme/translate", "de-en")
Seq2SeqTrainer(AutoModelForSeq2SeqLM.from_pretrained("acme/t"), args, train_dataset=raw["train"]).train()
