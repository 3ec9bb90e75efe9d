# %%
from datasets import load_dataset
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
import sys
BS = 4
def main(lr=1e-3, steps=10):
    model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
    args = TrainingArguments("o", learning_rate=lr, max_steps=steps, per_device_train_batch_size=BS)
    Trainer(model=model, args=args, train_dataset=load_dataset("acme/chat", split="train")).train()
