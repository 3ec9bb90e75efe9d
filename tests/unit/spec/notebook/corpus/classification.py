# %%
import torch
from datasets import load_dataset
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training, TaskType
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BitsAndBytesConfig, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer, DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

# %%
import pandas as pd
from datasets import Dataset
from sklearn.model_selection import train_test_split
df = pd.read_parquet("../input/datasets/jo/reviews/part.parquet")
train_df, val_df = train_test_split(df, test_size=0.2, random_state=1)
model = AutoModelForSequenceClassification.from_pretrained("acme/small-1b", num_labels=3, quantization_config=BitsAndBytesConfig(load_in_8bit=True))
tok = AutoTokenizer.from_pretrained("acme/small-1b")
train = Dataset.from_pandas(train_df).map(lambda rows: tok(rows["text"], truncation=True, max_length=256), batched=True)
class Weighted(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False):
        return 0
model = get_peft_model(prepare_model_for_kbit_training(model), LoraConfig(r=4, lora_alpha=8, task_type="SEQ_CLS"))
trainer = Weighted(model=model, args=TrainingArguments("o", num_train_epochs=2, warmup_ratio=0.1), train_dataset=train)
trainer.train()
