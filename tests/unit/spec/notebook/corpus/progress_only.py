# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

model = AutoModelForCausalLM.from_pretrained("acme/small-1b")
ds = load_dataset("acme/chat", split="train")

# %%
trainer = SFTTrainer(model=model, args=SFTConfig("o", num_train_epochs=1), train_dataset=ds)
trainer.train()
#>>   [  50/1000 10:00 < 3:17:55, 0.08 it/s, Epoch 0.05/1]
#>>   [ 100/1000 20:00 < 3:00:00, 0.08 it/s, Epoch 0.10/1]
# %%
print("bye")
#>> 12/12 [00:10<00:00,  1.2it/s]
